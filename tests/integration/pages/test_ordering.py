"""Ordering by the form: once, kept when refused, and only by our own form."""

from __future__ import annotations

import re

import msgspec
import pytest
import redis
from flask import Flask

from embedded import RunningEngines
from queues.keys import BOOKING
from settings import Settings
from tests.booking_world import World
from tests.html_page import Page
from tests.visitor import (
    ANN,
    EVIL,
    UNKNOWN_ID,
    Visitor,
    shelve,
    waiting,
    work,
)
from web import build_app, words


def test_an_order_leads_to_its_page_without_the_address_in_any_url(
    ann: Visitor, road: World
) -> None:
    form = ann.order_form(1)
    answer = ann.client.post("/order", data={**form, "email": ANN})
    assert answer.status_code == 303
    assert re.fullmatch(r"/orders/[0-9A-Z]{26}", answer.location)
    assert waiting(road) == 1
    page = ann.page(answer.location)
    assert page.heads("h1") == ["You are next in the queue"]
    assert "Tokyo" in page.text
    assert all("@" not in a["href"] and "%40" not in a["href"] for a in page.all("a"))


def test_each_form_has_a_key_of_its_own(ann: Visitor) -> None:
    assert ann.order_form()["key"] != ann.order_form()["key"]


def test_the_same_form_sent_twice_is_one_order(ann: Visitor, road: World) -> None:
    form = {**ann.order_form(), "email": ANN}
    first, second = (ann.client.post("/order", data=form) for _ in range(2))
    assert first.location == second.location
    assert waiting(road) == 1


def test_a_form_that_was_sent_with_another_address_comes_back_with_a_new_key(
    ann: Visitor, road: World
) -> None:
    form = {**ann.order_form(), "email": ANN}
    ann.client.post("/order", data=form)
    answer = ann.client.post("/order", data={**form, "email": "other@example.org"})
    assert answer.status_code == 409
    again = Page(answer.text).form("/order")
    assert again["key"] != form["key"]
    assert again["email"] == "other@example.org"
    assert ann.client.post("/order", data=again).status_code == 303
    assert waiting(road) == 2


@pytest.mark.parametrize("email", ["", "  ", "nobody", "a@", "a@b", f"{'x' * 300}@example.org",
                                   "a\r\nb@example.org", "a\x00@example.org", EVIL])
def test_a_wrong_address_is_said_at_its_field_and_kept(
    ann: Visitor, road: World, email: str
) -> None:
    form = ann.order_form()
    answer = ann.client.post("/order", data={**form, "email": email})
    assert answer.status_code == 422
    page = Page(answer.text)
    field = page.by_id("email")
    assert field["aria-invalid"] == "true"
    assert field["value"].split() == email.split()
    for described in field["aria-describedby"].split():
        page.by_id(described)
    assert page.all("a", href="#email"), "the summary leads to the field"
    assert page.title.startswith("Please look again")
    assert page.form("/order")["key"] == form["key"]
    assert waiting(road) == 0


@pytest.mark.parametrize(("wanted", "status"), [
    ("", 422), ("0", 422), ("-1", 422), ("1.5", 422), ("abc", 422), (str(2**53), 422), ("²", 422),
    ("9" * 1_000, 422), (EVIL, 422), ("999", 404), (str(2**53 - 1), 404),
])
def test_a_package_that_cannot_be_is_refused(
    ann: Visitor, road: World, wanted: str, status: int
) -> None:
    form = {**ann.order_form(), "email": ANN, "package": wanted}
    assert ann.client.post("/order", data=form).status_code == status
    assert ann.get("/order", query_string={"package": wanted}).status_code == 404
    assert waiting(road) == 0


@pytest.mark.parametrize(("package_id", "text"), [
    (2, "The sale ended at 2001-09-09"), (3, "The sale opens at 2096-10-02"), (4, "paused"),
])
def test_a_closed_sale_is_said_in_words_and_offers_no_form(
    ann: Visitor, road: World, package_id: int, text: str
) -> None:
    form = {**ann.order_form(1), "email": ANN, "package": str(package_id)}
    answer = ann.client.post("/order", data=form)
    assert answer.status_code == 409
    page = Page(answer.text)
    assert text in page.text
    assert not page.forms
    assert not ann.page(f"/order?package={package_id}").forms
    assert waiting(road) == 0


def _typed(form: dict[str, str]) -> dict[str, str]:
    """A form without its token, which carries the second in which the page was made."""
    return {name: value for name, value in form.items() if name != "csrf_token"}


