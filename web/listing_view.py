"""A page of the listing, finished: cards as they are kept, filters and counts set around them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache

import msgspec
from markupsafe import Markup

from catalogue import shell, words
from catalogue.follower import Snapshot
from catalogue.rows import Filters, Order, Page
from catalogue.slugs import Words
from web.listing_query import Query, address
from web.stencil import Stencil

FACET_SHOWN = 10
ORDERS = (
    (Order.RECO, "Recommended"), (Order.NEWEST, "Newest"), (Order.PRICE_ASC, "Lowest price"),
    (Order.PRICE_DESC, "Highest price"),
)
# Facets above and below the prices: name, title, how many values are shown.
_FIRST = (("stars", "Stars", 8), ("rating", "Guest rating", 8))
_THEN = (("type", "Kind of place", 8), ("amenity", "It offers", 14), ("city", "City", 8),
         ("country", "Country", 8))
# Of this facet one value is chosen at most.
_SINGLE = "rating"
# Stands for a count until it is known.
_COUNT = "\x02"


@cache
def _page() -> Stencil:
    return Stencil(shell.environment().get_template("hotels.html").render)


@cache
def _part(name: str) -> Stencil:
    module = shell.environment().get_template("_listing_parts.html").module
    return Stencil(getattr(module, name))


def html(query: Query, page: Page, snapshot: Snapshot, cards: Sequence[bytes]) -> bytes:
    """The page, with these cards in their order."""
    return str(_page().render(**texts_of(query, page, snapshot, cards))).encode()


def texts_of(
    query: Query, page: Page, snapshot: Snapshot, cards: Sequence[bytes]
) -> dict[str, str]:
    """All that templates/hotels.html shows; an empty text is not there."""
    names, filters = snapshot.words, query.filters

    def numbered(number: int) -> str:
        return address(msgspec.structs.replace(query, page_no=number), names)

    slug = names.slug_of(filters)
    chips = _chips(query, names, snapshot)
    many = page.page_count > 1
    return {
        "title": names.title(filters),
        "later": str(query.page_no) if query.page_no > 1 else "",
        "places": words.count_text(page.total, "place", "places"),
        "canonical": address(Query(filters=filters, page_no=query.page_no), names),
        # Listings that a slug says are for search engines; every other mix is for its visitor.
        "unlisted": "" if slug.rest == Filters() and page.total else "yes",
        "prev": numbered(query.page_no - 1) if query.page_no > 1 else "",
        "next": numbered(query.page_no + 1) if query.page_no < page.page_count else "",
        "page_no": str(query.page_no) if many else "",
        "page_count": f"{page.page_count:,}" if many else "",
        "numbers": _together(
            _part("number").render(number=str(number), href=numbered(number) if number else "",
                                   here="yes" if number == query.page_no else "")
            for number in _numbers(query.page_no, page.page_count)) if many else "",
        "chips": _together(_part("chip").render(text=text, href=href) for text, href in chips),
        "chip_count": str(len(chips)) if chips else "",
        "orders": _orders(query.order),
        "where": _where(filters, snapshot),
        "currency": snapshot.index.currency,
        "price_min": _amount(filters.price_min), "price_max": _amount(filters.price_max),
        "facets_first": _together(_facet(page, *one) for one in _FIRST),
        "facets_then": _together(_facet(page, *one) for one in _THEN),
        # Made by catalogue/payloads.py.
        "cards": Markup(b"".join(cards).decode()),  # noqa: S704
    }


def _together(parts: Iterable[str]) -> Markup:
    """Finished parts in a row."""
    return Markup("".join(parts))  # noqa: S704


@cache
def _orders(chosen: Order) -> Markup:
    return _together(
        _part("order").render(value=value, text=text, chosen="yes" if value == chosen else "")
        for value, text in ORDERS
    )


def _facet(page: Page, facet: str, title: str, most: int) -> str:
    """The values of a filter; empty when there are none."""
    values = page.facets[facet]
    if not values:
        return ""
    parts: list[str] = []
    for value in values[:most]:
        before, after = _around(facet, value.value, value.label, value.selected)
        parts += (before, f"{value.count:,}", after)
    single = facet == _SINGLE
    return _part("facet").render(
        title=title, name=facet, options=_together(parts), any="Any" if single else "",
        unset="" if not single or any(value.selected for value in values) else "yes",
    )


@lru_cache(maxsize=8_192)
def _around(facet: str, value: str, label: str, selected: bool) -> tuple[str, str]:
    """A value of a filter up to its count, and what follows."""
    match facet:
        case "stars":
            label = words.stars_text(int(value))
        case "rating":
            label = f"{label} {words.rating_word(value)}"
    before, _, after = _part("option").render(
        kind="radio" if facet == _SINGLE else "checkbox", name=facet, value=value, label=label,
        selected="yes" if selected else "", count=_COUNT,
    ).rpartition(_COUNT)
    return str(before), str(after)


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
