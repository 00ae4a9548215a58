"""The five suppliers of rates against the simulator process: rates, faults, recheck, booking."""

from __future__ import annotations

import datetime as dt
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import redis
import requests

import bootstrap
from errors import SupplierAway, SupplierDeclined, Throttled, TokenExpired
from settings import load
from suppliers.gate import VendorGate
from suppliers.http import Exchange
from suppliers.places import cities
from suppliers.planning import parts_of
from suppliers.rates import Board, Holder, Rate, RateQuery, RateSupplier
from suppliers.registry import ADAPTERS
from suppliers.simulator.vendors.gate import HANG_S
from tests.rate_suppliers import LocalTokens, gathered, suppliers_at, told
from tests.simulator_fixtures import SimulatorProcess, running_simulator

NAMES = sorted(ADAPTERS)
IN_DAYS = dt.timedelta(days=60)
STAYS = itertools.count()
HOLDER = Holder(given_name="Ada", family_name="Lovelace", email="ada@example.org", phone="+351123")
CALM: dict[str, Any] = {
    "fault_rate": 0, "throttle_rate": 0, "hang_rate": 0, "garbage_rate": 0, "slow_body_rate": 0,
    "malformed_rate": 0, "sold_out_rate": 0, "price_change_rate": 0, "at_once_max": 0,
    "token_life_s": 600, "retry_after_s": 1, "currency": "EUR",
    "latency_ms_min": 0, "latency_ms_max": 0,
}


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    with running_simulator(tmp_path_factory.mktemp("vendors")) as running:
        yield running


@pytest.fixture
def simulator(process: SimulatorProcess) -> SimulatorProcess:
    """The process with every vendor calm again."""
    assert process.switch(vendors=dict.fromkeys(NAMES, CALM)).status_code == 200
    return process


def switched(simulator: SimulatorProcess, vendor: str, **fields: Any) -> None:
    answer = simulator.switch(vendors={vendor: fields})
    assert answer.status_code == 200, answer.text


def calls(simulator: SimulatorProcess, vendor: str) -> Counter[str]:
    document = requests.get(f"{simulator.url}/api/simulator/calls", timeout=5).json()
    return Counter(document[vendor]["calls"])


def stays(simulator: SimulatorProcess) -> list[dict[str, str]]:
    answer = requests.get(f"{simulator.url}/api/simulator/stays", timeout=5)
    return list(answer.json()["stays"])


def a_query(destination: str = "lisbon", **fields: Any) -> RateQuery:
    """A stay that no other test of this process has asked for: the polled vendor goes on with a
    search that it knows, and has the answer to an old one at once."""
    check_in = dt.datetime.now(dt.UTC).date() + IN_DAYS + dt.timedelta(days=next(STAYS) % 200)
    return RateQuery(**{"destination": destination, "check_in": check_in,
                        "check_out": check_in + dt.timedelta(days=3), "guests": 2, **fields})


def fetched(supplier: RateSupplier, query: RateQuery) -> list[Rate]:
    rates: list[Rate] = []
    for part in parts_of(supplier, query):
        some, errors = gathered(supplier.fetch(query, part))
        assert errors == []
        rates += some
    return rates


def one_rate(supplier: RateSupplier, **fields: Any) -> Rate:
    return fetched(supplier, a_query(hotel_ids=("lisbon-7",), **fields))[0]


# --- fetching -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_hotel_of_a_destination_has_rates(simulator: SimulatorProcess, name: str) -> None:
    adapters, _ = suppliers_at(simulator.url)
    rates = fetched(adapters[name], a_query())
    assert {rate.hotel_id for rate in rates} == set(cities()["lisbon"].hotel_ids())
    assert {rate.supplier for rate in rates} == {name}
    assert {rate.currency for rate in rates} == {"EUR"}
    assert all(Decimal(rate.price) > 100 and rate.price[-3] == "." for rate in rates)
    assert len({rate.vendor_key for rate in rates}) >= len(rates) / 4
    if name != "ascenda":  # has one price a hotel, of which nothing more is known
        assert {rate.refundable for rate in rates} == {True, False}
        assert len({rate.room for rate in rates}) == 3
    if name in ("hotelbeds", "duffel_stays", "perhotel"):
        assert {rate.board for rate in rates} == {Board.ROOM_ONLY, Board.BREAKFAST,
                                                  Board.HALF_BOARD}


