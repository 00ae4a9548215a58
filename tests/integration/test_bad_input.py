"""Bad input is refused at the door: a problem document with a 4xx, and nothing is queued."""

from __future__ import annotations

import datetime as dt
import json

import pytest
import redis
from flask.testing import FlaskClient

from booking.model import Package, PackageFacts
from booking.projection import project
from queues.keys import BOOKING
from settings import Settings
from web import build_app

GOOD = {"package_id": 1, "email": "ann@example.com"}
LONG_AGO_MS, LONG_HENCE_MS = 1_000_000_000_000, 4_000_000_000_000


def _shelve(valkey: redis.Redis, package_id: int, **fields: object) -> None:
    """Put a package on the shelf, as the booking consumer tells it."""
    facts = PackageFacts(package_id, "Flight-1", "2022-08-09", "100.00", "USD")
    key, view, door = project(Package(facts=facts, quota=5, **fields), 5)
    valkey.hset(BOOKING.packages, key, view)
    valkey.hset(BOOKING.doors, key, door)


@pytest.fixture
def client(settings: Settings, valkey: redis.Redis) -> FlaskClient:
    _shelve(valkey, 1)
    _shelve(valkey, 2, sale_ends_ms=LONG_AGO_MS)
    _shelve(valkey, 3, sale_starts_ms=LONG_HENCE_MS)
    _shelve(valkey, 4, paused=True)
    return build_app(settings).test_client()


BODIES = {
    "malformed JSON": (b'{"package_id": 1, "email"', 400),
    "no JSON at all": (b"package_id=1", 400),
    "empty body": (b"", 400),
    "not UTF-8": (b'{"package_id": 1, "email": "\xff\xfe@example.com"}', 400),
    "a list": (b"[]", 422),
    "null": (b"null", 422),
    "missing e-mail": ({"package_id": 1}, 422),
    "missing package": ({"email": "ann@example.com"}, 422),
    "package as text": ({**GOOD, "package_id": "1"}, 422),
    "package as float": ({**GOOD, "package_id": 1.5}, 422),
    "package as bool": ({**GOOD, "package_id": True}, 422),
    "package as operator": ({**GOOD, "package_id": {"$gt": 0}}, 422),
    "package zero": ({**GOOD, "package_id": 0}, 422),
    "package negative": ({**GOOD, "package_id": -1}, 422),
    "package beyond 2**53": ({**GOOD, "package_id": 2**53}, 422),
    "package of a thousand digits": (b'{"package_id": ' + b"9" * 1_000 + b', "email": "a@b.co"}',
                                     422),
    "unknown package": ({**GOOD, "package_id": 999}, 404),
    "e-mail as number": ({**GOOD, "email": 7}, 422),
    "e-mail as operator": ({**GOOD, "email": {"$ne": ""}}, 422),
    "e-mail without at": ({**GOOD, "email": "ann.example.com"}, 422),
    "e-mail without domain": ({**GOOD, "email": "ann@"}, 422),
    "e-mail too long": ({**GOOD, "email": "a" * 250 + "@example.com"}, 422),
    "e-mail with control characters": ({**GOOD, "email": "ann\u0000@example.com"}, 422),
    "e-mail with a line break": ({**GOOD, "email": "ann@example.com\r\nBcc: x@example.com"}, 422),
    "unknown field": ({**GOOD, "quota": 100}, 422),
    "sale is over": ({**GOOD, "package_id": 2}, 409),
    "sale has not begun": ({**GOOD, "package_id": 3}, 409),
    "sale is paused": ({**GOOD, "package_id": 4}, 409),
    "huge body": (b'{"email": "' + b"a" * 1_000_000 + b'"}', 413),
    "deeply nested": (b"[" * 4_000, 422),
}


def _problem(answer: object, status: int) -> dict:
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    found = json.loads(answer.data)
    assert found["status"] == status
    assert found["type"]
    assert found["title"]
    assert found["detail"]
    return found


@pytest.mark.parametrize("case", BODIES)
def test_a_bad_order_is_refused(client: FlaskClient, valkey: redis.Redis, case: str) -> None:
    body, status = BODIES[case]
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.post("/api/orders", data=raw, content_type="application/json")
    _problem(answer, status)
    assert valkey.llen(BOOKING.jobs) == 0
    assert valkey.keys(BOOKING.status("*")) == []


