"""The vocabulary of hotel rates: what every supplier's answer is turned into.

Everything here is frozen and encodes as JSON. Prices never pass through a float.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Literal, Protocol, TypeGuard

import msgspec

from errors import BerthError

# What one answer with rates covers: a whole destination, a batch of hotels, or a single hotel.
Scope = Literal["destination", "hotels", "hotel"]
# Prices outside of these are mistakes of a supplier. The bounds also keep a price like 1e999999999
# from being written out.
_PRICE_MAX = Decimal(1_000_000_000)
_DECIMALS_MAX = 6
_DECIMALS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX",
                     "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}  # fmt: skip


class Unreadable(BerthError):
    """A part of a supplier's answer that cannot be understood; the rest of it may be."""


class Board(StrEnum):
    """Which meals the price includes."""

    UNKNOWN = "unknown"
    ROOM_ONLY = "room_only"
    BREAKFAST = "breakfast"
    HALF_BOARD = "half_board"
    FULL_BOARD = "full_board"
    ALL_INCLUSIVE = "all_inclusive"


class RateQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A stay of `guests` adults in one room, at a destination or at some hotels.

    `destination` is the slug of a city, `currency` the ISO 4217 code that suppliers are asked
    for; some answer in one of their own. `hotel_ids` are ours; empty: all of the destination.
    """

    destination: str
    check_in: dt.date
    check_out: dt.date
    guests: int
    currency: str = "EUR"
    hotel_ids: tuple[str, ...] = ()

    @property
    def nights(self) -> int:
        """Length of the stay."""
        return (self.check_out - self.check_in).days


class Part(msgspec.Struct, frozen=True):
    """What one fetch asks for: these hotels, part `number` (from 0) of the query's plan."""

    number: int
    hotel_ids: tuple[str, ...]


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """A price at which a supplier sells a room for the whole stay and all guests.

    `price` is a plain decimal string. `refundable` means that cancelling at the time of the
    answer would have cost nothing; what a supplier does not say is taken for a no. `vendor_key`
    is what the adapter wants back for recheck and booking; nobody else reads it.
    """

    hotel_id: str
    supplier: str
    room: str
    board: Board
    price: str
    currency: str
    refundable: bool
    vendor_key: str
    expires_at: dt.datetime | None = None


