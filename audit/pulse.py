"""What is still under way, at a glance; and whether anything moved between two glances."""

from __future__ import annotations

import msgspec
import redis
from bson.datetime_ms import DatetimeMS

from audit.documents import Documents
from engine_errors import valkey_errors
from queues.keys import BOOKING


class Pulse(msgspec.Struct, frozen=True, kw_only=True):
    """One glance. Two with equal `moves` mean that no job was pushed, taken or told between."""

    now_ms: int  # by Valkey's clock, as everything in the system
    moves: tuple[int, ...]
    jobs: int
    inflight: int
    reservations: int
    taken: int
    workers: int  # reservation workers whose heartbeat has not run out
    held: int  # within their hold
    owed: int  # within their bound
    dead_letters: int

    def under_way(self) -> list[str]:
        """What has to come to an end before the system is quiet, in plain words."""
        parts = {
            "waiting jobs": self.jobs,
            "jobs in flight": self.inflight,
            "waiting reservation jobs": self.reservations,
            "reservation jobs taken by workers": self.taken,
            "orders within their hold": self.held,
            "cancellations owed within their bound": self.owed,
        }
        return [f"{count} {words}" for words, count in parts.items() if count]


class Glance:
    """Takes the pulse. `hold_grace_ms` is how late a hold may be ended and still be in time."""

    def __init__(
        self,
        client: redis.Redis,
        documents: Documents,
        *,
        hold_grace_ms: int,
        owed_within_ms: int,
    ) -> None:
        self._client = client
        self._documents = documents
        self.hold_grace_ms = hold_grace_ms
        self.owed_within_ms = owed_within_ms

    def take(self) -> Pulse:
        """Raises EngineAway."""
        work = BOOKING.reservations
        with valkey_errors():
            pipe = self._client.pipeline(transaction=True)
            pipe.time()
            pipe.hmget(BOOKING.counters, "pushed", "applied")
            pipe.llen(BOOKING.jobs)
            pipe.llen(BOOKING.inflight)
            pipe.llen(work.waiting)
            pipe.zrange(work.workers, 0, -1, withscores=True)
            pipe.llen(BOOKING.dead)
            (seconds, micros), counters, jobs, inflight, waiting, workers, dead = pipe.execute()
            pipe = self._client.pipeline(transaction=True)
            for worker, _ in workers:
                pipe.llen(work.inflight(worker.decode()))
            taken = sum(pipe.execute())
        now_ms = seconds * 1_000 + micros // 1_000
        return Pulse(
            now_ms=now_ms,
            moves=(*(int(counter or 0) for counter in counters), jobs, inflight, waiting, taken),
            jobs=jobs,
            inflight=inflight,
            reservations=waiting,
            taken=taken,
            workers=sum(1 for _, until_ms in workers if until_ms > now_ms),
            held=self._after("hold_expires_at", now_ms - self.hold_grace_ms),
            owed=self._after("owed_since", now_ms - self.owed_within_ms),
            dead_letters=dead,
        )

    def _after(self, field: str, ms: int) -> int:
        return self._documents.count({field: {"$gt": DatetimeMS(ms)}})
