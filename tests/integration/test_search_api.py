"""GET /api/search on a real Valkey: suppliers are played by the test, through SearchEntries."""

from __future__ import annotations

import datetime as dt
import gzip
import time
from typing import Any

import msgspec
import pytest
import redis
from flask import Flask
from werkzeug.test import TestResponse

import bootstrap
from queues.keys import SEARCH
from search.entries import SearchEntries
from search.model import OfferedRate, without_vendor_key
from search.query import parse
from settings import Settings
from web import build_app

TODAY = dt.datetime.now(dt.UTC).date()
STAY = {"destination": "lisbon", "check_in": str(TODAY + dt.timedelta(days=30)),
        "check_out": str(TODAY + dt.timedelta(days=33)), "guests": "2"}
SEARCH_ID = parse(**STAY, hotel_ids="", today=TODAY).search_id
LONDON = [f"london-{n}" for n in range(1, 1_001)]


def rate(number: int, price: str = "100.00", currency: str = "EUR", supplier: str = "hotelbeds"
         ) -> OfferedRate:
    return OfferedRate(
        rate_id=f"{SEARCH_ID}-{number:016x}", hotel_id=f"lisbon-{number % 20 + 1}",
        supplier=supplier, room='Double, "vendor_key":', price=price, currency=currency,
        refundable=True, board="breakfast", vendor_key=f"secret-{number}",
    )


