"""A small Valkey: the commands that Berth uses, with its types, expiry, errors and clock.

Commands come and answers go as on the wire: bytes in; bytes, numbers, None, lists and dicts out.
A command that is not here is an error, so that nothing is simulated by accident. The contract
suite (tests/contract/test_fakes.py) compares every answer with a real server's.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from redis._parsers.base import BaseParser

from tests.simulation.valkey_lua import LuaScript, Status

WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"
NOT_INTEGER = "ERR value is not an integer or out of range"
NOT_FLOAT = "ERR value is not a valid float"
OK = Status(b"OK")
# A lost or held token: what BRPOP answers while it waits. Never seen by a client.
BLOCKED = object()

_INT64 = 2**63
_TYPE_NAMES = {bytes: b"string", dict: b"hash", deque: b"list"}


class Scores(dict[bytes, float]):
    """A sorted set."""


def error(text: str) -> Exception:
    """The error that a client of redis-py sees for this answer, as redis-py itself reads it."""
    return BaseParser.parse_error(text)


class ValkeyEngine:
    """One server. `clock_us` is what its TIME says, and what its keys expire by."""

    def __init__(self, clock_us: Callable[[], int]) -> None:
        self.clock_us = clock_us
        self.config = {
            b"appendonly": b"yes", b"appendfsync": b"always", b"maxmemory-policy": b"noeviction",
            b"min-replicas-to-write": b"0",
        }  # fmt: skip
        self.used_memory, self.maxmemory = 10, 100
        self.blocked_clients = 0
        self.touched: set[bytes] = set()
        self._data: dict[bytes, Any] = {}
        self._expires_ms: dict[bytes, int] = {}
        self._scripts: dict[bytes, LuaScript] = {}
        self._commands = _commands_of(self)
        self._now_ms = 0

    # --- from outside -------------------------------------------------------------------------

    def call(self, *words: bytes) -> Any:
        """Run one command; raises redis-py's error for an error answer.

        `touched` has the keys that it wrote. BLOCKED is the answer of a BRPOP that finds nothing.
        """
        self.touched.clear()
        self._now_ms = self.clock_us() // 1_000
        return self._dispatch(words)

    def forget_scripts(self) -> None:
        """A server that starts again knows no script."""
        self._scripts.clear()

    def peek(self, key: str | bytes) -> Any:
        """The value of a key as it stands; None when it is not there or has expired."""
        self._now_ms = self.clock_us() // 1_000
        return self._value(key.encode() if isinstance(key, str) else key)

    def expires(self, key: str | bytes) -> bool:
        """Whether the key has an end."""
        return (key.encode() if isinstance(key, str) else key) in self._expires_ms

    def keys(self) -> list[bytes]:
        """Every key that is there."""
        self._now_ms = self.clock_us() // 1_000
        return [key for key in list(self._data) if self._value(key) is not None]

    def script_call(self, *words: bytes) -> Any:
        """redis.call of a script."""
        return self._dispatch(words)

    def _dispatch(self, words: tuple[bytes, ...]) -> Any:
        found = self._commands.get(words[0].upper())
        if found is None:
            raise error(f"ERR unknown command '{words[0].decode()}'")
        command, least, most = found
        if not least <= len(words) - 1 <= most:
            name = words[0].decode().lower()
            raise error(f"ERR wrong number of arguments for '{name}' command")
        return command(*words[1:])

    # --- values -------------------------------------------------------------------------------

    def _value(self, key: bytes) -> Any:
        expires_ms = self._expires_ms.get(key)
        if expires_ms is not None and expires_ms <= self._now_ms:
            del self._data[key], self._expires_ms[key]
        return self._data.get(key)

    def _typed(self, key: bytes, kind: type) -> Any:
        value = self._value(key)
        if value is not None and type(value) is not kind:
            raise error(WRONG_TYPE)
        return value

    def _write(self, key: bytes, kind: type) -> Any:
        """The value to change; a new one when there is none."""
        value = self._typed(key, kind)
        if value is None:
            value = self._data[key] = kind()
        self.touched.add(key)
        return value

    def _drop_if_empty(self, key: bytes) -> None:
        if not self._data.get(key):
            self._drop(key)

    def _drop(self, key: bytes) -> bool:
        there = self._value(key) is not None
        self._data.pop(key, None)
        self._expires_ms.pop(key, None)
        self.touched.add(key)
        return there

    # --- keys ---------------------------------------------------------------------------------

    def _del(self, key: bytes, *more: bytes) -> int:
        return sum([self._drop(one) for one in (key, *more)])

    _unlink = _del

    def _exists(self, key: bytes, *more: bytes) -> int:
        return sum(self._value(one) is not None for one in (key, *more))

    def _pexpire(self, key: bytes, ttl_ms: bytes) -> int:
        ttl = _integer(ttl_ms)
        if self._value(key) is None:
            return 0
        self.touched.add(key)
        if ttl <= 0:
            self._drop(key)
        else:
            self._expires_ms[key] = self._now_ms + ttl
        return 1

    def _pttl(self, key: bytes) -> int:
        if self._value(key) is None:
            return -2
        return self._expires_ms[key] - self._now_ms if key in self._expires_ms else -1

    def _ttl(self, key: bytes) -> int:
        left_ms = self._pttl(key)
        return left_ms if left_ms < 0 else (left_ms + 500) // 1_000

    def _keys(self, pattern: bytes) -> list[bytes]:
        if pattern != b"*":
            raise error("ERR only KEYS * is simulated")
        return self.keys()

    def _dump(self, key: bytes) -> bytes | None:
        """Not Valkey's format: equal for equal values is all that is asked of it."""
        value = self._value(key)
        if value is None:
            return None
        if isinstance(value, dict):
            value = sorted(value.items())
        return repr(value).encode()

    def _flushall(self) -> Status:
        self._data.clear()
        self._expires_ms.clear()
        return OK

    # --- strings ------------------------------------------------------------------------------

    def _get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._typed(key, bytes)
        return value

    def _set(self, key: bytes, value: bytes, px: bytes = b"", ttl_ms: bytes = b"") -> Status:
        if px.upper() not in (b"", b"PX", b"EX"):
            raise error("ERR syntax error")
        if px:
            ttl = _integer(ttl_ms) * (1_000 if px.upper() == b"EX" else 1)
            if ttl <= 0:
                raise error("ERR invalid expire time in 'set' command")
        self._drop(key)
        self._data[key] = value
        if px:
            self._expires_ms[key] = self._now_ms + ttl
        return OK

    def _incr(self, key: bytes) -> int:
        before = self._typed(key, bytes)
        number = _integer(b"0" if before is None else before) + 1
        self._data[key] = b"%d" % number
        self.touched.add(key)
        return number

    # --- hashes -------------------------------------------------------------------------------

    def _hget(self, key: bytes, field: bytes) -> bytes | None:
        return (self._typed(key, dict) or {}).get(field)

    def _hmget(self, key: bytes, field: bytes, *more: bytes) -> list[bytes | None]:
        found = self._typed(key, dict) or {}
        return [found.get(one) for one in (field, *more)]

    def _hgetall(self, key: bytes) -> dict[bytes, bytes]:
        return dict(self._typed(key, dict) or {})

    def _hvals(self, key: bytes) -> list[bytes]:
        return list((self._typed(key, dict) or {}).values())

    def _hexists(self, key: bytes, field: bytes) -> int:
        return int(field in (self._typed(key, dict) or {}))

    def _hset(self, key: bytes, field: bytes, value: bytes, *more: bytes) -> int:
        pairs = (field, value, *more)
        if len(pairs) % 2:
            raise error("ERR wrong number of arguments for 'hset' command")
        found = self._write(key, dict)
        before = len(found)
        found.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(found) - before

    def _hdel(self, key: bytes, field: bytes, *more: bytes) -> int:
        found = self._typed(key, dict)
        if found is None:
            return 0
        self.touched.add(key)
        gone = sum([found.pop(one, None) is not None for one in (field, *more)])
        self._drop_if_empty(key)
        return gone

    def _hincrby(self, key: bytes, field: bytes, by: bytes) -> int:
        step = _integer(by)
        before = (self._typed(key, dict) or {}).get(field, b"0")
        number = _integer(before, "ERR hash value is not an integer") + step
        self._write(key, dict)[field] = b"%d" % number
        return number

    # --- lists (the left end is the newest job) -----------------------------------------------

    def _llen(self, key: bytes) -> int:
        return len(self._typed(key, deque) or ())

    def _lpush(self, key: bytes, item: bytes, *more: bytes) -> int:
        found = self._write(key, deque)
        found.extendleft((item, *more))
        return len(found)

    def _rpush(self, key: bytes, item: bytes, *more: bytes) -> int:
        found = self._write(key, deque)
        found.extend((item, *more))
        return len(found)

    def _pop(self, key: bytes, count: bytes | None, take: Callable[[deque[bytes]], bytes]) -> Any:
        most = 1 if count is None else _integer(count)
        if most < 0:
            raise error("ERR value is out of range, must be positive")
        found = self._typed(key, deque)
        if found is None:
            return None
        self.touched.add(key)
        items = [take(found) for _ in range(min(most, len(found)))]
        self._drop_if_empty(key)
        return items[0] if count is None else items

    def _lpop(self, key: bytes, count: bytes | None = None) -> Any:
        return self._pop(key, count, lambda found: found.popleft())

    def _rpop(self, key: bytes, count: bytes | None = None) -> Any:
        return self._pop(key, count, lambda found: found.pop())

    def _rpoplpush(self, source: bytes, target: bytes) -> bytes | None:
        if self._typed(source, deque) is None:
            return None
        self._typed(target, deque)
        item: bytes = self._rpop(source)
        self._lpush(target, item)
        return item

    def _lrange(self, key: bytes, first: bytes, last: bytes) -> list[bytes]:
        found = list(self._typed(key, deque) or ())
        return found[_slice(len(found), first, last)]

    def _ltrim(self, key: bytes, first: bytes, last: bytes) -> Status:
        found = self._typed(key, deque)
        bounds = _slice(len(found or ()), first, last)
        if found is not None:
            self._data[key] = deque(list(found)[bounds])
            self.touched.add(key)
            self._drop_if_empty(key)
        return OK

    def _lrem(self, key: bytes, count: bytes, item: bytes) -> int:
        if _integer(count) != 1:
            raise error("ERR only LREM 1 is simulated")
        found = self._typed(key, deque)
        if found is None or item not in found:
            return 0
        found.remove(item)
        self.touched.add(key)
        self._drop_if_empty(key)
        return 1

    def _brpop(self, key: bytes, timeout_s: bytes) -> Any:
        if _float(timeout_s, "ERR timeout is not a float or out of range") < 0:
            raise error("ERR timeout is negative")
        item = self._rpop(key)
        return BLOCKED if item is None else [key, item]

    # --- sorted sets --------------------------------------------------------------------------

    def _zadd(self, key: bytes, score: bytes, member: bytes) -> int:
        value = _float(score)
        found = self._write(key, Scores)
        new = member not in found
        found[member] = value
        return int(new)

    def _zrem(self, key: bytes, member: bytes) -> int:
        found = self._typed(key, Scores)
        if found is None or member not in found:
            return 0
        del found[member]
        self.touched.add(key)
        self._drop_if_empty(key)
        return 1

    def _zcard(self, key: bytes) -> int:
        return len(self._typed(key, Scores) or ())

    def _zscore(self, key: bytes, member: bytes) -> float | None:
        return (self._typed(key, Scores) or {}).get(member)

    def _zrangebyscore(self, key: bytes, least: bytes, most: bytes) -> list[bytes]:
        above, below = _bound(least, low=True), _bound(most, low=False)
        found = (self._typed(key, Scores) or {}).items()
        ordered = sorted((score, member) for member, score in found)
        return [member for score, member in ordered if above(score) and below(score)]

    # --- the server ---------------------------------------------------------------------------

    def _time(self) -> list[bytes]:
        seconds, micros = divmod(self.clock_us(), 1_000_000)
        return [b"%d" % seconds, b"%d" % micros]

    def _config(self, verb: bytes, *words: bytes) -> dict[bytes, bytes] | Status:
        if verb.upper() == b"GET":
            return {name: self.config[name] for name in words if name in self.config}
        if verb.upper() != b"SET" or len(words) != 2:
            raise error("ERR only CONFIG GET and CONFIG SET of one name are simulated")
        name, value = words
        if name == b"maxmemory":
            self.maxmemory = int(value.removesuffix(b"mb")) * (2**20 if b"mb" in value else 1)
        else:
            self.config[name] = value
        return OK

    def _info(self, section: bytes) -> bytes:
        if section.lower() == b"clients":
            return f"# Clients\r\nblocked_clients:{self.blocked_clients}\r\n".encode()
        if section.lower() != b"memory":
            raise error("ERR only INFO memory and INFO clients are simulated")
        return (f"# Memory\r\nused_memory:{self.used_memory}\r\n"
                f"maxmemory:{self.maxmemory}\r\n").encode()

    def _script(self, verb: bytes, text: bytes = b"") -> bytes:
        if verb.upper() == b"FLUSH":
            self.forget_scripts()
            return OK
        if verb.upper() != b"LOAD":
            raise error("ERR only SCRIPT LOAD and SCRIPT FLUSH are simulated")
        script = LuaScript.of(text)
        self._scripts[script.sha] = script
        return script.sha

    def _evalsha(self, sha: bytes, count: bytes, *rest: bytes) -> Any:
        script = self._scripts.get(sha)
        if script is None:
            raise error("NOSCRIPT No matching script.")
        if not script.allow_oom and self.maxmemory and self.used_memory > self.maxmemory:
            raise error("OOM allow-oom flag is not set on the script, can not run it when used "
                        "memory > 'maxmemory'")
        if self.config[b"min-replicas-to-write"] != b"0":
            raise error("NOREPLICAS Not enough good replicas to write.")
        keys = _integer(count)
        return script.run(self, rest[:keys], rest[keys:])


