"""redis-py as Berth uses it, with a wire of our own in the place of its connections.

Commands are encoded, and answers parsed, by redis-py itself; so are the hashes of scripts, and
what is done about a server that has forgotten one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import redis
from redis.client import Pipeline


class ValkeyWire(Protocol):
    """Brings commands to a server. Raises redis-py's errors."""

    def send(self, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
        """The answers, one for each command; they travel together."""


class ValkeyClient(redis.Redis):
    """A client of one process."""

    def __init__(self, wire: ValkeyWire) -> None:
        # The pool only lends its encoder: nothing ever takes a connection from it.
        super().__init__(connection_pool=redis.ConnectionPool())
        self._wire = wire
        self._encode = self.get_encoder().encode

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """One command, one answer."""
        [answer] = self._wire.send([self._words(args)])
        return self._parsed(args[0], answer, options)

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        """Commands that travel together."""
        if transaction:
            raise NotImplementedError("MULTI is not simulated: Berth's scripts stand in its place")
        return _Pipeline(self)

    def send_all(self, stack: Sequence[tuple[tuple[Any, ...], dict[str, Any]]]) -> list[Any]:
        """Several commands, in one go."""
        answers = self._wire.send([self._words(args) for args, _ in stack])
        return [
            self._parsed(args[0], answer, options)
            for (args, options), answer in zip(stack, answers, strict=True)
        ]

    def _words(self, args: Sequence[Any]) -> tuple[bytes, ...]:
        # "CONFIG GET" is one name for redis-py, and two words on the wire.
        return (*args[0].encode().split(), *[bytes(self._encode(arg)) for arg in args[1:]])

    def _parsed(self, name: str, answer: Any, options: dict[str, Any]) -> Any:
        callback = self.response_callbacks.get(name)
        return callback(answer, **options) if callback else answer


class _Pipeline(Pipeline):
    def __init__(self, client: ValkeyClient) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, False, None)
        self._client = client

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send what was gathered."""
        stack = [(args, options) for args, options in self.command_stack]
        self.reset()
        return self._client.send_all(stack) if stack else []