class Api:
    """A client of the API."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()

    def get(self, etag: str = "", **changes: str) -> TestResponse:
        return self.client.get("/api/search", query_string={**STAY, **changes},
                               headers={"If-None-Match": etag} if etag else {})


@pytest.fixture
def search_valkey(settings: Settings, valkey: redis.Redis) -> redis.Redis:
    with bootstrap.connect_search_valkey(settings) as client:
        yield client


@pytest.fixture
def entries(settings: Settings, search_valkey: redis.Redis) -> SearchEntries:
    return bootstrap.search_entries(settings, search_valkey)


@pytest.fixture
def api(settings: Settings, entries: SearchEntries) -> Api:
    return Api(build_app(settings))


def test_a_search_begins_once_fills_and_completes(
    api: Api, entries: SearchEntries, search_valkey: redis.Redis
) -> None:
    first = api.get()
    assert first.status_code == 200
    begun: dict[str, Any] = first.json
    assert begun["search_id"] == SEARCH_ID
    assert (begun["is_completed"], begun["suppliers"], begun["rates"]) == (False, {}, [])
    assert begun["poll_after_ms"] > 0
    assert first.headers["Cache-Control"] == "no-cache"
    entries.plan(SEARCH_ID, {"hotelbeds": 1, "ascenda": 1})
    entries.append(SEARCH_ID, "hotelbeds", "h1", [rate(1), rate(2)], finished=True)
    some = api.get().json
    assert [one["rate_id"] for one in some["rates"]] == [rate(1).rate_id, rate(2).rate_id]
    assert some["suppliers"]["ascenda"]["state"] == "pending"
    assert some["suppliers"]["hotelbeds"]["rates"] == 2
    assert set(some["hotels"]) == {"lisbon-2", "lisbon-3"}
    assert some["hotels"]["lisbon-2"]["name"].endswith("Lisbon")
    entries.append(SEARCH_ID, "ascenda", "a1", [], finished=True, error="no answer")
    done = api.get(since=some["cursor"])
    assert (done.json["is_completed"], done.json["rates"]) == (True, [])
    assert done.json["suppliers"]["ascenda"] == {
        "state": "failed", "latency_ms": done.json["suppliers"]["ascenda"]["latency_ms"],
        "rates": 0, "error": "no answer"}
    assert done.json["poll_after_ms"] is None
    assert done.headers["Cache-Control"].startswith("public, max-age=")
    assert {begun["expires_at"], some["expires_at"], done.json["expires_at"]} == {
        begun["expires_at"]}
    assert search_valkey.llen(SEARCH.jobs) == 1


def test_what_the_supplier_wants_back_is_shown_to_nobody(
    api: Api, entries: SearchEntries
) -> None:
    api.get()
    entries.plan(SEARCH_ID, {"hotelbeds": 1})
    entries.append(SEARCH_ID, "hotelbeds", "h1", [rate(1)], finished=True)
    for order in ("arrival", "price"):
        answer = api.get(order=order)
        assert "secret" not in answer.text
        shown = msgspec.to_builtins(rate(1))
        del shown["vendor_key"]
        assert answer.json["rates"] == [shown]


@pytest.mark.parametrize("vendor_key", ["", 'x","vendor_key":"y', "}", '"}', "ü\u2028\\"])
@pytest.mark.parametrize("room", ['a","vendor_key":"b', "}", '\\",\\"vendor_key', "}}"])
def test_nothing_but_the_key_is_cut_off(vendor_key: str, room: str) -> None:
    one = msgspec.structs.replace(rate(1), vendor_key=vendor_key, room=room)
    shown = msgspec.json.decode(without_vendor_key(msgspec.json.encode(one)))
    whole = msgspec.to_builtins(one)
    del whole["vendor_key"]
    assert shown == whole


def test_nothing_new_is_a_304_until_something_is(api: Api, entries: SearchEntries) -> None:
    first = api.get()
    etag = first.headers["ETag"]
    for tag in (etag, f"W/{etag}", f'"other", {etag}'):
        same = api.get(etag=tag)
        assert (same.status_code, same.data) == (304, b"")
        assert same.headers["ETag"] == etag
    for changes in ({"order": "price"}, {"since": first.json["cursor"]}):
        assert api.get(etag=etag, **changes).status_code == 200, "another representation"
    entries.plan(SEARCH_ID, {"hotelbeds": 1})
    assert api.get(etag=etag).status_code == 200
    etag = api.get().headers["ETag"]
    entries.append(SEARCH_ID, "hotelbeds", "h1", [rate(1)])
    fresh = api.get(etag=etag)
    assert fresh.status_code == 200
    assert len(fresh.json["rates"]) == 1


def test_a_completed_search_is_packed_for_who_takes_it(api: Api, entries: SearchEntries) -> None:
    def ask(accepted: str, etag: str = "") -> TestResponse:
        return api.client.get("/api/search", query_string=STAY, headers={
            "Accept-Encoding": accepted, **({"If-None-Match": etag} if etag else {})})

    ask("gzip")
    entries.plan(SEARCH_ID, {"hotelbeds": 1})
    entries.append(SEARCH_ID, "hotelbeds", "h1", [rate(1), rate(2)])
    assert "Content-Encoding" not in ask("gzip").headers, "it still grows"
    entries.append(SEARCH_ID, "hotelbeds", "h2", [rate(3)], finished=True)
    plain = ask("identity")
    assert len(plain.json["rates"]) == 3
    for _ in range(2):
        packed = ask("gzip, br")
        assert packed.headers["Content-Encoding"] == "gzip"
        assert packed.headers["Vary"] == "Accept-Encoding"
        assert gzip.decompress(packed.data) == plain.data
        assert packed.headers["ETag"] == f"W/{plain.headers['ETag']}"
    for etag in (plain.headers["ETag"], packed.headers["ETag"]):
        assert ask("gzip", etag).status_code == 304
        assert ask("identity", etag).status_code == 304


def test_advice_when_to_look_again_is_of_this_moment(
    api: Api, entries: SearchEntries, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = api.get().json
    later_s = time.time() + 10
    monkeypatch.setattr(time, "time", lambda: later_s)
    later = api.get().json
    assert first["poll_after_ms"] < later["poll_after_ms"]


def test_a_cursor_brings_only_what_came_after_it(api: Api, entries: SearchEntries) -> None:
    api.get()
    entries.plan(SEARCH_ID, {"hotelbeds": 1})
    entries.append(SEARCH_ID, "hotelbeds", "h1", [rate(1), rate(2)])
    cursor = api.get().json["cursor"]
    entries.append(SEARCH_ID, "hotelbeds", "h2", [rate(3)])
    later = api.get(since=cursor)
    assert [one["rate_id"] for one in later.json["rates"]] == [rate(3).rate_id]
    assert list(later.json["hotels"]) == ["lisbon-4"]
    assert api.get(since=cursor, etag=later.headers["ETag"]).status_code == 304
    assert api.get(since=later.json["cursor"]).json["rates"] == []


def test_a_cursor_of_an_expired_search_is_refused_and_begins_nothing(
    api: Api, search_valkey: redis.Redis
) -> None:
    cursor = api.get().json["cursor"]
    search_valkey.delete(SEARCH.entry(SEARCH_ID))
    answer = api.get(since=cursor)
    assert answer.status_code == 410
    assert answer.json["type"] == "/problems/search-expired"
    assert search_valkey.exists(SEARCH.entry(SEARCH_ID)) == 0


def test_by_price_goes_currency_by_currency(api: Api, entries: SearchEntries) -> None:
    api.get()
    entries.plan(SEARCH_ID, {"hotelbeds": 1})
    entries.append(SEARCH_ID, "hotelbeds", "h1", [
        rate(1, "99.50"), rate(2, "1000.00"), rate(3, "12000", "JPY"), rate(4, "9.90"),
        rate(5, "150.000", "TND")])
    found = [(one["price"], one["currency"]) for one in api.get(order="price").json["rates"]]
    assert found == [("9.90", "EUR"), ("99.50", "EUR"), ("1000.00", "EUR"), ("12000", "JPY"),
                     ("150.000", "TND")]


@pytest.mark.parametrize(("field", "value"), [
    ("destination", "atlantis"), ("destination", ""), ("check_in", "2020-01-01"),
    ("check_in", "soon"), ("check_out", STAY["check_in"]), ("guests", "0"), ("guests", "99"),
    ("hotel_ids", "lisbon-21"), ("hotel_ids", "porto-1"), ("hotel_ids", "lisbon-1,,lisbon-2"),
    ("hotel_ids", ",".join(f"lisbon-{n}" for n in range(1_001))), ("hotel_ids", "lisbon-01"),
    ("order", "cheapest"), ("since", "0"), ("since", "x-1"), ("since", "1-99999999"),
])
def test_what_is_wrong_is_named_and_nothing_is_queued(
    api: Api, search_valkey: redis.Redis, field: str, value: str
) -> None:
    answer = api.get(**{field: value})
    assert answer.status_code == 422
    assert answer.content_type == "application/problem+json"
    assert answer.json["errors"][0]["pointer"] == field
    assert answer.json["detail"]
    assert search_valkey.dbsize() == 0


def test_a_parameter_that_comes_twice_is_refused(api: Api) -> None:
    for name, value in STAY.items():
        answer = api.client.get("/api/search", query_string=[*STAY.items(), (name, value)])
        assert answer.status_code == 422
        assert answer.json["errors"][0]["pointer"] == name


def test_a_misspelt_destination_gets_a_suggestion(api: Api) -> None:
    assert "lisbon" in api.get(destination="lisbonn").json["detail"]


def test_a_thousand_hotels_can_be_named(api: Api, search_valkey: redis.Redis) -> None:
    answer = api.get(destination="london", hotel_ids=",".join(LONDON))
    assert answer.status_code == 200
    assert search_valkey.llen(SEARCH.jobs) == 1


def test_only_new_searches_are_bounded_per_client(
    settings: Settings, entries: SearchEntries
) -> None:
    api = Api(build_app(msgspec.structs.replace(settings, searches_per_minute=2)))
    assert api.get(guests="1").status_code == 200
    assert api.get(guests="2").status_code == 200
    refused = api.get(guests="3")
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    for _ in range(5):
        assert api.get(guests="1").status_code == 200


def test_too_many_waiting_searches_are_refused_and_others_still_read(
    settings: Settings, entries: SearchEntries
) -> None:
    api = Api(build_app(msgspec.structs.replace(settings, searches_max_waiting=1)))
    assert api.get(guests="1").status_code == 200
    refused = api.get(guests="2")
    assert refused.status_code == 503
    assert refused.json["type"] == "/problems/searches-overloaded"
    assert int(refused.headers["Retry-After"]) > 0
    assert api.get(guests="1").status_code == 200


def test_without_the_valkey_of_searches_it_says_so(settings: Settings, valkey: redis.Redis
                                                   ) -> None:
    away = msgspec.structs.replace(settings, search_redis_url="redis://127.0.0.1:1/0")
    answer = Api(build_app(away)).get()
    assert answer.status_code == 503
    assert answer.json["type"] == "/problems/engine-away"
    assert int(answer.headers["Retry-After"]) > 0


def test_a_search_of_which_nobody_heard_ends_at_its_deadline_and_misses_everybody(
    api: Api, entries: SearchEntries, search_valkey: redis.Redis, settings: Settings
) -> None:
    """No consumer planned it in time."""
    assert api.get().json["suppliers"] == {}
    search_valkey.hset(SEARCH.entry(SEARCH_ID), "deadline_ms", 1)
    ended = api.get().json
    assert ended["is_completed"]
    missing = {"state": "timed_out", "latency_ms": None, "rates": 0, "error": None}
    assert ended["suppliers"] == dict.fromkeys(bootstrap.rate_supplier_names(settings), missing)
    page = api.client.get("/search", query_string=STAY).text
    assert page.count("too slow this time") == len(ended["suppliers"])
    assert "Not everybody could answer" in page
