"""What the window says of a package, and in which order."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from booking.model import PackageAbout
from booking.projection import PackageView
from web import shopwindow
from web.shopwindow import Sale, Sorting, Wish, card_of, groups

NOW = dt.datetime(2026, 11, 21, 12, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
ABOUT = PackageAbout(
    origin_city="Lisbon", origin_iata="LIS", destination_city="Tokyo", destination_iata="NRT",
    destination_country="Japan", hotel="Quiet Lantern Inn",
)


def view(package_id: int = 1, **changes: Any) -> PackageView:
    fields = {"flight": "Flight-1", "stay": "2027-01-11", "price": "100.00", "currency": "EUR",
              "quota": 3, "remaining": 2, **changes}
    return PackageView(id=package_id, **fields)


def cards(*views: PackageView) -> list[shopwindow.Card]:
    return [card_of(one, NOW) for one in views]


def ids(found: list[tuple[Sale, list[shopwindow.Card]]]) -> dict[Sale, list[int]]:
    return {sale: [card.id for card in members] for sale, members in found}


@pytest.mark.parametrize(("changes", "sale"), [
    ({}, Sale.OPEN),
    ({"remaining": 0}, Sale.SOLD_OUT),
    ({"remaining": -1}, Sale.SOLD_OUT),
    ({"sale_starts_at": NOW}, Sale.OPEN),
    ({"sale_starts_at": NOW + HOUR}, Sale.SOON),
    ({"sale_ends_at": NOW}, Sale.ENDED),
    ({"sale_ends_at": NOW + HOUR}, Sale.OPEN),
    ({"sale_ends_at": NOW - HOUR, "remaining": 0}, Sale.ENDED),
    ({"sale_starts_at": NOW + HOUR, "remaining": 0}, Sale.SOON),
    ({"paused": True, "sale_starts_at": NOW + HOUR}, Sale.PAUSED),
])
def test_the_state_of_a_sale(changes: dict[str, Any], sale: Sale) -> None:
    assert card_of(view(**changes), NOW).sale is sale


def test_a_sale_to_come_and_a_sale_that_is_over_say_when() -> None:
    assert card_of(view(sale_starts_at=NOW + HOUR), NOW).sale_text == (
        "Opens 21 Nov 2026, 13:00 UTC")
    assert card_of(view(sale_ends_at=NOW - HOUR), NOW).sale_text == (
        "Sale ended 21 Nov 2026, 11:00 UTC")


@pytest.mark.parametrize(("price", "currency", "text"), [
    ("100", "USD", "US$100"), ("100.00", "EUR", "€100"), ("99.5", "EUR", "€99.50"),
    ("12500", "JPY", "JP¥12,500"), ("0", "EUR", "€0"), ("7", "XQZ", "XQZ7"),
    ("cheap", "EUR", "cheap EUR"), ("99.900", "EUR", "€99.90"), ("1.234", "BHD", "BHD1.234"),
    ("99.999", "EUR", "99.999 EUR"), ("100.50", "JPY", "100.50 JPY"),  # edited by hand: not rounded
])
def test_prices_as_people_write_them(price: str, currency: str, text: str) -> None:
    assert shopwindow.price_text(price, currency) == text


def test_dates_as_people_write_them_and_other_texts_as_they_are() -> None:
    assert shopwindow.date_text("2022-08-09") == "Tue 9 Aug 2022"
    assert shopwindow.date_text("sometime") == "sometime"


def test_a_package_that_says_nothing_of_itself_is_named_by_its_flight() -> None:
    assert card_of(view(), NOW).title == "Flight-1"
    assert card_of(view(about=ABOUT), NOW).title == "Tokyo"


def test_what_can_be_ordered_comes_first() -> None:
    found = groups(cards(
        view(1, sale_ends_at=NOW), view(2, paused=True), view(3, remaining=0),
        view(4, sale_starts_at=NOW + HOUR), view(5),
    ), Wish())
    assert [sale for sale, _ in found] == list(Sale)
    assert ids(found)[Sale.OPEN] == [5]


@pytest.mark.parametrize(("sorting", "order"), [
    (Sorting.STAY, [2, 3, 1]),  # a stay that is over comes last
    (Sorting.PRICE, [3, 1, 2]),
    (Sorting.NAME, [1, 3, 2]),
    (Sorting.LEFT, [2, 1, 3]),
])
def test_the_orders_of_the_window(sorting: Sorting, order: list[int]) -> None:
    found = groups(cards(
        view(1, flight="Aa", stay="2022-08-09", price="100", remaining=2),
        view(2, flight="Zz", stay="2026-11-21", price="1000", remaining=1),
        view(3, flight="bb", stay="2027-02-01", price="99.9", remaining=3),
    ), Wish(sorting=sorting))
    assert ids(found) == {Sale.OPEN: order}


@pytest.mark.parametrize(("wish", "matching"), [
    (Wish(to="tok"), [2]), (Wish(to="JAPAN tokyo"), [2]), (Wish(to="nrt"), [2]),
    (Wish(to="lantern"), [2]), (Wish(to="flight-1"), [1, 2]), (Wish(to="tokyo flight-9"), []),
    (Wish(origin="LIS"), [2]), (Wish(origin="XXX"), []), (Wish(), [1, 2]),
])
def test_a_wish_finds_what_it_names(wish: Wish, matching: list[int]) -> None:
    found = groups(cards(view(1), view(2, about=ABOUT)), wish)
    assert sorted(ids(found).get(Sale.OPEN, [])) == matching


def test_every_picture_that_a_card_may_show_is_there() -> None:
    folder = Path(shopwindow.__file__).parent.parent / "static" / "art"
    art = {path.stem for path in folder.glob("*.svg")}
    for pictures in (shopwindow._COLD, shopwindow._WARM, shopwindow._DRY, shopwindow._ANYWHERE):
        assert set(pictures) <= art
