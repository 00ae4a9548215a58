"""The catalogue over HTTP: from Valkey alone, in step with its changes, clear when it is away."""

from __future__ import annotations

import datetime as dt
import gzip
import itertools
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
import redis
from flask.testing import FlaskClient
from pymongo.database import Database

import bootstrap
from booking.model import Package, PackageAbout, PackageFacts
from booking.projection import project
from catalogue.shelf_writer import ask_for_rebuild
from embedded import RunningEngines
from queues.keys import BOOKING, CATALOGUE, SEARCH
from search.lowest import Lowest, LowestRates
from settings import Settings
from tests.catalogue_hotels import CITIES, hotel
from tests.catalogue_shelf import change, shelve
from tests.catalogue_world import CatalogueWorld
from tests.html_page import Page
from tests.waiting import eventually
from web import build_app
from web.services import Services

WITHIN_S = 5.0
HOTELS = [hotel(n, city, stars=2 + n % 4, price_from=f"{100 + n}.00")
          for n, city in enumerate([*CITIES] * 15)]


@pytest.fixture
def catalogue(settings: Settings, valkey: redis.Redis) -> Iterator[redis.Redis]:
    """The catalogue's own database of this test's Valkey, with hotels in it."""
    with bootstrap.connect_catalogue_valkey(settings) as client:
        shelve(client, HOTELS)
        yield client


@pytest.fixture
def client(settings: Settings, catalogue: redis.Redis) -> Iterator[FlaskClient]:
    app = build_app(settings)
    yield app.test_client()
    services: Services = app.extensions["berth"]
    services.listings.stop()


