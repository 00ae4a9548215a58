"""The simulated engines without a network between: what the contract suite asks them by."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.mongo_client import MongoDatabase
from tests.simulation.mongo_engine import Steps, Table
from tests.simulation.valkey_client import ValkeyClient
from tests.simulation.valkey_engine import BLOCKED, ValkeyEngine

_POLL_S = 0.005
_lua = threading.Lock()  # one Lua serves all engines of a process


class DirectValkey:
    """A wire to an engine of its own, in real time; threads take turns."""

    def __init__(self) -> None:
        self.engine = ValkeyEngine(lambda: time.time_ns() // 1_000)

    def send(self, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
        """As ValkeyWire in valkey_client.py."""
        return [self._answer(command) for command in commands]

    def _answer(self, command: tuple[bytes, ...]) -> Any:
        with _lua:
            answer = self.engine.call(*command)
        if answer is not BLOCKED:
            return answer
        give_up_s = time.monotonic() + float(command[-1])
        self.engine.blocked_clients += 1
        try:
            while answer is BLOCKED and time.monotonic() < give_up_s:
                time.sleep(_POLL_S)
                with _lua:
                    answer = self.engine.call(*command)
        finally:
            self.engine.blocked_clients -= 1
        return None if answer is BLOCKED else answer


class DirectMongo:
    """A wire to collections of its own."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}

    def run(self, label: str, work: Callable[[], Steps]) -> Any:
        """As MongoWire in mongo_client.py."""
        steps = work()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    def table(self, name: str) -> Table:
        """The collection of that name."""
        return self.tables.setdefault(name, Table(name))


def simulated_valkey() -> ValkeyClient:
    """An empty one."""
    return ValkeyClient(DirectValkey())


def simulated_mongo() -> MongoDatabase:
    """An empty one."""
    return MongoDatabase(DirectMongo())
