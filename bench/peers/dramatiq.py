"""The direct booking as a Dramatiq actor. It acknowledges after the work, by its nature."""

from __future__ import annotations

from collections.abc import Iterable

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers import booking
from settings import load

broker = RedisBroker(url=load().redis_url)  # type: ignore[no-untyped-call]
dramatiq.set_broker(broker)


@dramatiq.actor
def book(order_id: str, email: str, accepted_ms: int) -> None:
    booking.book(order_id, email, accepted_ms)


def enqueue(orders: Iterable[tuple[str, str, int]]) -> None:
    """One message per order."""
    for order in orders:
        book.send(*order)
