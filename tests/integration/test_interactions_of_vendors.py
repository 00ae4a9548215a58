"""The log of calls to all five vendors: searches, rechecks, bookings and cancellations, cleaned."""

from __future__ import annotations

import datetime as dt
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import pytest
import redis

import bootstrap
from booking.commands import Compensate, ReservationCompensated, ReservationConfirmed, ReserveStay
from booking.model import NO_PACKAGE, STAY_ONLY, Guest, Order, RateFacts, RateOffer, State
from consumer.__main__ import _stays
from queues.keys import INTERACTIONS
from search.query import SearchQuery
from settings import Settings, load
from suppliers.fetching import FetchPart, query_of
from suppliers.http import Exchange
from suppliers.interactions import InteractionLog
from suppliers.planning import parts_of
from suppliers.rates import Holder, Part, Rate, RateSupplier
from suppliers.redaction import Interaction
from suppliers.registry import ADAPTERS
from tests.rate_suppliers import gathered, suppliers_at
from tests.simulator_fixtures import SimulatorProcess, running_simulator
from tests.waiting import eventually

SECRETS = {name: f"plant-{name.lower()}-0123456789" for name in (
    "HOTELBEDS_API_KEY", "HOTELBEDS_SECRET", "EXPEDIA_RAPID_API_KEY", "EXPEDIA_RAPID_SECRET",
    "DUFFEL_STAYS_ACCESS_TOKEN", "PERHOTEL_CLIENT_ID", "PERHOTEL_CLIENT_SECRET")}
HOLDER = Holder(given_name="Adaplanted", family_name="Lovelaceplanted",
                email="planted@example.org", phone="+15550199")
PERSON = ("adaplanted", "lovelaceplanted", "planted@example.org", "planted%40example.org",
          "15550199")
KEY = "01JHANORDEROFTWENTYSIXCHAR"
ARRIVAL = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=45)
SEARCH = SearchQuery("lisbon", ARRIVAL, ARRIVAL + dt.timedelta(2), 2, ("lisbon-1",))
QUERY = query_of(SEARCH.destination, SEARCH.check_in, SEARCH.check_out, SEARCH.guests, "EUR",
                 SEARCH.hotel_ids)
CALM = {"sold_out_rate": 0, "price_change_rate": 0}
# Every sort of call that there is, by vendor.
SEARCHES = {
    "hotelbeds": (r"POST .*/hotels",), "expedia_rapid": (r"GET .*/properties/availability",),
    "duffel_stays": (r"POST .*/search", r"POST .*/actions/fetch_all_rates"),
    "ascenda": (r"GET .*/hotels/prices",), "perhotel": (r"GET .*/rates/[^/]+",),
}
# The token; the recheck; the booking; the cancellation.
STAYS = {
    "hotelbeds": (r"POST .*/checkrates", r"POST .*/bookings", r"GET .*/bookings",
                  r"DELETE .*/bookings/[^/]+"),
    "expedia_rapid": (r"GET .*/properties/[0-9]+/check", r"POST .*/itineraries",
                      r"GET .*/itineraries", r"DELETE .*/itineraries/.+"),
    "duffel_stays": (r"POST .*/quotes", r"POST .*/bookings", r"GET .*/bookings",
                     r"POST .*/actions/cancel"),
    "ascenda": (r"GET .*/hotels/[^/]+/price", r"POST .*/bookings", r"DELETE .*/bookings/[^/]+"),
    "perhotel": (r"POST .*/oauth/token", r"POST .*/rates/check", r"POST .*/bookings",
                 r"DELETE .*/bookings/[^/]+"),
}


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    """All vendors, who know us by secrets that are easy to find."""
    with running_simulator(tmp_path_factory.mktemp("vendors"), **SECRETS) as running:
        assert running.switch(vendors=dict.fromkeys(ADAPTERS, CALM)).status_code == 200
        yield running


