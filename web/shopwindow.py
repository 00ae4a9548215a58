"""What the order page says about the packages: words, order and groups. Pure; no Flask, no clock.
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import lru_cache

import msgspec
from babel.dates import format_date, format_datetime
from babel.numbers import format_currency, get_currency_precision

from booking.model import PackageAbout
from booking.projection import PackageView

LOCALE = "en_GB"
PIPS_MAX = 12  # up to this quota every place is drawn by itself

# Pictures in static/art that suit a place. A country that stands nowhere gets any of the last.
_COLD = ("aurora", "fjord", "mist", "dawn", "night")
_WARM = ("tropic", "noon", "golden", "dusk", "ember")
_DRY = ("desert", "golden", "ember", "night")
_ANYWHERE = ("dawn", "morning", "golden", "dusk", "ember", "night", "mist", "fjord")
_COLD_COUNTRIES = frozenset({
    "Canada", "Denmark", "Estonia", "Faroe Islands", "Finland", "Greenland", "Iceland", "Latvia",
    "Lithuania", "Norway", "Sweden",
})
_WARM_COUNTRIES = frozenset({
    "Australia", "Barbados", "Brazil", "Cambodia", "Colombia", "Costa Rica", "Cuba",
    "Dominican Republic", "Ecuador", "Fiji", "French Polynesia", "Ghana", "Hong Kong", "India",
    "Indonesia", "Jamaica", "Kenya", "Malaysia", "Maldives", "Mauritius", "Mexico", "Panama",
    "Philippines", "Puerto Rico", "Senegal", "Seychelles", "Singapore", "Sri Lanka", "Taiwan",
    "Tanzania", "Thailand", "Vietnam",
})
_DRY_COUNTRIES = frozenset({
    "Algeria", "Bahrain", "Egypt", "Israel", "Jordan", "Kuwait", "Morocco", "Namibia", "Oman",
    "Qatar", "Saudi Arabia", "Tunisia", "United Arab Emirates",
})


class Sale(StrEnum):
    """Where the sale of a package stands; the order of the page's groups."""

    OPEN = "open"
    SOON = "soon"
    SOLD_OUT = "sold_out"
    PAUSED = "paused"
    ENDED = "ended"


GROUP_TITLES: dict[Sale, str] = {
    Sale.OPEN: "Open now",
    Sale.SOON: "Opening soon",
    Sale.SOLD_OUT: "Sold out for now",
    Sale.PAUSED: "Paused for a while",
    Sale.ENDED: "Sale over",
}


class Sorting(StrEnum):
    """Orders in which a visitor may see the packages."""

    STAY = "stay"
    PRICE = "price"
    NAME = "name"
    LEFT = "left"


