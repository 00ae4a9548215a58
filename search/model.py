"""What a search brings, and how far it is."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class SupplierState(StrEnum):
    """How far one supplier is with one search."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


class OfferedRate(msgspec.Struct, frozen=True, kw_only=True):
    """A rate at the price that it has in every view while the search lives.

    `price` is a decimal string for the whole stay and all guests, in `currency` (ISO 4217).
    `vendor_key` is what the supplier wants back for its recheck; no view shows it.
    """

    rate_id: str
    hotel_id: str
    supplier: str
    room: str
    price: str
    currency: str
    refundable: bool
    vendor_key: str = ""


class SupplierProgress(msgspec.Struct, frozen=True, kw_only=True):
    """One line of progress. `latency_ms` runs from the start of the search to the last answer."""

    state: SupplierState
    parts: int
    parts_done: int
    rates: int
    latency_ms: int | None = None
    error: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A search as it stands. `cursor` counts all rates so far; `rates` are those after `since`.

    `revision` changes with everything that a view shows, and with nothing else.
    """

    search_id: str
    is_completed: bool
    created_ms: int
    deadline_ms: int
    expires_ms: int
    revision: int
    cursor: int
    suppliers: dict[str, SupplierProgress]
    rates: list[OfferedRate]
