"""Every crash point of an order of a hotel rate on the real engines and at the simulated vendors.

The order is accepted, placed, checked, booked, confirmed, and cancelled by its customer. At each
call of an engine or of a vendor in turn, the process that makes it is killed, or the call fails
before or after it is done. Whatever the point: the order ends, a confirmed one has exactly one
room at its vendor, at the pinned price, any other one has none, and nothing stays owed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

import pytest
import requests

from booking.commands import CancelOrder
from booking.model import FINAL, Guest, Order, RateOffer, Reason, State
from consumer.booking import BookingConsumer
from consumer.reservation import ReservationConsumer, Saga
from errors import EngineAway, SupplierAway
from queues.keys import BOOKING
from queues.shared_work import SharedWork
from tests.booking_world import World
from tests.integration.test_rate_orders import Road
from tests.integration.test_rate_suppliers import (  # noqa: F401 (fixtures)
    NAMES,
    process,
    simulator,
    switched,
)
from tests.simulator_fixtures import SimulatorProcess
from tests.traps import (
    BULK_WRITES,
    STORE_CALLS,
    Hurried,
    Killed,
    Point,
    Trap,
    trap_calls,
    trapped_queue,
    trapped_store,
)

STEPS_MAX = 200
# What is owed to a vendor that keeps no tombstones is believed to be gone after this.
SETTLED_AFTER_S = 30.0
LATER_S = 60.0


# Between two reads nothing has changed: who is killed there was killed after the write before.
READS = {*STORE_CALLS, "known_packages", "reservations_waiting"} - {*BULK_WRITES}


class AtOnce(Executor):
    """Runs what is submitted before anything else: a crash has its place in the order of calls."""

    def submit(self, run: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(run(*args, **kwargs))
        return future


def nobody_sleeps(timeout_s: float) -> bool:
    """In place of waiting for a bell, which holds no job."""
    return False


class Story:
    """One telling. `trap` lies in wait for one of the two processes, `where` says for which."""

    def __init__(self, road: Road, rate: RateOffer, where: str, trap: Trap) -> None:
        self.road, self.world, self.rate = road, road.world, rate
        self.where, self.trap = where, trap
        self.waited_s = 0.0
        self.lives = self.steps = 0
        self.order_id = ""
        self.world.valkey.flushall()
        self.world.database.orders.delete_many({})
        self.booked_before = self.references()
        self.booker = self.new_booker()
        self.worker = self.new_worker()

    # --- the processes ------------------------------------------------------------------------

    def new_booker(self) -> BookingConsumer:
        trapped = self.where == "booker" and not self.trap.sprung
        self.lives += 1
        queue = trapped_queue(self.world, self.trap) if trapped else self.world.new_queue()
        queue.wait = nobody_sleeps  # type: ignore[method-assign]
        return self.world.consumer(
            f"booker-{self.lives}", stop=Hurried(), owed_after_s=0, queue=queue,
            store=trapped_store(self.world, self.trap) if trapped else None)

    def new_worker(self) -> ReservationConsumer:
        self.lives += 1
        work = SharedWork(self.world.valkey, BOOKING.reservations, BOOKING,
                          worker=f"worker-{self.lives}", heartbeat_ms=60_000,
                          alone_after_deaths=2)
        work.wait = nobody_sleeps  # type: ignore[method-assign]
        store = self.world.store.__class__(self.world.database)
        if self.where == "worker" and not self.trap.sprung:
            trap_calls(self.trap, work, "beat", "report")
            trap_calls(self.trap, store, "find_order")
            trap_calls(self.trap, self.road.adapter._line, "call")
        stays = self.road.stays(attempts=1, settled_after_s=SETTLED_AFTER_S, now_ms=self.now_ms,
                                stop=Hurried())
        return ReservationConsumer(
            work, Saga(store, None, stays), threads=1,  # type: ignore[arg-type] (no package)
            bury_after_deliveries=3, dead_letters_max=10, heartbeat_ms=60_000, stop=Hurried(),
            pool=AtOnce())

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + int(self.waited_s * 1_000)

    def step(self) -> None:
        """Whoever has something to do. A process that is killed is followed by another."""
        self.steps += 1
        if self.world.backlog() or self.steps % 5 == 0:
            self.step_booker()
        else:
            self.step_worker()

    def step_booker(self) -> None:
        try:
            self.booker.step()
            if self.trap.sprung and self.trap.calls.keys() == {"acquire"}:
                self.world.lease_runs_out()  # it may have a lease of which it does not know
        except Killed:
            self.world.lease_runs_out()
            self.booker = self.new_booker()

    def step_worker(self) -> None:
        try:
            self.worker.step()
        except Killed:
            self.free_the_line()
            self.world.heartbeats_run_out()
            self.worker = self.new_worker()

    def free_the_line(self) -> None:
        """What the trap has put around the vendor's calls dies with its process."""
        vars(self.road.adapter._line).pop("call", None)

    def until(self, reached: Callable[[Order], bool]) -> Order:
        """Step until the order is there and its customer is told; time goes on meanwhile."""
        for number in range(1, STEPS_MAX):
            self.step()
            order = self.world.store.find_order(self.order_id)
            told = self.world.status(self.order_id)["state"]
            if order is not None and reached(order) and told == order.state:
                return order
            if number % 4 == 0:
                self.waited_s += LATER_S
        raise AssertionError(f"after {STEPS_MAX} steps it is {order}")

    # --- the telling --------------------------------------------------------------------------

    def tell(self) -> Order:
        """Order, and cancel what is confirmed."""
        self.order_id = self.world.intake.accept_rate(self.rate, "ann@example.org", Guest(),
                                                      None).order_id
        order = self.until(lambda order: order.state in FINAL and not order.owed)
        self.check(order)
        if order.state is State.CONFIRMED:
            self.world.push(CancelOrder(order_id=self.order_id))
            ended = self.until(lambda order: order.state is State.CANCELLED and not order.owed)
            self.check(ended)
        # Whoever goes on finds nothing more to book.
        self.step_worker()
        self.step_booker()
        self.check(self.world.order(self.order_id))
        self.free_the_line()
        self.booker.leave()
        return order

    def references(self) -> set[tuple[str, str]]:
        """Everything that is booked at any vendor, under anybody's reference."""
        answer = requests.get(f"{self.road.simulator.url}/api/simulator/stays",
                              params={"limit": 5_000}, timeout=10).json()
        return {(one["vendor"], one["client_reference"]) for one in answer["stays"]
                if one["state"] == "booked"}

    def check(self, order: Order) -> None:
        """The promises."""
        booked = self.references() - self.booked_before
        if order.state is State.CONFIRMED:
            [stay] = self.road.booked(self.order_id)
            assert len(booked) == 1, "it was booked twice"
            assert float(stay["price"]) == float(self.rate.facts.price)
            assert stay["number"] == order.hotel_reservation_number
        else:
            assert booked == set(), "a room without an order"
        steps = [event.state for event in order.history]
        assert steps[-1] == order.state
        assert len(steps) == len(set(steps)), f"a step was taken twice: {steps}"
        assert self.world.letters() == [], "nothing here deserves to be buried"


