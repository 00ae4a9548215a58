"""One simulated world: a storm, then calm, then the end."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from booking.model import Package
from tests.simulation.ending import Ending
from tests.simulation.kernel import Kernel, Process, Trace, Violation
from tests.simulation.network import Network, Weather, ms, seconds
from tests.simulation.outside import Book, OutsideServer
from tests.simulation.people import Customers, Operator, draw_packages
from tests.simulation.programs import (
    Program,
    Surroundings,
    Web,
    booking_main,
    reservation_main,
    second_door_main,
)
from tests.simulation.servers import MongoServer, ValkeyServer
from tests.simulation.vendors import VENDORS, Market, VendorServer, draw_move
from tests.simulation.watch import SECOND_ROAD, Watch
from tests.simulation.weather import Calm, Profile, Storm, draw_profile

ORDERS_MIN = 20
FAULTS_MIN = 3
QUIET_WITHIN_S = 900
LOOK_EVERY_US = ms(200)


class Outcome(msgspec.Struct, frozen=True):
    """What a world came to. `rule` is empty when every promise held."""

    seed: int
    digest: str
    orders: int
    faults: int
    steps: int
    virtual_s: float
    rule: str = ""
    detail: str = ""
    last: tuple[str, ...] = ()


class World:
    """Servers, programs and people on one clock."""

    def __init__(
        self, profile: Profile, weather: Weather, rng: random.Random, trace: Trace,
        packages: Iterable[Package],
    ) -> None:
        self.kernel = Kernel(trace)
        self.rng = rng
        self.watch = Watch(lambda: self.kernel.now_us, ms(profile.limits.beat_ms))
        self.network = Network(self.kernel, weather, rng)
        self.valkey = ValkeyServer(
            "valkey", self.kernel, rng, self.watch.valkey_asked, self.watch.valkey_wrote
        )
        self.mongo = MongoServer(rng)
        book = Book(f"{rng.random()}", profile.flight_failure_rate, profile.room_failure_rate)
        self.outside = OutsideServer(book, self.watch.book_changed)
        self.markets = {name: Market(name, lambda: self.kernel.now_us) for name in VENDORS}
        self.vendors = {name: VendorServer(market, self.watch.book_changed)
                        for name, market in self.markets.items()}
        self.watch.attach(self.valkey, self.mongo, book, self.markets)
        self.ending = Ending(self.valkey, self.mongo, book, self.markets, self.watch)
        if not profile.second_road:
            self.watch.drift = self.ending.drift
        self.around = Surroundings(self.network, self.valkey, self.mongo, self.outside,
                                   self.vendors, profile)
        self.operator = Operator(self.mongo, packages, profile.operator_moves, rng)
        self._seed_indexes()
        self.people = Process(self.kernel, "people")
        self.web = Web(self.kernel, self.around, rng)
        self.programs = [self.web.program]
        for number in range(profile.booking_consumers):
            self._run(f"booking-{number + 1}", booking_main)
        for number in range(profile.reservation_workers):
            self._run(f"reservation-{number + 1}", reservation_main)
        self._second_road: list[Program] = []
        if profile.second_road:
            self._add_second_road(profile)

    def _add_second_road(self, profile: Profile) -> None:
        """Two writers: another Valkey, with consumers and a lease of its own, on the same MongoDB.

        It must not be, and a wrong address makes it be. The database alone stands in between.
        """
        other = ValkeyServer("second valkey", self.kernel, self.rng, lambda _: None, lambda _: None)
        around = Surroundings(self.network, other, self.mongo, self.outside, self.vendors, profile,
                              SECOND_ROAD)
        for name, main in (
            ("second-booking", partial(booking_main, around)),
            ("second-door", partial(second_door_main, around, self.rng)),
        ):
            self._second_road.append(Program(self.kernel, name, main, self.rng))

    def end_second_road(self) -> None:
        """The mistake is found: it ends, and when the last of its writes has arrived, whoever
        held our lease looks at the orders again.
        """
        if not self._second_road:
            return
        for program in self._second_road:
            program.end()
        self.kernel.run(lambda: not self.network.under_way, self.kernel.now_us + seconds(60))
        self.kernel.run(lambda: False, self.kernel.now_us + seconds(5))
        for program in self.programs:
            program.process.stop.set()

    def _seed_indexes(self) -> None:
        """As db_init.py does, before anything runs; no fault can hit it."""
        init = Process(self.kernel, "db_init")
        store = self.around.store(init)
        init.spawn(store.ensure_indexes)
        weather, self.network.weather = self.network.weather, Calm()
        self.kernel.run(lambda: not init.tasks, seconds(10))
        self.network.weather = weather

    def _run(self, name: str, main: Callable[[Surroundings, Process], None]) -> None:
        self.programs.append(Program(self.kernel, name, partial(main, self.around), self.rng))

    def settle(self, busy: Callable[[], bool]) -> None:
        """Let time pass until nothing is left to do. Raises Violation when that takes for ever."""
        limit_us = self.kernel.now_us + seconds(QUIET_WITHIN_S)
        while busy() or self.network.under_way or self.ending.unfinished():
            self.kernel.run(lambda: False, self.kernel.now_us + LOOK_EVERY_US)
            if self.kernel.now_us > limit_us:
                left = self.ending.unfinished() or "somebody still waits for an answer"
                raise Violation("never at rest", f"{QUIET_WITHIN_S} s after the storm, {left}")


class Tempest:
    """The faults that come by themselves: kills, pauses, jumps of the clock, engines that end."""

    def __init__(self, world: World, profile: Profile, storm: Storm) -> None:
        self._world = world
        self._storm = storm
        self._kernel = world.kernel
        self._rng = world.rng
        self.faults = 0
        for every_s, happen in (
            (profile.kill_every_s, self._kill),
            (profile.pause_every_s, self._pause),
            (profile.jump_every_s, self._jump),
            (profile.restart_every_s, self._restart),
            (profile.operator_every_s, self._operate),
            (profile.market_every_s, self._trade),
        ):
            self._plan(every_s, happen)

    def _plan(self, every_s: float, happen: Callable[[], None]) -> None:
        def now() -> None:
            if not self._storm.calm:
                happen()
                self._plan(every_s, happen)

        self._kernel.after(self._storm.in_a_while_us(every_s), now)

    def _say(self, text: str) -> None:
        self.faults += 1
        self._kernel.say("!", text)

    def _victim(self) -> Process:
        return self._rng.choice(self._world.programs).process

    def _kill(self) -> None:
        process = self._victim()
        if not process.alive:
            return
        if self._rng.random() < 0.3:
            self._say(f"SIGTERM to {process.name}")
            process.stop.set()
        else:
            self._say(f"SIGKILL to {process.name}")
            process.kill()

    def _pause(self) -> None:
        process = self._victim()
        duration_s = self._rng.choice((0.3, 1.0, 4.0)) * self._rng.random()
        if process.alive and not process.paused:
            self._say(f"SIGSTOP to {process.name} for {duration_s:.3f} s")
            process.pause(seconds(duration_s))

    def _jump(self) -> None:
        jump_ms = int(self._rng.choice((-300, -50, 700, 3_000, 60_000)) * self._rng.random())
        self._say(f"Valkey's clock jumps by {jump_ms} ms")
        self._world.valkey.jumped_us += ms(jump_ms)

    def _restart(self) -> None:
        world, rng = self._world, self._rng
        server = rng.choice((world.valkey, world.mongo, world.outside, *world.vendors.values()))
        if not server.up:
            return
        away_us = ms(rng.choice((20, 400, 3_000)) * rng.random())
        self._say(f"{server.name} ends, for {away_us / 1_000:.0f} ms")
        server.stop()
        self._kernel.after(away_us, server.start)
        if server is world.valkey:
            self._kernel.after(away_us + ms(200 * rng.random()), world.valkey.loaded)

    def _operate(self) -> None:
        self._kernel.say("operator", self._world.operator.change())

    def _trade(self) -> None:
        self._kernel.say("market", draw_move(self._world.markets, self._rng))


class Echo(logging.Handler):
    """What the production code logs becomes a part of the trace."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(logging.INFO)
        self._kernel = kernel

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        task = self._kernel.running
        self._kernel.say(task.process.name if task else "", f"log: {record.getMessage()}")
        if record.exc_info:
            # The production code outlives an error of ours by burying the job; here it is a find.
            error = record.exc_info[1]
            self._kernel.failure = Violation("an error was outlived", repr(error))


