"""What one order's document must be like, and what the orders of a package add up to.

The rules are written down here a second time on purpose, in plain words of their own: the audit
is worth something only as long as it does not believe the code that it checks.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from bson.datetime_ms import DatetimeMS

from audit.documents import Document
from audit.findings import Kind

Defect = tuple[Kind, str]

LIVE = frozenset({"held", "confirmed"})
STATES = ("confirmed", "failed", "rejected", "expired", "cancelled", "held")
_FOLLOWERS = {
    "queued": frozenset({"held", "rejected"}),
    "held": frozenset({"confirmed", "failed", "expired", "cancelled"}),
    "confirmed": frozenset({"cancelled"}),
}
_NUMBER = re.compile(r"[1-9][0-9]{0,7}", re.ASCII)
_PARTS = frozenset({"flight", "room"})
_STAY = frozenset({"stay"})


def whole(value: object) -> int | None:
    """A whole number as people and shells write it (3 or 3.0), else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


class OrderRules:
    """Checks one document at a time. `limits` are the packages' limits per customer now: a limit
    that was lowered later excuses the orders that saw it higher, and no others.

    What is owed since before `owed_before_ms` is overdue, and so is a hold that ended before
    `hold_ended_ms`.
    """

    def __init__(
        self, limits: Mapping[int, int | None], *, owed_before_ms: int, hold_ended_ms: int
    ) -> None:
        self._limits = limits
        self._owed_before_ms = owed_before_ms
        self._hold_ended_ms = hold_ended_ms

    def overdue(self, order: Document) -> bool:
        """Whether the order is held although its hold is over and should have been ended."""
        ends = order.get("hold_expires_at")
        return (
            order.get("state") == "held"
            and isinstance(ends, DatetimeMS)
            and int(ends) <= self._hold_ended_ms
        )

    def defects(self, order: Document) -> Iterator[Defect]:
        """All that is wrong with this document, whatever else there is."""
        name = f"order {order.get('_id')}"
        try:
            for kind, words in self._defects(order):
                yield kind, f"{name} {words}"
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            yield Kind.DRIFTED, f"{name} has a document that cannot be read: {error!r}"

    def _defects(self, order: Document) -> Iterator[Defect]:
        yield from _life(order)
        if "rate" in order:
            yield from _rate(order)
        elif order["state"] in LIVE:
            yield from _unit(order)
            yield from self._slot(order)
        else:
            for field in ("unit", "slot"):
                if field in order:
                    yield Kind.OVERSOLD, f"is {order['state']} and still keeps its {field}"
        yield from _fields_of_state(order)
        yield from self._owed(order)

    def _slot(self, order: Document) -> Iterator[Defect]:
        if "slot" not in order:
            return  # its package had no limit when it was held
        package_id = whole(order["package_id"])
        head, _, number = str(order["slot"]).rpartition(":")
        if head != f"{package_id}:{order['email'].casefold()}" or not _NUMBER.fullmatch(number):
            yield Kind.OVERSOLD, "carries a slot that is not one of its customer's"
            return
        # An order of before orders kept what they saw is held to today's limit.
        limit = whole(order.get("limit_seen")) or self._limits.get(package_id or 0)
        if limit is not None and int(number) > limit:
            yield Kind.OVERSOLD, (
                f"carries slot {number} of package {package_id}, whose customers may have {limit}"
            )

    def _owed(self, order: Document) -> Iterator[Defect]:
        owed, since = order.get("owed"), order.get("owed_since")
        if owed is None and since is None:
            return
        if order["state"] in LIVE:
            yield Kind.DRIFTED, f"is {order['state']} and owes a cancellation"
        elif not owed or not set(owed) <= (_STAY if "rate" in order else _PARTS):
            yield Kind.DRIFTED, f"owes what nobody can cancel: {owed!r}"
        elif since is None:
            yield Kind.OWED_OVERDUE, f"owes {', '.join(owed)}, but since when is not written down"
        elif int(since) <= self._owed_before_ms:
            yield Kind.OWED_OVERDUE, f"owes {', '.join(owed)} for longer than its bound"


