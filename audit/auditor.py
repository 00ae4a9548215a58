"""Waits for quiet, looks, and looks again where a finding is doubtful.

A look in which nothing moved, and that has no doubts, is the verdict. Doubts become findings when
the next look has them again, in the same words, and nothing moved from the start of the one to
the end of the other: by then every projection has followed. Of a system that never stands still
only the facts are told, and the verdict says that the rest could not be had.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

import msgspec
import redis

from audit.backlog import check_counters, check_standstill, check_stray, read_backlog
from audit.documents import Documents, Snapshot
from audit.findings import Findings, Kind
from audit.orders import LIVE, OrderRules, Sold
from audit.pulse import Glance, Pulse
from audit.shelf import Package, check_shelf, read_package
from audit.statuses import Bar, Statuses
from audit.stays import check_stays
from audit.supplier import SupplierBook, check_book
from errors import SupplierAway

LOOKS_MAX = 4
POLL_S = 0.1
LOOKED_AT = "looked at"

Progress = Callable[[str, int], AbstractContextManager[Bar]]


class Look(msgspec.Struct):
    """One look at everything: findings, and numbers for the answer."""

    findings: Findings
    states: Counter[str] = msgspec.field(default_factory=Counter)
    orders: int = 0
    undecided: int = 0
    supplier: str = LOOKED_AT
    supplier_earlier: int = 0


class Verdict(msgspec.Struct, frozen=True):
    """The last look, and whether it may be believed. `under_way` is what never came to an end."""

    look: Look
    looks: int
    dead_letters: int
    under_way: list[str]
    settled: bool

    @property
    def words(self) -> list[str]:
        """What is wrong, in plain words."""
        return self.look.findings.words

    @property
    def found(self) -> int:
        """How many things are wrong."""
        return sum(self.look.findings.counts.values())


class Auditor:
    """One audit. `book` is None when the supplier is not to be looked at."""

    def __init__(
        self,
        client: redis.Redis,
        documents: Documents,
        glance: Glance,
        book: SupplierBook | None,
        *,
        quiet_within_s: float,
        recheck_after_s: float,
        say: Callable[[str], object],
        progress: Progress,
    ) -> None:
        self._client = client
        self._documents = documents
        self._glance = glance
        self._book = book
        self._quiet_within_s = quiet_within_s
        self._recheck_after_s = recheck_after_s
        self._say = say
        self._progress = progress

    def run(self) -> Verdict:
        """Raises EngineAway when an engine does not answer."""
        began = self._glance.take()
        before = self._wait_for_quiet(began, self._quiet_within_s)
        doubts: tuple[Pulse, Findings] | None = None
        for number in range(1, LOOKS_MAX + 1):
            look = self._look(began, before)
            after = self._glance.take()
            settled = still = before.moves == after.moves
            if still and look.findings.doubtful:
                settled = doubts is not None and doubts[0].moves == after.moves
                if doubts is not None and settled:
                    look.findings = doubts[1].confirmed_by(look.findings)
            if settled:
                break
            doubts = (before, look.findings) if still else None
            if number < LOOKS_MAX:
                self._say("Something moved or is in doubt; looking again.")
                time.sleep(self._recheck_after_s)
                before = self._wait_for_quiet(self._glance.take(), self._recheck_after_s)
        return Verdict(look, number, after.dead_letters, after.under_way(), settled)

    def _wait_for_quiet(self, pulse: Pulse, within_s: float) -> Pulse:
        """The first pulse of a quiet system, or the last one when that takes too long."""
        give_up_s = time.monotonic() + within_s
        told = ""
        while under_way := pulse.under_way():
            if time.monotonic() >= give_up_s:
                break
            if (words := ", ".join(under_way)) != told:
                self._say(f"Waiting for quiet: {words}.")
                told = words
            time.sleep(POLL_S)
            pulse = self._glance.take()
        return pulse

    # --- one look -----------------------------------------------------------------------------

    def _look(self, began: Pulse, now: Pulse) -> Look:
        look = Look(Findings())
        backlog = read_backlog(self._client)
        check_counters(self._client, backlog, look.findings)
        check_standstill(began, now, look.findings)
        with self._documents.snapshot() as snapshot:
            packages = [read_package(document) for document in snapshot.packages()]
            sellable = [package for package in packages if package is not None]
            sold = self._look_at_orders(snapshot, sellable, now, look)
            check_shelf(self._client, sellable, sold, look.findings)
            self._look_at_supplier(snapshot, look)
        told = Statuses(self._client, self._documents).check(
            backlog.placing, look.findings, self._progress("keys", self._client.dbsize())
        )
        check_stray(self._client, told.taken_lists, look.findings)
        look.undecided = len(told.undecided)
        return look

    def _look_at_orders(
        self, snapshot: Snapshot, packages: Iterable[Package], now: Pulse, look: Look
    ) -> Sold:
        findings = look.findings
        rules = OrderRules(
            {package.id: package.limit for package in packages},
            owed_before_ms=now.now_ms - self._glance.owed_within_ms,
            hold_ended_ms=now.now_ms - self._glance.hold_grace_ms,
        )
        sold = Sold({package.id: package.quota for package in packages})
        with self._progress("orders", self._documents.about_how_many()) as bar:
            for order in snapshot.orders():
                state = str(order.get("state"))
                look.orders += 1
                look.states[state] += 1
                for kind, words in rules.defects(order):
                    findings.fact(kind, words)
                if state in LIVE and "rate" not in order:
                    sold.add(order)
                if rules.overdue(order):
                    findings.doubt(Kind.LOST, f"order {order['_id']} is still held, and its hold "
                                              "ended long ago")
                bar.update(1)
        for kind, words in sold.oversold():
            findings.fact(kind, words)
        for unit, carriers in snapshot.repeated("unit"):
            findings.fact(Kind.OVERSOLD, f"unit {unit} is carried by orders {', '.join(carriers)}")
        for _, carriers in snapshot.repeated("slot"):
            findings.fact(Kind.OVERSOLD, f"one slot is carried by orders {', '.join(carriers)}")
        for name in self._documents.missing_indexes():
            findings.fact(Kind.DRIFTED, f"the unique index on {name} is missing: MongoDB would "
                                        "not refuse to sell twice; run `python db_init.py`")
        return sold

    def _look_at_supplier(self, snapshot: Snapshot, look: Look) -> None:
        if self._book is None:
            look.supplier = "not looked at: --no-supplier"
            return
        compared = Findings()
        try:
            self._book.is_simulator()
            look.supplier_earlier = check_book(snapshot, self._book, compared)
            look.supplier_earlier += check_stays(snapshot, self._book.stays(), compared)
        except SupplierAway as away:
            # Half a comparison is none: what it found so far is dropped.
            look.supplier = f"not looked at: {away}"
        else:
            look.findings.include(compared)
