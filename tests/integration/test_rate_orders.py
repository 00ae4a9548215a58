"""Orders of hotel rates at the five simulated vendors: each way they end, and what is booked."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import msgspec
import pytest
import requests

import bootstrap
from booking import commands
from booking.commands import (
    CancelOrder,
    Compensate,
    ExpireHold,
    ReservationCompensated,
    ReserveStay,
)
from booking.intake import KeyReused
from booking.model import STAY_ONLY, Guest, RateFacts, RateOffer, Reason, State
from consumer.__main__ import _stays
from consumer.reservation import Saga
from consumer.stays import Stays
from errors import SupplierAway
from suppliers.http import reference
from suppliers.rates import Part, Rate, RateQuery, RateSupplier
from tests.booking_world import World
from tests.integration.test_rate_suppliers import (  # noqa: F401 (fixtures)
    NAMES,
    process,
    simulator,
    switched,
)
from tests.rate_orders import placed
from tests.rate_suppliers import suppliers_at
from tests.simulator_fixtures import SimulatorProcess

ARRIVAL = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=60)
QUERY = RateQuery(destination="lisbon", check_in=ARRIVAL,
                  check_out=ARRIVAL + dt.timedelta(days=2), guests=2)
PART = Part(0, ("lisbon-1", "lisbon-2"))
TOMBSTONES = {"ascenda", "perhotel"}


class Losing:
    """An adapter whose next calls of a name are made, and their answers lost."""

    def __init__(self, adapter: RateSupplier, **lost: int) -> None:
        self._adapter = adapter
        self._lost = lost

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._adapter, name)
        if self._lost.get(name, 0) <= 0:
            return found

        def lose(*what: Any) -> Any:
            answer = found(*what)
            self._lost[name] -= 1
            if self._lost[name] < 0:
                return answer
            raise SupplierAway("the answer was lost")

        return lose


class Road:
    """The booking road with one vendor behind it."""

    def __init__(self, world: World, outside: SimulatorProcess, vendor: str) -> None:
        self.world, self.simulator, self.vendor = world, outside, vendor
        self.adapter: Any = suppliers_at(outside.url)[0][vendor]
        self.booking = world.consumer()
        self.now_ms = time.time_ns() // 1_000_000

    def rate(self) -> RateOffer:
        """A rate of now, pinned."""
        rate: Rate = min((rate for chunk in self.adapter.fetch(QUERY, PART)
                          for rate in chunk.rates), key=lambda rate: rate.hotel_id)
        return RateOffer(RateFacts(
            id="0" * 32 + "-" + "1" * 16, hotel_id=rate.hotel_id, hotel="Mill", city="Lisbon",
            room=rate.room, board=rate.board, check_in=QUERY.check_in.isoformat(),
            check_out=QUERY.check_out.isoformat(), guests=2, price=rate.price,
            currency=rate.currency, refundable=rate.refundable, supplier=rate.supplier,
        ), rate.vendor_key)

    def order(self, rate: RateOffer | None = None) -> str:
        """An order, accepted and held."""
        accepted = self.world.intake.accept_rate(rate or self.rate(), "ann@example.org",
                                                 Guest(), None)
        self.world.settle(self.booking)
        assert self.world.states()[accepted.order_id] is State.HELD
        return accepted.order_id

    def stays(self, **changes: Any) -> Stays:
        options: dict[str, Any] = {
            "place": lambda _: nullcontext(), "timeout_s": 10.0,
            "settled_after_s": 30.0, "attempts": 2,
            "backoff_max_s": 0.01, "stop": threading.Event(), "now_ms": lambda: self.now_ms,
            **changes,
        }
        return Stays({self.vendor: self.adapter}, **options)

    def work(self, rounds: int = 4) -> None:
        """Reservation jobs and their reports, until nothing is left."""
        saga = Saga(self.world.store, None, self.stays())  # type: ignore[arg-type]
        for _ in range(rounds):
            jobs = self.world.reservation_jobs()
            self.world.valkey.delete("{booking}:reservations")
            for job in jobs:
                if report := saga.run(job):
                    self.world.push(report)
            self.world.settle(self.booking)

    def sweep(self, order_id: str, after_s: float = 3_600.0) -> None:
        """What is owed is asked for again, later."""
        self.now_ms += int(after_s * 1_000)
        order = self.world.order(order_id)
        if order.owed:
            job = Compensate(order_id=order_id, parts=order.owed, supplier=self.vendor)
            self.world.valkey.lpush("{booking}:reservations", commands.encode(job))
            self.work()

    def booked(self, order_id: str) -> list[dict[str, str]]:
        answer = requests.get(f"{self.simulator.url}/api/simulator/stays", timeout=5).json()
        names = {order_id, reference(order_id, 20)}
        return [stay for stay in answer["stays"]
                if stay["client_reference"] in names and stay["state"] == "booked"]


@pytest.fixture(params=NAMES)
def road(
    world: World, simulator: SimulatorProcess, request: pytest.FixtureRequest  # noqa: F811
) -> Iterator[Road]:
    made = Road(world, simulator, request.param)
    yield made
    made.adapter.close()


def test_an_available_rate_is_booked_at_the_pinned_price(road: Road) -> None:
    rate = road.rate()
    order_id = road.order(rate)
    road.work()
    order = road.world.order(order_id)
    assert order.state is State.CONFIRMED
    [stay] = road.booked(order_id)
    assert (stay["number"], stay["currency"]) == (order.hotel_reservation_number,
                                                  rate.facts.currency)
    assert float(stay["price"]) == float(rate.facts.price)
    # Its cancellation leaves nothing, and is done at once: what was found is cancelled.
    road.world.push(CancelOrder(order_id=order_id))
    road.world.settle(road.booking)
    assert road.world.order(order_id).owed == STAY_ONLY
    road.work()
    order = road.world.order(order_id)
    assert (order.state, order.owed, order.compensated) == (State.CANCELLED, (), True)
    assert road.booked(order_id) == []


@pytest.mark.parametrize(("conduct", "reasons"), [
    ({"price_change_rate": 1}, {Reason.PRICE_CHANGED}),
    ({"sold_out_rate": 1}, {Reason.SOLD_OUT}),
], ids=["price_changed", "sold_out"])
def test_a_rate_that_is_not_as_pinned_any_more_books_nothing(
    road: Road, conduct: dict[str, Any], reasons: set[Reason]
) -> None:
    order_id = road.order()
    switched(road.simulator, road.vendor, **conduct)
    road.work()
    order = road.world.order(order_id)
    assert order.state is State.FAILED
    assert order.reason in reasons
    assert road.booked(order_id) == []
    # A vendor without tombstones is believed only once no request can be on its way any more.
    assert (order.owed == ()) == (road.vendor in TOMBSTONES)
    road.sweep(order_id)
    assert road.world.order(order_id).owed == ()


def test_a_lost_answer_is_asked_for_again_and_books_once(road: Road) -> None:
    order_id = road.order()
    road.adapter = Losing(road.adapter, book=1)
    road.work()
    assert road.world.order(order_id).state is State.CONFIRMED
    assert len(road.booked(order_id)) == 1


def test_answers_that_stay_lost_fail_the_order_and_leave_no_booking(road: Road) -> None:
    order_id = road.order()
    road.adapter = Losing(road.adapter, book=2)
    road.work()
    order = road.world.order(order_id)
    assert (order.state, order.reason) == (State.FAILED, Reason.SUPPLIER_UNREACHABLE)
    assert (order.owed, road.booked(order_id)) == ((), [])


def test_a_worker_that_dies_after_booking_is_followed_by_one_that_books_nothing_more(
    road: Road,
) -> None:
    order_id = road.order()
    [job] = road.world.reservation_jobs()
    assert isinstance(job, ReserveStay)
    # Its report is lost with it; the job is still there, for another worker.
    road.stays().reserve(road.world.order(order_id), job)
    assert len(road.booked(order_id)) == 1
    road.work()
    assert road.world.order(order_id).state is State.CONFIRMED
    assert len(road.booked(order_id)) == 1


def test_an_expired_order_whose_booking_comes_late_gives_it_back(road: Road) -> None:
    order_id = road.order()
    [job] = road.world.reservation_jobs()
    order = road.world.order(order_id)
    report = road.stays().reserve(order, job)  # type: ignore[arg-type]
    road.world.push(ExpireHold(order_id=order_id, at_ms=order.hold_expires_ms or 0), report)
    road.world.settle(road.booking)
    road.work()
    order = road.world.order(order_id)
    assert (order.state, order.owed) == (State.EXPIRED, ())
    assert road.booked(order_id) == []


def test_a_booking_that_comes_after_its_cancellation_does_not_stay(road: Road) -> None:
    """A worker slept through it all, and asks for the room when the order has long ended."""
    order_id = road.order()
    [job] = road.world.reservation_jobs()
    order = road.world.order(order_id)
    road.world.push(CancelOrder(order_id=order_id))
    road.world.settle(road.booking)
    road.work()
    road.stays().reserve(order, job)  # type: ignore[arg-type] (its report is dropped)
    if road.vendor in TOMBSTONES:
        assert road.booked(order_id) == []
    else:
        assert road.world.order(order_id).owed == STAY_ONLY
        road.sweep(order_id, after_s=1)
        assert road.booked(order_id) == []
    assert road.world.order(order_id).owed == ()


def test_a_dearer_price_is_never_booked_whatever_the_check_said(road: Road) -> None:
    """The price changes between the check and the booking."""
    order_id = road.order()
    adapter = road.adapter

    class Blind(Losing):
        def __getattr__(self, name: str) -> Any:
            found = getattr(adapter, name)
            if name != "recheck":
                return found

            def recheck(rate: Rate) -> Any:
                check = found(rate)
                switched(road.simulator, road.vendor, price_change_rate=1, sold_out_rate=1)
                return check

            return recheck

    road.adapter = Blind(adapter)
    road.work()
    order = road.world.order(order_id)
    assert order.state is State.FAILED
    assert order.reason in {Reason.PRICE_CHANGED, Reason.SOLD_OUT}
    assert road.booked(order_id) == []


def test_a_key_brings_its_order_again_also_after_the_search_has_gone(world: World) -> None:
    rate = RateOffer(RateFacts(
        id="0" * 32 + "-" + "1" * 16, hotel_id="h", hotel="H", city="C", room="R", board="",
        check_in="2027-01-01", check_out="2027-01-02", guests=1, price="1.00", currency="EUR",
        refundable=False, supplier="perhotel"), "k")
    first = world.intake.accept_rate(rate, "a@example.org", Guest(), "key")
    again = world.intake.accept_rate(rate, "a@example.org", Guest(), "key")
    assert (again.order_id, again.replayed) == (first.order_id, True)
    found = world.intake.accepted_before(rate.facts.id, "a@example.org", Guest(), "key")
    assert found is not None
    assert found.order_id == first.order_id
    assert world.intake.accepted_before(rate.facts.id, "a@example.org", Guest(), "new") is None
    with pytest.raises(KeyReused):
        world.intake.accepted_before(rate.facts.id, "b@example.org", Guest(), "key")


def test_a_worker_whose_clock_is_ahead_believes_no_vendor_too_early(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is owed carries the time of Valkey: by its own, all requests would be over long ago."""
    class Forgetful:
        name = "hotelbeds"

        def cancel(self, order_id: str, email: str, number: str) -> bool:
            return False  # there is nothing, up to now

    class Gate:
        def call(self, supplier: object, *, until_s: float) -> nullcontext[None]:
            return nullcontext()

    monkeypatch.setattr(bootstrap, "rate_suppliers", lambda *_, **__: {"hotelbeds": Forgetful()})
    monkeypatch.setattr(bootstrap, "vendor_gate", lambda *_: Gate())
    booking = world.consumer()
    world.push(placed(), CancelOrder(order_id="A"))
    world.settle(booking)
    owing = world.order("A")
    assert owing.owed == STAY_ONLY
    tomorrow_ns = time.time_ns() + 86_400 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: tomorrow_ns)
    stays = _stays(world.settings, world.valkey, 1, threading.Event())
    job = Compensate(order_id="A", parts=STAY_ONLY, supplier="hotelbeds")
    assert stays.compensate(job, owing) is None
    long_ago = msgspec.structs.replace(owing, owed_since_ms=0)
    assert stays.compensate(job, long_ago) == ReservationCompensated(order_id="A")
