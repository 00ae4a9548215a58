"""What a visitor asks of the listing, out of an address and back into one."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from urllib.parse import urlencode

import msgspec
from werkzeug.datastructures import MultiDict

from catalogue.rows import (
    DEPTH_MAX,
    PAGE_SIZE,
    PAGE_SIZE_MAX,
    RATINGS,
    STARS,
    Filters,
    Order,
    Vocabulary,
)
from catalogue.slugs import Words, slug_of_text
from errors import BadInput

BASE = "/hotels"
PRICE_MAX = 1_000_000
VALUES_MAX = 20
VALUE_MAX_CHARS = 80
FIELDS = ("city", "country", "stars", "rating", "price_min", "price_max", "type", "amenity",
          "order_by", "page_no", "page_size")  # fmt: skip

Args = MultiDict[str, str]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One page of one listing in one order."""

    filters: Filters = Filters()
    order: Order = Order.RECO
    page_no: int = 1
    page_size: int = PAGE_SIZE


def query_of(args: Args, words: Words, said: Filters | None = None) -> Query:
    """The query of these parameters, beside what the slug says. Raises BadInput by field."""
    names, countries = words.vocabularies, words.country_codes
    said = said or Filters()
    filters = Filters(
        cities=_known(args, "city", names["city"], slug_of_text, said.cities),
        countries=_known(args, "country", names["country"],
                         lambda text: countries.get(slug_of_text(text), text.upper()),
                         said.countries),
        stars=tuple(sorted({*said.stars, *(
            _whole(text, "stars", min(STARS), max(STARS)) for text in _values(args, "stars"))})),
        types=_known(args, "type", names["type"], str, said.types),
        amenities=_known(args, "amenity", names["amenity"], str, said.amenities),
        rating=_one(args, "rating", min(RATINGS), max(RATINGS)),
        price_min=_price(args, "price_min"),
        price_max=_price(args, "price_max"),
    )
    if filters.price_min is not None and filters.price_max is not None \
            and filters.price_min > filters.price_max:
        raise BadInput("not below the lowest price", field="price_max")
    size = _one(args, "page_size", 1, PAGE_SIZE_MAX) or PAGE_SIZE
    number = _one(args, "page_no", 1, DEPTH_MAX) or 1
    if (number - 1) * size >= DEPTH_MAX:
        raise BadInput(f"only the first {DEPTH_MAX:,} hotels have pages; ask with filters",
                       field="page_no")
    order = args.get("order_by") or Order.RECO
    if order not in list(Order):
        raise BadInput(f"one of {', '.join(Order)}", field="order_by")
    return Query(filters=filters, order=Order(order), page_no=number, page_size=size)


def refuse_unknown(args: Args, allowed: Iterable[str] = FIELDS) -> None:
    """Raises BadInput for a parameter that is none: a program would never learn that it slipped."""
    for name in args:
        if name not in allowed:
            raise BadInput(f"no such parameter; there are {', '.join(allowed)}", field=name[:40])


def address(query: Query, words: Words) -> str:
    """The one address of this query."""
    slug = words.slug_of(query.filters)
    rest = slug.rest
    pairs: list[tuple[str, str]] = [
        *(("city", value) for value in rest.cities),
        *(("country", value) for value in rest.countries),
        *(("stars", str(value)) for value in rest.stars),
        *(("type", value) for value in rest.types),
        *(("amenity", value) for value in rest.amenities),
    ]
    if rest.rating is not None:
        pairs.append(("rating", str(rest.rating)))
    for name, cents in (("price_min", rest.price_min), ("price_max", rest.price_max)):
        if cents is not None:
            pairs.append((name, f"{cents // 100}" if cents % 100 == 0 else f"{cents / 100:.2f}"))
    if query.order is not Order.RECO:
        pairs.append(("order_by", query.order))
    if query.page_size != PAGE_SIZE:
        pairs.append(("page_size", str(query.page_size)))
    if query.page_no > 1:
        pairs.append(("page_no", str(query.page_no)))
    path = f"{BASE}/{slug.path}" if slug.path else BASE
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _values(args: Args, name: str) -> list[str]:
    """What was given for a name, once each: said several times, or with commas."""
    given = [part.strip() for text in args.getlist(name) for part in text.split(",")]
    found = list(dict.fromkeys(part for part in given if part))
    if len(found) > VALUES_MAX:
        raise BadInput(f"at most {VALUES_MAX} values", field=name)
    if any(len(value) > VALUE_MAX_CHARS for value in found):
        raise BadInput(f"a value has at most {VALUE_MAX_CHARS} characters", field=name)
    return found


def _known(
    args: Args, name: str, words: Vocabulary, normal: Callable[[str], str],
    said: tuple[str, ...],
) -> tuple[str, ...]:
    found = list(said)
    for text in _values(args, name):
        value = normal(text)
        if words.find(value) is None:
            near = difflib.get_close_matches(value, words.values, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise BadInput(f"no hotel has {text!r}{hint}", field=name)
        found.append(value)
    return tuple(sorted(set(found)))


def _whole(text: str, name: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or not least <= int(text) <= most:
        raise BadInput(f"a whole number from {least} to {most:,}", field=name)
    return int(text)


def _one(args: Args, name: str, least: int, most: int) -> int | None:
    text = (args.get(name) or "").strip()
    return _whole(text, name, least, most) if text else None


def _price(args: Args, name: str) -> int | None:
    text = (args.get(name) or "").strip()
    if not text:
        return None
    whole, dot, part = text.partition(".")
    digits = whole + part
    if not (digits.isascii() and digits.isdigit()) or not whole or len(whole) > 9 \
            or (dot and not 1 <= len(part) <= 2) or int(whole) > PRICE_MAX:
        raise BadInput(f"an amount from 0 to {PRICE_MAX:,}, such as 120 or 99.50", field=name)
    return int(whole) * 100 + int(part.ljust(2, "0") if part else 0)
