"""A list with one reader at a time, whose jobs are lost by no crash.

The reader holds a lease, takes a batch into `inflight`, applies it and tells the outcome. Until
it has told, the batch comes back to whoever holds the lease. See the Lua files for what a crash
at each point means.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import cast

import msgspec
import redis

from engine_errors import valkey_errors
from errors import LeaseLost
from queues.keys import BookingKeys, QueueKeys
from queues.scripts import Argument, Script

# Why the door is shut while nobody looks at the dead letters; push.lua knows the word too.
DEAD_LETTERS = "dead letters"

log = logging.getLogger(__name__)


class Taken(msgspec.Struct, frozen=True):
    """One batch: `jobs` oldest first, times in Valkey's milliseconds.

    `pushed` and `applied` count all jobs ever, so `pushed - applied` are waiting or in flight.
    """

    number: int
    deliveries: int
    now_ms: int
    pushed: int
    applied: int
    jobs: list[bytes]


StatusLine = tuple[str, str, str, bool]  # order, state, reason, final


class Told(msgspec.Struct):
    """What a batch changed, for everybody who looks at Valkey.

    Jobs are text here: Lua's msgpack knows no binary type.
    """

    statuses: list[StatusLine] = []
    reservations: list[str] = []
    commands: list[str] = []
    packages: list[tuple[str, str, str]] = []  # id, JSON, door
    gone: list[str] = []
    dead: list[str] = []
    pressure: str = ""
    pressure_ms: int = 5_000


class Lease(msgspec.Struct, frozen=True):
    """Who writes now: `<consumer>:<epoch>`, a new epoch at each acquisition."""

    token: str


class ReliableQueue:
    """The reader's side of one road."""

    def __init__(self, client: redis.Redis, keys: QueueKeys, *, lease_ms: int) -> None:
        self._client = client
        self._keys = keys
        self._lease_ms = lease_ms
        self._acquire = Script(client, "acquire")
        self._renew = Script(client, "renew")
        self._release = Script(client, "release")
        self._take = Script(client, "take")
        self._push = Script(client, "push")
        self._done = Script(client, "done")

    def acquire(self, consumer: str) -> Lease | None:
        """Take the lease, or return None while another consumer holds it."""
        got, token = self._acquire(
            [self._keys.lease, self._keys.epoch], [consumer, self._lease_ms]
        )
        return Lease(token.decode()) if got else None

    def renew(self, lease: Lease) -> None:
        """Keep the lease during work that takes long. Raises LeaseLost."""
        if not self._renew([self._keys.lease], [lease.token, self._lease_ms]):
            raise LeaseLost("renew: the lease is not ours any more")

    def release(self, lease: Lease, *, excused: bool = False) -> None:
        """Give the lease back if it is still ours. `excused`: the batch in flight, if there is
        one, was left for what is no fault of its jobs.
        """
        self._release([self._keys.lease, self._keys.batch], [lease.token, "1" if excused else "0"])

    def wait(self, timeout_s: float) -> bool:
        """Wait for the bell. It holds no job, so nothing is lost when its token is."""
        with valkey_errors():
            return self._client.brpop([self._keys.bell], timeout=timeout_s) is not None

    def take(
        self,
        lease: Lease,
        *,
        most: int,
        singles_after: int,
        excused: bool = False,
        singles_now: bool = False,
    ) -> Taken:
        """Whatever is in flight if anything is, else a new batch. Raises LeaseLost."""
        return self._taken([
            lease.token, self._lease_ms, most, singles_after,
            "1" if excused else "0", "1" if singles_now else "0", "0",
        ])

    def take_behind(self, lease: Lease, last: int, *, most: int) -> Taken:
        """A new batch behind the one taken last, the third in flight at most. Raises LeaseLost."""
        return self._taken([lease.token, self._lease_ms, most, 0, "0", "0", last])

    def _taken(self, args: list[Argument]) -> Taken:
        keys = self._keys
        answer = self._take(
            [keys.lease, keys.jobs, keys.inflight, keys.batch, keys.counters], args
        )
        if answer[0] != b"ok":
            raise LeaseLost(f"take: {answer[0].decode()}")
        number, deliveries, now_ms, pushed, applied, *jobs = answer[1:]
        return Taken(number, deliveries, now_ms, pushed, applied, jobs)

    def done(self, lease: Lease, taken: Taken) -> int:
        """Forget a batch that leaves nothing to tell; returns how many jobs wait.

        Raises LeaseLost.
        """
        keys = self._keys
        answer = self._done(
            [keys.lease, keys.batch, keys.inflight, keys.counters],
            [lease.token, taken.number, self._lease_ms, len(taken.jobs),
             sum(map(len, taken.jobs))],
        )
        if answer[0] != b"told":
            raise LeaseLost("done: lease or batch number are not ours any more")
        return int(answer[1])

    def bury(self, job: bytes, *, most: int) -> None:
        """Keep a job that nobody can do, the latest `most` of them. It is still to be done with.

        For roads on which no promise hangs. Letters that had to go are counted.
        """
        with valkey_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.lpush(self._keys.dead, job)
            pipe.ltrim(self._keys.dead, 0, most - 1)
            kept = int(pipe.execute()[0])
            if kept > most:
                gone = self._client.hincrby(self._keys.counters, "letters_gone", kept - most)
                log.error("%s has %d letters; %s older ones are gone", self._keys.dead, most, gone)

    def push(self, jobs: Sequence[bytes], *, most_waiting: int = 0) -> bool:
        """Push jobs, oldest first. False when more than `most_waiting` (0: any) wait already."""
        if not jobs:
            return True
        keys = self._keys
        return bool(
            self._push([keys.jobs, keys.bell, keys.counters], [most_waiting, *jobs]) >= 0
        )


