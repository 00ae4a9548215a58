"""The direct booking as RQ jobs."""

from __future__ import annotations

from collections.abc import Iterable

import redis
from rq import Queue

from bench.peers import booking
from settings import load


def enqueue(orders: Iterable[tuple[str, str, int]]) -> None:
    """One job per order, in one pipeline. A finished job is not kept for a reader of results."""
    queue = Queue("default", connection=redis.Redis.from_url(load().redis_url))
    queue.enqueue_many(
        [Queue.prepare_data(booking.book, args=order, result_ttl=0) for order in orders]
    )
