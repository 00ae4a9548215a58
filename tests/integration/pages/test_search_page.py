"""GET /search without JavaScript: what is asked for, what has come, and what cannot be done."""

from __future__ import annotations

import gzip
import re
import sys
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
import redis
from flask import Flask

import bootstrap
from queues.keys import SEARCH
from search.entries import SearchEntries
from settings import Settings
from tests.html_page import Page
from tests.search_play import Play
from tests.visitor import Visitor, stay
from web import build_app


@pytest.fixture
def search_valkey(settings: Settings, valkey: redis.Redis) -> redis.Redis:
    with bootstrap.connect_search_valkey(settings) as client:
        yield client


@pytest.fixture
def entries(settings: Settings, search_valkey: redis.Redis) -> SearchEntries:
    return bootstrap.search_entries(settings, search_valkey)


@pytest.fixture
def app(settings: Settings, search_valkey: redis.Redis) -> Flask:
    return build_app(settings)


def look(visitor: Visitor, **changes: str) -> Page:
    answer = visitor.get("/search", query_string={**stay(), **changes})
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


def refreshes(page: Page) -> list[str]:
    return [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "refresh"]


def hotels(page: Page) -> list[str]:
    return [item["id"].removeprefix("hotel-") for item in page.all("li", **{"class": "stay"})]


def test_the_empty_form_proposes_a_stay_and_begins_nothing(
    ann: Visitor, search_valkey: redis.Redis
) -> None:
    page = ann.page("/search")
    form = page.form("/search")
    assert form["destination"] == ""
    assert form["check_in"] < form["check_out"]
    assert page.all("option", value="Lisbon, Portugal")
    assert ann.page("/search?destination=lisbon").form("/search")["destination"] == (
        "Lisbon, Portugal")
    assert search_valkey.dbsize() == 0


def test_from_a_chosen_hotel_it_goes_on_to_all_of_the_place(ann: Visitor) -> None:
    page = look(ann, hotel_ids="lisbon-1")
    assert "1 chosen hotel" in page.text
    everywhere = urlsplit(page.by_id("everywhere")["href"])
    assert dict(parse_qsl(everywhere.query)) == stay()
    assert "chosen hotel" not in look(ann).text


def test_it_fills_refreshes_itself_and_stops_when_complete(
    ann: Visitor, entries: SearchEntries
) -> None:
    play = Play(entries, "hotelbeds", "ascenda")
    page = look(ann)
    assert page.heads("h1") == ["Rooms in Lisbon"]
    assert "Asking for rooms" in page.text
    assert refreshes(page) == ["3"]
    cheap = play.rate(1, "80.50", refundable=False)
    play.answer("hotelbeds", play.rate(1, "99.00"), cheap, play.rate(2, "70.00"))
    page = look(ann)
    assert hotels(page) == ["lisbon-1", "lisbon-2"]
    assert "€80.50" in page.text
    assert "3 rates in" in page.text
    assert "being asked" in page.text
    assert page.all("a", href=f"/rates/{cheap.rate_id}")
    assert refreshes(page) == ["3"]
    play.answer("ascenda", error="HTTP 503")
    page = look(ann)
    assert "could not answer this time" in page.text
    assert refreshes(page) == []
    assert "so far" not in page.heads("h2")
    assert "only-for-the-supplier" not in ann.get("/search", query_string=stay()).text


def test_a_page_is_packed_for_who_takes_it(ann: Visitor, entries: SearchEntries) -> None:
    def text(accepted: str) -> str:
        answer = ann.get("/search", query_string=stay(), headers={"Accept-Encoding": accepted})
        assert "Accept-Encoding" in answer.headers["Vary"]
        body = answer.data
        if accepted == "gzip":
            assert answer.headers["Content-Encoding"] == "gzip"
            body = gzip.decompress(body)
        # What is left of the time is of the moment.
        return re.sub(r'data-left="\d+"', "", body.decode())

    play = Play(entries, "hotelbeds")
    assert text("gzip") == text("identity")
    play.answer("hotelbeds", play.rate(1, "99.00", room="<!-- the hotels -->"))
    assert text("gzip") == text("identity")
    assert text("gzip").count("&lt;!-- the hotels --&gt;") > 0
    assert "€99" in text("gzip")
    assert "<!-- the hotels -->" not in text("gzip")