def text_of(client: FlaskClient, path: str, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text[:500]
    return answer.text


def listed(client: FlaskClient, query: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text_of(client, f"/api/hotels{query}"))
    return found


def test_the_listing_and_a_hotel_say_the_same_as_page_and_as_json(client: FlaskClient) -> None:
    found = listed(client, "?city=lisbon&stars=4")
    page = text_of(client, found["url"])
    assert found["url"] == "/hotels/4-star-hotels-in-lisbon"
    assert f"{found['total']} places to stay" in page
    for one in found["hotels"]:
        assert one["city"]["slug"] == "lisbon"
        assert one["stars"] == 4
        assert f'href="{one["url"]}"' in page
        assert one["name"] in text_of(client, one["url"])
        assert json.loads(text_of(client, f"/api/hotels/{one['id']}"))["slug"] == one["slug"]


def test_all_pages_together_list_every_hotel_once(client: FlaskClient) -> None:
    first = listed(client, "?page_size=7&order_by=price_asc")
    ids: list[str] = []
    for number in range(1, first["page_count"] + 1):
        page = listed(client, f"?page_size=7&order_by=price_asc&page_no={number}")
        ids += [one["id"] for one in page["hotels"]]
    assert sorted(ids) == sorted(one.hotel_id for one in HOTELS)
    assert client.get(f"/api/hotels?page_size=7&page_no={first['page_count'] + 1}"
                      ).status_code == 404


@pytest.mark.parametrize(("asked", "canonical"), [
    ("/hotels?city=lisbon&stars=4", "/hotels/4-star-hotels-in-lisbon"),
    ("/hotels/hotels-in-lisbon?stars=4", "/hotels/4-star-hotels-in-lisbon"),
    ("/hotels?stars=&price_min=&order_by=reco", "/hotels"),
    ("/hotels?where=Portugal", "/hotels/hotels-in-portugal"),
    ("/hotels?city=porto,lisbon", "/hotels?city=lisbon&city=porto"),
    ("/hotels/hotels-in-lisbon?page_no=1", "/hotels/hotels-in-lisbon"),
])
def test_every_listing_has_one_address(client: FlaskClient, asked: str, canonical: str) -> None:
    answer = client.get(asked, follow_redirects=True)
    assert answer.status_code == 200
    assert answer.request.full_path.rstrip("?") == canonical
    if "?" not in canonical:
        assert f'<link rel="canonical" href="{canonical}">' in answer.text


def test_the_mark_of_an_advertisement_sends_nobody_elsewhere(client: FlaskClient) -> None:
    assert client.get("/hotels/hotels-in-lisbon?utm_source=x").status_code == 200


@pytest.mark.parametrize(("query", "field"), [
    ("stars=9", "stars"), ("stars=x", "stars"), ("city=atlantis", "city"), ("page_no=0", "page_no"),
    ("page_no=9999999", "page_no"), ("page_size=101", "page_size"), ("order_by=best", "order_by"),
    ("price_min=-1", "price_min"), ("price_min=9&price_max=8", "price_max"), ("price_max=NaN",
     "price_max"), ("rating=11", "rating"), ("amenity=moat", "amenity"), ("pagesize=7", "pagesize"),
    ("stars=%C2%B2", "stars"), ("city=" + "x" * 500, "city"),
    ("amenity=" + ",".join(map(str, range(50))), "amenity"),
])
def test_a_bad_parameter_is_named(client: FlaskClient, query: str, field: str) -> None:
    answer = client.get(f"/api/hotels?{query}")
    assert answer.status_code == 422
    assert answer.json is not None
    assert answer.json["errors"][0]["pointer"] == field
    if field != "pagesize":
        page = text_of(client, f"/hotels?{query}", 422)
        assert field not in Page(page).text or "_" not in field, "a program's name is for programs"
        assert 'href="/hotels"' in page.partition("<main")[2]


@pytest.mark.parametrize("path", ["/hotels/no-such-house", "/hotels/hotels-in-lisbonn",
                                  "/hotels?where=Atlantis", "/hotels/hotels-in-lisbon?page_no=99",
                                  "/hotels/a-house-that-is-gone-lisbon-77"])
def test_what_is_not_there_has_a_way_back(client: FlaskClient, path: str) -> None:
    page = text_of(client, path, 404)
    assert 'href="/hotels"' in page
    if "lisbonn" in path or "gone" in path:
        assert 'href="/hotels/hotels-in-lisbon"' in page
    assert client.get("/api/hotels/nowhere-1").status_code == 404


@pytest.mark.parametrize("path", ["/hotels", "/hotels/quiet-heron-lisbon-0", "/api/hotels",
                                  "/api/hotels/lisbon-0"])
def test_an_answer_comes_as_it_is_kept(client: FlaskClient, path: str) -> None:
    packed = client.get(path, headers={"Accept-Encoding": "gzip"})
    plain = client.get(path, headers={"Accept-Encoding": "gzip;q=0, identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(packed.data) == plain.data
    assert packed.headers["Vary"] == "Accept-Encoding"
    assert "max-age=1" in packed.headers["Cache-Control"]
    assert "Set-Cookie" not in packed.headers
    known = client.get(path, headers={"If-None-Match": packed.headers["ETag"]})
    assert (known.status_code, known.data) == (304, b"")
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200
    head = client.head(path, headers={"Accept-Encoding": "gzip"})
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["Content-Length"] == str(len(packed.data))


@pytest.mark.parametrize("path", ["/hotels", "/hotels/quiet-heron-lisbon-0",
                                  "/hotels/4-star-hotels-in-lisbon"])
def test_a_copy_is_the_answer_that_was_given_before(client: FlaskClient, path: str) -> None:
    takes = {"Accept-Encoding": "gzip, deflate, br"}
    first, copy = (client.get(path, headers=takes) for _ in range(2))
    assert first.status_code == copy.status_code == 200
    assert first.data == copy.data
    assert sorted(first.headers) == sorted(copy.headers)


@pytest.mark.parametrize("path", ["/hotelsxquiet-heron-lisbon-0", "/hotels/x/quiet-heron-lisbon-0",
                                  "/hotels.quiet-heron-lisbon-0", "/hotelsx"])
def test_a_copy_has_no_second_address(client: FlaskClient, path: str) -> None:
    takes = {"Accept-Encoding": "gzip"}
    for known in ("/hotels/quiet-heron-lisbon-0", "/hotels"):
        assert client.get(known, headers=takes).status_code == 200
    assert client.get(path, headers=takes).status_code == 404


def test_a_change_is_followed_by_the_page_and_by_the_listing(
    client: FlaskClient, catalogue: redis.Redis
) -> None:
    path, listing = "/hotels/quiet-heron-lisbon-0", "/api/hotels?city=lisbon&order_by=price_asc"
    text_of(client, path)
    assert json.loads(text_of(client, listing))["hotels"][0]["price_from"] == "100.00"
    change(catalogue, hotel(0, name="Loud Heron", price_from="900.00"))
    eventually(lambda: "Loud Heron" in text_of(client, path), WITHIN_S, "the page follows")
    eventually(lambda: json.loads(text_of(client, listing))["hotels"][-1]["name"] == "Loud Heron",
               WITHIN_S, "the listing follows")
    change(catalogue, hotel(0), gone=True)
    eventually(lambda: client.get(path).status_code == 404, WITHIN_S, "the page goes")
    change(catalogue, hotel(77, slug="new-house", stars=1))
    eventually(lambda: listed(client, "?stars=1")["total"] == 1, WITHIN_S, "a new one comes")
    assert "Quiet Heron 77" in text_of(client, "/hotels/new-house")


def test_a_city_that_is_renamed_is_found_by_its_new_name(
    client: FlaskClient, catalogue: redis.Redis
) -> None:
    for one in HOTELS:
        if one.city_slug == "lisbon":
            change(catalogue, msgspec.structs.replace(one, city="Lisboa"))
    eventually(lambda: "Hotels in Lisboa" in text_of(client, "/hotels/hotels-in-lisbon"), WITHIN_S)
    for name in ("Lisboa", "Lisbon"):
        answer = client.get(f"/hotels?where={name}", follow_redirects=True)
        assert answer.request.path == "/hotels/hotels-in-lisbon", name


def test_a_change_drops_the_copies_that_it_touches_and_no_others(
    client: FlaskClient, catalogue: redis.Redis
) -> None:
    services: Services = client.application.extensions["berth"]
    listings = services.listings

    def kept(path: str) -> object:
        return listings.kept(f"{path}?", listings.snapshot())

    lisbon, porto = "/hotels/hotels-in-lisbon", "/hotels/hotels-in-porto"
    takes = {"Accept-Encoding": "gzip"}
    for path in (lisbon, porto):
        client.get(path, headers=takes)
    copy = kept(porto)
    assert copy is not None
    assert kept(lisbon) is not None
    change(catalogue, hotel(0, stars=2, price_from="1.50", rating="9.9"))
    eventually(lambda: "€1.50" in text_of(client, lisbon), WITHIN_S, "the listing follows")
    assert kept(porto) is copy
    change(catalogue, hotel(0, stars=1, price_from="1.50", rating="9.9"))
    eventually(lambda: kept(porto) is not copy, WITHIN_S, "counts of stars are on every page")
    shelve(catalogue, HOTELS[:5], generation=2)
    eventually(lambda: kept(lisbon) is None, WITHIN_S, "a generation has copies of its own")


def test_another_generation_is_followed(client: FlaskClient, catalogue: redis.Redis) -> None:
    assert listed(client)["total"] == len(HOTELS)
    shelve(catalogue, HOTELS[:5], generation=2)
    eventually(lambda: listed(client)["total"] == 5, WITHIN_S, "the listing follows")


def test_no_answer_is_missing_while_everything_is_built_anew(
    settings: Settings, mongo_database: Database[dict[str, Any]]
) -> None:
    with bootstrap.connect_catalogue_valkey(settings) as shelf:
        world = CatalogueWorld(shelf, mongo_database, hotels=12)
        world.consumer().step()
        app = build_app(settings)
        hotel_page = world.shown("lisbon-7")["url"]
        done, statuses = threading.Event(), Counter[int]()

        def browse() -> None:
            asked = itertools.cycle(("/hotels", "/hotels/hotels-in-lisbon", hotel_page,
                                     "/api/hotels?order_by=newest", "/api/hotels/lisbon-7"))
            client = app.test_client()
            while not done.is_set():
                statuses[client.get(next(asked)).status_code] += 1

        visitors = [threading.Thread(target=browse) for _ in range(3)]
        try:
            for one in visitors:
                one.start()
            consumer = world.consumer()
            shelf.delete(CATALOGUE.lease)
            for number in range(6):
                ask_for_rebuild(shelf)
                world.settle(consumer)
                while shelf.exists(CATALOGUE.old):  # until nothing of the last one is left
                    consumer.step()
                seen = statuses.total()
                eventually(lambda seen=seen: statuses.total() > seen + 20, WITHIN_S,
                           f"visitors see rebuild {number}")
        finally:
            done.set()
            for one in visitors:
                one.join()
            app.extensions["berth"].listings.stop()
        assert set(statuses) == {200}


def test_a_flushed_catalogue_is_a_clear_503_until_it_is_back(
    client: FlaskClient, catalogue: redis.Redis
) -> None:
    listed(client)
    catalogue.flushdb()
    paths = ["/hotels", "/api/hotels", "/hotels/quiet-heron-lisbon-0", "/api/hotels/lisbon-0"]
    for path in paths:
        eventually(lambda path=path: client.get(path).status_code == 503, WITHIN_S, path)
        answer = client.get(path)
        assert int(answer.headers["Retry-After"]) >= 1
    assert client.get("/api/hotels").content_type == "application/problem+json"

    # A thousand visitors of an empty catalogue cost it next to nothing: no query per visitor.
    before = int(catalogue.info("stats")["total_commands_processed"])
    app = client.application
    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(lambda _: app.test_client().get("/hotels").status_code,
                                range(1_000)))
    assert statuses == {503}
    assert int(catalogue.info("stats")["total_commands_processed"]) - before < 200

    shelve(catalogue, HOTELS)
    eventually(lambda: client.get("/hotels").status_code == 200, WITHIN_S, "it is back")


def test_browsing_goes_on_without_mongodb(own_engines: RunningEngines, settings: Settings) -> None:
    """No view of the catalogue asks the database: it is not even there."""
    alone = msgspec.structs.replace(settings, redis_url=own_engines.redis_url,
                                    mongo_url="mongodb://127.0.0.1:1/")
    with bootstrap.connect_catalogue_valkey(alone) as shelf:
        shelve(shelf, HOTELS)
        app = build_app(alone)
        try:
            client = app.test_client()
            for path in ("/hotels", "/hotels/hotels-in-lisbon", "/hotels/quiet-heron-lisbon-0",
                         "/api/hotels", "/api/hotels/lisbon-0"):
                assert client.get(path).status_code == 200, path
            assert client.post("/hotels/lisbon-0/visit").status_code == 200
            change(shelf, hotel(0, name="Loud Heron"))
            eventually(lambda: "Loud Heron" in client.get("/hotels/quiet-heron-lisbon-0").text,
                       WITHIN_S, "the page follows")
        finally:
            app.extensions["berth"].listings.stop()


def test_a_visitor_is_told_what_differs_per_visitor(
    client: FlaskClient, settings: Settings
) -> None:
    first = client.post("/hotels/lisbon-0/visit")
    assert first.json == {"is_seen": False, "interested_people": 1, "lowest_rate": None}
    assert "no-store" in first.headers["Cache-Control"]
    assert "HttpOnly" in first.headers["Set-Cookie"]
    again = client.post("/hotels/lisbon-0/visit").json
    assert again is not None
    assert (again["is_seen"], again["interested_people"]) == (True, 1)
    other = client.application.test_client().post("/hotels/lisbon-0/visit").json
    assert other is not None
    assert (other["is_seen"], other["interested_people"]) == (False, 2)
    elsewhere = client.post("/hotels/porto-1/visit").json
    assert elsewhere is not None
    assert (elsewhere["is_seen"], elsewhere["interested_people"]) == (False, 1)
    forged = client.application.test_client()
    forged.set_cookie("visitor", "WyJhIixbImxpc2Jvbi0wIl1d.forged")
    assert forged.post("/hotels/lisbon-0/visit").json["is_seen"] is False  # type: ignore[index]
    assert client.post("/hotels/nowhere-1/visit").status_code == 404


def test_the_lowest_live_rate_is_told_while_its_search_lives(
    client: FlaskClient, settings: Settings
) -> None:
    now = dt.datetime.now(dt.UTC)
    with bootstrap.connect_search_valkey(settings) as search:
        rates = LowestRates(search)
        for price, ends_in_s in (("80.00", -1), ("95.50", 60), ("99.00", 60)):
            ends_ms = int((now.timestamp() + ends_in_s) * 1_000)
            found = Lowest(ends_ms, price, "EUR", "2026-12-01", "2026-12-02", 2)
            search.zadd(SEARCH.lowest("lisbon-0"), {msgspec.json.encode(found): float(price)})
        assert rates.of("lisbon-1", int(now.timestamp() * 1_000)) is None
    told = client.post("/hotels/lisbon-0/visit").json
    assert told is not None
    assert told["lowest_rate"]["text"] == "€95.50"
    assert told["lowest_rate"]["nights"] == "Tue 1 Dec to Wed 2 Dec"


def test_a_package_leads_to_its_hotel_and_to_those_of_its_city(
    client: FlaskClient, valkey: redis.Redis
) -> None:
    for package_id, city, hotel_id in ((1, "Lisbon", "lisbon-0"), (2, "Atlantis", "atlantis-1"),
                                       (3, "Porto", "")):
        about = PackageAbout(origin_city="Paris", origin_iata="CDG", destination_city=city,
                             destination_iata="LIS", destination_country="Portugal", hotel="Inn",
                             hotel_id=hotel_id)
        facts = PackageFacts(package_id, "Flight-1", "2027-08-09", "100.00", "EUR")
        key, view, _ = project(Package(facts=facts, quota=5, about=about), 5)
        valkey.hset(BOOKING.packages, key, view)
    text_of(client, "/hotels")
    page = text_of(client, "/order?package=1")
    assert 'href="/hotels/hotels-in-lisbon"' in page
    assert '<a href="/hotels/quiet-heron-lisbon-0">Inn</a>' in page
    assert 'href="/hotels/' not in text_of(client, "/order?package=2"), "its hotel is not there"
    page = text_of(client, "/order?package=3")
    assert re.findall('href="/hotels/([^"]*)"', page) == ["hotels-in-porto"]


def test_a_hotel_that_is_called_like_a_listing_keeps_its_address(
    client: FlaskClient, catalogue: redis.Redis
) -> None:
    change(catalogue, hotel(99, slug="hotels-in-porto", name="Hotels in Porto"))
    eventually(lambda: "<h1>Hotels in Porto</h1>" in text_of(client, "/hotels/hotels-in-porto")
               and "A calm house" in text_of(client, "/hotels/hotels-in-porto"), WITHIN_S, "it is")
    assert listed(client, "?city=porto")["url"] == "/hotels?city=porto"
    assert text_of(client, "/hotels?city=porto")


def test_the_state_of_the_catalogue_alone_is_enough_to_say_that_it_is_gone(
    client: FlaskClient, catalogue: redis.Redis
) -> None:
    text_of(client, "/hotels/quiet-heron-lisbon-0")
    catalogue.delete(CATALOGUE.state)
    eventually(lambda: client.get("/hotels/quiet-heron-lisbon-0").status_code == 503, WITHIN_S,
               "the page is not shown")
