"""A fetch worker: RQ workers as threads of one process, so that many waits take little memory.

Each thread is RQ's SimpleWorker on the queue of one supplier. Signals are this process's own
affair, and the time limits of jobs are kept by a thread, since threads can have no alarm.
"""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import rq
from rq.serializers import JSONSerializer
from rq.worker import SimpleWorker

import shapes
from consumer.beside import Beside
from consumer.fetch_queue import FetchQueue
from consumer.fetch_workers import FetchWorkersAlive
from consumer.job_timeouts import SharedDeathPenalty
from errors import EngineAway
from queues.keys import fetch_queue
from suppliers.fetching import Fetcher, FetchPart

log = logging.getLogger(__name__)

BEATS_PER_HEARTBEAT = 4
PAUSE_S = 0.5
# RQ waits for a job for the time to live of a worker less 15 s, and then looks up. Workers wait for
# different parts of that: hundreds that begin together would look up together for ever after.
WORKER_TTL_S = 45
# RQ notes several times per job that a worker lives. Nobody looks that often: whether the process
# lives is told by its own heartbeat.
NOTED_EVERY_S = 5.0
# A thread that computes keeps others, whose answers have come, waiting for this long at a time.
SWITCH_INTERVAL_S = 0.001
# Parts that are under way when the process is to end have this long.
END_WITHIN_S = 3.0

_fetcher: Fetcher | None = None
_under_way = 0
_counting = threading.Condition()


def fetch_part(raw: Mapping[str, Any]) -> None:
    """The RQ job. Raises EngineAway once the deadline has passed without Valkey."""
    assert _fetcher is not None, "jobs are done by a fetch worker only"
    global _under_way
    with _counting:
        _under_way += 1
    try:
        _fetcher.run(shapes.convert(raw, FetchPart))
    finally:
        with _counting:
            _under_way -= 1
            _counting.notify_all()


class FetchWorkers:
    """All RQ workers of this process. A step is a heartbeat.

    `beside` is the process that fetches from the other suppliers, if there is one.
    """

    beside: Beside | None = None

    def __init__(
        self,
        connection: Any,
        fetcher: Fetcher,
        alive: FetchWorkersAlive,
        fetches: FetchQueue,
        *,
        name: str,
        timeout_s: int,
        suppliers: Mapping[str, int],
        heartbeat_ms: int,
        stop: threading.Event,
    ) -> None:
        global _fetcher
        _fetcher = fetcher
        self._connection = connection
        self._fetcher = fetcher
        self._alive = alive
        self._fetches = fetches
        self._name = name
        self._timeout_s = timeout_s
        self._beat_s = heartbeat_ms / 1_000 / BEATS_PER_HEARTBEAT
        self._stop = stop
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        # RQ talks about each job; here that would be a line per part.
        for noisy in ("rq.worker", "rq.queue", "rq.job"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        # The heartbeat first: what a worker takes must be known to be somebody's.
        self._when_told(lambda: self._alive.beat(self._name))
        for supplier, threads in suppliers.items():
            for number in range(threads):
                threading.Thread(
                    target=self._work, args=(supplier, number), daemon=True,
                    name=f"fetch-{supplier}-{number}",
                ).start()

    def step(self) -> None:
        """One heartbeat, and a wait for the next one. Raises BerthError when the process beside
        this one has ended.
        """
        if self.beside is not None:
            self.beside.check()
        try:
            self._alive.beat(self._name)
        except EngineAway as away:
            log.warning("%s; trying again", away)
        self._stop.wait(self._beat_s)

    def leave(self) -> None:
        """Let parts under way end, for a while; what is left another worker does again."""
        if self.beside is not None:
            self.beside.ask_to_end()
        with _counting:
            _counting.wait_for(lambda: _under_way == 0, END_WITHIN_S)
            left = _under_way
        self._fetcher.close()
        if self.beside is not None:
            self.beside.end(END_WITHIN_S)
        if left:
            log.info("%d parts are left to other workers", left)
            return  # the heartbeat runs out, and they are brought back
        try:
            self._alive.leave(self._name)
        except EngineAway:
            log.warning("the heartbeat could not be taken back; it runs out by itself")

    def _when_told(self, what: Callable[[], None]) -> None:
        while not self._stop.is_set():
            try:
                what()
                return
            except EngineAway as away:
                log.warning("%s; trying again", away)
                self._stop.wait(PAUSE_S)

    def _work(self, supplier: str, number: int) -> None:
        queue = rq.Queue(fetch_queue(supplier), connection=self._connection,
                         serializer=JSONSerializer)
        lives = 0
        while not self._stop.is_set():
            lives += 1
            name = f"{self._name}.{supplier}.{number}.{lives}"
            worker = _ThreadWorker(
                [queue], connection=self._connection, serializer=JSONSerializer,
                name=name, worker_ttl=WORKER_TTL_S, log_job_description=False,
            )
            worker.stop = self._stop
            worker.tidies = number == 0
            try:
                worker.work(logging_level="WARNING")
            except Exception:
                # Whatever it was (Valkey away, most likely), the next life begins anew.
                log.warning("a worker of %s ended", supplier, exc_info=True)
            # RQ ends a worker whose connection broke while it began or ended a part.
            self._when_told(partial(self._bring_back, name))
            self._stop.wait(PAUSE_S)

    def _bring_back(self, worker: str) -> None:
        again = self._fetches.recover([worker], timeout_s=self._timeout_s)
        if again:
            log.warning("%d parts of a worker that ended are fetched again", again)


class _ThreadWorker(SimpleWorker):
    """RQ's worker without what only a process can have."""

    death_penalty_class = SharedDeathPenalty
    # After Valkey was away, RQ looks again within this.
    max_connection_wait_time = 1.0
    stop: threading.Event
    tidies = False
    _noted_s = float("-inf")

    @property
    def dequeue_timeout(self) -> int:
        """How long to wait for a job before looking up; see WORKER_TTL_S."""
        most: int = super().dequeue_timeout
        return random.randint(most // 2, most)  # noqa: S311 (it hides nothing)

    @property
    def connection_timeout(self) -> int:
        """For RQ: how long its connections wait for an answer."""
        return WORKER_TTL_S

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Now and then; see NOTED_EVERY_S. One in a pipeline costs no round trip."""
        now_s = time.monotonic()
        if pipeline is not None or now_s - self._noted_s >= NOTED_EVERY_S:
            self._noted_s = now_s
            super().heartbeat(timeout, pipeline)

    def set_state(self, state: str, pipeline: Any = None) -> None:
        """Once: RQ says idle after a job, and again before the next one."""
        if state != self.get_state():
            super().set_state(state, pipeline)

    @property
    def _stop_requested(self) -> bool:
        return self.stop.is_set()

    @_stop_requested.setter
    def _stop_requested(self, value: bool) -> None:
        """RQ sets it at its start; the process alone decides."""

    def _install_signal_handlers(self) -> None:
        """Signals are the process's."""

    def subscribe(self) -> None:
        """No commands by publish and subscribe: it would be one more thread each."""

    def unsubscribe(self) -> None:
        """See subscribe."""

    def procline(self, message: str) -> None:
        """The process keeps its own title."""

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """RQ's registries are cleaned by one thread per supplier; all at once would be felt."""
        return self.tidies and bool(super().should_run_maintenance_tasks)