@pytest.fixture
def planted(settings: Settings, simulator: SimulatorProcess) -> Settings:
    environ = {**SECRETS, "SIMULATOR_URL": simulator.url}
    return msgspec.structs.replace(
        load(environ, find_engines=False), redis_url=settings.redis_url,
        mongo_url=settings.mongo_url, mongo_database=settings.mongo_database,
        data_dir=settings.data_dir)


@pytest.fixture
def client(planted: Settings, valkey: redis.Redis) -> Iterator[redis.Redis]:
    with bootstrap.connect_search_valkey(planted, connections=8) as client:
        yield client


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Exchange]:
    """All that any log of this process is told, as it was."""
    heard: list[Exchange] = []
    observe = InteractionLog.observe

    def noted(log: InteractionLog, exchange: Exchange) -> None:
        heard.append(exchange)
        observe(log, exchange)

    monkeypatch.setattr(InteractionLog, "observe", noted)
    return heard


def kept(client: redis.Redis, count: int) -> list[Interaction]:
    """What stands on the list, as soon as it is so many."""
    eventually(lambda: client.llen(INTERACTIONS.jobs) == count, 20, "each call is told once")
    return [msgspec.json.decode(raw, type=Interaction)
            for raw in reversed(client.lrange(INTERACTIONS.jobs, 0, -1))]


def sorts(calls: list[Interaction]) -> dict[str, set[str]]:
    """Which sorts of calls of each vendor these are; each of them is of one."""
    found: dict[str, set[str]] = defaultdict(set)
    for call in calls:
        known = [sort for sort in (*SEARCHES[call.supplier], *STAYS[call.supplier])
                 if re.fullmatch(sort, f"{call.method} {urlsplit(call.url).path}")]
        assert len(known) == 1, call
        found[call.supplier].add(known[0])
    return found


def a_rate(supplier: RateSupplier) -> Rate:
    [part] = parts_of(supplier, QUERY)
    return gathered(supplier.fetch(QUERY, part))[0][0]


def secrets_in(heard: list[Exchange]) -> set[str]:
    """What went over the wire and lets somebody in: signatures, tokens, links that carry one."""
    found = set()
    for call in heard:
        found |= {str(value) for name, value in call.request_headers.items()
                  if name.lower() in ("authorization", "x-signature", "api-key")}
        found |= {value for name, value in parse_qsl(urlsplit(call.url).query) if name == "token"}
        found |= set(re.findall(r'token=([^"&\\]+)', call.response_body.decode()))
        found |= set(re.findall(r'"access_token": ?"([^"]+)"', call.response_body.decode()))
    return {part for one in found for part in re.split(r"[\s,]|Signature=|APIKey=", one)
            if len(part) > 8}


def test_every_sort_of_call_is_kept_without_secrets_and_persons(
    planted: Settings, client: redis.Redis, heard: list[Exchange]
) -> None:
    log = bootstrap.interaction_log(planted, client)
    suppliers = bootstrap.rate_suppliers(planted, client, threading.Event(), pool_size=4,
                                         observe=log.observe)
    for supplier in suppliers.values():
        check = supplier.recheck(a_rate(supplier))
        assert check.rate is not None
        supplier.book(check.rate, HOLDER, KEY)
        assert supplier.cancel(KEY, HOLDER.email)
        supplier.close()
    log.close(20)
    calls = kept(client, len(heard))
    assert sorts(calls) == {name: {*SEARCHES[name], *STAYS[name]} for name in ADAPTERS}
    assert {call.status for call in calls} <= {200, 201, 202, 204}
    raw, text = repr(heard).lower(), msgspec.json.encode(calls).decode().lower()
    secrets = secrets_in(heard)
    assert len(secrets) > 10, "signatures and tokens went over the wire"
    for word in (*SECRETS.values(), *secrets, *PERSON):
        assert word.lower() not in text, word
    sent = [word for word in (*SECRETS.values(), *PERSON) if word in raw]
    assert set(PERSON) <= set(sent), "else there was nothing to remove"