@pytest.mark.parametrize("name", NAMES)
def test_only_what_is_asked_for_comes_back(simulator: SimulatorProcess, name: str) -> None:
    adapters, _ = suppliers_at(simulator.url)
    query = a_query(hotel_ids=("lisbon-3", "lisbon-9"))
    assert {rate.hotel_id for rate in fetched(adapters[name], query)} == set(query.hotel_ids)


@pytest.mark.parametrize("name", NAMES)
def test_dates_and_guests_are_in_the_price(simulator: SimulatorProcess, name: str) -> None:
    adapters, _ = suppliers_at(simulator.url)
    short = a_query(guests=1)
    long = msgspec.structs.replace(short, check_out=short.check_in + dt.timedelta(days=6))
    many = msgspec.structs.replace(short, guests=4)
    hotel = {"hotel_ids": ("lisbon-7",)}
    prices = [min(Decimal(rate.price) for rate in
                  fetched(adapters[name], msgspec.structs.replace(query, **hotel)))
              for query in (short, long, many)]
    # Prices drift by up to 6 % from call to call.
    assert Decimal("1.85") < prices[1] / prices[0] < Decimal("2.15")
    assert Decimal("1.9") < prices[2] / prices[0] < Decimal("2.2")


@pytest.mark.parametrize("name", NAMES)
def test_prices_differ_from_search_to_search(simulator: SimulatorProcess, name: str) -> None:
    adapters, _ = suppliers_at(simulator.url)
    # The polled vendor keeps its answer for a minute, so it is asked for another stay each time.
    later = 1 if name == "ascenda" else 0
    first, prices = a_query().check_in, []
    for number in range(3):
        check_in = first + dt.timedelta(days=7 * number * later)
        query = a_query("porto", check_in=check_in, check_out=check_in + dt.timedelta(days=3))
        prices.append(tuple(sorted(rate.price for rate in fetched(adapters[name], query))))
    assert len(set(prices)) == 3


def test_many_hotels_go_in_batches(simulator: SimulatorProcess) -> None:
    adapters, _ = suppliers_at(simulator.url)
    query = a_query("tokyo")
    for name, parts in (("hotelbeds", 2), ("expedia_rapid", 2), ("duffel_stays", 1),
                        ("ascenda", 1), ("perhotel", 1)):
        planned = parts_of(adapters[name], query)
        assert len(planned) == parts
        assert [hotel for part in planned for hotel in part.hotel_ids] == list(
            cities()["tokyo"].hotel_ids())
    for name, asked in (("hotelbeds", {"search": 2}), ("expedia_rapid", {"search": 2}),
                        ("duffel_stays", {"search": 6, "fetch_all_rates": 300})):
        before = calls(simulator, name)
        assert len({rate.hotel_id for rate in fetched(adapters[name], query)}) == 300
        assert calls(simulator, name) - before == Counter(asked)


@pytest.mark.parametrize("name", ["expedia_rapid", "ascenda"])
def test_a_currency_can_be_asked_for(simulator: SimulatorProcess, name: str) -> None:
    adapters, _ = suppliers_at(simulator.url)
    rate = one_rate(adapters[name], currency="JPY")
    assert rate.currency == "JPY"
    assert "." not in rate.price


@pytest.mark.parametrize("name", ["hotelbeds", "duffel_stays", "perhotel"])
def test_a_currency_of_the_vendors_own_is_kept(simulator: SimulatorProcess, name: str) -> None:
    switched(simulator, name, currency="KWD")
    adapters, _ = suppliers_at(simulator.url)
    rate = one_rate(adapters[name], currency="EUR")
    assert rate.currency == "KWD"
    assert rate.price[-4] == "."


@pytest.mark.parametrize("name", NAMES)
def test_broken_hotels_cost_nobody_else(simulator: SimulatorProcess, name: str) -> None:
    switched(simulator, name, malformed_rate=0.5)
    adapters, _ = suppliers_at(simulator.url)
    rates, errors = [], []
    for part in parts_of(adapters[name], query := a_query("madrid")):
        some, broken = gathered(adapters[name].fetch(query, part))
        rates, errors = rates + some, errors + broken
    assert {reason for _, reason in told(errors)} == {"unreadable"}
    with_rates = {rate.hotel_id for rate in rates}
    with_errors = {error.hotel_id for error in errors}
    assert with_rates
    assert with_errors
    assert with_rates | with_errors == set(cities()["madrid"].hotel_ids())


