"""The direct booking as a Celery task."""

from __future__ import annotations

from collections.abc import Iterable

from celery import Celery  # type: ignore[import-untyped]

from bench.peers import booking
from settings import load

app = Celery("bench", broker=load().redis_url)
app.conf.update(
    # Acknowledged before it runs, as the default is, a task is lost with its worker.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
)


@app.task  # type: ignore[untyped-decorator]
def book(order_id: str, email: str, accepted_ms: int) -> None:
    booking.book(order_id, email, accepted_ms)


def enqueue(orders: Iterable[tuple[str, str, int]]) -> None:
    """One task per order."""
    with app.producer_pool.acquire(block=True) as producer:
        for order in orders:
            book.apply_async(order, producer=producer)