def test_a_full_backlog_keeps_the_form_as_it_was(settings: Settings, road: World) -> None:
    ann = Visitor(build_app(msgspec.structs.replace(settings, backlog_max_jobs=1)))
    ann.order()
    form = {**ann.order_form(), "email": "bob@example.org"}
    answer = ann.client.post("/order", data=form)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    page = Page(answer.text)
    assert "Very many people are ordering right now" in page.text
    assert _typed(page.form("/order")) == _typed(form)
    work(road)
    assert ann.client.post("/order", data=page.form("/order")).status_code == 303


def test_an_engine_that_went_away_keeps_the_form_and_its_key(
    own_engines: RunningEngines, settings: Settings
) -> None:
    """Only the same key makes it safe to press the button once more."""
    own = msgspec.structs.replace(
        settings, redis_url=own_engines.redis_url, mongo_url=own_engines.mongo_url)
    with redis.Redis.from_url(own.redis_url) as valkey:
        shelve(valkey)
        ann = Visitor(build_app(own))
        form = {**ann.order_form(), "email": ANN}
        own_engines.valkey.kill()
        answer = ann.client.post("/order", data=form)
        assert answer.status_code == 503
        assert words.NEVER_TWICE in Page(answer.text).text
        assert _typed(Page(answer.text).form("/order")) == _typed(form)
        assert ann.get("/order").status_code == 503
        own_engines.valkey.start()
        own_engines.wait_ready()
        first = ann.client.post("/order", data=form)
        assert first.status_code == 303
        assert ann.client.post("/order", data=form).location == first.location
        assert valkey.llen(BOOKING.jobs) == 1


def test_without_the_database_orders_are_taken_and_their_pages_say_so(
    own_engines: RunningEngines, settings: Settings
) -> None:
    own = msgspec.structs.replace(
        settings, redis_url=own_engines.redis_url, mongo_url=own_engines.mongo_url)
    with redis.Redis.from_url(own.redis_url) as valkey:
        shelve(valkey)
        own_engines.mongo.kill()
        ann = Visitor(build_app(own))
        order_id = ann.order()
        assert ann.page(f"/orders/{order_id}").heads("h1") == ["You are next in the queue"]
        valkey.hset(BOOKING.status(order_id), "state", "held")
        answer = ann.get(f"/orders/{order_id}")
        assert answer.status_code == 503
        assert "We did not get an answer in time" in answer.text
        assert '<meta http-equiv="refresh"' in answer.text


@pytest.mark.parametrize(("path", "data"), [
    ("/order", {"email": ANN, "package": "1", "key": "k"}),
    ("/query", {"email": ANN, "order_id": UNKNOWN_ID}),
    (f"/orders/{UNKNOWN_ID}/cancel", {}),
])
@pytest.mark.parametrize("token", [None, "", "made up"])
def test_a_form_without_our_token_is_asked_for_again(
    ann: Visitor, road: World, path: str, data: dict[str, str], token: str | None
) -> None:
    sent = data if token is None else {**data, "csrf_token": token}
    answer = ann.client.post(path, data=sent)
    assert answer.status_code == 400
    assert Page(answer.text).heads("h1") == ["Please send the form again"]
    assert waiting(road) == 0


def test_a_token_of_another_session_is_no_token(app: Flask, road: World) -> None:
    ann, eve = Visitor(app), Visitor(app)
    stolen = eve.order_form()["csrf_token"]
    form = {**ann.order_form(), "email": ANN, "csrf_token": stolen}
    assert ann.client.post("/order", data=form).status_code == 400
    assert waiting(road) == 0


def test_over_https_behind_a_proxy_the_forms_work_with_our_own_referer_alone(
    settings: Settings, road: World
) -> None:
    app = build_app(msgspec.structs.replace(settings, trusted_proxies=1, web_https=True))
    ann = Visitor(app)
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "berth.example"}
    shown = ann.get("/order?package=1", headers=proxied, base_url="https://berth.example")
    cookie = shown.headers["Set-Cookie"]
    assert all(word in cookie for word in ("Secure", "HttpOnly", "SameSite=Lax"))
    assert shown.headers["Referrer-Policy"] == "same-origin", "else no browser sends a Referer"
    form = {**Page(shown.text).form("/order"), "email": ANN}

    def post(referer: str) -> int:
        headers = {**proxied, **({"Referer": referer} if referer else {})}
        return ann.client.post("/order", data=form, headers=headers,
                               base_url="https://berth.example").status_code

    assert post("") == 400
    assert post("https://evil.example/") == 400
    assert post("https://berth.example/order?package=1") == 303
