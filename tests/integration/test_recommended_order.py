"""The listing in the order of its visitor's taste: buyer, hotels just seen, or everybody."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import numpy as np
import pytest
import redis
from flask.testing import FlaskClient

import bootstrap
from catalogue import recommender as module
from catalogue.feedback import TasteShelf
from catalogue.taste import TasteModel
from queues.keys import FEEDBACK
from settings import Settings
from tests.catalogue_hotels import hotel
from tests.catalogue_shelf import change, shelve
from tests.waiting import eventually
from web import build_app, visits
from web.services import Services

CITIES = ("lisbon", "paris", "porto")
HOTELS = [hotel(n, CITIES[n % 3], price_from=f"{100 + n}.00") for n in range(60)]


def model(liked: str = "lisbon") -> TasteModel:
    """One in which hotels of a city are alike, and everybody likes those of `liked`."""
    ids = [one.hotel_id for one in HOTELS]
    factors = np.zeros((len(ids), 3), np.float32)
    general = np.zeros(len(ids), np.float32)
    for n, one in enumerate(HOTELS):
        factors[n, CITIES.index(one.city_slug)] = 1.0
        general[n] = 9.0 if one.city_slug == liked else 0.0
    names = [f"city:{city}" for city in CITIES]
    return TasteModel(f"for-{liked}", ids, factors, names, np.eye(3, dtype=np.float32), general)


@pytest.fixture
def catalogue(settings: Settings, valkey: redis.Redis) -> Iterator[redis.Redis]:
    with bootstrap.connect_catalogue_valkey(settings) as client:
        shelve(client, HOTELS)
        yield client


@pytest.fixture
def client(
    settings: Settings, catalogue: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FlaskClient]:
    monkeypatch.setattr(module, "LOOK_EVERY_S", 0.0)
    app = build_app(settings)
    yield app.test_client()
    services: Services = app.extensions["berth"]
    services.listings.stop()


def cities_of(client: FlaskClient, path: str = "/hotels?page_size=20") -> list[str]:
    """The city of each hotel of a page, in its order."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text[:300]
    slugs = re.findall(r'href="/hotels/([a-z0-9-]+)"', answer.text)
    by_slug = {one.slug: one.city_slug for one in HOTELS}
    return [by_slug[slug] for slug in dict.fromkeys(slugs) if slug in by_slug]


def look(client: FlaskClient, hotel_id: str) -> None:
    assert client.post(f"/hotels/{hotel_id}/visit").status_code == 200


def first(city: str) -> str:
    return next(one.hotel_id for one in HOTELS if one.city_slug == city)


def test_without_a_model_the_order_is_the_general_one(client: FlaskClient) -> None:
    before = cities_of(client)
    look(client, first("porto"))
    assert cities_of(client) == before


def test_nobody_sees_what_everybody_likes(client: FlaskClient, catalogue: redis.Redis) -> None:
    cities_of(client)
    TasteShelf(catalogue).put(model("paris"), {}, learned_from=1)
    assert set(cities_of(client)) == {"paris"}
    TasteShelf(catalogue).put(model("porto"), {}, learned_from=2)
    assert set(cities_of(client)) == {"porto"}, "another model orders anew at once"
    found = json.loads(client.get("/api/hotels?page_size=5").text)
    assert {one["city"]["slug"] for one in found["hotels"]} == {"porto"}


def test_a_visitor_sees_what_is_like_the_hotels_just_seen(
    client: FlaskClient, catalogue: redis.Redis
) -> None:
    TasteShelf(catalogue).put(model("paris"), {}, learned_from=1)
    everybody = client.get("/hotels?page_size=20")
    look(client, first("porto"))
    mine = client.get("/hotels?page_size=20")
    assert set(cities_of(client)) == {"porto"}
    assert mine.headers["Cache-Control"] == "private, no-cache"
    assert "Cookie" in mine.headers["Vary"]
    assert everybody.headers["Cache-Control"].startswith("public")
    # Nothing of it is left for the next one, and other orders are everybody's.
    client.delete_cookie(visits.COOKIE)
    assert set(cities_of(client)) == {"paris"}
    look(client, first("porto"))
    cheap = client.get("/hotels?page_size=20&order_by=price_asc")
    assert cheap.headers["Cache-Control"].startswith("public")


@pytest.mark.parametrize("before", ["porto", ""])
def test_every_hotel_once_over_the_pages_of_ones_own_order(
    client: FlaskClient, catalogue: redis.Redis, before: str
) -> None:
    """Whatever its visitor looks at between them; the next listing heeds it."""
    TasteShelf(catalogue).put(model(), {}, learned_from=1)
    if before:
        look(client, first(before))
    slugs: list[str] = []
    for number in (1, 2, 3):
        text = client.get(f"/hotels?page_size=20&page_no={number}", follow_redirects=True).text
        known = {one.slug for one in HOTELS}
        slugs += [slug for slug in dict.fromkeys(
            re.findall(r'href="/hotels/([a-z0-9-]+)"', text)) if slug in known]
        for one in HOTELS[3 * number + 1::30]:
            look(client, one.hotel_id)  # in Paris
    assert sorted(slugs) == sorted(one.slug for one in HOTELS)
    for one in HOTELS[1::3]:
        look(client, one.hotel_id)
    assert set(cities_of(client)) == {"paris"}
    assert "paris" not in cities_of(client, "/hotels?page_size=20&page_no=2")


def test_a_buyer_is_known_by_what_was_learned_of_them(
    client: FlaskClient, catalogue: redis.Redis
) -> None:
    app = client.application
    with app.test_request_context():
        buyer = visits.buyer_id("Ann@Example.org ")
        assert buyer == visits.buyer_id("ann@example.org")
        assert "ann" not in buyer
        cookie = visits._signer().dumps([buyer, []])
    taste = np.array([0, 5, 0], np.float32)  # paris
    TasteShelf(catalogue).put(model("lisbon"), {buyer: taste}, learned_from=1)
    client.set_cookie(visits.COOKIE, cookie)
    assert set(cities_of(client)) == {"paris"}
    client.set_cookie(visits.COOKIE, cookie[:-2] + "xx")
    assert set(cities_of(client)) == {"lisbon"}, "a forged cookie is nobody's"


def test_a_new_hotel_is_placed_by_its_features(
    client: FlaskClient, catalogue: redis.Redis
) -> None:
    TasteShelf(catalogue).put(model(), {}, learned_from=1)
    new = hotel(600, "porto", price_from="90.00")
    look(client, first("porto"))
    cities_of(client)
    change(catalogue, new)

    def listed_early() -> bool:
        text = client.get("/hotels?page_size=30").text
        return f'href="/hotels/{new.slug}"' in text

    eventually(listed_early, 5, "it stands among the hotels of its city")


def test_looks_are_told_and_a_full_list_hurts_nobody(
    client: FlaskClient, catalogue: redis.Redis
) -> None:
    for one in HOTELS[:3]:
        look(client, one.hotel_id)
    told = [json.loads(raw) for raw in catalogue.lrange(FEEDBACK.jobs, 0, -1)]
    assert [one["hotel_id"] for one in reversed(told)] == [one.hotel_id for one in HOTELS[:3]]
    assert len({one["visitor"] for one in told}) == 1
    catalogue.hset(FEEDBACK.counters, "pushed", 10**9)
    look(client, HOTELS[4].hotel_id)
    catalogue.hset(FEEDBACK.model, mapping={"version": "broken", "block": b"garbage"})
    assert len(cities_of(client)) == 20, "a model that cannot be read orders nothing"
