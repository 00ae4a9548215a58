"""The listing against one that is counted by hand, row by row."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogue.listing import Index
from catalogue.rows import DEPTH_MAX, RATINGS, Filters, Order, Page, Row
from tests.catalogue_hotels import AMENITIES, CITIES, TYPES, row

_amenities = st.sets(st.sampled_from(sorted(AMENITIES))).map(
    lambda names: tuple((name, AMENITIES[name]) for name in sorted(names)))
_changes = st.fixed_dictionaries({
    "stars": st.integers(1, 5), "type_id": st.sampled_from(sorted(TYPES)),
    "rating_tenths": st.none() | st.integers(50, 100),
    "price_cents": st.none() | st.sampled_from([5_000, 10_000, 10_001, 20_000]),
    "created_at": st.sampled_from(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"]),
    "amenities": _amenities, "score": st.sampled_from([1.0, 2.0, 3.0]),
})
_rows = st.lists(st.tuples(st.sampled_from(sorted(CITIES)), _changes), max_size=40).map(
    lambda found: [row(n, city, **{**changes, "type_label": TYPES[changes["type_id"]]})
                   for n, (city, changes) in enumerate(found)])
_filters = st.builds(
    Filters,
    cities=st.sets(st.sampled_from([*CITIES, "atlantis"]), max_size=2).map(tuple),
    countries=st.sets(st.sampled_from(["PT", "SG", "XX"]), max_size=1).map(tuple),
    stars=st.sets(st.integers(1, 5), max_size=2).map(tuple),
    types=st.sets(st.sampled_from(sorted(TYPES)), max_size=2).map(tuple),
    amenities=st.sets(st.sampled_from(sorted(AMENITIES)), max_size=2).map(tuple),
    rating=st.none() | st.sampled_from(RATINGS),
    price_min=st.none() | st.sampled_from([0, 10_000]),
    price_max=st.none() | st.sampled_from([10_000, 15_000]),
)


def matches(one: Row, filters: Filters) -> bool:
    """The same rules, said once more in the plainest way."""
    has = {name for name, _ in one.amenities}
    price = one.price_cents
    return all((
        not filters.cities or one.city_slug in filters.cities,
        not filters.countries or one.country_code in filters.countries,
        not filters.stars or one.stars in filters.stars,
        not filters.types or one.type_id in filters.types,
        has.issuperset(filters.amenities),
        filters.rating is None or (one.rating_tenths or 0) >= filters.rating * 10,
        filters.price_min is None or (price is not None and price >= filters.price_min),
        filters.price_max is None or (price is not None and price <= filters.price_max),
    ))


def counted(rows: list[Row], filters: Filters) -> dict[str, dict[str, int]]:
    """The counts of all facets, by hand: each without its own selection."""
    def count(**fields: Any) -> int:
        chosen = msgspec.structs.replace(filters, **fields)
        return sum(matches(one, chosen) for one in rows)

    return {
        "city": {value: count(cities=(value,)) for value in CITIES},
        "country": {code: count(countries=(code,)) for code in ("PT", "SG", "FR")},
        "stars": {str(n): count(stars=(n,)) for n in range(1, 6)},
        "type": {value: count(types=(value,)) for value in TYPES},
        "amenity": {value: count(amenities=(*(a for a in filters.amenities if a != value), value))
                    for value in AMENITIES},
        "rating": {str(least): count(rating=least) for least in RATINGS},
    }


@settings(max_examples=60, deadline=None)
@given(_rows, _filters)
def test_facet_counts_and_total_are_those_counted_by_hand(
    rows: list[Row], filters: Filters
) -> None:
    page = Index(rows).page(filters)
    assert page.total == sum(matches(one, filters) for one in rows)
    for facet, counts in counted(rows, filters).items():
        told = {value.value: value.count for value in page.facets[facet] if value.count}
        assert told == {value: count for value, count in counts.items() if count}, facet


@settings(max_examples=60, deadline=None)
@given(_rows, _filters, st.sampled_from(Order), st.integers(1, 7))
def test_every_hotel_stands_on_exactly_one_page(
    rows: list[Row], filters: Filters, order: Order, page_size: int
) -> None:
    index = Index(rows)
    first = index.page(filters, order, 1, page_size)
    pages = [index.page(filters, order, n, page_size) for n in range(1, first.page_count + 1)]
    found = [hotel_id for page in pages for hotel_id in page.hotel_ids]
    assert sorted(found) == sorted(one.hotel_id for one in rows if matches(one, filters))
    by_id = {one.hotel_id: one for one in rows}
    keys = [_key(by_id[hotel_id], order) for hotel_id in found]
    assert keys == sorted(keys)
    assert index.page(filters, order, first.page_count + 1, page_size).hotel_ids == []


def _key(one: Row, order: Order) -> tuple[Any, ...]:
    match order:
        case Order.RECO:
            return (-one.score,)
        case Order.NEWEST:
            return (-int(one.created_at[5:7]),)
        case Order.PRICE_ASC:
            return (one.price_cents is None, one.price_cents or 0)
        case Order.PRICE_DESC:
            return (one.price_cents is None, -(one.price_cents or 0))


@settings(max_examples=60, deadline=None)
@given(_rows, _rows, st.sets(st.integers(0, 39)), _filters, st.sampled_from(Order))
def test_an_index_that_followed_changes_lists_what_a_new_one_lists(
    before: list[Row], after: list[Row], gone: set[int], filters: Filters, order: Order
) -> None:
    changes: dict[str, Row | None] = {one.hotel_id: one for one in after}
    for n, one in enumerate(before):
        if n in gone and one.hotel_id not in changes:
            changes[one.hotel_id] = None
    old = Index(before)
    shown = listed(old, filters, order)
    followed = old.applied(changes)
    now = {one.hotel_id: one for one in before} | changes
    fresh = Index(one for one in now.values() if one is not None)
    assert len(followed) == len(fresh)
    assert followed.slugs == fresh.slugs
    assert listed(followed, filters, order) == listed(fresh, filters, order)
    assert listed(old, filters, order) == shown, "the old one stays as it was"


@pytest.mark.parametrize("after", [None, row(1, slug="moved")])
def test_an_address_that_went_to_another_hotel_stays_there(after: Row | None) -> None:
    """Whoever gives it up may be told of after the one that has it now."""
    taken = Index([row(1, slug="corner-house"), row(2)]).applied(
        {"lisbon-2": row(2, slug="corner-house")})
    assert taken.applied({"lisbon-1": after}).hotel_id_of("corner-house") == "lisbon-2"


def listed(index: Index, filters: Filters, order: Order) -> Page:
    """A page without the values that no hotel has (any more)."""
    page = index.page(filters, order)
    facets = {name: [value for value in values if value.count]
              for name, values in page.facets.items()}
    return msgspec.structs.replace(page, facets=facets)


def test_scores_of_a_visitor_replace_the_general_order() -> None:
    index = Index([row(n, score=float(n)) for n in range(5)])
    assert index.page(Filters()).hotel_ids[0] == "lisbon-4"
    scores = np.zeros(len(index.ids))
    scores[index.positions(["lisbon-2", "nowhere-1"])] = 1
    assert index.page(Filters(), scores=scores).hotel_ids[0] == "lisbon-2"


def test_no_page_lies_deeper_than_the_bound() -> None:
    index = Index(row(n) for n in range(DEPTH_MAX + 50))
    page = index.page(Filters(), page_size=100)
    assert page.total == DEPTH_MAX + 50
    assert page.page_count == DEPTH_MAX // 100
    assert index.page(Filters(), page_no=page.page_count + 1, page_size=100).hotel_ids == []


@pytest.mark.parametrize("order", Order)
def test_an_empty_listing_has_one_empty_page(order: Order) -> None:
    page = Index().page(Filters(cities=("lisbon",)), order)
    assert (page.total, page.page_count, page.hotel_ids) == (0, 1, [])