def _commands_of(engine: ValkeyEngine) -> dict[bytes, tuple[Callable[..., Any], int, int]]:
    """Name -> the method, its least and its most arguments."""
    return {name.upper().encode(): found for name, found in _methods(engine)}


def _methods(engine: ValkeyEngine) -> Iterator[tuple[str, tuple[Callable[..., Any], int, int]]]:
    for name in _COMMANDS:
        method = getattr(engine, f"_{name}")
        parameters = inspect.signature(method).parameters.values()
        least = sum(p.default is p.empty and p.kind is not p.VAR_POSITIONAL for p in parameters)
        endless = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        yield name, (method, least, 1_000_000 if endless else len(parameters))


_COMMANDS = (
    "del unlink exists pexpire pttl ttl keys dump flushall get set incr hget hmget hgetall hvals "
    "hexists hset hdel hincrby llen lpush rpush lpop rpop rpoplpush lrange ltrim lrem brpop "
    "zadd zrem zcard zscore zrangebyscore time config info script evalsha"
).split()


def _integer(word: bytes, otherwise: str = NOT_INTEGER) -> int:
    """Valkey's idea of an integer: no spaces, no plus sign, no leading zeros, 64 bits."""
    try:
        number = int(word)
    except ValueError:
        raise error(otherwise) from None
    if b"%d" % number != word or not -_INT64 <= number < _INT64:
        raise error(otherwise)
    return number


def _float(word: bytes, otherwise: str = NOT_FLOAT) -> float:
    try:
        return float(word)
    except ValueError:
        raise error(otherwise) from None


def _slice(length: int, first: bytes, last: bytes) -> slice:
    low, high = _integer(first), _integer(last)
    low = max(0, low + length) if low < 0 else low
    high = high + length if high < 0 else high
    return slice(low, max(low, high + 1))


def _bound(word: bytes, *, low: bool) -> Callable[[float], bool]:
    edge = word.removeprefix(b"(")
    value = _float(edge, "ERR min or max is not a float")
    if word.startswith(b"("):
        return (lambda score: score > value) if low else (lambda score: score < value)
    return (lambda score: score >= value) if low else (lambda score: score <= value)
