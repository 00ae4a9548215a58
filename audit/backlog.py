"""The lists of jobs, and what the counters say of them."""

from __future__ import annotations

from itertools import count

import msgspec
import redis

from audit.findings import Findings, Kind
from audit.pulse import Pulse
from engine_errors import valkey_errors
from queues.keys import BOOKING

PAGE = 1_000


class _Head(msgspec.Struct):
    """As much of a job as the audit reads."""

    type: str = ""
    order_id: str = ""


_head = msgspec.json.Decoder(_Head)
_PLACING = ("place_order", "place_rate_order")


class Backlog(msgspec.Struct):
    """What stands in the two lists of the booking road."""

    jobs: int = 0
    size: int = 0
    placing: set[str] = msgspec.field(default_factory=set)

    def add(self, raw: bytes | str) -> None:
        """Count one job; remember the order that it would place."""
        self.jobs += 1
        self.size += len(raw)
        try:
            head = _head.decode(raw)
        except msgspec.MsgspecError:
            return  # what it is can be told by the consumer that buries it
        if head.type in _PLACING:
            self.placing.add(head.order_id)


def read_backlog(client: redis.Redis) -> Backlog:
    """All jobs that wait or are in flight. Raises EngineAway."""
    backlog = Backlog()
    for key in (BOOKING.inflight, BOOKING.jobs):
        for first in count(0, PAGE):
            with valkey_errors():
                page = client.lrange(key, first, first + PAGE - 1)
            for raw in page:
                backlog.add(raw)
            if not page:
                break
    return backlog


def check_counters(client: redis.Redis, backlog: Backlog, findings: Findings) -> None:
    """The door refuses by the counters, so they must say what the lists hold."""
    with valkey_errors():
        counters = client.hmget(BOOKING.counters, "pushed", "applied", "bytes")
    pushed, applied, size = (int(counter or 0) for counter in counters)
    if pushed - applied != backlog.jobs:
        findings.doubt(Kind.DRIFTED, f"the counters say that {pushed - applied} jobs wait or are "
                                     f"in flight; the lists hold {backlog.jobs}")
    if size != backlog.size:
        findings.doubt(Kind.DRIFTED, f"the counters say that {size} bytes wait or are in flight; "
                                     f"the lists hold {backlog.size}")


def check_standstill(began: Pulse, now: Pulse, findings: Findings) -> None:
    """Jobs that nobody has touched since the audit began are left, not waiting.

    Reservation jobs are another matter while a worker lives: it may wait for a slow supplier.
    """
    if began.moves != now.moves:
        return
    if now.jobs + now.inflight:
        findings.doubt(
            Kind.LOST,
            f"{now.jobs} jobs wait and {now.inflight} are in flight, and nobody works on them",
            now.jobs + now.inflight,
        )
    if now.reservations + now.taken and not now.workers:
        findings.doubt(
            Kind.LOST,
            f"{now.reservations + now.taken} reservation jobs are left, and no worker lives",
            now.reservations + now.taken,
        )


def check_stray(client: redis.Redis, taken_lists: list[str], findings: Findings) -> None:
    """A list of taken jobs whose worker is not known: no beat of anybody brings them back."""
    work = BOOKING.reservations
    for key in sorted(taken_lists):
        worker = key.removeprefix(work.inflight_prefix)
        with valkey_errors():
            known = client.zscore(work.workers, worker) is not None
            left = 0 if known else client.llen(key)
        if left:
            findings.doubt(Kind.LOST, f"{left} reservation jobs are in the list of {worker}, "
                                      "whom nobody knows any more", left)
