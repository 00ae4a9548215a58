"""GET and POST /rates/<rate_id>, and the same order over the API."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
import redis
from flask import Flask

import bootstrap
from booking.commands import ReservationFailed, ReserveStay
from booking.model import Guest, Reason
from queues.keys import SEARCH
from search.entries import SearchEntries
from search.model import OfferedRate
from search.query import SearchQuery
from settings import Settings
from tests.booking_world import World
from tests.html_page import Page
from tests.visitor import ANN, Visitor, stay
from web import build_app


@pytest.fixture
def search_valkey(settings: Settings, valkey: redis.Redis) -> Iterator[redis.Redis]:
    with bootstrap.connect_search_valkey(settings) as client:
        yield client


@pytest.fixture
def app(settings: Settings, road: World, search_valkey: redis.Redis) -> Flask:
    return build_app(settings)


@pytest.fixture
def rate(settings: Settings, search_valkey: redis.Redis) -> OfferedRate:
    """A rate of a search that lives."""
    entries: SearchEntries = bootstrap.search_entries(settings, search_valkey)
    query = msgspec.convert({**stay(), "hotel_ids": ()}, SearchQuery, strict=False)
    entries.begin(query)
    entries.plan(query.search_id, {"perhotel": 1})
    made = OfferedRate(
        rate_id=f"{query.search_id}-{7:016x}", hotel_id="lisbon-3", supplier="perhotel",
        room="Family suite", price="321.50", currency="EUR", refundable=True,
        board="breakfast", vendor_key="the vendor's own",
    )
    entries.append(query.search_id, "perhotel", "1", [made], finished=True)
    return made


def order(visitor: Visitor, **body: object) -> tuple[int, dict[str, object]]:
    answer = visitor.client.post("/api/orders", json={"email": ANN, **body})
    return answer.status_code, answer.json or {}


def pictures(page: Page) -> list[str]:
    return [image["src"] for image in page.all("img") if "/art/" in image["src"]]


def test_the_page_shows_the_rate_and_its_form_leads_to_the_order(
    ann: Visitor, road: World, rate: OfferedRate
) -> None:
    path = f"/rates/{rate.rate_id}"
    text = ann.get(path).text
    for words in ("Family suite", "€321.50", "Breakfast included", "Lisbon", "2\xa0guests",
                  "free of charge"):
        assert words in text, words
    assert rate.vendor_key not in text
    [action] = [form["action"] for form in ann.page(path).all("form", method="post")]
    form = ann.page(path).form(action)
    assert ann.client.post(action, data={**form, "email": "nobody"}).status_code == 422
    sent = {**form, "email": ANN, "given_name": "Ann", "family_name": " Lee  Roy "}
    answer = ann.client.post(action, data=sent)
    assert answer.status_code == 303
    again = ann.client.post(action, data=sent)
    assert again.location == answer.location
    waiting = ann.get(answer.location).text
    assert "Family suite" in waiting
    consumer = road.consumer()
    road.settle(consumer)
    consumer.leave()
    made = road.order(answer.location.rpartition("/")[2])
    assert made.guest == Guest("Ann", "Lee Roy")
    [job] = road.reservation_jobs()
    assert isinstance(job, ReserveStay)
    assert job.rate.vendor_key == rate.vendor_key
    assert "We are booking your room" in ann.get(answer.location).text
    cancel = ann.get(f"{answer.location}/cancel").text
    assert "given back to the hotel" in cancel
    # The order shows the picture under which the room was chosen.
    assert pictures(ann.page(answer.location)) == pictures(ann.page(path))


def test_a_room_that_was_not_booked_leads_back_to_the_same_stay(
    ann: Visitor, road: World, rate: OfferedRate
) -> None:
    _, body = order(ann, rate_id=rate.rate_id)
    order_id = str(body["order_id"])
    consumer = road.consumer()
    road.settle(consumer)
    road.push(ReservationFailed(order_id=order_id, reason=Reason.PRICE_CHANGED))
    road.settle(consumer)
    consumer.leave()
    form = ann.page("/query").form("/query")
    ann.client.post("/query", data={**form, "order_id": order_id, "email": ANN})
    page = ann.page(f"/orders/{order_id}")
    assert "once the prices of your search have run out" in page.text
    back = urlsplit(page.by_id("again-search")["href"])
    assert dict(parse_qsl(back.query)) == {**stay(), "destination": "Lisbon"}
    assert ann.page(back._replace(netloc="").geturl()).heads("h1") == ["Rooms in Lisbon"]


def test_a_rate_that_has_expired_leads_back_to_the_search(
    ann: Visitor, rate: OfferedRate, search_valkey: redis.Redis
) -> None:
    path = f"/rates/{rate.rate_id}"
    [action] = [form["action"] for form in ann.page(path).all("form", method="post")]
    form = ann.page(path).form(action)
    search_valkey.delete(SEARCH.entry(rate.rate_id.partition("-")[0]))
    for answer in (ann.get(path), ann.client.post(action, data={**form, "email": ANN})):
        assert answer.status_code == 404
        assert "/search" in answer.text
    assert "destination=lisbon" in answer.text
    assert ann.get("/rates/nonsense").status_code == 404


def test_the_api_takes_a_package_or_a_rate_and_says_what_to_mend(
    ann: Visitor, road: World, rate: OfferedRate, search_valkey: redis.Redis
) -> None:
    status, body = order(ann, rate_id=rate.rate_id, guest={"given_name": "Ann"})
    assert status == 202
    found = ann.get(f"/api/orders/{body['order_id']}", query_string={"email": ANN}).json
    assert found is not None
    assert found["package"] is None
    assert found["rate"]["price"] == "321.50"
    assert "vendor_key" not in found["rate"]
    for wrong, pointer in (
        ({}, "/package_id"), ({"package_id": 1, "rate_id": rate.rate_id}, "/package_id"),
        ({"package_id": 1, "guest": {}}, "/guest"),
        ({"rate_id": rate.rate_id, "guest": {"given_name": "A" * 61}}, "/guest/given_name"),
        ({"rate_id": rate.rate_id, "guest": {"given_name": "A\u0000"}}, "/guest/given_name"),
        ({"rate_id": 7}, "/rate_id"), ({"package_id": None}, "/package_id"),
    ):
        status, body = order(ann, **wrong)
        assert status == 422, body
        assert body["errors"][0]["pointer"] == pointer  # type: ignore[index]
    headers = {"Idempotency-Key": "k1"}
    wanted = {"email": ANN, "rate_id": rate.rate_id}
    first = ann.client.post("/api/orders", json=wanted, headers=headers).json
    search_valkey.delete(SEARCH.entry(rate.rate_id.partition("-")[0]))
    again = ann.client.post("/api/orders", json=wanted, headers=headers)
    assert again.json == first
    status, body = order(ann, rate_id=rate.rate_id)
    assert (status, body["type"]) == (404, "/problems/rate-gone")
    assert "Search again" in str(body["detail"])


def test_an_accepted_order_is_answered_while_the_catalogues_valkey_hangs(
    settings: Settings, road: World, rate: OfferedRate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That a buyer booked is told there too, and matters less than the answer."""
    monkeypatch.setattr(bootstrap, "ANSWER_TIMEOUT_S", 60.0)
    answers: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        visitor = build_app(
            msgspec.structs.replace(settings, catalogue_redis_url=address)
        ).test_client()
        body = {"email": ANN, "rate_id": rate.rate_id}
        asking = threading.Thread(daemon=True, target=lambda: answers.append(
            visitor.post("/api/orders", json=body).status_code
        ))
        asking.start()
        asking.join(20)
    assert answers == [202]
