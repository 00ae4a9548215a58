"""What must hold after every single step, recomputed from the engines' own data.

Nothing here is shared with the code that decides: states, fields and keys are spelt out again.
Documents are looked at one by one as they change, Valkey's lists after each command that wrote.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from tests.simulation.kernel import Violation
from tests.simulation.mongo_engine import Document
from tests.simulation.outside import FLIGHTS, HOTELS, Book
from tests.simulation.servers import MongoServer, ValkeyServer, script_call
from tests.simulation.vendors import Market

LIVE = {"held", "confirmed"}
PLACING = {"place_order", "place_rate_order"}
REFUSALS = {"sold_out", "price_changed", "room_declined"}
FINAL = {"confirmed", "failed", "expired", "rejected", "cancelled"}
FOLLOWS = {
    "queued": {"held", "rejected"},
    "held": {"confirmed", "failed", "expired", "cancelled"},
    "confirmed": {"cancelled"},
}
ROAD = b"{booking}:"
JOBS, INFLIGHT, COUNTERS, DEAD = (ROAD + n for n in (b"jobs", b"inflight", b"counters", b"dead"))
LEASE, BATCH = ROAD + b"lease", ROAD + b"batch"
SECOND_ROAD = "R"  # orders of a road that should not be there; nobody reserves for them
WAITING = ROAD + b"reservations"
STATUS = ROAD + b"status:"
WORKER = WAITING + b":inflight:"


@lru_cache(maxsize=20_000)
def job(raw: bytes) -> tuple[str, str]:
    """(type, order) of a job."""
    found = json.loads(raw)
    return found["type"], found["order_id"]


def ensure(holds: object, rule: str, detail: Callable[[], str]) -> None:
    """Raise the violation of `rule` unless it holds."""
    if not holds:
        raise Violation(rule, detail())


class Watch:
    """The invariants, and what they have to remember."""

    def __init__(self, now_us: Callable[[], int], beat_us: int) -> None:
        self.queued: set[str] = set()  # every order that ever stood on the list
        self.accepted_us: dict[str, int] = {}
        self.steps = 0
        self._now_us = now_us
        self._units: dict[str, str] = {}
        self._slots: dict[str, str] = {}
        self._told: dict[bytes, str] = {}
        self._stranger = ""
        # Where the shelf shows another world than the documents; "" for a world with two writers,
        # where nobody can know what is left.
        self.drift: Callable[[], str] = lambda: ""
        self._beat_us = beat_us
        self._changed_us = 0  # when any document last did
        self._seen_us = -1  # the change after which the shelf was looked at
        self._taking = False
        self._idle: bytes | None = None  # the batch without a job that is being told
        self._taken_us: dict[bytes, int] = {}
        # package -> (since, quota or None, limit or None), oldest first
        self._offers: dict[int, list[tuple[int, int, int]]] = {}

    def attach(
        self, valkey: ValkeyServer, mongo: MongoServer, book: Book, markets: dict[str, Market]
    ) -> None:
        """Look at these from now on."""
        self._valkey, self._book, self._markets = valkey.engine, book, markets
        self._orders = mongo.table("orders").documents
        mongo.table("orders").on_change = self.order_changed
        mongo.table("packages").on_change = self.package_changed

    # --- documents ----------------------------------------------------------------------------

    def package_changed(self, _: Document | None, after: Document | None) -> None:
        """Remember what was on offer, and since when."""
        self._changed_us = self._now_us()
        if after is not None:
            limit = after.get("limit_per_customer") or 0
            self._offers.setdefault(after["_id"], []).append(
                (self._now_us(), after["quota"], limit)
            )

    def order_changed(self, before: Document | None, after: Document | None) -> None:
        """One order was written."""
        self.steps += 1
        self._changed_us = self._now_us()
        assert after is not None
        order_id = after["_id"]
        states = [line["state"] for line in after["history"]]
        ensure(states[-1] == after["state"], "history", lambda: f"{order_id}: {after}")
        self._check_moves(before, after, states)
        self._check_carried(before, after, "unit", self._units)
        self._check_carried(before, after, "slot", self._slots)
        live = after["state"] in LIVE and "rate" not in after
        ensure(("unit" in after) == live, "unit", lambda: f"live or not, {after}")
        if live:
            number = int(after["unit"].split(":")[1])
            ensure(1 <= number <= after["quota_seen"], "unit above quota", lambda: f"{after}")
        else:
            ensure("slot" not in after, "slot", lambda: f"an order that ended has one: {after}")
        ensure(("owed" in after) == ("owed_since" in after), "owed since never",
               lambda: f"no sweep would find what it owes: {after}")
        if before is None and live:
            self._check_offer(after)
        if "rate" in after:
            self._check_stay(after)
        elif after["state"] == "confirmed":
            self._check_booked(after)

    def _check_moves(self, before: Document | None, after: Document, states: list[str]) -> None:
        past = [] if before is None else before["history"]
        ensure(after["history"][:len(past)] == past, "history rewritten",
               lambda: f"{past} became {after['history']}")
        ensure(states[0] == "queued", "history", lambda: f"{after['_id']} begins with {states}")
        for here, there in zip(states, states[1:], strict=False):
            ensure(there in FOLLOWS.get(here, ()), "transition",
                   lambda h=here, t=there: f"{after['_id']} went from {h} to {t}: {states}")
        if before is not None and before["state"] in FINAL:
            moved = (before["state"], after["state"])
            same = moved[0] == moved[1] or moved == ("confirmed", "cancelled")
            ensure(same, "final state changed", lambda: f"{after['_id']}: {moved}")

    def _check_carried(
        self, before: Document | None, after: Document, field: str, carriers: dict[str, str]
    ) -> None:
        """No two live orders carry the same unit or slot, whatever the database's index says."""
        had, has = (before or {}).get(field), after.get(field)
        if had == has:
            return
        if had is not None and carriers.get(had) == after["_id"]:
            del carriers[had]
        if has is not None:
            other = carriers.setdefault(has, after["_id"])
            ensure(other == after["_id"], f"{field} given twice",
                   lambda: f"{has} is {other}'s, and now {after['_id']}'s")

    def _check_offer(self, after: Document) -> None:
        """A hold is given only within what was on offer.

        The deciding read of a batch lies between the acceptance of the order and this write, so
        quota and limit are those of some moment in between, and live orders (this one counted)
        never exceed the highest quota of that time, nor those of its customer the highest limit.
        """
        package_id, order_id = after["package_id"], after["_id"]
        since_us = self.accepted_us.get(order_id, 0)
        offers = self._offers[package_id]
        first = max((n for n, offer in enumerate(offers) if offer[0] <= since_us), default=0)
        quotas = {quota for _, quota, _ in offers[first:]}
        limits = {limit for _, _, limit in offers[first:]}
        ensure(after["quota_seen"] in quotas, "quota never offered",
               lambda: f"{order_id} saw {after['quota_seen']}, of {quotas}")
        live = sum(unit.startswith(f"{package_id}:") for unit in self._units)
        ensure(live <= max(quotas), "oversold",
               lambda: f"{live} live orders of package {package_id}, quota {max(quotas)}")
        slot = int(after["slot"].rpartition(":")[2]) if "slot" in after else 0
        ensure(after.get("limit_seen", 0) in limits, "limit never offered",
               lambda: f"{order_id} saw {after.get('limit_seen')}, of {limits}")
        ensure(slot <= after.get("limit_seen", 0) and (slot > 0 or 0 in limits),
               "limit per customer",
               lambda: f"{order_id} has slot {slot}, limits were {limits}: {after}")
        if slot:
            customer = after["slot"].rpartition(":")[0]
            had = sum(carried.rpartition(":")[0] == customer for carried in self._slots)
            ensure(had <= max(limits), "beyond the limit per customer",
                   lambda: f"{order_id} is the {had}th of {customer}, limits were {limits}")

    def _check_booked(self, order: Document) -> None:
        """What is confirmed is booked outside, by just these numbers."""
        order_id = order["_id"]
        fields = {FLIGHTS: "flight_ticket_number", HOTELS: "hotel_reservation_number"}
        for road, field in fields.items():
            number = self._book.booked(road).get(order_id)
            ensure(number and number == order.get(field), "confirmed without a booking",
                   lambda f=field, n=number: f"{order_id}: {f} {order.get(f)}, booked {n}")

    def _check_stay(self, order: Document) -> None:
        """A rate is booked at the price that was pinned, or something was the matter with it."""
        order_id, rate = order["_id"], order["rate"]
        market = self._markets[rate["supplier"]]
        if order["state"] == "confirmed":
            stay = market.booked().get(order_id)
            ensure(stay and stay.number == order.get("hotel_reservation_number"),
                   "confirmed without a booking", lambda: f"{order_id}: {order}, booked {stay}")
            assert stay is not None
            ensure(stay.price == rate["price"], "another price than was pinned",
                   lambda: f"{order_id}: pinned at {rate['price']}, booked at {stay.price}")
        if order["state"] == "failed" and order["reason"] in REFUSALS:
            offered = market.offered_since(rate["vendor_key"], self.accepted_us.get(order_id, 0))
            cause = {"sold_out": None in offered,
                     "price_changed": bool(offered - {rate["price"], None})}
            ensure(cause.get(order["reason"]), "refused without a cause",
                   lambda: f"{order_id}: {order['reason']}, pinned at {rate['price']}, "
                           f"offered were {offered}")  # fmt: skip

    # --- Valkey -------------------------------------------------------------------------------

    def valkey_asked(self, command: tuple[bytes, ...]) -> None:
        """One command or script is about to run."""
        name, args = script_call(command)
        stranger = name in ("take", "tell") and args[0] != self._valkey.peek(LEASE)
        self._stranger = f"{name} by {args[0]!r}" if stranger else ""
        self._taking = name == "take"
        self._idle = args[1] if name == "tell" and args[5] == b"0" else None

    def valkey_wrote(self, touched: Iterable[bytes]) -> None:
        """One command or script has written these keys."""
        self.steps += 1
        ensure(not self._stranger, "written without the lease",
               lambda: f"{self._stranger}, the lease is {self._valkey.peek(LEASE)!r}")
        if self._taking:
            number = (self._valkey.peek(BATCH) or {}).get(b"number", b"")
            self._taken_us.setdefault(number, self._now_us())
        if self._idle is not None and BATCH in touched:
            self._check_shelf(self._idle)
        lists = False
        for key in sorted(touched):
            if key.startswith(STATUS):
                self._check_status(key)
            lists = lists or key in (JOBS, INFLIGHT, WAITING, COUNTERS) or key.startswith(WORKER)
        if lists:
            self._check_lists()

    def _check_shelf(self, number: bytes) -> None:
        """When all stands still, what an idle consumer tells is what is.

        It reads the packages once a beat: of a change two beats before this batch it has read.
        """
        quiet_since_us = self._taken_us.get(number, 0) - 2 * self._beat_us
        if self._changed_us <= quiet_since_us and self._seen_us != self._changed_us:
            self._seen_us = self._changed_us
            ensure(not self.drift(), "told what is not so", self.drift)

    def _check_status(self, key: bytes) -> None:
        """Nothing is told that is not written, and nothing is taken back."""
        found = self._valkey.peek(key)
        if found is None:
            return
        order_id, state = key.removeprefix(STATUS).decode(), found[b"state"].decode()
        if state == "queued":
            # A delivery of the same order, doubled in the network, may say so once more.
            self._told[key] = state
            return
        order = self._orders.get(order_id)
        past = [line["state"] for line in order["history"]] if order else []
        ensure(state in past, "told but not written", lambda: f"{order_id} {state}: {order}")
        before = self._told.get(key, "queued")
        ensure(before == "queued" or past.index(before) <= past.index(state), "told backwards",
               lambda: f"{order_id}: {before}, then {state}")
        if before == state:
            return
        self._told[key] = state
        ensure(self._valkey.expires(key) == (state in FINAL), "status expiry",
               lambda: f"{order_id} {state}: expires {self._valkey.expires(key)}")

    def _check_lists(self) -> None:
        """No accepted job vanishes, no hold is forgotten, and the counters count."""
        jobs = [job(raw) for key in (JOBS, INFLIGHT) for raw in self._valkey.peek(key) or ()]
        under_way = {order_id for _, order_id in jobs}
        for kind, order_id in jobs:
            if kind in PLACING and order_id not in self.queued:
                self.queued.add(order_id)
                self.accepted_us[order_id] = self._now_us()
        lost = self.queued - under_way - self._orders.keys()
        ensure(not lost, "accepted and lost", lambda: f"{sorted(lost)}")
        reserving = {job(raw)[1] for raw in self._reservations()}
        idle = {
            order_id for order_id, order in self._orders.items()
            if order["state"] == "held" and order_id not in under_way
            and order_id not in reserving and order_id not in self._buried()
            and not order_id.startswith(SECOND_ROAD)
        }  # fmt: skip
        ensure(not idle, "held and forgotten", lambda: f"{sorted(idle)}")
        self._check_counters()

    def _check_counters(self) -> None:
        raw = [r for key in (JOBS, INFLIGHT) for r in self._valkey.peek(key) or ()]
        counters = self._valkey.peek(COUNTERS) or {}
        pushed, applied, size = (int(counters.get(name, 0)) for name in (b"pushed", b"applied",
                                                                         b"bytes"))
        seen = (pushed - applied, size)
        truth = (len(raw), sum(map(len, raw)))
        ensure(seen == truth, "counters", lambda: f"say {seen} jobs and bytes, there are {truth}")

    def _reservations(self) -> Iterable[bytes]:
        yield from self._valkey.peek(WAITING) or ()
        for key in sorted(self._valkey.keys()):
            if key.startswith(WORKER):
                yield from self._valkey.peek(key) or ()

    def _buried(self) -> set[str]:
        return {order_id for _, order_id in self.dead_letters()}

    def dead_letters(self) -> list[tuple[str, str]]:
        """(type, order) of what was buried."""
        letters = [json.loads(raw) for raw in self._valkey.peek(DEAD) or ()]
        return [job(base64.b64decode(letter["job"])) for letter in letters]

    # --- outside ------------------------------------------------------------------------------

    def book_changed(self) -> None:
        """The supplier has handled a request."""
        self.steps += 1

    def state_of(self, order_id: str) -> Any:
        """The document of an order."""
        return self._orders.get(order_id)
