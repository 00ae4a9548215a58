"""Loads the Lua scripts of this room and calls them by their hash.

Every script's file says what its keys, arguments and answers are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import redis

from engine_errors import valkey_errors

Argument = str | bytes | int


@cache
def _text(name: str) -> str:
    return (Path(__file__).parent / "lua" / f"{name}.lua").read_text(encoding="utf-8")


class Script:
    """One Lua script on one client. A server that has forgotten it is given its text again."""

    def __init__(self, client: redis.Redis, name: str) -> None:
        self._script = client.register_script(_text(name))

    def queue(self, pipe: Any, keys: Sequence[str | bytes], args: Sequence[Argument]) -> None:
        """Call it in a pipeline, which gives the text to a server that has forgotten it."""
        self._script(keys=list(keys), args=list(args), client=pipe)

    def __call__(self, keys: Sequence[str | bytes], args: Sequence[Argument]) -> Any:
        """Raises EngineAway when the answer is not known."""
        with valkey_errors():
            return self._script(keys=list(keys), args=list(args))