class BookingQueue(ReliableQueue):
    """The booking road: a told batch moves statuses, projections and reservation jobs too."""

    def __init__(
        self, client: redis.Redis, keys: BookingKeys, *, lease_ms: int, status_ttl_s: int
    ) -> None:
        super().__init__(client, keys, lease_ms=lease_ms)
        self._booking = keys
        self._status_ttl_ms = status_ttl_s * 1_000
        self._tell = Script(client, "tell")

    def tell(self, lease: Lease, taken: Taken, told: Told) -> int:
        """Tell the batch and forget it; returns how many jobs wait. Raises LeaseLost."""
        keys = self._booking
        answer = self._tell(
            [keys.lease, keys.batch, keys.inflight, keys.counters, keys.jobs, keys.bell,
             keys.reservations.waiting, keys.reservations.bell, keys.packages, keys.doors,
             keys.dead, keys.pressure],
            [lease.token, taken.number, self._lease_ms, keys.status_prefix, self._status_ttl_ms,
             len(taken.jobs), sum(map(len, taken.jobs)), msgspec.msgpack.encode(told)],
        )
        if answer[0] != b"told":
            raise LeaseLost("tell: lease or batch number are not ours any more")
        return int(answer[1])

    def known_packages(self) -> dict[str, tuple[str, str]]:
        """The projection as it stands: package id -> its JSON and its door."""
        with valkey_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.hgetall(self._booking.packages)
            pipe.hgetall(self._booking.doors)
            packages, doors = pipe.execute()
        return {
            key.decode(): (value.decode(), doors.get(key, b"").decode())
            for key, value in packages.items()
        }

    def status(self, order_id: str) -> dict[str, str]:
        """What was told of an order; empty when nothing is known of it."""
        with valkey_errors():
            found = cast("dict[bytes, bytes]",
                         self._client.hgetall(self._booking.status(order_id)))
        return {name.decode(): value.decode() for name, value in found.items()}

    def dead_letters(self) -> int:
        """How many letters wait for a person."""
        with valkey_errors():
            return int(self._client.llen(self._booking.dead))

    def reservations_waiting(self) -> int:
        """How many reservation jobs no worker has taken yet."""
        with valkey_errors():
            return int(self._client.llen(self._booking.reservations.waiting))
