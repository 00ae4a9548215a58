"""Whose order it is: nobody sees one without its id and its address."""

from __future__ import annotations

import msgspec
import pytest
from flask import Flask

from settings import Settings
from tests.booking_world import World
from tests.html_page import Page
from tests.visitor import (
    ANN,
    UNKNOWN_ID,
    Visitor,
    without_ids,
    work,
)
from web import build_app


def test_a_stranger_is_asked_for_the_address_whether_the_order_exists_or_not(
    app: Flask, ann: Visitor, road: World
) -> None:
    order_id = ann.order()
    eve = Visitor(app)
    there, nowhere = eve.get(f"/orders/{order_id}"), eve.get(f"/orders/{UNKNOWN_ID}")
    assert there.status_code == nowhere.status_code == 200
    assert without_ids(there.text) == without_ids(nowhere.text)
    assert Page(there.text).by_id("order_id")["value"] == order_id
    assert ANN not in there.text


def test_the_query_finds_an_order_again_in_another_browser(
    app: Flask, ann: Visitor, road: World
) -> None:
    order_id = ann.order()
    later = Visitor(app)
    answer = later.query(f"  {order_id.lower()} ", " ANN@Example.org")
    assert answer.status_code == 303
    assert answer.location == f"/orders/{order_id}"
    assert later.page(answer.location).heads("h1") == ["You are next in the queue"]
    assert order_id in later.page("/query").text


@pytest.mark.parametrize(("ordered", "asked"), [
    ("jürgen@exämple.de", "jürgen@xn--exmple-cua.de"),  # as browsers send what people type
    ("a.b@EXAMPLE.org", "a.b@example.org"),
])
def test_an_address_is_the_same_however_it_is_written(
    app: Flask, ann: Visitor, road: World, ordered: str, asked: str
) -> None:
    order_id = ann.order(1, ordered)
    work(road)
    assert Visitor(app).query(order_id, asked).status_code == 303


def test_a_wrong_id_and_a_wrong_address_get_the_same_answer(
    app: Flask, ann: Visitor, road: World
) -> None:
    order_id = ann.order()
    work(road)
    eve = Visitor(app)
    wrong_id, wrong_email = eve.query(UNKNOWN_ID, ANN), eve.query(order_id, "eve@example.org")
    assert wrong_id.status_code == wrong_email.status_code == 404
    assert "We find no order with this id and this e-mail address." in Page(wrong_id.text).text
    plain = [without_ids(a.text).replace(ANN, "E").replace("eve@example.org", "E")
             for a in (wrong_id, wrong_email)]
    assert plain[0] == plain[1]


def test_misses_are_throttled_with_the_form_kept(settings: Settings, road: World) -> None:
    eve = Visitor(build_app(msgspec.structs.replace(settings, lookup_misses_per_minute=3)))
    assert [eve.query(UNKNOWN_ID, ANN).status_code for _ in range(3)] == [404] * 3
    answer = eve.query(UNKNOWN_ID, ANN)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert Page(answer.text).by_id("order_id")["value"] == UNKNOWN_ID


def test_an_empty_query_says_what_is_missing(ann: Visitor) -> None:
    answer = ann.query("", " ")
    assert answer.status_code == 422
    page = Page(answer.text)
    assert page.by_id("order_id")["aria-invalid"] == page.by_id("email")["aria-invalid"] == "true"


def test_a_cookie_that_was_changed_is_no_cookie(ann: Visitor, road: World) -> None:
    order_id = ann.order()
    cookie = ann.client.get_cookie("session")
    assert cookie is not None
    payload, dot, signature = cookie.value.rpartition(".")
    ann.client.set_cookie("session", payload + dot + signature[::-1])
    assert ann.page(f"/orders/{order_id}").heads("h1") == ["Find your order"]
