"""The RQ side of fetching: one queue per supplier, jobs as JSON under ids that say what they are.

A worker listens on one queue only: RQ moves a job of a single queue into a list of its own before
it begins, where a job popped from one of several queues is lost with its worker. And suppliers
that take long keep no others waiting.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
import redis
import rq
from rq.exceptions import DuplicateJobError
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.serializers import JSONSerializer

from engine_errors import valkey_errors
from queues.keys import fetch_queue
from suppliers.fetching import FetchPart

FUNCTION = "consumer.fetch.fetch_part"
# A part that is done is remembered until no search job can ask for it any more.
REMEMBERED_S = 120
FAILED_KEPT_S = 600
_AGAIN = "-again"


class FetchQueue:
    """All may raise EngineAway."""

    def __init__(self, client: redis.Redis, suppliers: Iterable[str]) -> None:
        self._queues = {
            name: rq.Queue(fetch_queue(name), connection=client, serializer=JSONSerializer)
            for name in suppliers
        }

    def enqueue(self, jobs: Iterable[FetchPart], *, timeout_s: int) -> int:
        """Enqueue parts; returns how many were new. One that was enqueued before changes nothing.
        """
        return sum(self._enqueue(job, job_id(job), timeout_s) for job in jobs)

    def waiting(self) -> dict[str, int]:
        """Parts that no worker has begun, by supplier."""
        with valkey_errors():
            return {name: queue.count for name, queue in self._queues.items()}

    def recover(self, dead: Iterable[str], *, timeout_s: int) -> int:
        """Enqueue again what these worker processes had begun; returns how many parts.

        Chunks that they appended are known by name, so doing a part again adds nothing twice.
        """
        gone = tuple(f"{process}." for process in dead)
        again = 0
        with valkey_errors():
            for queue in self._queues.values():
                # Begun, by their own word; and taken, but not yet begun by anybody.
                begun = queue.started_job_registry.get_job_ids(cleanup=False)
                taken = IntermediateQueue(queue.key, queue.connection).get_job_ids()
                for one in dict.fromkeys([*begun, *taken]):
                    job = _fetched(one, queue)
                    if job is None or one.endswith(_AGAIN):
                        continue
                    if one in taken or (job.worker_name or "").startswith(gone):
                        part = msgspec.convert(job.args[0], FetchPart)
                        again += self._enqueue(part, job_id(part) + _AGAIN, timeout_s)
                for one in taken:
                    queue.connection.lrem(IntermediateQueue(queue.key, queue.connection).key, 1,
                                          one)
        return again

    def _enqueue(self, job: FetchPart, name: str, timeout_s: int) -> bool:
        with valkey_errors():
            try:
                self._queues[job.supplier].enqueue(
                    FUNCTION, args=(msgspec.to_builtins(job),), job_id=name, unique=True,
                    job_timeout=timeout_s, ttl=timeout_s, result_ttl=REMEMBERED_S,
                    failure_ttl=FAILED_KEPT_S, description=f"{job.supplier} part",
                )
            except DuplicateJobError:
                return False
        return True


def job_id(job: FetchPart) -> str:
    """The same part of the same search has the same id."""
    return f"{job.search_id}-{job.created_ms:x}-{job.supplier}-{job.part.number}"


def _fetched(name: str, queue: Any) -> Job | None:
    found: list[Job | None] = Job.fetch_many([name], connection=queue.connection,
                                             serializer=JSONSerializer)
    return found[0]
