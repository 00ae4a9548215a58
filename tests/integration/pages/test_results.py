"""The page of an order: from the queue to its end, cancelling included."""

from __future__ import annotations

import re

import msgspec
import pytest
from flask import Flask

from booking import commands
from booking.model import Reason, State
from settings import Settings
from tests.booking_world import World
from tests.html_page import Page
from tests.visitor import (
    ANN,
    Visitor,
    confirm,
    waiting,
    work,
)
from web import build_app, words


def test_an_order_is_watched_from_the_queue_to_the_booking(ann: Visitor, road: World) -> None:
    order_id = ann.order()
    there = f"/orders/{order_id}"
    queued = ann.get(there)
    assert re.search(r'<noscript><meta http-equiv="refresh" content="\d+"></noscript>', queued.text)
    assert Page(queued.text).title == "You are next in the queue · Berth"
    work(road)
    held = ann.get(there)
    assert "We have your place" in Page(held.text).heads("h1")
    assert 'http-equiv="refresh"' in held.text
    confirm(road, order_id)
    booked = ann.get(there)
    page = Page(booked.text)
    assert page.heads("h1") == ["You are booked: Tokyo"]
    for text in ("F-123", "H-456", order_id, "€49.90", "Tue 9 Aug 2022", "Flight-1"):
        assert text in page.text
    for step in (State.QUEUED, State.HELD, State.CONFIRMED):
        assert words.STATES[step].step in page.text
    assert 'http-equiv="refresh"' not in booked.text


def test_the_place_in_the_queue_is_counted(ann: Visitor, app: Flask) -> None:
    for _ in range(3):
        Visitor(app).order(6, "somebody@example.org")
    order_id = ann.order()
    assert ann.page(f"/orders/{order_id}").heads("h1") == ["You are number 4 in the queue"]


def test_an_estimate_is_given_once_the_queue_has_moved(
    ann: Visitor, app: Flask, road: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(10):
        Visitor(app).order(6, "somebody@example.org")
    order_id = ann.order()
    assert "it is your turn in" not in ann.page(f"/orders/{order_id}").text
    road.consumer(batch_max=5).step()
    with ann.client.session_transaction() as session:
        (kept,) = session["orders"]
        kept[3] -= 60  # seen a minute ago
        session["orders"] = [kept]
    page = ann.page(f"/orders/{order_id}")
    assert page.heads("h1") == ["You are number 6 in the queue"]
    assert "it is your turn in about 2 minutes" in page.text  # 5 places in 60 s, 6 to go


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_told_in_words(ann: Visitor, road: World, reason: Reason) -> None:
    order_id = ann.order()
    work(road)
    road.database.orders.update_one(
        {"_id": order_id},
        {"$set": {"state": "failed", "reason": reason.value}, "$unset": {"unit": 1}},
    )
    page = ann.page(f"/orders/{order_id}")
    assert words.REASONS[reason].what in page.text
    assert words.REASONS[reason].next in page.text
    assert reason.value not in page.text or "_" not in reason.value
    assert page.by_id("others")["href"] == "/order"


@pytest.mark.parametrize("state", [s for s in State if s is not State.QUEUED])
def test_every_state_has_a_page(ann: Visitor, road: World, state: State) -> None:
    order_id = ann.order()
    work(road)
    road.database.orders.update_one({"_id": order_id}, {"$set": {"state": state.value}})
    (title,) = ann.page(f"/orders/{order_id}").heads("h1")
    assert title.startswith(words.STATES[state].title)


def test_sold_out_is_told_and_a_declined_flight_too(ann: Visitor, road: World) -> None:
    sold_out = ann.order(5) if ann.page("/order?package=5").forms else None
    assert sold_out is None, "the form is not offered when nothing is left"
    form = {**ann.order_form(1), "package": "5", "email": ANN}
    late = ann.client.post("/order", data=form).location
    declined = ann.order(1)
    work(road)
    road.push(commands.ReservationFailed(order_id=declined, reason=Reason.FLIGHT_DECLINED))
    work(road)
    assert ann.page(late).heads("h1") == ["No place this time"]
    page = ann.page(f"/orders/{declined}")
    assert words.REASONS[Reason.FLIGHT_DECLINED].what in page.text
    assert page.by_id("retry")["href"] == "/order?package=1"


def test_an_order_whose_package_is_gone_still_has_its_page(ann: Visitor, road: World) -> None:
    order_id = ann.order()
    work(road)
    road.database.packages.delete_one({"_id": 1})
    consumer = road.consumer()
    for _ in range(3):
        consumer.step()
    consumer.leave()
    assert road.shelf.package(1) is None
    assert "Flight-1" in ann.page(f"/orders/{order_id}").text


@pytest.mark.parametrize("when", ["queued", "held", "confirmed"])
def test_an_order_is_cancelled_after_a_question(ann: Visitor, road: World, when: str) -> None:
    order_id = ann.order()
    there = f"/orders/{order_id}"
    if when != "queued":
        work(road)
    if when == "confirmed":
        confirm(road, order_id)
    assert ann.page(there).by_id("cancel")["href"] == f"{there}/cancel"
    before = waiting(road)
    assert ann.page(f"{there}/cancel").heads("h1") == ["Cancel this order?"]
    assert waiting(road) == before, "asking changes nothing"
    answer = ann.cancel(order_id)
    assert (answer.status_code, answer.location) == (303, there)
    assert waiting(road) == before + 1
    asked = ann.get(there)
    assert 'http-equiv="refresh"' in asked.text
    assert not Page(asked.text).all("a", id="cancel")
    work(road)
    page = ann.page(there)
    assert page.heads("h1") == ["This order is cancelled"]
    assert road.order(order_id).state is State.CANCELLED
    assert ann.get(f"{there}/cancel").status_code == 303, "it has ended already"


def test_a_stranger_cancels_nothing(app: Flask, ann: Visitor, road: World) -> None:
    order_id = ann.order()
    eve = Visitor(app)
    token = eve.page("/query").form("/query")["csrf_token"]
    answer = eve.client.post(f"/orders/{order_id}/cancel", data={"csrf_token": token})
    assert answer.status_code == 303
    assert eve.page(answer.location).heads("h1") == ["Find your order"]
    assert waiting(road) == 1


def test_a_cancellation_that_finds_no_room_says_so(settings: Settings, road: World) -> None:
    ann = Visitor(build_app(msgspec.structs.replace(settings, backlog_max_jobs=1)))
    answer = ann.cancel(ann.order())
    assert answer.status_code == 503
    assert "Please try again" in Page(answer.text).text
    assert waiting(road) == 1