def simulate(seed: int, say: Callable[[str], object] | None = None) -> Outcome:
    """One seed, from its first order to its end. `say` is given every line of the trace."""
    # Pauses between two tries of the supplier's client come from the module's own generator.
    random.seed(seed)
    rng = random.Random(seed)
    profile = draw_profile(rng)
    storm = Storm(profile, rng)
    trace = Trace(say)
    trace.line(f"seed {seed}: {profile}")
    world = World(profile, storm, rng, trace, draw_packages(profile, rng))
    customers = Customers(world.people, world.web, world.markets, profile, rng)
    tempest = Tempest(world, profile, storm)
    rule, detail = to_its_end(
        world, customers, lambda: _weather_the_storm(world, profile, storm, customers, tempest)
    )
    return Outcome(
        seed=seed, digest=trace.digest(), orders=len(world.watch.queued),
        faults=tempest.faults + world.network.faults.total(), steps=world.watch.steps,
        virtual_s=world.kernel.now_us / 1e6, rule=rule, detail=detail, last=tuple(trace.last),
    )  # fmt: skip


def to_its_end(
    world: World, customers: Customers, happen: Callable[[], None]
) -> tuple[str, str]:
    """What happens, then rest, then the last look; returns the broken rule and what was seen."""
    echo = Echo(world.kernel)
    root = logging.getLogger()
    root.addHandler(echo)
    try:
        happen()
        world.settle(lambda: customers.busy > 0)
        world.ending.check(customers.told)
    except Violation as violation:
        return violation.rule, str(violation)
    except Exception as error:  # noqa: BLE001 - an error that ends a consumer is a finding
        return f"ended by {type(error).__name__}", repr(error)
    finally:
        root.removeHandler(echo)
        world.kernel.close()
    return "", ""


def _weather_the_storm(
    world: World, profile: Profile, storm: Storm, customers: Customers, tempest: Tempest
) -> None:
    """Until the storm is over; it lasts until it has done something, and somebody has ordered."""
    kernel = world.kernel

    def enough() -> bool:
        faults = tempest.faults + world.network.faults.total()
        return faults >= FAULTS_MIN

    kernel.run(lambda: False, seconds(profile.storm_s))
    number = profile.customers
    while not enough():
        customers.order_more(number)
        number += 1
        kernel.run(lambda: False, kernel.now_us + seconds(0.5))
    storm.calm = True
    kernel.say("!", "the storm is over")
    world.end_second_road()
    world.operator.settle()
    while len(world.watch.queued) < ORDERS_MIN:
        customers.order_more(number)
        number += 1
        kernel.run(lambda: False, kernel.now_us + seconds(0.1))
