"""The feedback consumer: keeps what people looked at and booked, and has the model trained anew.

Events come in batches and go into MongoDB under their own ids, so that a batch that is delivered
again adds nothing. Training is an RQ job; RQ forks a process for it, whose memory is gone with it.
"""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import rq
from rq.exceptions import DuplicateJobError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import UnixSignalDeathPenalty
from rq.worker import Worker

from catalogue.feedback import FeedbackStore, TasteShelf, decode
from catalogue.interest import Interest
from consumer import training
from consumer.leased import LeasedConsumer
from engine_errors import valkey_errors
from errors import BrokenJob
from queues.reliable import Lease, ReliableQueue

log = logging.getLogger(__name__)

BATCH_MAX = 500
BEAT_S = 0.5
LOOKS_AT_ONCE = 5_000
QUEUE = "training"
JOB_ID = "training"
# Looked at this often; a model of yesterday is no worse for ten more seconds.
DUE_EVERY_S = 10.0
# The first model needs this much feedback, each next one that much more than the last.
FIRST_AT = 500
GROWTH = 0.02


class FeedbackConsumer(LeasedConsumer):
    """One step: take events, keep them, and see whether the model is due."""

    def __init__(
        self,
        queue: ReliableQueue,
        store: FeedbackStore,
        shelf: TasteShelf,
        interest: Interest,
        trainer: Trainer,
        *,
        name: str,
        train_every_s: float,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], dt.date] = lambda: dt.datetime.now(dt.UTC).date(),
    ) -> None:
        super().__init__(queue, name=name, stop=stop)
        self._store = store
        self._shelf = shelf
        self._interest = interest
        self._trainer = trainer
        self._train_every_s = train_every_s
        self._clock = clock
        self._today = today
        self._whole_under: Lease | None = None
        self._looked_s = float("-inf")
        self._trained_s = float("-inf")

    def work(self, lease: Lease) -> None:
        """One beat; it ends after BEAT_S at the latest, or with a training. Raises NewerJob too."""
        self._keep_interest_whole(lease)
        if not self._keep(lease):
            self.queue.wait(BEAT_S)
        self._train_if_due(lease)

    def _keep(self, lease: Lease) -> int:
        taken = self.queue.take(lease, most=BATCH_MAX, singles_after=1_000_000)
        events = []
        for raw in taken.jobs:
            try:
                events.append(decode(raw))
            except BrokenJob as broken:
                log.warning("dropped: %s", broken)  # one look of one person: not worth a letter
        # A crash before `done` brings the batch again, and MongoDB knows its ids.
        self._store.add(events)
        if taken.jobs:
            self.queue.done(lease, taken)
        return len(taken.jobs)

    def _keep_interest_whole(self, lease: Lease) -> None:
        """Count today's looks again, from MongoDB, after a flush. It took the lease away too, so
        a look at each new lease is enough. Killed anywhere, the next one does it again.
        """
        if self._whole_under is lease:  # after a flush, leases begin again with equal ones
            return
        if not self._interest.is_whole():
            today, count = self._today(), 0
            looks = self._store.looks(dt.datetime.combine(today, dt.time(), dt.UTC))
            while some := list(itertools.islice(looks, LOOKS_AT_ONCE)):
                self._interest.put_back(some, today=today)
                self.queue.renew(lease)
                count += len(some)
            self._interest.restored()
            log.info("%d looks of today are counted again", count)
        self._whole_under = lease

    def _train_if_due(self, lease: Lease) -> None:
        now_s = self._clock()
        if now_s - self._looked_s < DUE_EVERY_S:
            return
        self._looked_s = now_s
        before = self._shelf.learned_from()
        there = self._store.count()
        grown = there >= FIRST_AT if before is None else there >= before * (1 + GROWTH) + 1
        if grown and (before is None or now_s - self._trained_s >= self._train_every_s):
            self._trained_s = now_s
            self._trainer.enqueue()
        # Another one may take the lease meanwhile, and keeps events while we train.
        if self._trainer.work():
            self.queue.renew(lease)


class Trainer:
    """The RQ queue of trainings, and the worker that does them."""

    def __init__(
        self, connection: Any, *, name: str, timeout_s: int, stop: threading.Event
    ) -> None:
        self._queue = rq.Queue(QUEUE, connection=connection, serializer=JSONSerializer)
        self._worker = _Worker([self._queue], connection=connection, serializer=JSONSerializer,
                               name=f"trainer-{name}")
        self._worker.stop = stop
        self._timeout_s = timeout_s

    def enqueue(self) -> None:
        """Ask for a training, unless one is asked for already. Raises EngineAway."""
        with valkey_errors():
            try:
                self._queue.enqueue(
                    training.train, job_id=JOB_ID, unique=True, job_timeout=self._timeout_s,
                    result_ttl=0, failure_ttl=600,
                )
            except DuplicateJobError:
                log.info("a training is asked for already")

    def work(self) -> bool:
        """Do one training if one waits; True when one was done. Raises EngineAway."""
        with valkey_errors():
            return bool(self._queue.count) and bool(
                self._worker.work(burst=True, max_jobs=1, logging_level="WARNING")
            )


class _Worker(Worker):
    """Leaves signals to this process, and ends what it forked as soon as it is to stop itself."""

    death_penalty_class = UnixSignalDeathPenalty
    stop: threading.Event

    def _install_signal_handlers(self) -> None:
        """Ours stay."""

    def wait_for_horse(self) -> tuple[int | None, int | None, Any]:
        while True:
            try:
                pid, status, usage = os.wait4(self.horse_pid, os.WNOHANG)
            except ChildProcessError:
                return None, None, None
            if pid:
                return pid, status, usage
            if self.stop.wait(0.05):
                self.kill_horse()

    def main_work_horse(self, job: Job, queue: rq.Queue) -> None:
        parent = os.getppid()

        def follow() -> None:
            # A killed parent takes its training with it: another worker does it again.
            while os.getppid() == parent:
                time.sleep(0.2)
            os._exit(1)

        threading.Thread(target=follow, daemon=True).start()
        super().main_work_horse(job, queue)