def test_a_polled_supplier_shows_hotels_before_it_is_completed(
    simulator: SimulatorProcess,
) -> None:
    switched(simulator, "ascenda", latency_ms_min=600, latency_ms_max=600)
    adapters, _ = suppliers_at(simulator.url)
    query = a_query("vienna")
    begun, arrived = time.monotonic(), {}
    for chunk in adapters["ascenda"].fetch(query, parts_of(adapters["ascenda"], query)[0]):
        assert len({rate.hotel_id for rate in chunk.rates}) == 1
        arrived[chunk.name] = time.monotonic() - begun
    assert set(arrived) == set(cities()["vienna"].hotel_ids())
    assert min(arrived.values()) < 0.5
    assert 0.6 <= max(arrived.values()) < 2


@pytest.mark.parametrize("name", NAMES)
def test_every_call_is_admitted_first(simulator: SimulatorProcess, name: str) -> None:
    """Searches, polls, steps, tokens, rechecks, bookings and cancellations alike."""
    told: list[str] = []
    adapters, _ = suppliers_at(simulator.url, admit=lambda: told.append("admitted"),
                               observe=lambda call: told.append("called"))
    supplier, key, before = adapters[name], uuid4().hex, calls(simulator, name)
    check = supplier.recheck(one_rate(supplier))
    assert check.rate is not None
    supplier.book(check.rate, HOLDER, key)
    assert supplier.cancel(key, HOLDER.email)
    made = sum((calls(simulator, name) - before).values())
    assert made >= 4
    assert told == ["admitted", "called"] * made


@pytest.mark.parametrize("name", NAMES)
def test_a_call_that_is_not_admitted_is_not_made(simulator: SimulatorProcess, name: str) -> None:
    def full() -> None:
        raise Throttled("as many as there may be", 3.0)

    adapters, _ = suppliers_at(simulator.url, admit=full)
    supplier, before = adapters[name], calls(simulator, name)
    with pytest.raises(Throttled):
        fetched(supplier, a_query(hotel_ids=("lisbon-1",)))
    with pytest.raises(Throttled):
        supplier.cancel(uuid4().hex, HOLDER.email)
    assert calls(simulator, name) == before


@pytest.mark.parametrize("name", NAMES)
def test_production_calls_a_supplier_within_its_gate_only(
    simulator: SimulatorProcess, valkey: redis.Redis, name: str
) -> None:
    stop = threading.Event()
    gate = VendorGate(valkey, failures=3, open_s=60.0, stop=stop)
    settings = load({"SIMULATOR_URL": simulator.url}, find_engines=False)
    supplier = bootstrap.rate_suppliers(settings, valkey, stop, pool_size=4, gate=gate)[name]
    query, before = a_query(hotel_ids=("lisbon-1",)), calls(simulator, name)
    [part] = parts_of(supplier, query)
    with pytest.raises(RuntimeError, match="outside of its gate"):
        gathered(supplier.fetch(query, part))
    assert calls(simulator, name) == before
    with gate.call(supplier, until_s=time.monotonic() + 60):
        assert gathered(supplier.fetch(query, part))[0]


@pytest.mark.parametrize("name", ["ascenda", "duffel_stays", "perhotel"])
def test_every_call_of_a_part_counts_for_the_rate(
    simulator: SimulatorProcess, valkey: redis.Redis, name: str
) -> None:
    """Polls, steps and token requests alike."""
    per_s = 20
    switched(simulator, "ascenda", latency_ms_min=500, latency_ms_max=500)
    gate = VendorGate(valkey, failures=3, open_s=60.0, stop=threading.Event())
    begun: list[float] = []
    adapters, _ = suppliers_at(simulator.url, poll_s=0.0, admit=gate.admit,
                               observe=lambda call: begun.append(call.started_at))
    supplier = adapters[name]
    supplier.per_s_max = per_s
    query = a_query("vienna")
    with gate.call(supplier, until_s=time.monotonic() + 60):
        assert gathered(supplier.fetch(query, parts_of(supplier, query)[0]))[0]
    assert len(begun) > 1
    # A tenth of a second's worth may come together.
    assert len(begun) <= (max(begun) - min(begun) + 0.1) * per_s + 2


def test_a_poll_that_never_ends_is_given_up_and_a_stop_ends_it_at_once(
    simulator: SimulatorProcess,
) -> None:
    switched(simulator, "ascenda", latency_ms_min=30_000, latency_ms_max=30_000)
    adapters, _ = suppliers_at(simulator.url, timeout_s=0.3)
    query = a_query("prague")
    begun = time.monotonic()
    with pytest.raises(SupplierAway, match="not completed"):
        fetched(adapters["ascenda"], query)
    assert 0.3 <= time.monotonic() - begun < 15, "half of what the supplier would take"
    stop = threading.Event()
    stop.set()
    adapters, _ = suppliers_at(simulator.url, stop=stop, poll_s=5.0)
    with pytest.raises(SupplierAway, match="stopped"):
        fetched(adapters["ascenda"], query)
    assert time.monotonic() - begun < 45


