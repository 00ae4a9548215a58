"""What must hold when the storm is over and everything has come to rest."""

from __future__ import annotations

import json
from collections import Counter

from tests.simulation.mongo_engine import Document
from tests.simulation.outside import FLIGHTS, HOTELS, Book
from tests.simulation.people import Told
from tests.simulation.servers import MongoServer, ValkeyServer
from tests.simulation.vendors import Market
from tests.simulation.watch import (
    COUNTERS,
    FINAL,
    INFLIGHT,
    JOBS,
    LIVE,
    ROAD,
    STATUS,
    WAITING,
    WORKER,
    Watch,
    ensure,
)

PACKAGES, DOORS = ROAD + b"packages", ROAD + b"doors"


class Ending:
    """The quiet world: what is still to do, and whether it is as it must be."""

    def __init__(
        self, valkey: ValkeyServer, mongo: MongoServer, book: Book, markets: dict[str, Market],
        watch: Watch,
    ) -> None:
        self._valkey = valkey.engine
        self._orders = mongo.table("orders").documents
        self._packages = mongo.table("packages").documents
        self._book = book
        self._markets = markets
        self._watch = watch

    def unfinished(self) -> str:
        """What is still to come, in words; empty when all is done."""
        for key in (JOBS, INFLIGHT, WAITING):
            if left := self._valkey.peek(key):
                return f"{key.decode()} holds {len(left)}"
        for key in sorted(self._valkey.keys()):
            if key.startswith(WORKER):
                return f"{key.decode()} holds jobs"
        for order_id, order in self._orders.items():
            if order["state"] not in FINAL:
                return f"{order_id} is {order['state']}"
            if order.get("owed"):
                return f"{order_id} owes {order['owed']}"
        if drift := self.drift():
            return drift
        return ""

    def check(self, told: Told) -> None:
        """Raise the first promise that is broken."""
        self._check_customers(told)
        for order_id in sorted(self._watch.queued):
            ensure(order_id in self._orders, "accepted and lost", lambda o=order_id: o)
            self._check_status(order_id)
        self._check_supplier()
        ensure(not self.drift(), "projection drifted", self.drift)
        counters = {k.decode(): int(v) for k, v in (self._valkey.peek(COUNTERS) or {}).items()}
        ensure(counters.get("pushed") == counters.get("applied") and not counters.get("bytes"),
               "counters", lambda: f"at rest they say {counters}")

    def _check_customers(self, told: Told) -> None:
        for order_id in sorted(told.accepted):
            ensure(order_id in self._orders, "accepted and lost", lambda o=order_id: o)
        for key, orders in told.by_key.items():
            ensure(len(orders) == 1, "one key, two orders", lambda k=key, o=orders: f"{k}: {o}")
        buried = set(self._watch.dead_letters())
        for order_id in sorted(told.cancelled):
            state = self._orders[order_id]["state"]
            ensure(state not in LIVE or ("cancel_order", order_id) in buried,
                   "cancellation forgotten", lambda o=order_id, s=state: f"{o} is {s}")

    def _check_status(self, order_id: str) -> None:
        """A status that has run out says nothing; any other agrees with the document."""
        order, status = self._orders[order_id], self._valkey.peek(STATUS + order_id.encode())
        if status is None:
            return
        said = (status[b"state"].decode(), status.get(b"reason", b"").decode())
        truth = (order["state"], order["reason"] or "")
        ensure(said == truth, "status disagrees", lambda: f"{order_id}: {said}, written {truth}")

    def _check_supplier(self) -> None:
        """Flight and room, or stays, are booked for the confirmed orders and for nobody else."""
        by_supplier: dict[str, set[str]] = {"": set()} | {name: set() for name in self._markets}
        for key, order in self._orders.items():
            if order["state"] == "confirmed":
                by_supplier[order["rate"]["supplier"] if "rate" in order else ""].add(key)
        for name, market in self._markets.items():
            stays, wanted = set(market.booked()), by_supplier[name]
            ensure(stays == wanted, "stays without an order",
                   lambda n=name, s=stays, w=wanted: f"{n}: booked {sorted(s - w)} too many, "
                                                     f"{sorted(w - s)} missing")  # fmt: skip
        confirmed = by_supplier[""]
        for road in (FLIGHTS, HOTELS):
            booked = set(self._book.booked(road))
            ensure(booked == confirmed, f"{road} without an order",
                   lambda r=road, b=booked: f"{r}: booked {sorted(b - confirmed)} too many, "
                                            f"{sorted(confirmed - b)} missing")  # fmt: skip

    def drift(self) -> str:
        """Where the shelf shows something else than packages and live orders say."""
        live: Counter[int] = Counter(
            order["package_id"] for order in self._orders.values() if order["state"] in LIVE
        )
        shown = {
            int(key): json.loads(raw) for key, raw in (self._valkey.peek(PACKAGES) or {}).items()
        }
        if shown.keys() != self._packages.keys():
            return f"shown are packages {sorted(shown)}, there are {sorted(self._packages)}"
        if {int(key) for key in self._valkey.peek(DOORS) or {}} != shown.keys():
            return "doors and packages differ"
        for package_id, package in self._packages.items():
            wrong = _differs(shown[package_id], package, live[package_id])
            if wrong:
                return f"package {package_id}: {wrong}"
        return ""


def _differs(view: Document, package: Document, live: int) -> str:
    wanted = {
        "quota": package["quota"],
        "remaining": max(0, package["quota"] - live),
        "paused": package.get("paused", False),
        "limit_per_customer": package.get("limit_per_customer"),
    }
    seen = {"paused": False, "limit_per_customer": None, **view}
    return ", ".join(
        f"{name} shown as {seen[name]}, is {value}"
        for name, value in wanted.items()
        if seen[name] != value
    )
