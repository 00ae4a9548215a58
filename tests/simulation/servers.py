"""The engines as servers on the network, and each process's wire to them."""

from __future__ import annotations

import hashlib
import random
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pymongo.errors as mongo
import redis.exceptions as valkey

import queues
from tests.simulation.kernel import US_PER_S, Kernel, Process
from tests.simulation.mongo_engine import Table
from tests.simulation.network import Call, Network, Server, Steps
from tests.simulation.valkey_engine import BLOCKED, ValkeyEngine

EPOCH_US = 1_800_000_000 * US_PER_S  # what Valkey's TIME says when a simulation begins


class ValkeyServer(Server):
    """Valkey with appendfsync always: whatever it has answered, it keeps. Its clock may jump.

    `on_ask` is told each command before it runs, `on_write` the keys that it wrote.
    """

    def __init__(
        self, name: str, kernel: Kernel, rng: random.Random,
        on_ask: Callable[[tuple[bytes, ...]], None], on_write: Callable[[set[bytes]], None],
    ) -> None:
        super().__init__()
        self.name = name
        self.jumped_us = 0
        self.engine = ValkeyEngine(self.now_us)
        self._kernel = kernel
        self._rng = rng
        self._on_ask = on_ask
        self._on_write = on_write
        self._loading = False
        self._blocked: dict[bytes, deque[Call]] = {}

    def now_us(self) -> int:
        """Its own clock."""
        return EPOCH_US + self._kernel.now_us + self.jumped_us

    def work(self, commands: Sequence[tuple[bytes, ...]]) -> Steps:
        """The commands one by one; others may come between two of them."""
        answers = []
        for command in commands:
            if answers:
                yield
            self._on_ask(command)
            answers.append(self.engine.call(*command))
        return answers

    def settle(self) -> None:
        """What was written is looked at, and wakes whoever waits for it."""
        touched = set(self.engine.touched)
        if not touched:
            return
        self._on_write(touched)
        for key in sorted(touched & self._blocked.keys()):
            self._serve(key)
        self.engine.touched.clear()

    def _serve(self, key: bytes) -> None:
        waiting = self._blocked[key]
        while waiting and self.engine.peek(key):
            call = waiting.popleft()
            # The server may not know yet that a caller is gone: then it gives the token away.
            if call.task.process.alive or self._rng.random() < 0.5:
                item = self.engine.call(b"RPOP", key)
                self._on_write({key})
                call.answer([[key, item]])

    def blocks(self, answer: object) -> bool:
        """A BRPOP that found nothing."""
        return isinstance(answer, list) and answer[0] is BLOCKED

    def block(self, call: Call) -> None:
        """Keep it until there is an item, or its time is up."""
        _, key, timeout_s = call.asked
        self._blocked.setdefault(key, deque()).append(call)

        def give_up() -> None:
            if call in self._blocked[key]:
                self._blocked[key].remove(call)
                call.answer([None])

        self._kernel.after(int(float(timeout_s) * US_PER_S), give_up)

    def stop(self) -> None:
        """Whoever waits hears of it; scripts are forgotten."""
        super().stop()
        self.engine.forget_scripts()
        for waiting in self._blocked.values():
            while waiting:
                waiting.popleft().answer([None])

    def start(self) -> None:
        """It listens, but reads its file for a while."""
        super().start()
        self._loading = True

    def loaded(self) -> None:
        """It has read its file."""
        self._loading = False

    def refusal(self) -> Exception | None:
        """As Server.refusal, and while it loads."""
        if self.up and self._loading:
            return valkey.BusyLoadingError("Valkey is loading the dataset in memory")
        return super().refusal()

    def away(self, why: str, label: str = "") -> Exception:
        """redis-py's errors."""
        return (valkey.TimeoutError if why == "timed out" else valkey.ConnectionError)(why)


class ValkeyWire:
    """One process's connections to Valkey."""

    def __init__(self, network: Network, process: Process, server: ValkeyServer) -> None:
        self._network = network
        self._process = process
        self._server = server

    def send(self, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
        """As ValkeyWire in valkey_client.py."""
        label = "; ".join([_shown(command) for command in commands])
        answers: list[Any] = self._network.call(
            self._process, self._server, label, lambda: self._server.work(commands), commands[0]
        )
        return answers


class MongoServer(Server):
    """A replica set whose majority keeps what it has journaled."""

    name = "mongo"

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.tables: dict[str, Table] = {}
        self._rng = rng

    def table(self, name: str) -> Table:
        """The collection of that name."""
        return self.tables.setdefault(name, Table(name))

    def away(self, why: str, label: str = "") -> Exception:
        """pymongo's errors: for a write, also those of a server that answered halfway."""
        if why == "timed out":
            return mongo.NetworkTimeout(why)
        errors: list[Exception] = [
            mongo.AutoReconnect(why),
            mongo.NotPrimaryError(why),
            mongo.ServerSelectionTimeoutError(why),
            mongo.OperationFailure(why, 11_600),
        ]
        if label.startswith("bulk_write") and why != "connection refused":
            nothing = {"writeErrors": [], "writeConcernErrors": []}
            errors += [
                mongo.BulkWriteError({**nothing, "writeConcernErrors": [{"code": 64}]}),
                mongo.BulkWriteError({**nothing, "writeErrors": [{"index": 0, "code": 11_602}]}),
            ]
        return self._rng.choice(errors)


class MongoWire:
    """One process's connections to MongoDB."""

    def __init__(self, network: Network, process: Process, server: MongoServer) -> None:
        self._network = network
        self._process = process
        self._server = server

    def run(self, label: str, work: Callable[[], Steps]) -> Any:
        """As MongoWire in mongo_client.py."""
        return self._network.call(self._process, self._server, label, work)

    def table(self, name: str) -> Table:
        """The server's collection."""
        return self._server.table(name)


@cache
def _script_names() -> dict[bytes, str]:
    folder = Path(queues.__file__).parent / "lua"
    return {
        hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest().encode(): file.stem
        for file in folder.glob("*.lua")
    }


def script_call(command: tuple[bytes, ...]) -> tuple[str, tuple[bytes, ...]]:
    """Name and arguments of the script that a command runs; ("", ()) when it runs none."""
    if command[0] != b"EVALSHA":
        return "", ()
    return _script_names().get(command[1], "an unknown script"), command[3 + int(command[2]):]


def _shown(command: tuple[bytes, ...]) -> str:
    """A command for the trace: a script by its name, and what tells two calls apart."""
    name, args = script_call(command)
    if not name:
        return _plain(b" ".join(command)[:60])
    words = b" ".join(args)
    return f"{name} {zlib.crc32(words):08x} {_plain(words[:70])}"


def _plain(words: bytes) -> str:
    return "".join(char if char.isprintable() else "." for char in words.decode(errors="replace"))
