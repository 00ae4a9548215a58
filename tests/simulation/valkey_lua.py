"""The real Lua files, run by a real Lua 5.1: the language and version that Valkey embeds."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
import redis.exceptions
from lupa.lua51 import LuaRuntime, lua_type
from redis._parsers.base import BaseParser

if TYPE_CHECKING:
    from tests.simulation.valkey_engine import ValkeyEngine

# A script sees what Valkey lets it see, and a variable without `local` is the error that it is
# there. The arguments of redis.call are checked where they arrive.
_SANDBOX = """
function(call, unpack_message)
    redis = {call = call, error_reply = function(text) return {err = text} end}
    cmsgpack = {unpack = unpack_message}
    os, io, require, dofile, loadfile, package, print = nil
    python = nil
    setmetatable(_G, {
        __newindex = function(_, name)
            error('Attempt to modify a readonly table: ' .. tostring(name), 2)
        end,
        __index = function(_, name)
            error("Script attempted to access nonexistent global variable '" .. name .. "'", 2)
        end,
    })
end
"""
_ARGUMENTS = "ERR Lua redis lib command arguments must be strings or integers"


class Status(bytes):
    """A status answer such as OK; a client reads it like any other text."""


class LuaScript:
    """One script, compiled once for all engines of this Python."""

    _server: ValkeyEngine | None = None

    def __init__(self, text: bytes) -> None:
        first, _, body = text.partition(b"\n")
        if not first.startswith(b"#!lua"):
            first, body = b"", text
        flags = first.partition(b"flags=")[2].split(b",")
        self.sha = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
        self.allow_oom = b"allow-oom" in flags
        self._function = _runtime().eval(b"function(KEYS, ARGV)\n" + body + b"\nend")

    @staticmethod
    @cache
    def of(text: bytes) -> LuaScript:
        """The script of this text."""
        return LuaScript(text)

    def run(self, server: ValkeyEngine, keys: Sequence[bytes], args: Sequence[bytes]) -> Any:
        """Run it on a server; raises redis-py's error when the script fails."""
        LuaScript._server = server
        table = _runtime().table_from
        try:
            return _answer(self._function(table(keys), table(args)))
        except redis.exceptions.RedisError:
            raise
        except Exception as broken:
            raise redis.exceptions.ResponseError(f"ERR user_script: {broken}") from broken
        finally:
            LuaScript._server = None


@cache
def _runtime() -> LuaRuntime:
    runtime = LuaRuntime(encoding=None, register_eval=False, register_builtins=False)
    runtime.eval(_SANDBOX.encode())(_call, _unpack_message)
    return runtime


def _call(*words: Any) -> Any:
    """redis.call: what a script asks of its own server."""
    server = LuaScript._server
    if server is None:
        raise RuntimeError("redis.call outside of a script")
    return _to_lua(server.script_call(*[_word(word) for word in words]))


def _word(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise redis.exceptions.ResponseError(_ARGUMENTS)
    return b"%d" % value if isinstance(value, int) else repr(value).encode()


def _to_lua(value: Any) -> Any:
    """An answer as a script sees it: nothing is false, a status is a table."""
    if value is None:
        return False
    if isinstance(value, Status):
        return _runtime().table_from({b"ok": bytes(value)})
    if isinstance(value, dict):
        value = [word for pair in value.items() for word in pair]
    if isinstance(value, list):
        return _runtime().table_from([_to_lua(item) for item in value])
    return value


def _answer(value: Any) -> Any:
    """What a script returns, as it goes to the client: numbers lose their fraction, lists end at
    the first nil, false is nil.
    """
    if isinstance(value, tuple):
        value = value[0]  # of several values, the first
    if value is True:
        return 1
    if value is None or value is False:
        return None
    if isinstance(value, float):
        return int(value)
    if lua_type(value) == "table":
        status = value[b"ok"]
        if status is not None:
            return Status(status)
        if value[b"err"] is not None:
            raise BaseParser.parse_error(value[b"err"].decode())
        items: list[Any] = []
        while (item := value[len(items) + 1]) is not None:
            items.append(_answer(item))
        return items
    return value


def _unpack_message(message: bytes) -> Any:
    """cmsgpack.unpack."""
    return _table(msgspec.msgpack.decode(message))


def _table(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return _runtime().table_from([_table(item) for item in value])
    if isinstance(value, dict):
        return _runtime().table_from({_table(k): _table(v) for k, v in value.items()})
    return value
