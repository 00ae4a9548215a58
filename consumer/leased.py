"""What consumers of a reliable list share: one works, the others stand by, engines may go away."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod

from errors import EngineAway, LeaseLost
from queues.reliable import Lease, ReliableQueue

log = logging.getLogger(__name__)

STANDBY_PAUSE_S = 0.5
ENGINE_PAUSE_S = 0.2


class LeasedConsumer(ABC):
    """The lease around a beat of `work`. A subclass says what a beat is."""

    def __init__(self, queue: ReliableQueue, *, name: str, stop: threading.Event) -> None:
        self.queue = queue
        self.stop = stop
        self._name = name
        self._lease: Lease | None = None

    @abstractmethod
    def work(self, lease: Lease) -> None:
        """One beat, with the lease held when it begins. May raise EngineAway and LeaseLost: what
        was taken is still in flight, and comes again.
        """

    def step(self) -> None:
        """One beat, or a pause while another one works or an engine is away."""
        try:
            self._lease = self._lease or self.queue.acquire(self._name)
            if self._lease is None:
                self.stop.wait(STANDBY_PAUSE_S)
                return
            self.work(self._lease)
        except LeaseLost:
            self._lease = None
        except EngineAway as away:
            log.warning("%s; trying again", away)
            self.stop.wait(ENGINE_PAUSE_S)

    def leave(self) -> None:
        """Let another one go on at once. What is in flight comes back through no fault of its own.
        """
        if self._lease is None:
            return
        try:
            self.queue.release(self._lease, excused=True)
        except EngineAway:
            log.warning("the lease could not be returned; it runs out by itself")