class HotelError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a hotel has no rate, or one less. `hotel_id` is None when even that was unreadable."""

    hotel_id: str | None
    supplier: str
    reason: Literal["unreadable", "unknown_hotel", "not_asked", "refused"]
    detail: str


class FetchedChunk(msgspec.Struct, frozen=True):
    """What came together. A hotel that was asked for and has no rate and no error sells nothing.

    `name` is unique within the query and supplier, and stays the same for the same hotels when a
    part is fetched again: whoever keeps chunks by name keeps no hotel twice. `more` of the same
    answer follow at once, so whoever hands chunks on may do it with these together.
    """

    name: str
    rates: tuple[Rate, ...]
    errors: tuple[HotelError, ...] = ()
    more: bool = False


def together(chunks: Sequence[FetchedChunk]) -> Iterator[FetchedChunk]:
    """The chunks of one answer, all but the last marked: `more` follow."""
    for chunk in chunks[:-1]:
        yield msgspec.structs.replace(chunk, more=True)
    yield from chunks[-1:]


class Opened(msgspec.Struct, frozen=True):
    """What a supplier wants back for the rates of each of `hotel_ids`, by hotel. One that has no
    ticket sells nothing.
    """

    hotel_ids: tuple[str, ...]
    tickets: Mapping[str, str]
    errors: tuple[HotelError, ...] = ()


class Recheck(msgspec.Struct, frozen=True):
    """What a supplier says of a pinned rate now.

    `rate` is the one to book: as pinned if available (with a fresh key), at the new price if it
    changed, None if sold out.
    """

    outcome: Literal["available", "price_changed", "sold_out"]
    rate: Rate | None = None


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """In whose name is booked."""

    given_name: str
    family_name: str
    email: str
    phone: str = ""


class RateSupplier(Protocol):
    """What every adapter offers. One instance serves all threads of a process.

    Methods raise SupplierAway (or its leaves Throttled and TokenExpired) for faults and unknown
    outcomes, SupplierDeclined for a clear no.
    """

    name: str
    # Who answers for a single hotel is a HotelByHotel.
    scope: Scope
    # Most hotels of one request that names several.
    max_hotels_per_request: int
    # Most requests at once, and per second (0: no bound), of all workers together.
    at_once_max: int
    per_s_max: int
    # Whether a part takes many small calls (hotel by hotel, polls, steps), or one with all rates.
    many_calls: bool

    def fetch(self, query: RateQuery, part: Part) -> Iterator[FetchedChunk]:
        """The rates of the part's hotels, in chunks as they come.

        Where hotels are asked one by one, a fault is raised only after the others have been
        tried (a Throttled at once). Fetching the part again brings the same chunks by name.
        """

    def recheck(self, rate: Rate) -> Recheck:
        """Ask whether `rate` can be booked now, and at which price."""

    def book(self, rate: Rate, holder: Holder, key: str) -> str:
        """Book what `recheck` returned; returns the supplier's reference.

        `key` is the order's own: the same key and rate bring the same reference again. Raises
        SupplierDeclined("sold_out") or SupplierDeclined("price_changed") among others.
        """

    def cancel(self, key: str, email: str, number: str = "") -> bool:
        """Cancel what `book` has booked under `key`, by its `number` where that is known.

        `email` is the holder's. True once nothing is booked and nothing can be any more: it was
        cancelled, or a tombstone stands. False when nothing is there, and a request that is
        still on its way could book it yet. Repeating it is harmless.
        """

    def close(self) -> None:
        """Close the kept connections."""


class HotelByHotel(RateSupplier, Protocol):
    """A supplier whose rates come hotel by hotel: loaders ask for many of them at once.

    Each call of a method makes as few HTTP calls as it can, one or none.
    """

    def open(self, query: RateQuery, hotel_ids: tuple[str, ...]) -> Opened:
        """What comes before the rates of these hotels, at most `max_hotels_per_request`."""

    def fetch_hotel(self, query: RateQuery, hotel_id: str, ticket: str) -> FetchedChunk:
        """The hotel's rates, under its own name."""


def comes_hotel_by_hotel(supplier: RateSupplier) -> TypeGuard[HotelByHotel]:
    """Whether loaders can share what is to be asked of it."""
    return supplier.scope == "hotel"


def slices(hotel_ids: tuple[str, ...], size: int) -> list[tuple[str, ...]]:
    """The hotels in order, at most `size` together."""
    return [hotel_ids[start:start + size] for start in range(0, len(hotel_ids), size)]


def rechecked(pinned: Rate, now: Rate) -> Recheck:
    """Compare by value: 120 is 120.00, in the same currency only."""
    same = pinned.currency == now.currency and Decimal(pinned.price) == Decimal(now.price)
    return Recheck("available" if same else "price_changed", now)


def price(amount: Decimal, currency: str) -> str:
    """`amount` as it is, with at least the currency's own number of decimals.

    Raises Unreadable for what is no price: NaN, nothing, less than nothing, or beyond reason.
    """
    if not amount.is_finite() or not 0 < amount <= _PRICE_MAX:
        raise Unreadable("a price that is none")
    # Trailing zeros are a matter of spelling: a supplier's 120.0 and 120.000 are one price.
    exponent = amount.normalize().as_tuple().exponent
    decimals = max(-int(exponent), _DECIMALS.get(currency, 2))
    if decimals > _DECIMALS_MAX:
        raise Unreadable("a price with too many decimals")
    return f"{amount:.{decimals}f}"


def currency(code: str) -> str:
    """An ISO 4217 code. Raises Unreadable for anything else."""
    if len(code) == 3 and code.isascii() and code.isalpha() and code.isupper():
        return code
    raise Unreadable("a currency that is none")