def _life(order: Document) -> Iterator[Defect]:
    """The history must be a way that orders can go, and end where the order says it is."""
    state, lines = order["state"], order["history"]
    if state not in STATES:
        yield Kind.DUPLICATED, f"has the state {state!r}, which no order can have"
        return
    way = [line["state"] for line in lines]
    if not way or way[0] != "queued":
        yield Kind.DUPLICATED, "has a history that does not begin with queued"
        return
    for before, after in zip(way, way[1:], strict=False):
        if after not in _FOLLOWERS.get(before, ()):
            yield Kind.DUPLICATED, f"went from {before} to {after}, which no order may"
            return
    if way[-1] != state:
        yield Kind.DUPLICATED, f"is {state}, but its history ends with {way[-1]}"
    elif lines[-1].get("reason") != order.get("reason"):
        yield Kind.DUPLICATED, "gives another reason than the end of its history"
    elif (state in LIVE) != (order.get("reason") is None):
        yield Kind.DRIFTED, f"is {state} with the reason {order.get('reason')!r}"


def _unit(order: Document) -> Iterator[Defect]:
    unit, seen = order.get("unit"), whole(order.get("quota_seen"))
    if unit is None:
        yield Kind.OVERSOLD, f"is {order['state']} without a unit"
        return
    package, _, number = str(unit).partition(":")
    if package != str(whole(order["package_id"])) or not _NUMBER.fullmatch(number):
        yield Kind.OVERSOLD, f"carries {unit!r}, which is no unit of package {order['package_id']}"
    elif seen is None:
        yield Kind.OVERSOLD, "does not say which quota it saw"
    elif int(number) > seen:
        yield Kind.OVERSOLD, f"carries unit {unit}, beyond the quota of {seen} that it saw"


def _rate(order: Document) -> Iterator[Defect]:
    """An order of a hotel rate takes no unit of any package."""
    for field in ("unit", "slot", "quota_seen", "flight_ticket_number"):
        if field in order:
            yield Kind.DRIFTED, f"is for a rate and carries a {field}"
    if order.get("package") is not None or whole(order.get("package_id")):
        yield Kind.DRIFTED, "is for a rate and for a package"


def _fields_of_state(order: Document) -> Iterator[Defect]:
    state = order["state"]
    if state == "held" and not isinstance(order.get("hold_expires_at"), DatetimeMS):
        yield Kind.LOST, "is held without an end: nothing would ever expire it"
    if state != "held" and "hold_expires_at" in order:
        yield Kind.DRIFTED, f"is {state} and its hold still has an end"
    if state == "confirmed":
        wanted = ("flight_ticket_number", "hotel_reservation_number")
        for field in wanted[1:] if "rate" in order else wanted:
            if not order.get(field):
                yield Kind.SUPPLIER_MISSING, f"is confirmed without a {field.replace('_', ' ')}"


class Sold:
    """The live orders of each package, counted by the quota that each of them saw."""

    def __init__(self, quotas: Mapping[int, int]) -> None:
        self._quotas = quotas
        self._seen: defaultdict[int, Counter[int]] = defaultdict(Counter)

    def add(self, order: Document) -> None:
        """Count a live order. One that does not say what it saw is held to today's quota."""
        package_id = whole(order.get("package_id")) or 0
        seen = whole(order.get("quota_seen"))
        if seen is None:
            seen = self._quotas.get(package_id, 0)
        self._seen[package_id][seen] += 1

    def live(self, package_id: int) -> int:
        """How many live orders the package has."""
        return self._seen[package_id].total()

    def oversold(self) -> Iterable[Defect]:
        """Packages with more live orders than the quotas allow that these orders saw.

        The latest of the orders that saw at most q was given a unit only because fewer than q
        were live; so those that saw at most q can never be more than q. A quota that was lowered
        later excuses the orders that saw it higher, and no others.
        """
        for package_id, seen in sorted(self._seen.items()):
            total = 0
            for quota in sorted(seen):
                total += seen[quota]
                if total > quota:
                    yield Kind.OVERSOLD, (
                        f"package {package_id} has {total} live orders that saw a quota of "
                        f"{quota} at most"
                    )
                    break