def test_every_view_and_visitor_sees_the_same_prices(
    app: Flask, ann: Visitor, entries: SearchEntries
) -> None:
    play = Play(entries, "hotelbeds")
    play.answer("hotelbeds", play.rate(2, "70.00"), play.rate(1, "60.00"))
    seen = []
    for visitor in (ann, Visitor(app)):
        for order in ("arrival", "price"):
            page = look(visitor, order=order)
            seen.append((sorted(re.findall(r"€\d+", page.text)),
                         sorted(a["href"] for a in page.all("a", **{"class": "button book"})),
                         page.by_id("until")["datetime"]))
    assert seen.count(seen[0]) == 4
    assert hotels(look(ann)) == ["lisbon-2", "lisbon-1"]
    assert hotels(look(ann, order="price")) == ["lisbon-1", "lisbon-2"]


def test_people_may_write_a_city_as_they_like(ann: Visitor, search_valkey: redis.Redis) -> None:
    for text in ("lisbon", "Lisbon, Portugal", "LISBON", "Lisbon, PT"):
        page = look(ann, destination=text)
        assert page.heads("h1") == ["Rooms in Lisbon"]
        assert page.form("/search")["destination"] == "Lisbon, Portugal"
    assert search_valkey.llen(SEARCH.jobs) == 1


@pytest.mark.parametrize(("name", "value", "said"), [
    ("destination", "Lisbonn", "Did you mean Lisbon, Portugal"),
    ("destination", "", "Choose a city"),
    ("check_in", "2020-01-01", "Check-in: a day from today on"),
    ("check_out", "2020-01-01", "Check-out: 1 to 30 nights after check-in."),
    ("guests", "99", "Guests: a whole number"),
])
def test_what_is_wrong_stands_at_its_field_and_nothing_begins(
    ann: Visitor, search_valkey: redis.Redis, name: str, value: str, said: str
) -> None:
    answer = ann.get("/search", query_string={**stay(), name: value})
    assert answer.status_code == 422
    page = Page(answer.text)
    assert said in page.text
    assert page.by_id(name)["aria-invalid"] == "true"
    assert page.by_id(page.by_id(name)["aria-describedby"])
    if name != "guests":
        assert page.form("/search")[name] == value
    assert search_valkey.dbsize() == 0


def test_a_city_without_rooms_says_so_and_why(ann: Visitor, entries: SearchEntries) -> None:
    play = Play(entries, "hotelbeds", "ascenda")
    play.answer("hotelbeds")
    play.answer("ascenda")
    page = look(ann)
    assert "No room found" in page.text
    assert "Everybody has answered" in page.text


def test_who_begins_too_many_gets_the_form_back(settings: Settings, valkey: redis.Redis) -> None:
    visitor = Visitor(build_app(msgspec.structs.replace(settings, searches_per_minute=1)))
    look(visitor)
    answer = visitor.get("/search", query_string=stay(guests=3))
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    page = Page(answer.text)
    assert "very many searches" in page.text
    assert page.form("/search")["destination"] == "Lisbon, Portugal"
    look(visitor)


def test_without_the_valkey_of_searches_the_form_stays(
    settings: Settings, valkey: redis.Redis
) -> None:
    away = msgspec.structs.replace(settings, search_redis_url="redis://127.0.0.1:1/0")
    visitor = Visitor(build_app(away))
    assert visitor.get("/search").status_code == 200
    answer = visitor.get("/search", query_string=stay())
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert Page(answer.text).form("/search")["destination"] == "Lisbon, Portugal"


def test_more_hotels_are_shown_when_asked_for(ann: Visitor, entries: SearchEntries,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["web.search_pages"], "HOTELS_SHOWN", 3)
    play = Play(entries, "hotelbeds")
    play.answer("hotelbeds", *(play.rate(n, "70.00") for n in range(1, 6)))
    page = look(ann)
    assert len(hotels(page)) == 3
    assert "5 hotels" in page.text
    more = next(a["href"] for a in page.all("a", **{"class": "button button-quiet"})
                if "show=" in a["href"] and a["href"].endswith("show=6"))
    assert len(hotels(Page(ann.get(more).text))) == 5
