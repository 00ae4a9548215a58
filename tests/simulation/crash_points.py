"""Every crash point of a booking, one after the other: nothing here is left to chance.

A story is told once in calm weather and its calls are counted: those of the door, of the lease,
of the booking consumer and of the saga. Then it is told again for each of these calls and each
fault, and each time to its end.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec

from booking.model import Package
from consumer.batches import Limits
from tests.simulation.kernel import Process, Trace
from tests.simulation.network import Fault, Server, ms
from tests.simulation.people import Customers, package
from tests.simulation.vendors import VENDORS, offer
from tests.simulation.weather import FOCUSES, Calm, Profile
from tests.simulation.world import World, to_its_end

LEASE_MS = 500
ANN, BOB = "ann@example.org", "bob@example.org"


class Story(NamedTuple):
    """A booking: what is on sale, what the supplier declines, who does what."""

    name: str
    packages: list[Package]
    tell: Callable[[Customers], None]
    flight_failure_rate: float = 0.0
    room_failure_rate: float = 0.0
    hold_s: int = 8
    supplier_leg_ms: float = 1.0


class Point(NamedTuple):
    """The fault that hits the call of this number (from 1); `lateness_ms` is for calls held up."""

    call: int
    fault: Fault
    lateness_ms: int


class Told(msgspec.Struct, frozen=True):
    """What came of one telling. `rule` is empty when every promise held."""

    point: str
    calls: int
    rule: str = ""
    detail: str = ""
    last: tuple[str, ...] = ()


def _both_order(customers: Customers) -> None:
    customers.visit(0, lambda: customers.order(1, BOB, "other"))
    customers.order(1, ANN, "key")


def _stories_of_rates(vendor: str) -> tuple[Story, ...]:
    def order(customers: Customers, cancel_after_s: float | None = None) -> None:
        customers.order_rate(offer(vendor, "r1", "120.00"), ANN, "key", cancel_after_s)

    def moved(price: str | None) -> Callable[[Customers], None]:
        def story(customers: Customers) -> None:
            customers.markets[vendor].move("r1", price)
            order(customers)
        return story

    return (
        Story(f"{vendor}, rate confirmed", [package(1, 1)], order),
        Story(f"{vendor}, price changed", [package(1, 1)], moved("125.00")),
        Story(f"{vendor}, rate sold out", [package(1, 1)], moved(None)),
        Story(f"{vendor}, rate cancelled at once", [package(1, 1)], lambda c: order(c, 0.0)),
        Story(f"{vendor}, rate cancelled when confirmed", [package(1, 1)],
              lambda c: order(c, 1.0)),
    )


STORIES = (
    Story("confirmed", [package(1, 1)], lambda c: c.order(1, ANN, "key")),
    Story("flight declined", [package(1, 1)], lambda c: c.order(1, ANN, "key"),
          flight_failure_rate=1.0),
    Story("room declined", [package(1, 1)], lambda c: c.order(1, ANN, "key"),
          room_failure_rate=1.0),
    Story("cancelled at once", [package(1, 1)], lambda c: c.order(1, ANN, "key", 0.0)),
    Story("cancelled when confirmed", [package(1, 1)], lambda c: c.order(1, ANN, "key", 1.0)),
    Story("the hold runs out", [package(1, 1)], lambda c: c.order(1, ANN, "key"),
          hold_s=1, supplier_leg_ms=400.0),
    Story("two want the last one", [package(1, 1, 1)], _both_order),
    *(story for vendor in VENDORS for story in _stories_of_rates(vendor)),
)  # fmt: skip


class OneFault(Calm):
    """Calm weather, but for one call."""

    def __init__(self, story: Story, point: Point | None) -> None:
        self.calls = 0
        self.counting = False
        self._story = story
        self._point = point

    def latency_us(self, server: Server) -> int:
        """One leg."""
        outside = server.name in ("supplier", *VENDORS)
        return ms(self._story.supplier_leg_ms) if outside else 200

    def lateness_us(self, server: Server) -> int:
        """How late a late call is."""
        return ms(self._point.lateness_ms if self._point else 0)

    def stop_us(self) -> int:
        """Stopped until the lease is another's."""
        return ms(1.4 * LEASE_MS)

    def others_first(self) -> bool:
        """Others may come between any two steps."""
        return True

    def fate(self, process: Process, server: Server, label: str) -> Fault:
        """The fault, when it is this call's turn."""
        if not self.counting:
            return Fault.NONE
        self.calls += 1
        point = self._point
        return point.fault if point is not None and point.call == self.calls else Fault.NONE


