"""Customers, who order, ask again, order twice and cancel; and the operator, who changes packages.

What each customer was told is kept apart from the system: the end is judged by it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

import msgspec

from booking.documents import package_document
from booking.intake import Accepted, Intake, KeyReused, NotReady, Overloaded, Refusal
from booking.model import Guest, Package, PackageFacts, RateOffer
from errors import EngineAway
from tests.simulation.kernel import Process
from tests.simulation.network import ms, seconds
from tests.simulation.programs import EMAILS, Gone, Web
from tests.simulation.servers import EPOCH_US, MongoServer
from tests.simulation.vendors import Market, draw_offer
from tests.simulation.weather import Profile

TRIES = 60


class Told(msgspec.Struct):
    """What customers have in their hands."""

    accepted: set[str] = msgspec.field(default_factory=set)
    by_key: dict[str, set[str]] = msgspec.field(default_factory=dict)
    cancelled: set[str] = msgspec.field(default_factory=set)
    refused: int = 0
    unclear: int = 0


class Customers:
    """Everybody who orders. They live outside of the system, where nothing is killed."""

    def __init__(
        self, people: Process, web: Web, markets: dict[str, Market], profile: Profile,
        rng: random.Random,
    ) -> None:
        self.told = Told()
        self.busy = 0
        self._people = people
        self._web = web
        self.markets = markets
        self._profile = profile
        self._rng = rng
        for number in range(profile.customers):
            self._begin(number, seconds(profile.arrive_within_s * rng.random()))

    def order_more(self, number: int) -> None:
        """One more customer, now."""
        self._begin(number, 0)

    def _begin(self, number: int, delay_us: int) -> None:
        rng = self._rng
        package_id, email = rng.randint(1, self._profile.packages), rng.choice(EMAILS)
        key = f"key-{number}" if rng.random() < 0.6 else None
        if rng.random() < self._profile.rate_share:
            found = draw_offer(self.markets, rng)
            self.visit(delay_us, lambda: self.order_rate(found, email, key))
            if key is not None and rng.random() < 0.25:
                later_us = delay_us + ms(300 * rng.random())
                self.visit(later_us, lambda: self.order_rate(found, email, key))
            return
        self.visit(delay_us, lambda: self.order(package_id, email, key))
        if key is not None and rng.random() < 0.25:
            # A double click, or somebody who takes a key for another order.
            other = package_id if rng.random() < 0.8 else self._profile.packages + 1 - package_id
            later_us = delay_us + ms(300 * rng.random())
            self.visit(later_us, lambda: self.order(other, email, key))

    def visit(self, delay_us: int, story: Callable[[], None]) -> None:
        """What one customer does, from some moment on."""
        self.busy += 1

        def run() -> None:
            self._people.sleep(delay_us)
            story()
            self.busy -= 1

        self._people.spawn(run)

    def order(
        self, package_id: int, email: str, key: str | None, cancel_after_s: float | None = None
    ) -> None:
        """Order, and cancel some time after the answer: when nothing is said, by chance."""
        self._order(lambda intake: intake.accept(package_id, email, key), key, cancel_after_s)

    def order_rate(
        self, found: RateOffer, email: str, key: str | None, cancel_after_s: float | None = None
    ) -> None:
        """The same for a hotel rate."""
        self._order(lambda intake: intake.accept_rate(found, email, Guest(), key), key,
                    cancel_after_s)

    def _order(
        self, ask: Callable[[Intake], Accepted], key: str | None, cancel_after_s: float | None
    ) -> None:
        order_id = self._order_until_clear(ask, key)
        if order_id is None:
            return
        self.told.accepted.add(order_id)
        if key is not None:
            self.told.by_key.setdefault(key, set()).add(order_id)
        if cancel_after_s is None and self._rng.random() < 0.35:
            cancel_after_s = self._rng.choice((0.0, 0.01, 0.5, 2.0, 6.0)) * self._rng.random()
        if cancel_after_s is not None:
            self._people.sleep(seconds(cancel_after_s))
            self._cancel(order_id)

    def _order_until_clear(
        self, ask: Callable[[Intake], Accepted], key: str | None
    ) -> str | None:
        """Ask until the answer is clear; without a key, who is not answered may give up."""
        for _ in range(TRIES):
            try:
                return str(self._web.ask(self._people, ask).order_id)
            except (NotReady, Overloaded):
                pass
            except (Gone, EngineAway):
                self.told.unclear += 1
                if key is None and self._rng.random() < 0.5:
                    return None
            except KeyReused:
                return None
            except Refusal:
                self.told.refused += 1
                return None
            self._people.sleep(ms(20 + 1_000 * self._rng.random()))
        return None

    def _cancel(self, order_id: str) -> None:
        for _ in range(TRIES):
            try:
                self._web.ask(self._people, lambda intake: intake.cancel(order_id))
            except (Gone, EngineAway, Overloaded):
                self._people.sleep(ms(20 + 1_000 * self._rng.random()))
            else:
                self.told.cancelled.add(order_id)
                return


class Operator:
    """Whoever changes packages in MongoDB, by hand and at any moment."""

    def __init__(
        self, mongo: MongoServer, packages: Iterable[Package], moves: Sequence[str],
        rng: random.Random,
    ) -> None:
        self._packages = mongo.table("packages")
        self._moves = moves
        self._rng = rng
        self._here: dict[int, Package] = {}
        for package in packages:
            self._put(package)

    def _put(self, package: Package) -> None:
        self._here[package.facts.id] = package
        self._packages.put(package_document(package))

    def change(self) -> str:
        """Change one package; says what."""
        rng = self._rng
        package = self._here[rng.choice(sorted(self._here))]
        kind = rng.choice(self._moves)
        if kind == "quota":
            package = _with(package, quota=max(0, package.quota + rng.choice((-3, -1, 1, 2))))
        elif kind == "pause":
            package = _with(package, paused=not package.paused)
        elif kind == "limit":
            package = _with(package, limit_per_customer=rng.choice((None, 1, 2, 3)))
        elif kind == "window":
            now_ms = EPOCH_US // 1_000 + rng.randint(0, 20_000)
            package = _with(package, sale_ends_ms=rng.choice((None, None, now_ms)))
        elif package.facts.id in self._packages.documents:
            self._packages.drop(package.facts.id)
            return f"package {package.facts.id} withdrawn"
        self._put(package)
        return f"package {package}"

    def settle(self) -> None:
        """Leave all packages there and open, so that whoever still waits can order."""
        for package in list(self._here.values()):
            self._put(_with(package, paused=False, sale_ends_ms=None))


def draw_packages(profile: Profile, rng: random.Random) -> list[Package]:
    """Packages by chance."""
    return [
        package(number, rng.choice(profile.quotas), rng.choice(profile.limits_per_customer))
        for number in range(1, profile.packages + 1)
    ]


def package(package_id: int, quota: int, limit_per_customer: int | None = None) -> Package:
    """A package that is on sale."""
    facts = PackageFacts(package_id, f"Flight-{package_id}", "2027-01-09", "49.90", "EUR")
    return Package(facts=facts, quota=quota, limit_per_customer=limit_per_customer)


def _with(package: Package, **changes: object) -> Package:
    return msgspec.structs.replace(package, **changes)