def error_at(point: Point) -> type[Exception]:
    """What a call raises that fails: of an engine, or of the vendor."""
    return SupplierAway if point.call == "call" else EngineAway


def every_crash(road: Road, where: str, ends: set[tuple[State, Reason | None]]) -> None:
    """Tell the story once in peace, then with each of its calls cut off in each way."""
    rate = road.rate()
    watched = Trap()
    calm = Story(road, rate, where, watched).tell()
    changing = [point for point in watched.points("before", "after") if point.call not in READS]
    points = [(Killed, point) for point in changing if point.when == "after"]
    points += [(error_at(point), point) for point in changing]
    assert len(points) > 20
    for error, point in points:
        trap = Trap(point, error)
        try:
            order = Story(road, rate, where, trap).tell()
            assert trap.sprung, "it did not come to that"
            # Only a vendor that did not answer may keep a room from somebody who was to have it.
            if error is not SupplierAway:
                assert order.state is calm.state
            assert (order.state, order.reason) in ends
        except AssertionError as broken:
            raise AssertionError(f"{error.__name__} at {point}: {broken}") from broken


CONFIRMED = (State.CONFIRMED, None)
UNREACHABLE = (State.FAILED, Reason.SUPPLIER_UNREACHABLE)


@pytest.fixture
def road(
    world: World, simulator: SimulatorProcess, request: pytest.FixtureRequest  # noqa: F811
) -> Iterator[Road]:
    made = Road(world, simulator, request.param)
    yield made
    made.adapter.close()


# A worker at each vendor; the rest of the road knows none from the other. Hotelbeds keeps no
# tombstone for what it has not booked, which is the harder sort to get rid of.
@pytest.mark.parametrize("road", NAMES, indirect=True)
def test_every_crash_point_of_the_worker(road: Road) -> None:
    every_crash(road, "worker", {CONFIRMED, UNREACHABLE})


@pytest.mark.parametrize("road", ["hotelbeds"], indirect=True)
def test_every_crash_point_of_the_booking_consumer(road: Road) -> None:
    every_crash(road, "booker", {CONFIRMED})


@pytest.mark.parametrize("road", ["hotelbeds"], indirect=True)
def test_every_crash_point_of_an_order_whose_price_has_changed(road: Road) -> None:
    rate = road.rate()
    switched(road.simulator, road.vendor, price_change_rate=1)
    road.rate = lambda: rate  # type: ignore[method-assign]
    every_crash(road, "worker", {(State.FAILED, Reason.PRICE_CHANGED), UNREACHABLE})