def test_connections_are_kept(simulator: SimulatorProcess) -> None:
    adapters, _ = suppliers_at(simulator.url)
    for name in NAMES:
        fetched(adapters[name], a_query())
        line = adapters[name]._line  # type: ignore[attr-defined]  # only this can tell
        pools = line._session.get_adapter(simulator.url).poolmanager.pools
        keys = list(pools.keys())
        assert (name, [pools[key].num_connections for key in keys]) == (name, [1])


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", ["fault_rate", "garbage_rate", "hang_rate", "slow_body_rate"])
def test_a_fault_is_retryable_and_ends_in_time(
    simulator: SimulatorProcess, name: str, fault: str
) -> None:
    adapters, _ = suppliers_at(simulator.url, timeout_s=0.4)
    query = a_query(hotel_ids=("lisbon-1",))
    assert fetched(adapters[name], query)  # above all, the token is there
    switched(simulator, name, **{fault: 1})
    begun = time.monotonic()
    with pytest.raises(SupplierAway) as raised:
        fetched(adapters[name], query)
    assert raised.value.retryable
    assert time.monotonic() - begun < HANG_S / 2
    switched(simulator, name, **{fault: 0})
    assert fetched(adapters[name], query)


@pytest.mark.parametrize("name", NAMES)
def test_a_429_says_how_long_to_wait(simulator: SimulatorProcess, name: str) -> None:
    adapters, _ = suppliers_at(simulator.url)
    query = a_query(hotel_ids=("lisbon-1",))
    assert fetched(adapters[name], query)
    switched(simulator, name, throttle_rate=1, retry_after_s=7)
    with pytest.raises(Throttled) as raised:
        fetched(adapters[name], query)
    assert raised.value.retryable
    assert raised.value.retry_after_s is not None
    assert 5 < raised.value.retry_after_s <= 7


def test_too_many_at_once_are_refused_and_the_peak_is_counted(
    simulator: SimulatorProcess,
) -> None:
    switched(simulator, "perhotel", at_once_max=4, latency_ms_min=150, latency_ms_max=150)
    adapters, _ = suppliers_at(simulator.url)
    supplier = adapters["perhotel"]
    fetched(supplier, a_query(hotel_ids=("lisbon-1",)))

    def fetch(hotel_id: str) -> str:
        try:
            return "rates" if fetched(supplier, a_query(hotel_ids=(hotel_id,))) else "none"
        except Throttled:
            return "throttled"

    with ThreadPoolExecutor(20) as pool:
        outcomes = Counter(pool.map(fetch, cities()["lisbon"].hotel_ids()))
    assert outcomes["rates"] >= 4
    assert outcomes["throttled"] >= 1
    assert outcomes["none"] == 0


@pytest.mark.parametrize(("name", "variable"), [
    ("hotelbeds", "HOTELBEDS_SECRET"), ("hotelbeds", "HOTELBEDS_API_KEY"),
    ("expedia_rapid", "EXPEDIA_RAPID_SECRET"), ("expedia_rapid", "EXPEDIA_RAPID_API_KEY"),
    ("duffel_stays", "DUFFEL_STAYS_ACCESS_TOKEN"), ("perhotel", "PERHOTEL_CLIENT_SECRET"),
])
def test_wrong_credentials_are_declined_and_not_retried(
    simulator: SimulatorProcess, name: str, variable: str
) -> None:
    adapters, _ = suppliers_at(simulator.url, environ={variable: "wrong"})
    with pytest.raises(SupplierDeclined) as raised:
        fetched(adapters[name], a_query())
    assert raised.value.reason == "unauthorized"
    assert not raised.value.retryable


@pytest.mark.parametrize("name", ["hotelbeds", "expedia_rapid"])
@pytest.mark.parametrize(("off_s", "good"), [(-290, True), (290, True), (-320, False),
                                             (320, False)])
def test_a_signature_is_good_for_five_minutes_around(
    simulator: SimulatorProcess, name: str, off_s: int, good: bool
) -> None:
    adapters, _ = suppliers_at(simulator.url, clock=lambda: time.time() + off_s)
    if good:
        assert fetched(adapters[name], a_query())
    else:
        with pytest.raises(SupplierDeclined, match="unauthorized"):
            fetched(adapters[name], a_query())