def test_the_good_order_of_these_tests_is_good(client: FlaskClient, valkey: redis.Redis) -> None:
    assert client.post("/api/orders", json=GOOD).status_code == 202
    assert valkey.llen(BOOKING.jobs) == 1


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_another_content_type_is_refused(
    client: FlaskClient, valkey: redis.Redis, content_type: str
) -> None:
    answer = client.post("/api/orders", data=json.dumps(GOOD), content_type=content_type)
    _problem(answer, 415)
    assert valkey.llen(BOOKING.jobs) == 0


@pytest.mark.parametrize("key", ["", " ", "a b", "k" * 256, "schlüssel", "\x7f"])
def test_a_bad_idempotency_key_is_refused(
    client: FlaskClient, valkey: redis.Redis, key: str
) -> None:
    answer = client.post("/api/orders", json=GOOD, headers={"Idempotency-Key": key})
    found = _problem(answer, 400)
    assert found["errors"][0]["pointer"] == "Idempotency-Key"
    assert valkey.llen(BOOKING.jobs) == 0


def test_the_problem_says_which_field_to_mend(client: FlaskClient) -> None:
    answer = client.post("/api/orders", json={**GOOD, "package_id": "1"})
    assert _problem(answer, 422)["errors"][0]["pointer"] == "/package_id"
    answer = client.post("/api/orders", json={**GOOD, "email": "nobody"})
    assert _problem(answer, 422)["errors"][0]["pointer"] == "/email"


@pytest.mark.parametrize("order_id", [
    "x", "9" * 26, "A" * 1_000, "..%2f..%2fetc", "%00", "{booking}:jobs", "$ne", "🛳",
])
def test_a_bad_order_id_is_not_found(client: FlaskClient, order_id: str) -> None:
    for call in (client.get, client.delete):
        _problem(call(f"/api/orders/{order_id}?email=ann@example.com"), 404)


def test_an_order_id_without_its_email_is_not_found(client: FlaskClient) -> None:
    placed = client.post("/api/orders", json=GOOD).json
    wrong_mail = client.get(f"/api/orders/{placed['order_id']}?email=bob@example.com")
    wrong_id = client.get("/api/orders/01ARZ3NDEKTSV4RRFFQ69G5FAV?email=ann@example.com")
    assert _problem(wrong_mail, 404) == _problem(wrong_id, 404)
    assert client.get(f"/api/orders/{placed['order_id']}").status_code == 404
    found = client.get(f"/api/orders/{placed['order_id']}?email=ANN@example.com")
    assert found.json["state"] == "queued"
    assert found.json["position"] == 1


def test_misses_are_throttled_and_finds_are_not(client: FlaskClient, settings: Settings) -> None:
    placed = client.post("/api/orders", json=GOOD).json
    good = f"/api/orders/{placed['order_id']}?email=ann@example.com"
    for _ in range(settings.lookup_misses_per_minute + 5):
        assert client.get(good).status_code == 200
    answers = [
        client.get("/api/orders/01ARZ3NDEKTSV4RRFFQ69G5FAV?email=ann@example.com")
        for _ in range(settings.lookup_misses_per_minute + 1)
    ]
    assert [a.status_code for a in answers[:-1]] == [404] * settings.lookup_misses_per_minute
    _problem(answers[-1], 429)
    assert int(answers[-1].headers["Retry-After"]) >= 1


def test_a_miss_that_cannot_be_counted_is_no_error_of_ours(
    client: FlaskClient, valkey: redis.Redis
) -> None:
    """At Valkey's memory limit: uncounted, misses would be free."""
    valkey.config_set("maxmemory", 1)
    try:
        day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=30)
        for path in ("/api/orders/01ARZ3NDEKTSV4RRFFQ69G5FAV?email=ann@example.com",
                     f"/api/search?destination=lisbon&check_in={day}&guests=2"
                     f"&check_out={day + dt.timedelta(days=1)}"):
            found = _problem(client.get(path), 503)
            assert found["type"] == "/problems/engine-away"
    finally:
        valkey.config_set("maxmemory", "256mb")