SORTING_TITLES: dict[Sorting, str] = {
    Sorting.STAY: "Soonest stay",
    Sorting.PRICE: "Lowest price",
    Sorting.NAME: "Destination, A to Z",
    Sorting.LEFT: "Nearly gone",
}


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A package in words, ready to be set.

    `art` is a picture's name in static/art, which half of the packages show mirrored.
    """

    id: int
    title: str
    flight: str
    stay: str
    stay_iso: str
    stay_is_over: bool
    price: str
    amount: Decimal
    quota: int
    left: int
    sale: Sale
    sale_text: str
    limit_per_customer: int | None
    art: str
    mirrored: bool
    about: PackageAbout | None


class Wish(msgspec.Struct, frozen=True):
    """What the visitor looks for: words of the destination, an origin (IATA), an order."""

    to: str = ""
    origin: str = ""
    sorting: Sorting = Sorting.STAY


def card_of(view: PackageView, now: dt.datetime) -> Card:
    """The card of a package at the moment `now` (aware)."""
    sale = sale_of(view, now)
    return Card(
        id=view.id,
        title=view.about.destination_city if view.about else view.flight,
        flight=view.flight,
        stay=date_text(view.stay),
        stay_iso=view.stay,
        stay_is_over=view.stay < now.date().isoformat(),
        price=price_text(view.price, view.currency),
        amount=_amount(view.price),
        quota=view.quota,
        left=max(0, view.remaining),
        sale=sale,
        sale_text=_sale_text(view, sale),
        limit_per_customer=view.limit_per_customer,
        art=_art(view),
        mirrored=view.id % 2 == 0,
        about=view.about,
    )


def sale_of(view: PackageView, now: dt.datetime) -> Sale:
    """Where the sale stands. The door judges by itself; this is for people."""
    if view.paused:
        return Sale.PAUSED
    if view.sale_ends_at is not None and now >= view.sale_ends_at:
        return Sale.ENDED
    if view.sale_starts_at is not None and now < view.sale_starts_at:
        return Sale.SOON
    return Sale.OPEN if view.remaining > 0 else Sale.SOLD_OUT


def groups(cards: Iterable[Card], wish: Wish) -> list[tuple[Sale, list[Card]]]:
    """The cards that match, by state of their sale; what can be ordered now comes first."""
    matching = [card for card in cards if _matches(card, wish)]
    found: list[tuple[Sale, list[Card]]] = []
    for sale in Sale:
        members = [card for card in matching if card.sale is sale]
        if members:
            found.append((sale, _sorted(members, wish.sorting)))
    return found


def origins(cards: Iterable[Card]) -> list[tuple[str, str]]:
    """(IATA code, city) of all origins, by city."""
    found = {(c.about.origin_iata, c.about.origin_city) for c in cards if c.about}
    return sorted(found, key=lambda origin: (origin[1], origin[0]))


def price_text(price: str, currency: str) -> str:
    """A price as people write it; whole amounts without decimals. None is rounded: one that has
    more digits than its currency is shown as it is charged.
    """
    return _price_text(price, currency)


@lru_cache(maxsize=4_096)
def _price_text(price: str, currency: str) -> str:
    try:
        amount = Decimal(price)
    except InvalidOperation:
        return f"{price} {currency}"
    if amount == amount.to_integral_value():
        return str(format_currency(amount, currency, "¤#,##0", locale=LOCALE,
                                   currency_digits=False))
    if -int(amount.normalize().as_tuple().exponent) > get_currency_precision(currency):
        return f"{price} {currency}"
    return str(format_currency(amount, currency, locale=LOCALE))


@lru_cache(maxsize=4_096)
def date_text(iso: str) -> str:
    """`2022-08-09` as `Tue 9 Aug 2022`; a text that is no date stays as it is."""
    try:
        return str(format_date(dt.date.fromisoformat(iso), "EEE d MMM y", locale=LOCALE))
    except ValueError:
        return iso


def moment_text(moment: dt.datetime) -> str:
    """`21 Nov 2022, 10:00 UTC`."""
    return str(format_datetime(moment, "d MMM y, HH:mm 'UTC'", tzinfo=dt.UTC, locale=LOCALE))


def clock_text(moment: dt.datetime) -> str:
    """`10:00:07`, UTC."""
    return f"{moment.astimezone(dt.UTC):%H:%M:%S}"


def _sale_text(view: PackageView, sale: Sale) -> str:
    match sale:
        case Sale.SOON if view.sale_starts_at is not None:
            return f"Opens {moment_text(view.sale_starts_at)}"
        case Sale.ENDED if view.sale_ends_at is not None:
            return f"Sale ended {moment_text(view.sale_ends_at)}"
        case Sale.PAUSED:
            return "Sale paused"
        case Sale.SOLD_OUT:
            return "Sold out for now"
    if view.sale_ends_at is not None:
        return f"Until {moment_text(view.sale_ends_at)}"
    return ""


def _art(view: PackageView) -> str:
    country = view.about.destination_country if view.about else ""
    pictures: tuple[str, ...] = _ANYWHERE
    if country in _COLD_COUNTRIES:
        pictures = _COLD
    elif country in _WARM_COUNTRIES:
        pictures = _WARM
    elif country in _DRY_COUNTRIES:
        pictures = _DRY
    place = view.about.destination_iata if view.about else str(view.id)
    return pictures[zlib.crc32(place.encode()) % len(pictures)]


def _amount(price: str) -> Decimal:
    try:
        return Decimal(price)
    except InvalidOperation:
        return Decimal("Infinity")


def _matches(card: Card, wish: Wish) -> bool:
    if wish.origin and not (card.about and card.about.origin_iata == wish.origin):
        return False
    words = wish.to.casefold().split()
    about = card.about
    said = [card.title, card.flight]
    if about:
        said += [about.destination_iata, about.destination_country, about.hotel]
    text = " ".join(said).casefold()
    return all(word in text for word in words)


def _sorted(cards: Sequence[Card], sorting: Sorting) -> list[Card]:
    match sorting:
        case Sorting.PRICE:
            return sorted(cards, key=lambda card: (card.amount, card.title, card.id))
        case Sorting.NAME:
            return sorted(cards, key=lambda card: (card.title.casefold(), card.id))
        case Sorting.LEFT:
            return sorted(cards, key=lambda card: (card.left, card.title, card.id))
    return sorted(cards, key=lambda c: (c.stay_is_over, c.stay_iso, c.title, c.id))
