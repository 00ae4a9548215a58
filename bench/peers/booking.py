"""What every peer's task does, on one MongoDB client per process."""

from __future__ import annotations

from functools import cache

import bootstrap
from bench.direct import DirectBooking
from settings import load


@cache
def _booking() -> DirectBooking:
    # At the first task, and so after every fork: a client does not survive one.
    settings = load()
    return DirectBooking(bootstrap.database(settings, bootstrap.connect_mongo(settings)))


def book(order_id: str, email: str, accepted_ms: int) -> None:
    """The direct booking. Raises BenchError when it is sold out."""
    _booking().book(order_id, email, accepted_ms)
