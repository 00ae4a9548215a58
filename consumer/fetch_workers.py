"""Which fetch worker processes live: a heartbeat each, and who missed theirs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from engine_errors import valkey_errors
from queues.keys import SEARCH, SearchKeys
from suppliers.gate import give_back
from suppliers.registry import ADAPTERS


class FetchWorkersAlive:
    """All may raise EngineAway. Times are Valkey's."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        heartbeat_ms: int,
        keys: SearchKeys = SEARCH,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client: Any = client
        self._heartbeat_ms = heartbeat_ms
        self._keys = keys
        self._monotonic = monotonic
        self._looked_s = float("-inf")
        # Whose heartbeat ran out, and from when on that is believed.
        self._missed: dict[str, float] = {}

    def beat(self, name: str) -> None:
        """Say that this process lives."""
        with valkey_errors():
            self._client.zadd(self._keys.workers, {name: self._now_ms() + self._heartbeat_ms})

    def leave(self, name: str) -> None:
        """This process has nothing under way any more."""
        with valkey_errors():
            self._client.zrem(self._keys.workers, name)

    def alive(self) -> int:
        """How many there are."""
        with valkey_errors():
            return int(self._client.zcount(self._keys.workers, f"({self._now_ms()}", "+inf"))

    def dead(self) -> list[str]:
        """Those whose heartbeat ran out. Whoever looks, looks again and again.

        While Valkey is away nobody's heart is heard. So where the last look is long ago, which may
        be why, those that have run out by now have one heartbeat to be heard again.
        """
        with valkey_errors():
            found = self._client.zrangebyscore(self._keys.workers, "-inf", self._now_ms())
        now_s, heartbeat_s = self._monotonic(), self._heartbeat_ms / 1_000
        believed_s = now_s + (heartbeat_s if now_s - self._looked_s > heartbeat_s / 2 else 0.0)
        self._looked_s = now_s
        self._missed = {name: self._missed.get(name, believed_s)
                        for name in (one.decode() for one in found)}
        return [name for name, from_s in self._missed.items() if from_s <= now_s]

    def forget(self, names: Sequence[str]) -> None:
        """Their parts are somebody else's now, and so are their places at suppliers."""
        give_back(self._client, ADAPTERS, names, keys=self._keys)
        with valkey_errors():
            self._client.zrem(self._keys.workers, *names)

    def _now_ms(self) -> int:
        seconds, micros = self._client.time()
        return int(seconds * 1_000 + micros // 1_000)
