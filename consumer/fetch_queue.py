"""The RQ side of fetching: one queue per supplier, jobs as JSON under ids that say what they are.

A worker listens on one queue only: RQ moves a job of a single queue into a list of its own before
it begins, where a job popped from one of several queues is lost with its worker. And suppliers
that take long keep no others waiting.
"""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import redis
import rq
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.scripts import get_unique_enqueue_script
from rq.serializers import JSONSerializer

import shapes
from engine_errors import valkey_errors
from queues.keys import fetch_queue
from suppliers.fetching import FetchPart

log = logging.getLogger(__name__)

FUNCTION = "consumer.fetch.fetch_part"
# A part that is done is remembered until no search job can ask for it any more.
REMEMBERED_S = 120
FAILED_KEPT_S = 600
# A part whose workers die again and again is given up after so many: it may be what kills them.
AGAIN_MAX = 5
# What RQ itself runs again at once: parts that failed before they began, with Valkey away.
RETRIES_MAX = 3
TAKEN_S = 2.0
_AGAIN = "-again-"


def part_timeout_s(deadline_s: float) -> int:
    """How long RQ lets a part run: it ends by itself at its search's deadline."""
    return int(deadline_s) + 5


class FetchQueue:
    """All may raise EngineAway."""

    def __init__(self, client: redis.Redis, suppliers: Iterable[str]) -> None:
        self._client = client
        self._enqueue_script: Any = get_unique_enqueue_script(client)  # type: ignore[no-untyped-call]
        self._queues = {
            name: rq.Queue(fetch_queue(name), connection=client, serializer=JSONSerializer)
            for name in suppliers
        }
        # Since when a part stands between taken and begun, as this process saw it.
        self._taken_s: dict[str, float] = {}

    def enqueue(self, jobs: Iterable[FetchPart], *, timeout_s: int) -> int:
        """Enqueue parts, all in one round trip; returns how many were new. One that was enqueued
        before changes nothing.
        """
        return self._enqueue([(job, job_id(job)) for job in jobs], timeout_s)

    def waiting(self) -> dict[str, int]:
        """Parts that no worker has begun, by supplier."""
        with valkey_errors():
            return {name: queue.count for name, queue in self._queues.items()}

    def recover(self, gone: Iterable[str], *, timeout_s: int) -> int:
        """Enqueue again what these workers, or all workers of these processes, had begun; returns
        how many parts.

        Chunks that they appended are known by name, so doing a part again adds nothing twice.
        """
        names = tuple(gone)
        processes = tuple(f"{name}." for name in names)
        again = 0
        with valkey_errors():
            for queue in self._queues.values():
                for one in queue.started_job_registry.get_job_ids(cleanup=False):
                    job = _fetched(one, queue)
                    worker = (job and job.worker_name) or ""
                    if job is not None and (worker in names or worker.startswith(processes)):
                        again += self._again(job, timeout_s)
                        queue.started_job_registry.remove_executions(job)
        return again

    def rescue(self, *, timeout_s: int) -> int:
        """Enqueue again what was taken and never begun; returns how many parts.

        RQ's workers take and begin in two steps, moments apart. A part that stands between them
        for longer was taken by a worker that died there, or whose connection did.
        """
        again, now_s = 0, time.monotonic()
        seen: dict[str, float] = {}
        with valkey_errors():
            for queue in self._queues.values():
                between = IntermediateQueue(queue.key, queue.connection)
                for one in between.get_job_ids():
                    seen[one] = self._taken_s.get(one, now_s)
                    if now_s - seen[one] < TAKEN_S:
                        continue
                    job = _fetched(one, queue)
                    again += job is not None and self._again(job, timeout_s)
                    # Removed last: a crash before finds it again, and the id is known by then.
                    between.remove(one)
        self._taken_s = seen
        return again

    def _again(self, job: Job, timeout_s: int) -> bool:
        part = shapes.convert(job.args[0], FetchPart)
        number = int(job.id.partition(_AGAIN)[2] or 0) + 1
        if number > AGAIN_MAX:
            log.warning("a part of %s is given up: its workers died %d times", part.supplier,
                        number)
            return False
        return self._enqueue([(part, f"{job_id(part)}{_AGAIN}{number}")], timeout_s) == 1

    def _enqueue(self, named: Sequence[tuple[FetchPart, str]], timeout_s: int) -> int:
        """What RQ's `enqueue` does with `unique`, but in a pipeline: there it takes two round trips
        for each job, and those of the last supplier waited for all of them.
        """
        with valkey_errors():
            pipe: Any = self._client.pipeline(transaction=False)
            for part, name in named:
                queue = self._queues[part.supplier]
                job = queue.create_job(
                    FUNCTION, args=(msgspec.to_builtins(part),), job_id=name,
                    timeout=timeout_s, ttl=timeout_s, result_ttl=REMEMBERED_S,
                    failure_ttl=FAILED_KEPT_S, description=f"{part.supplier} part",
                    retry=rq.Retry(max=RETRIES_MAX),
                )
                job.enqueued_at = dt.datetime.now(dt.UTC)
                self._enqueue_script(keys=[job.key, queue.key],
                                     args=[name, "R", timeout_s, *_fields(job)], client=pipe)
            for key in {self._queues[part.supplier].key for part, _ in named}:
                pipe.sadd(rq.Queue.redis_queues_keys, key)
            done: list[int] = pipe.execute()
        return sum(done[:len(named)])


def job_id(job: FetchPart) -> str:
    """The same part of the same search has the same id."""
    return f"{job.search_id}-{job.created_ms:x}-{job.supplier}-{job.part.number}"


def _fields(job: Job) -> list[Any]:
    """Name, value, name, ... as RQ keeps a job."""
    return [one for name, value in job.to_dict().items() if value is not None
            for one in (name, value)]


def _fetched(name: str, queue: Any) -> Job | None:
    found: list[Job | None] = Job.fetch_many([name], connection=queue.connection,
                                             serializer=JSONSerializer)
    return found[0]