def test_a_token_that_has_run_out_is_replaced_once(simulator: SimulatorProcess) -> None:
    adapters, tokens = suppliers_at(simulator.url)
    assert isinstance(tokens, LocalTokens)
    query = a_query(hotel_ids=("lisbon-1", "lisbon-2"))
    fetched(adapters["perhotel"], query)
    assert tokens.refusals == 0
    before = calls(simulator, "perhotel")
    tokens._held = {"perhotel:simulated": "1.run-out"}
    assert {rate.hotel_id for rate in fetched(adapters["perhotel"], query)} == set(query.hotel_ids)
    assert tokens.refusals == 1
    assert calls(simulator, "perhotel") - before == Counter({"rates": 3, "token": 1})


def test_when_the_new_token_is_refused_too_it_is_said(simulator: SimulatorProcess) -> None:
    adapters, tokens = suppliers_at(simulator.url)
    assert isinstance(tokens, LocalTokens)
    switched(simulator, "perhotel", token_life_s=1)
    query = a_query(hotel_ids=("lisbon-1",))
    fetched(adapters["perhotel"], query)
    tokens._issuers = {"perhotel:simulated": lambda: pytest.fail("not asked")}

    class Stale:
        asked = 0

        def get(self, vendor_account: str) -> str:
            self.asked += 1
            return "1.run-out"

        def refused(self, token: str) -> None:
            assert token == "1.run-out"

    stale = Stale()
    adapters, _ = suppliers_at(simulator.url, tokens=stale)
    with pytest.raises(TokenExpired) as raised:
        fetched(adapters["perhotel"], query)
    assert raised.value.retryable
    assert stale.asked == 2


def test_every_call_is_observed_also_one_that_fails(simulator: SimulatorProcess) -> None:
    seen: list[Exchange] = []
    adapters, _ = suppliers_at(simulator.url, observe=seen.append, timeout_s=0.3)
    fetched(adapters["hotelbeds"], a_query())
    switched(simulator, "hotelbeds", hang_rate=1)
    with pytest.raises(SupplierAway):
        fetched(adapters["hotelbeds"], a_query())
    assert [(call.supplier, call.method, call.status) for call in seen] == [
        ("hotelbeds", "POST", 200), ("hotelbeds", "POST", None)]
    assert b'"checkIn"' in seen[0].request_body
    assert b'"rateKey"' in seen[0].response_body
    assert seen[1].error
    assert 0.3 <= seen[1].latency_s < HANG_S / 2


# --- recheck and booking --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_is_rechecked_and_booked_once_at_its_price(
    simulator: SimulatorProcess, name: str
) -> None:
    adapters, _ = suppliers_at(simulator.url)
    supplier, key = adapters[name], uuid4().hex
    rate = one_rate(supplier)
    check = supplier.recheck(rate)
    assert check.outcome == "available"
    assert check.rate is not None
    assert (check.rate.price, check.rate.currency) == (rate.price, rate.currency)
    before = len(stays(simulator))
    references = {supplier.book(check.rate, HOLDER, key) for _ in range(3)}
    assert len(references) == 1
    [booked] = [entry for entry in stays(simulator) if entry["number"] in references]
    assert booked["vendor"] == name
    assert Decimal(booked["price"]) == Decimal(rate.price)
    assert len(stays(simulator)) == before + 1
    assert supplier.book(check.rate, HOLDER, uuid4().hex) not in references


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_price_is_told_and_can_be_booked(simulator: SimulatorProcess, name: str) -> None:
    adapters, _ = suppliers_at(simulator.url)
    supplier = adapters[name]
    rate = one_rate(supplier)
    switched(simulator, name, price_change_rate=1)
    check = supplier.recheck(rate)
    assert check.outcome == "price_changed"
    assert check.rate is not None
    assert Decimal("1.06") < Decimal(check.rate.price) / Decimal(rate.price) < Decimal("1.08")
    assert supplier.book(check.rate, HOLDER, uuid4().hex)


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_that_is_gone_is_told_and_not_booked(simulator: SimulatorProcess, name: str) -> None:
    adapters, _ = suppliers_at(simulator.url)
    supplier, key = adapters[name], uuid4().hex
    check = supplier.recheck(one_rate(supplier))
    assert check.rate is not None
    booked = supplier.book(check.rate, HOLDER, key)
    before = stays(simulator)
    switched(simulator, name, sold_out_rate=1)
    assert supplier.recheck(check.rate).outcome == "sold_out"
    with pytest.raises(SupplierDeclined) as raised:
        supplier.book(check.rate, HOLDER, uuid4().hex)
    assert raised.value.reason == "sold_out"
    # What was booked stays booked: a lost answer is repeated, whatever happened since.
    assert supplier.book(check.rate, HOLDER, key) == booked
    assert stays(simulator) == before


