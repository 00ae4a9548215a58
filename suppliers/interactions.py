"""Every vendor call, told to the interaction log without keeping the call waiting.

The fetch hands over and goes on; a thread of its own cleans calls and pushes them, several in
one round trip. When that cannot keep up, or the list is full because the store is away, new calls
are not kept, and counted: the latest minutes of a log are worth less than a fetch.
"""

from __future__ import annotations

import atexit
import logging
import queue
import threading
from collections.abc import Collection

import msgspec
import redis
from ulid import ULID

from errors import EngineAway
from queues.keys import INTERACTIONS, InteractionKeys
from queues.scripts import Script
from suppliers.http import Exchange
from suppliers.redaction import redact

log = logging.getLogger(__name__)

# Calls of one process that wait to be cleaned; they are whole, and may be large.
BUFFER_MAX = 500
BUFFER_MAX_BYTES = 33_554_432
# What all calls on the list may take together.
WAITING_MAX_BYTES = 67_108_864
AT_ONCE = 50
_WAIT_S = 0.5
# Calls are gathered for this long: cleaning and pushing them one by one took a sixth of the time
# that a fetch worker has.
_GATHER_S = 0.1


class InteractionLog:
    """The producer's side. `observe` is for `suppliers.http.Terms`."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        most_waiting: int,
        secrets: Collection[str],
        keys: InteractionKeys = INTERACTIONS,
    ) -> None:
        self._keys = keys
        self._most_waiting = most_waiting
        self._secrets = sorted((one for one in secrets if len(one) >= 6), key=len, reverse=True)
        self._push = Script(client, "interactions_push")
        self._buffer: queue.Queue[Exchange] = queue.Queue(BUFFER_MAX)
        self._counting = threading.Lock()
        self._held_bytes = 0
        self._dropped = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._drain, name="interaction-log", daemon=True)
        self._thread.start()
        # What is in the buffer when the process ends is pushed, for a moment.
        atexit.register(self.close)

    def observe(self, exchange: Exchange) -> None:
        """Hand a call over. Never waits, never raises."""
        size = _size(exchange)
        with self._counting:
            if self._held_bytes + size > BUFFER_MAX_BYTES:
                self._dropped += 1
                return
            self._held_bytes += size
        try:
            self._buffer.put_nowait(exchange)
        except queue.Full:
            with self._counting:
                self._held_bytes -= size
                self._dropped += 1

    def close(self, within_s: float = 2.0) -> None:
        """Push what is in the buffer, for a moment."""
        self._closed.set()
        self._thread.join(within_s)

    def _drain(self) -> None:
        while not (self._closed.is_set() and self._buffer.empty()):
            some = self._gathered()
            if some:
                self._send(some)

    def _gathered(self) -> list[Exchange]:
        some: list[Exchange] = []
        try:
            some.append(self._buffer.get(timeout=_WAIT_S))
            self._closed.wait(_GATHER_S)
            while len(some) < AT_ONCE:
                some.append(self._buffer.get_nowait())
        except queue.Empty:
            pass  # what came is enough
        return some

    def _send(self, some: list[Exchange]) -> None:
        keys = self._keys
        jobs = []
        for exchange in some:
            try:
                jobs.append(msgspec.json.encode(redact(exchange, str(ULID()), self._secrets)))
            except Exception:  # noqa: BLE001 (a trace would show what must not be seen)
                # A call that cannot be cleaned is not kept. Nothing of it is logged either.
                log.error("a call of %s cannot be kept", exchange.supplier)
        with self._counting:
            self._held_bytes -= sum(map(_size, some))
            dropped = self._dropped + len(some) - len(jobs)
            self._dropped = 0
        try:
            self._push([keys.jobs, keys.bell, keys.counters],
                       [self._most_waiting, WAITING_MAX_BYTES, dropped, *jobs])
        except (EngineAway, redis.RedisError):
            # Whether it was pushed is not known. A count that is too high is the smaller lie.
            with self._counting:
                self._dropped += dropped + len(jobs)


def _size(exchange: Exchange) -> int:
    return len(exchange.request_body) + len(exchange.response_body)