def every_point() -> Iterator[str]:
    """The names of all: each story in calm weather, then each fault at each of its calls."""
    for story in STORIES:
        yield name_of(story, None)
        yield from (name_of(story, point) for point in points(tell(story, None).calls))


def name_of(story: Story, point: Point | None) -> str:
    """A telling's name: what `named` reads."""
    call, fault, lateness_ms = point or Point(0, Fault.NONE, 0)
    return f"{story.name}:{call}:{fault}:{lateness_ms}"


def named(name: str) -> tuple[Story, Point]:
    """The telling of that name."""
    story, call, fault, lateness_ms = name.split(":")
    [found] = [one for one in STORIES if one.name == story]
    return found, Point(int(call), Fault(fault), int(lateness_ms))


def tell_named(name: str) -> Told:
    """One telling, by its name."""
    return tell(*named(name))


def points(calls: int) -> Iterator[Point]:
    """All points of a story of so many calls. Late is soon after, and after the lease's end."""
    for call in range(1, calls + 1):
        for fault in Fault:
            if fault in (Fault.LATE, Fault.LATE_TWICE, Fault.TWICE):
                yield Point(call, fault, 2)
                yield Point(call, fault, 3 * LEASE_MS)
            elif fault is not Fault.NONE:
                yield Point(call, fault, 0)


def tell(story: Story, point: Point | None, say: Callable[[str], object] | None = None) -> Told:
    """One telling, to its end."""
    random.seed(0)
    rng = random.Random(name_of(story, point))
    trace = Trace(say)
    weather = OneFault(story, point)
    world = World(_profile(story), weather, rng, trace, story.packages)
    customers = Customers(world.people, world.web, world.markets, _profile(story), rng)
    weather.counting = True
    customers.visit(ms(10), lambda: story.tell(customers))
    rule, detail = to_its_end(world, customers, lambda: None)
    return Told(name_of(story, point), weather.calls, rule, detail, tuple(trace.last))


def _profile(story: Story) -> Profile:
    """Two booking consumers and one worker; nothing happens by chance."""
    return Profile(
        limits=Limits(
            batch_max=2, beat_ms=100, lease_ms=LEASE_MS, sweep_every_ms=200, hold_s=story.hold_s,
            owed_after_s=2, singles_after_deliveries=2, bury_after_deliveries=5,
            memory_max_percent=75, dead_letters_max=10_000,
        ),
        status_ttl_s=3_600, customers=0, arrive_within_s=0.0, packages=len(story.packages),
        booking_consumers=2, reservation_workers=1, threads=1, heartbeat_ms=500,
        parallel_from=100, backlog_max_jobs=60, supplier_attempts=2,
        flight_failure_rate=story.flight_failure_rate, room_failure_rate=story.room_failure_rate,
        rate_share=0.0, vendor_timeout_s=1.0, storm_s=0.0, second_road=False, fault_rate=0.0,
        focus=dict.fromkeys(FOCUSES, 0.0),
        fates={}, split_rate=1.0, leg_ms={}, slow_rate=0.0, slow_ms=0.0, late_ms=0.0,
        kill_every_s=1_000.0, pause_every_s=1_000.0, jump_every_s=1_000.0,
        restart_every_s=1_000.0, operator_every_s=1_000.0, operator_moves=(), quotas=(),
        limits_per_customer=(), market_every_s=1_000.0,
    )  # fmt: skip
