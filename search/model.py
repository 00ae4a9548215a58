"""What a search brings, and how far it is."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

import msgspec

from errors import BadInput
from search.query import SearchQuery

_CURSOR = re.compile(r"([0-9a-f]{1,14})-([0-9]{1,7})")
_RATE_ID = re.compile(r"([0-9a-f]{32})-([0-9a-f]{16})")


class SupplierState(StrEnum):
    """How far one supplier is with one search."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


class OfferedRate(msgspec.Struct, frozen=True, kw_only=True):
    """A rate at the price that it has in every view while the search lives.

    `price` is a decimal string for the whole stay and all guests, in `currency` (ISO 4217).
    `board` says which meals it includes. `vendor_key` is what the supplier wants back for its
    recheck; no view shows it. It stands last, see `without_vendor_key`.
    """

    rate_id: str
    hotel_id: str
    supplier: str
    room: str
    price: str
    currency: str
    refundable: bool
    board: str = "unknown"
    vendor_key: str = ""


class PinnedRate(msgspec.Struct, frozen=True, kw_only=True):
    """One rate of a search that lives, and the stay that it is for."""

    query: SearchQuery
    rate: OfferedRate
    expires_ms: int


def parts_of_rate_id(rate_id: str) -> tuple[str, str] | None:
    """The search and the name within it that a `rate_id` is made of; None if it is none."""
    found = _RATE_ID.fullmatch(rate_id)
    return (found[1], found[2]) if found else None


def name_of_rate(rate_id: str) -> str:
    """The end of a `rate_id`: its name within its search."""
    return rate_id.rpartition("-")[2]


class SupplierProgress(msgspec.Struct, frozen=True, kw_only=True):
    """One line of progress. `latency_ms` runs from the start of the search to the last answer."""

    state: SupplierState
    parts: int
    parts_done: int
    rates: int
    latency_ms: int | None = None
    error: str | None = None


class Cursor(NamedTuple):
    """How far a reader is: it has `seen` so many rates of the search that began.

    The same parameters are searched for anew after their search expired. A cursor of the old one
    never continues the new one, whose prices are others.
    """

    created_ms: int
    seen: int

    def __str__(self) -> str:
        return f"{self.created_ms:x}-{self.seen}"


def cursor_of(text: str) -> Cursor:
    """Raises BadInput for a text that no answer gave."""
    found = _CURSOR.fullmatch(text)
    if found is None:
        raise BadInput("the cursor of an answer", field="since")
    return Cursor(int(found[1], 16), int(found[2]))


class Version(NamedTuple):
    """What a reader has seen: this revision of the search that began then."""

    created_ms: int
    revision: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A search as it stands. `count` is of all rates so far; `stored` are those after the ones
    that the reader knew, as JSON, in the order of their arrival.

    `revision` changes with everything that a view shows, and with nothing else. An entry that is
    `unchanged` since the version that the reader knew comes without suppliers and rates.
    """

    search_id: str
    is_completed: bool
    created_ms: int
    deadline_ms: int
    expires_ms: int
    revision: int
    count: int
    suppliers: dict[str, SupplierProgress]
    stored: list[bytes]
    unchanged: bool = False

    @property
    def rates(self) -> list[OfferedRate]:
        """The rates, decoded."""
        return [_RATE.decode(one) for one in self.stored]

    @property
    def version(self) -> Version:
        """What this is, to ask whether there is something newer."""
        return Version(self.created_ms, self.revision)

    @property
    def cursor(self) -> Cursor:
        """Where a reader goes on."""
        return Cursor(self.created_ms, self.count)


_RATE = msgspec.json.Decoder(OfferedRate)


def without_vendor_key(stored: bytes) -> bytes:
    """A stored rate as views show it, neither decoded nor encoded: a search may have 10,000.

    No text of a rate can look like the member that is cut off: a quote within a text is escaped.
    """
    return stored.partition(b',"vendor_key":')[0].removesuffix(b"}") + b"}"
