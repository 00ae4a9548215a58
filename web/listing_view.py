"""A page of the listing, finished: cards as they are kept, filters and counts set around them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import msgspec
from jinja2 import Template
from markupsafe import Markup

from catalogue import shell, words
from catalogue.follower import Snapshot
from catalogue.rows import Filters, Order, Page, Value
from catalogue.slugs import Words
from web.listing_query import Query, address

FACET_SHOWN = 10
ORDERS = (
    (Order.RECO, "Recommended"), (Order.NEWEST, "Newest"), (Order.PRICE_ASC, "Lowest price"),
    (Order.PRICE_DESC, "Highest price"),
)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What templates/hotels.html shows, but for the cards."""

    title: str
    canonical: str
    indexed: bool
    prev: str | None
    next: str | None
    total: int
    page_no: int
    page_count: int
    pages: list[tuple[int, str | None]]
    chips: list[tuple[str, str]]
    order_by: str
    orders: Sequence[tuple[str, str]]
    where: str
    currency: str
    price_min: str
    price_max: str
    stars: list[Value]
    ratings: list[Value]
    types: list[Value]
    amenities: list[Value]
    cities: list[Value]
    countries: list[Value]


@cache
def _template() -> Template:
    return shell.environment().get_template("hotels.html")


@lru_cache(maxsize=16_384)
def _option(kind: str, name: str, value: Value) -> Markup:
    """A value of a filter. Most stand on many pages with the same count."""
    template = shell.environment().get_template("_hotel_option.html")
    return Markup(template.render(kind=kind, name=name, value=value))  # noqa: S704


def html(query: Query, page: Page, snapshot: Snapshot, cards: Sequence[bytes]) -> bytes:
    """The page, with these cards in their order."""
    together = Markup(b"".join(cards).decode())  # noqa: S704 (made by catalogue/payloads.py)
    return _template().render(
        view=view_of(query, page, snapshot), cards=together, words=words, option=_option,
    ).encode()


def view_of(query: Query, page: Page, snapshot: Snapshot) -> View:
    """All words and links of a page."""
    names, filters = snapshot.words, query.filters

    def numbered(number: int) -> str:
        return address(msgspec.structs.replace(query, page_no=number), names)

    plain = Query(filters=filters, page_no=query.page_no)
    slug = names.slug_of(filters)
    ratings = [
        msgspec.structs.replace(value, label=f"{value.label} {words.rating_word(value.value)}")
        for value in page.facets["rating"]
    ]
    stars = [msgspec.structs.replace(value, label=words.stars_text(int(value.value)))
             for value in page.facets["stars"]]  # fmt: skip
    return View(
        title=names.title(filters),
        canonical=address(plain, names),
        # Listings that a slug says are for search engines; every other mix is for its visitor.
        indexed=slug.rest == Filters() and bool(page.total),
        prev=numbered(query.page_no - 1) if query.page_no > 1 else None,
        next=numbered(query.page_no + 1) if query.page_no < page.page_count else None,
        total=page.total, page_no=query.page_no, page_count=page.page_count,
        pages=[(n, numbered(n) if n else None) for n in _numbers(query.page_no, page.page_count)],
        chips=_chips(query, names, snapshot),
        order_by=query.order, orders=ORDERS, where=_where(filters, snapshot),
        currency=snapshot.index.currency,
        price_min=_amount(filters.price_min), price_max=_amount(filters.price_max),
        stars=stars, ratings=ratings, types=page.facets["type"],
        amenities=page.facets["amenity"], cities=page.facets["city"],
        countries=page.facets["country"],
    )


def _numbers(here: int, count: int) -> list[int]:
    """Numbers of pages to lead to; 0 stands for a gap."""
    near = {1, count, *(n for n in range(here - 2, here + 3) if 1 <= n <= count)}
    found: list[int] = []
    for number in sorted(near):
        if found and number > found[-1] + 1:
            found.append(number - 1 if number == found[-1] + 2 else 0)
        found.append(number)
    return found


def _amount(cents: int | None) -> str:
    if cents is None:
        return ""
    return f"{cents // 100}" if cents % 100 == 0 else f"{cents / 100:.2f}"


def _where(filters: Filters, snapshot: Snapshot) -> str:
    names = snapshot.index.vocabularies
    said = [names["city"].label(value) for value in filters.cities]
    said += [names["country"].label(value) for value in filters.countries]
    return ", ".join(said)


def _chips(query: Query, names: Words, snapshot: Snapshot) -> list[tuple[str, str]]:
    """Each filter in use, with the address of the listing without it."""
    filters, labels = query.filters, snapshot.index.vocabularies

    def without(**fields: object) -> str:
        rest = msgspec.structs.replace(filters, **fields)
        return address(msgspec.structs.replace(query, filters=rest, page_no=1), names)

    chips: list[tuple[str, str]] = []
    for facet, field in (("city", "cities"), ("country", "countries"), ("type", "types"),
                         ("amenity", "amenities")):
        values = getattr(filters, field)
        chips += [
            (labels[facet].label(value),
             without(**{field: tuple(other for other in values if other != value)}))
            for value in values
        ]
    chips += [
        (words.stars_text(value), without(stars=tuple(n for n in filters.stars if n != value)))
        for value in filters.stars
    ]
    if filters.rating is not None:
        chips.append((f"Rated {filters.rating}+", without(rating=None)))
    currency = snapshot.index.currency
    for field, prefix in (("price_min", "From"), ("price_max", "Up to")):
        cents = getattr(filters, field)
        if cents is not None:
            price = words.price_text(f"{cents / 100:.2f}", currency)
            chips.append((f"{prefix} {price}", without(**{field: None})))
    return chips