@pytest.mark.parametrize("name", ["hotelbeds", "perhotel"])
def test_a_price_that_rose_after_the_search_is_refused_by_the_booking(
    simulator: SimulatorProcess, name: str
) -> None:
    adapters, _ = suppliers_at(simulator.url)
    rate = one_rate(adapters[name])
    switched(simulator, name, price_change_rate=1)
    with pytest.raises(SupplierDeclined) as raised:
        adapters[name].book(rate, HOLDER, uuid4().hex)
    assert raised.value.reason == "price_changed"


@pytest.mark.parametrize("name", ["expedia_rapid", "duffel_stays", "ascenda"])
def test_where_the_vendor_wants_a_recheck_first_nothing_is_booked_without(
    simulator: SimulatorProcess, name: str
) -> None:
    adapters, _ = suppliers_at(simulator.url)
    with pytest.raises(SupplierDeclined, match="not_rechecked"):
        adapters[name].book(one_rate(adapters[name]), HOLDER, uuid4().hex)


def test_kill_9_takes_away_no_offer_and_no_booking(tmp_path: Path) -> None:
    with running_simulator(tmp_path) as own:
        own.switch(vendors=dict.fromkeys(NAMES, CALM))
        adapters, _ = suppliers_at(own.url)
        supplier = adapters["hotelbeds"]
        booked, open_rate = fetched(supplier, a_query())[:2]
        reference = supplier.book(booked, HOLDER, "order-1")
        own.kill()
        with pytest.raises(SupplierAway):
            supplier.book(booked, HOLDER, "order-1")
        own.start()
        own.switch(vendors=dict.fromkeys(NAMES, CALM))
        assert supplier.book(booked, HOLDER, "order-1") == reference
        assert supplier.recheck(open_rate).outcome == "available"
        with pytest.raises(SupplierDeclined, match="conflict"):
            supplier.book(open_rate, HOLDER, "order-1")


@pytest.mark.parametrize("name", NAMES)
def test_a_key_of_another_simulator_is_refused(simulator: SimulatorProcess, name: str) -> None:
    adapters, _ = suppliers_at(simulator.url)
    rate = one_rate(adapters[name])
    if name == "ascenda":
        forged = msgspec.structs.replace(rate, vendor_key=rate.vendor_key.replace("02bP", "ZZZZ"))
    else:
        key = rate.vendor_key
        middle = len(key) * 2 // 3
        forged = msgspec.structs.replace(
            rate, vendor_key=key[:middle] + ("A" if key[middle] != "A" else "B") + key[middle + 1:])
    with pytest.raises(SupplierDeclined, match="not_found"):
        adapters[name].recheck(forged)


# --- the switch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("vendors", [
    {"hotelbeds": {"fault_rate": 2}}, {"hotelbeds": {"latency_ms_min": 5}}, {"nobody": {}},
    {"hotelbeds": {"currency": "euro"}}, {"hotelbeds": {"unheard_of": 1}}, {"hotelbeds": 1}, [],
    {"ascenda": {"fault_rate": 1}, "hotelbeds": {"at_once_max": -1}},
])
def test_a_vendors_conduct_out_of_bounds_changes_nothing(
    simulator: SimulatorProcess, vendors: object
) -> None:
    before = requests.get(f"{simulator.url}/api/simulator/settings", timeout=5).json()
    answer = simulator.switch(vendors=vendors, fault_rate=0.5)
    assert answer.status_code == 422
    assert requests.get(f"{simulator.url}/api/simulator/settings", timeout=5).json() == before


def test_what_the_sections_refuse_leaves_the_vendors_as_they_are(
    simulator: SimulatorProcess,
) -> None:
    before = requests.get(f"{simulator.url}/api/simulator/settings", timeout=5).json()
    answer = simulator.switch(vendors={"hotelbeds": {"fault_rate": 1}}, fault_rate=2)
    assert answer.status_code == 422
    assert requests.get(f"{simulator.url}/api/simulator/settings", timeout=5).json() == before
