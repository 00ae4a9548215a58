"""A page that no change touched would come out the same; one that was touched is known."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogue.listing import Index
from catalogue.rows import Filters, Order, Page, Row
from catalogue.touched import Touched
from tests.catalogue_hotels import CITIES, row
from tests.unit.test_listing import _filters, _rows

_one_change = st.one_of(
    st.fixed_dictionaries({"price_cents": st.none() | st.sampled_from([4_000, 10_000, 30_000])}),
    st.fixed_dictionaries({"rating_tenths": st.none() | st.integers(50, 100),
                           "score": st.sampled_from([1.0, 2.0, 9.0])}),
    st.just({}), st.fixed_dictionaries({"stars": st.integers(1, 5)}),
    st.just({"city": "Another name"}), st.just({"slug": "another-address"}), st.none(),
)
_changes = st.lists(st.tuples(st.integers(0, 45), _one_change), min_size=1, max_size=4)


def changed(rows: list[Row], changes: list[tuple[int, dict[str, Any] | None]]
            ) -> dict[str, Row | None]:
    """Rows as they become; a number past the last is a new hotel."""
    found: dict[str, Row | None] = {}
    for number, fields in changes:
        before = rows[number] if number < len(rows) else row(1_000 + number)
        found[before.hotel_id] = None if fields is None else \
            msgspec.structs.replace(before, **fields)
    return found


@settings(max_examples=300, deadline=None)
@given(_rows, _changes, _filters, st.sampled_from(Order), st.integers(1, 2))
def test_what_is_not_touched_comes_out_the_same(
    rows: list[Row], changes: list[tuple[int, dict[str, Any] | None]], filters: Filters,
    order: Order, page_no: int,
) -> None:
    def page(index: Index) -> Page:
        return index.page(filters, order, page_no, page_size=3, values_max=3)

    index, rows_after = Index(rows), changed(rows, changes)
    before = page(index)
    after = index.applied(rows_after)
    touched = Touched()
    touched.note(list(rows_after), after.differences(index, list(rows_after)), 5)
    if touched.last(filters, order, before.hotel_ids) == 0:
        assert page(after) == before
        assert not set(before.hotel_ids) & set(rows_after)
    # What is taken over from the index before is what would be worked out anew.
    assert page(after) == page(Index(rows).applied(rows_after))


ROWS = [row(n, city) for n, city in enumerate([*CITIES] * 3)]
LISBON, PORTO = Filters(cities=("lisbon",)), Filters(cities=("porto",))
PORTUGAL, WORLD = Filters(countries=("PT",)), Filters()


@pytest.mark.parametrize(("fields", "filters", "order", "is_touched"), [
    ({"price_cents": 1}, PORTO, Order.RECO, False),
    ({"price_cents": 1}, PORTO, Order.PRICE_ASC, True),
    ({"price_cents": 1}, LISBON, Order.PRICE_ASC, False),
    ({"price_cents": 1}, WORLD, Order.PRICE_DESC, True),
    ({"price_cents": 1}, msgspec.structs.replace(LISBON, price_max=9), Order.RECO, True),
    ({"rating_tenths": 99, "score": 9.0}, PORTO, Order.NEWEST, True),
    ({"rating_tenths": 99, "score": 9.0}, PORTUGAL, Order.RECO, True),
    ({"rating_tenths": 99, "score": 9.0}, WORLD, Order.RECO, True),
    ({"rating_tenths": 99, "score": 9.0}, LISBON, Order.RECO, False),
    ({"rating_tenths": 99, "score": 9.0}, msgspec.structs.replace(LISBON, rating=9), Order.RECO,
     True),
    ({"stars": 1}, LISBON, Order.RECO, True),
    ({"slug": "hotels-in-lisbon"}, LISBON, Order.RECO, True),
    ({"city": "O Porto"}, LISBON, Order.RECO, True),
    ({}, PORTO, Order.RECO, False),
])
def test_a_change_in_porto_touches_these_listings(
    fields: dict[str, Any], filters: Filters, order: Order, is_touched: bool
) -> None:
    index, hotel_id = Index(ROWS), "porto-1"
    after = index.applied({hotel_id: msgspec.structs.replace(ROWS[1], **fields)})
    touched = Touched()
    touched.note([hotel_id], after.differences(index, [hotel_id]), 3)
    assert touched.last(filters, order, ["porto-5", "lisbon-0"]) == (3 if is_touched else 0)
    assert touched.last(filters, order, ["porto-5", hotel_id]) == 3, "its card is another one"


@pytest.mark.parametrize("gone", [True, False])
def test_hotels_that_come_or_go_touch_every_listing(gone: bool) -> None:
    index = Index(ROWS)
    hotel_id = "porto-1" if gone else "porto-99"
    after = index.applied({hotel_id: None if gone else row(99, "porto")})
    touched = Touched()
    touched.note([hotel_id], after.differences(index, [hotel_id]), 3)
    assert touched.last(LISBON, Order.RECO, ["lisbon-0"]) == 3


@pytest.mark.parametrize(("fields", "filters"), [
    ({"stars": 1}, Filters(stars=(1,))), ({"amenities": ()}, Filters(amenities=("pool",))),
    ({"rating_tenths": 60}, Filters(rating=8)), ({"type_id": "hostel"}, Filters(types=("hotel",))),
    ({"city_slug": "paris"}, Filters(cities=("paris",))), ({"price_cents": 1}, WORLD),
    ({"country_code": "FR"}, Filters(countries=("FR",))), ({"score": 9.0}, WORLD),
])
def test_nothing_is_taken_over_of_what_a_change_alters(
    fields: dict[str, Any], filters: Filters
) -> None:
    def pages(index: Index) -> list[Page]:
        return [index.page(filters, order) for order in Order]

    changes = {"porto-1": msgspec.structs.replace(ROWS[1], **fields)}
    index = Index(ROWS)
    before = pages(index)
    assert pages(index.applied(changes)) == pages(Index(ROWS).applied(changes)) != before


def test_one_index_stays_as_it_is_while_the_next_is_made() -> None:
    index = Index(ROWS)
    first = [index.page(WORLD, order) for order in Order]
    for changes in ({"porto-1": msgspec.structs.replace(ROWS[1], price_cents=1, slug="x")},
                    {"porto-1": msgspec.structs.replace(ROWS[1], price_cents=2)},
                    {"porto-99": row(99, "porto")}, {"porto-1": None}):
        index.applied(changes)
        assert [index.page(WORLD, order) for order in Order] == first
        assert index.hotel_id_of(ROWS[1].slug) == "porto-1"
        assert index.hotel_id_of("x") is None
