"""Erasing everything that stands on a road, while provably nobody works on it.

Whoever clears holds the road's lease, so that no consumer of the list starts meanwhile, and every
step looks again whether a worker of the shared list is alive. Only keys of the road's own prefix
are touched. Two of them stay: the lease, and the epoch, because a consumer that slept through it
all must never find its old lease valid again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from types import TracebackType

import redis

from engine_errors import valkey_errors
from errors import BerthError, EngineAway, LeaseLost
from queues.keys import BookingKeys
from queues.scripts import Script

LEASE_MS = 30_000  # longer than any one step between two renewals may take
_BATCH = 500

log = logging.getLogger(__name__)


class RoadBusy(BerthError):
    """Somebody works on the road, so it is not cleared. `holders` are their names."""

    def __init__(self, holders: Sequence[str]) -> None:
        super().__init__(f"{', '.join(holders)} at work")
        self.holders = tuple(holders)


class Clearing:
    """The right to clear a road, from `with` to its end. Killed inside, it ends after LEASE_MS.

    Entering raises RoadBusy while another one holds the lease.
    """

    def __init__(self, client: redis.Redis, keys: BookingKeys, *, who: str) -> None:
        self._client = client
        self._keys = keys
        self._who = who
        self._token = ""
        self._acquire = Script(client, "acquire")
        self._clear = Script(client, "clear")
        self._release = Script(client, "release")

    def __enter__(self) -> Clearing:
        got, token = self._acquire([self._keys.lease, self._keys.epoch], [self._who, LEASE_MS])
        if not got:
            raise RoadBusy([token.decode().rpartition(":")[0]])
        self._token = token.decode()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._release([self._keys.lease], [self._token])
        except EngineAway as away:
            log.warning("%s; the lease runs out by itself in %d s", away, LEASE_MS // 1_000)

    def renew(self) -> None:
        """Say that it goes on. Raises LeaseLost, or RoadBusy when a worker has started."""
        self.erase([])

    def erase(self, names: Sequence[str | bytes]) -> int:
        """Erase keys of the road; returns how many were there. Raises as `renew` does."""
        keys = self._keys
        answer = self._clear(
            [keys.lease, keys.reservations.workers, *names], [self._token, LEASE_MS]
        )
        if answer[0] == b"busy":
            raise RoadBusy([worker.decode() for worker in answer[1:]])
        if answer[0] == b"lost":
            raise LeaseLost("clearing took longer than its lease; run it again")
        return int(answer[1])

    def sweep(self, progress: Callable[[int], object] = lambda erased: None) -> int:
        """Erase the whole road; returns how many keys were there. Raises as `renew` does.

        `progress` is told the number of keys of each batch. After a crash in here some keys are
        left, and no order is let in: doing it again erases the rest.
        """
        keys = self._keys
        # The doors go first: without them intake lets nobody in, and nothing new appears behind
        # the scan. The shared list goes with them, so that a worker that starts finds no job.
        erased = self.erase(
            [keys.doors, keys.packages, keys.jobs, keys.reservations.waiting,
             keys.reservations.workers]
        )
        stay = {keys.lease.encode(), keys.epoch.encode()}
        batch: list[bytes] = []
        with valkey_errors():
            for name in self._client.scan_iter(match=keys.prefix + "*", count=_BATCH):
                if name not in stay:
                    batch.append(name)
                if len(batch) == _BATCH:
                    erased += self.erase(batch)
                    progress(len(batch))
                    batch.clear()
        erased += self.erase(batch)
        progress(len(batch))
        return erased


def erase(client: redis.Redis, prefix: str, *, but: Sequence[str] = ()) -> int:
    """Erase all keys with this prefix, where nobody's promise hangs on them; returns how many."""
    stay = {name.encode() for name in but}
    erased = 0
    with valkey_errors():
        for name in client.scan_iter(match=prefix + "*", count=_BATCH):
            if name not in stay:
                erased += client.unlink(name)
    return erased
