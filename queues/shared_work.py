"""A list that many workers share; each holds what it took in an inflight list of its own."""

from __future__ import annotations

from typing import NamedTuple

import redis

from engine_errors import valkey_errors
from queues.keys import QueueKeys, WorkKeys
from queues.scripts import Script


class Beat(NamedTuple):
    """How many jobs of dead workers went back, and all that is in flight here, oldest first.

    `deaths` is how many workers died with the one job that is in flight here; 0 unless it goes
    alone for that.
    """

    returned: int
    jobs: list[bytes]
    deaths: int = 0


class SharedWork:
    """One worker's side. A beat renews its heartbeat and brings the jobs of dead workers back.

    A job that came back from `alone_after_deaths` workers is given out with no other beside it.
    """

    def __init__(
        self,
        client: redis.Redis,
        work: WorkKeys,
        reports_to: QueueKeys,
        *,
        worker: str,
        heartbeat_ms: int,
        alone_after_deaths: int,
    ) -> None:
        self._client = client
        self._work = work
        self._reports_to = reports_to
        self._worker = worker
        self._heartbeat_ms = heartbeat_ms
        self._alone_after_deaths = alone_after_deaths
        self._take = Script(client, "work_take")
        self._report = Script(client, "work_report")
        self._leave = Script(client, "work_leave")

    def wait(self, timeout_s: float) -> bool:
        """Wait until jobs may be there."""
        with valkey_errors():
            return self._client.brpop([self._work.bell], timeout=timeout_s) is not None

    def beat(self, most: int) -> Beat:
        """Renew the heartbeat and take jobs until `most` are in flight. Repeating it is harmless.
        """
        work = self._work
        answer = self._take(
            [work.waiting, work.bell, work.workers, work.inflight(self._worker), work.deaths],
            [self._worker, self._heartbeat_ms, most, work.inflight_prefix,
             self._alone_after_deaths],
        )
        return Beat(answer[0], answer[2:], answer[1])

    def report(
        self, job: bytes, report: bytes = b"", *, dead_letter: bytes = b"", most_letters: int = 0
    ) -> bool:
        """Acknowledge `job` and push its report. False when the job was no longer ours.

        The letter is left out, and counted, where `most_letters` (0: any) are kept already.
        """
        keys = self._reports_to
        return bool(
            self._report(
                [self._work.inflight(self._worker), keys.jobs, keys.bell, keys.counters, keys.dead,
                 self._work.deaths],
                [job, report, dead_letter, most_letters],
            )
        )

    def leave(self) -> int:
        """Return what was not reported, and leave the list of workers."""
        work = self._work
        return int(
            self._leave(
                [work.waiting, work.bell, work.workers, work.inflight(self._worker)],
                [self._worker],
            )
        )