def held(rate: Rate) -> tuple[Order, ReserveStay]:
    """An order of this rate that its vendor is to be asked for."""
    facts = RateFacts(
        id="0" * 32 + "-" + "1" * 16, hotel_id=rate.hotel_id, hotel="Mill", city="Lisbon",
        room=rate.room, board=rate.board, check_in=str(ARRIVAL), check_out=str(SEARCH.check_out),
        guests=2, price=rate.price, currency=rate.currency, refundable=rate.refundable,
        supplier=rate.supplier)
    offer = RateOffer(facts, rate.vendor_key)
    key = f"{KEY}{rate.supplier}held"
    order = Order(
        order_id=key, email=HOLDER.email, package_id=NO_PACKAGE, package=None, state=State.HELD,
        reason=None, accepted_ms=1, decided_ms=1, history=(), rate=offer,
        guest=Guest(HOLDER.given_name, HOLDER.family_name))
    return order, ReserveStay(order_id=key, rate=offer)


def test_the_reservation_consumer_tells_its_calls(
    planted: Settings, client: redis.Redis, heard: list[Exchange]
) -> None:
    """As production puts it together."""
    searching = suppliers_at(planted.simulator_url, environ=SECRETS)[0]
    stays = _stays(planted, client, 2, threading.Event())
    for name in ADAPTERS:
        order, job = held(a_rate(searching[name]))
        assert isinstance(stays.reserve(order, job), ReservationConfirmed)
        undo = Compensate(order_id=order.order_id, parts=STAY_ONLY, supplier=name)
        assert isinstance(stays.compensate(undo, order), ReservationCompensated)
    calls = kept(client, len(heard))
    assert sorts(calls) == {name: set(of_stays) for name, of_stays in STAYS.items()}
    text = msgspec.json.encode(calls).decode().lower()
    for word in (*SECRETS.values(), *secrets_in(heard), *PERSON):
        assert word.lower() not in text, word


def test_the_fetch_worker_tells_its_calls(
    planted: Settings, client: redis.Redis, heard: list[Exchange]
) -> None:
    entries = bootstrap.search_entries(planted, client)
    entry = entries.begin(SEARCH)
    entries.plan(SEARCH.search_id, dict.fromkeys(ADAPTERS, 1))
    fetcher = bootstrap.fetcher(planted, client, threading.Event(), ADAPTERS, owner="one")
    for name in ADAPTERS:
        fetcher.run(FetchPart(
            search_id=SEARCH.search_id, created_ms=entry.created_ms,
            deadline_ms=entry.deadline_ms, supplier=name, query=QUERY,
            part=Part(0, SEARCH.hotel_ids)))
    fetcher.close()
    found = entries.read(SEARCH.search_id)
    assert found is not None
    assert {rate.supplier for rate in found.rates} == set(ADAPTERS)
    assert {call.supplier for call in kept(client, len(heard))} == set(ADAPTERS)


def test_no_fetch_and_no_booking_waits_for_a_log_that_is_stuck(
    planted: Settings, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Valkey does not answer, and its buffer is full."""
    released, waited = threading.Event(), []
    monkeypatch.setattr("suppliers.interactions.BUFFER_MAX", 2)
    send = InteractionLog._send

    def stuck(log: InteractionLog, some: list[Exchange]) -> None:
        waited.append(released.wait(60))
        send(log, some)

    monkeypatch.setattr(InteractionLog, "_send", stuck)
    log = bootstrap.interaction_log(planted, client)
    told: list[Any] = []

    def observe(exchange: Exchange) -> None:
        told.append(exchange)
        log.observe(exchange)

    suppliers = bootstrap.rate_suppliers(planted, client, threading.Event(), pool_size=4,
                                         observe=observe)
    for supplier in suppliers.values():
        check = supplier.recheck(a_rate(supplier))
        assert check.rate is not None
        supplier.book(check.rate, HOLDER, f"{KEY}stuck")
        assert supplier.cancel(f"{KEY}stuck", HOLDER.email)
        supplier.close()
    assert waited == [], "all vendors were asked while the log was stuck"
    released.set()
    log.close(20)
    counted = int(client.hget(INTERACTIONS.counters, "dropped") or 0)
    assert counted > 0
    assert client.llen(INTERACTIONS.jobs) + counted == len(told), "kept or counted, each of them"
