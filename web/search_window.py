"""What the search page says of a search: its hotels, their rates, who has answered. Pure."""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from itertools import islice

import msgspec
from babel import Locale
from babel.numbers import get_currency_name

from search.model import OfferedRate, SupplierProgress, SupplierState
from search.places import HotelFacts, Place
from web.search_views import SearchView
from web.shopwindow import LOCALE, price_text

# Pictures in static/art; hotels have none of their own.
_ARTS = ("dawn", "morning", "golden", "dusk", "ember", "night", "mist", "fjord", "tropic", "noon")
_TITLES = {"perhotel": "Hotels directly"}
_SOURCES = {"perhotel": "the hotel itself"}
_BOARDS = {
    "room_only": "Room only",
    "breakfast": "Breakfast included",
    "half_board": "Half board",
    "full_board": "Full board",
    "all_inclusive": "All inclusive",
}


class RateLine(msgspec.Struct, frozen=True, kw_only=True):
    """One rate in words. `amount` is for sorting within `currency` only."""

    rate_id: str
    price: str
    amount: Decimal
    currency: str
    room: str
    board: str
    refundable: bool
    supplier: str


class HotelCard(msgspec.Struct, frozen=True, kw_only=True):
    """A hotel with its cheapest rate, and the others."""

    hotel_id: str
    name: str
    stars: int
    art: str
    mirrored: bool
    best: RateLine
    others: list[RateLine]


class Section(msgspec.Struct, frozen=True):
    """Hotels that can be compared by price, in one currency; `title` is empty where they are not.
    """

    title: str
    cards: list[HotelCard]


class SupplierRow(msgspec.Struct, frozen=True):
    """The progress of one supplier in plain words."""

    name: str
    state: str
    text: str


def sections(
    view: SearchView, facts: Callable[[str], HotelFacts | None], *, order: str, currency: str,
    shown_max: int,
) -> list[Section]:
    """The first `shown_max` hotels of a search.

    By arrival they stand as they came. By price they stand currency by currency, since amounts of
    different ones cannot be compared: `currency`, which suppliers were asked for, comes first.
    """
    def card(hotel_id: str) -> HotelCard:
        found = sorted(view.rates(hotel_id),
                       key=lambda one: _rank(one.currency, Decimal(one.price), currency))
        return _card(hotel_id, found, facts(hotel_id))

    if order != "price":
        return [Section("", [card(hotel_id) for hotel_id in islice(view.hotels, shown_max)])]
    # Of all hotels only the lowest amounts are looked at, and of those shown all rates.
    lowest = {hotel_id: min(_rank(code, amount, currency) for code, amount in hotel.lowest.items())
              for hotel_id, hotel in view.hotels.items()}
    by_price = sorted(lowest, key=lambda hotel_id: (lowest[hotel_id], hotel_id))
    groups: dict[str, list[HotelCard]] = {}
    for hotel_id in by_price[:shown_max]:
        groups.setdefault(lowest[hotel_id][1], []).append(card(hotel_id))
    several = len({code for _, code, _ in lowest.values()}) > 1
    return [
        Section(currency_title(code) if several else "", cards) for code, cards in groups.items()
    ]


def supplier_rows(
    suppliers: Mapping[str, SupplierProgress], expected: Sequence[str]
) -> list[SupplierRow]:
    """A row for each supplier that is asked; before that is known, for each that will be."""
    if not suppliers:
        return [SupplierRow(supplier_title(name), "pending", "being asked") for name in expected]
    return [SupplierRow(supplier_title(name), str(line.state), _progress_text(line))
            for name, line in suppliers.items()]


def supplier_title(name: str) -> str:
    """A supplier's name as people know it."""
    return _TITLES.get(name, name.replace("_", " ").title())


def source_text(name: str) -> str:
    """Whom a rate comes from: `Hotelbeds`, `the hotel itself`."""
    return _SOURCES.get(name) or supplier_title(name)


def _progress_text(line: SupplierProgress) -> str:
    brought = f"{line.rates:,} rate{'s' if line.rates != 1 else ''}"
    after = f" in {line.latency_ms / 1_000:.1f} s" if line.latency_ms is not None else ""
    match line.state:
        case SupplierState.PENDING:
            return f"{brought} so far" if line.rates else "being asked"
        case SupplierState.TIMED_OUT:
            return f"{brought}, then too slow" if line.rates else "too slow this time"
        case SupplierState.FAILED:
            return "could not answer this time"
    if line.error:
        return f"{brought}{after}, not all hotels"
    return f"{brought}{after}" if line.rates else f"nothing free{after}"


@lru_cache(maxsize=1)
def _countries() -> Mapping[str, str]:
    found: Mapping[str, str] = Locale.parse(LOCALE).territories
    return found


def place_label(place: Place) -> str:
    """`Lisbon, Portugal`."""
    return f"{place.name}, {_countries().get(place.country, place.country)}"


def currency_title(code: str) -> str:
    """`Prices in pounds sterling`, or whatever the currency is called."""
    return f"Prices in {get_currency_name(code, count=2, locale=LOCALE)}"


def nights_text(check_in: dt.date, check_out: dt.date, guests: int) -> str:
    """`3 nights, 2 guests`, with no line break between a number and what it counts."""
    nights = (check_out - check_in).days
    return (f"{nights}\N{NO-BREAK SPACE}night{'s' if nights != 1 else ''}, "
            f"{guests}\N{NO-BREAK SPACE}guest{'s' if guests != 1 else ''}")


def art_of(name: str) -> str:
    """A picture that stays the same for the same hotel or place."""
    return _ARTS[zlib.crc32(name.encode()) % len(_ARTS)]


def _rank(code: str, amount: Decimal, wanted: str) -> tuple[bool, str, Decimal]:
    return code != wanted, code, amount


def _card(hotel_id: str, found: list[OfferedRate], facts: HotelFacts | None) -> HotelCard:
    lines = [_line(rate) for rate in found]
    return HotelCard(
        hotel_id=hotel_id,
        name=facts.name if facts else hotel_id,
        stars=facts.stars if facts else 0,
        art=art_of(hotel_id),
        mirrored=zlib.crc32(hotel_id.encode()) % 2 == 0,
        best=lines[0],
        others=lines[1:],
    )


def board_text(board: str) -> str:
    """Which meals the price includes; empty where the supplier does not say."""
    return _BOARDS.get(board, "")


def _line(rate: OfferedRate) -> RateLine:
    return RateLine(
        rate_id=rate.rate_id,
        price=price_text(rate.price, rate.currency),
        amount=Decimal(rate.price),
        currency=rate.currency,
        room=rate.room,
        board=board_text(rate.board),
        refundable=rate.refundable,
        supplier=source_text(rate.supplier),
    )
