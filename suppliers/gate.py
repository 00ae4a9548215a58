"""May a supplier be called now? One answer for all workers, from Valkey.

A supplier has so many places for calls at once and so many calls a second; a 429 pauses it for
everybody; and a circuit breaker leaves it alone after too many failures in a row. One script asks
for all of that, another one tells how the call ended.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import redis

from engine_errors import valkey_errors
from errors import CircuitOpen, SupplierAway, SupplierDeclined, Throttled
from queues.keys import SEARCH, SearchKeys
from queues.scripts import Script

# A 429 without a pause of its own.
PAUSE_S = 1.0
# A holder that says nothing for this long is dead. Longer than any one call may take.
PLACE_LIFE_S = 75.0
# Who finds all places taken asks again after this, and then less and less often: of three workers
# with loaders enough for all places, two would ask a thousand times a second.
_ASK_AGAIN_S = 0.01
_ASK_AGAIN_MAX_S = 0.08


class Limits(Protocol):
    """The part of a RateSupplier that is read here."""

    name: str
    at_once_max: int
    per_s_max: int


class GateState(NamedTuple):
    """What an operator sees of a supplier. `state` is closed (calls go through), open or
    half_open; `left_s` until it is tried again, or until a pause is over.
    """

    state: str
    failures: int
    calls_now: int
    paused: bool
    left_s: float


class _Entered(threading.local):
    """What a thread has entered: whose call, by which name, until when; whether the call has been
    made that entering let through, and whether a later one was not let through.
    """

    limits: Limits | None = None
    holder = ""
    until_s = 0.0
    called = False
    turned_away = False


class VendorGate:
    """Shared by all threads of a process. All may raise EngineAway."""

    def __init__(
        self, client: redis.Redis, *, failures: int, open_s: float, stop: threading.Event,
        owner: str = "", keys: SearchKeys = SEARCH,
    ) -> None:
        self._client = client
        self._owner = owner
        self._keys = keys
        self._failures = failures
        self._open_ms = int(open_s * 1_000)
        self._stop = stop
        self._enter = Script(client, "vendor_enter")
        self._leave = Script(client, "vendor_leave")
        self._entered = _Entered()

    @contextmanager
    def call(self, limits: Limits, *, until_s: float) -> Iterator[None]:
        """Around calls to a supplier, one after the other: waits for a place, at most until
        `until_s` (monotonic). Each of the calls asks `admit`.

        Raises CircuitOpen at once, Throttled or SupplierAway when no place was free in time;
        what the call itself raises is noted and goes on.
        """
        holder = f"{self._owner}.{uuid.uuid4().hex}"
        self.enter(limits, holder, until_s=until_s)
        entered = self._entered
        entered.limits, entered.holder, entered.until_s = limits, holder, until_s
        entered.called = entered.turned_away = False
        try:
            yield
        except BaseException as error:
            self.leave(limits, holder, error, called=not entered.turned_away)
            raise
        finally:
            entered.limits = None
        # Who had nothing to ask has not seen that the supplier is well.
        self.leave(limits, holder, called=entered.called)

    def admit(self) -> None:
        """Before each HTTP call, on the thread that is within `call`: the second one and those
        after it wait for the rate and for pauses as the first one did.
        """
        entered = self._entered
        if entered.limits is None:
            raise RuntimeError("a supplier is called outside of its gate")
        if entered.called:
            entered.turned_away = True
            self.enter(entered.limits, entered.holder, until_s=entered.until_s)
            entered.turned_away = False
        entered.called = True

    def enter(self, limits: Limits, holder: str, *, until_s: float) -> None:
        """Take a place, or renew it; see `call`."""
        ask_again_s = _ASK_AGAIN_S
        while True:
            told, *wait = self._enter(
                [self._keys.slots(limits.name), self._keys.gate(limits.name)],
                [holder, limits.at_once_max, int(PLACE_LIFE_S * 1_000), limits.per_s_max,
                 self._failures],
            )
            if told == b"go":
                return
            if told == b"open":
                raise CircuitOpen(f"{limits.name} failed too often and is left alone",
                                  wait[0] / 1_000)
            pause_s = wait[0] / 1_000 if wait else ask_again_s * (1 + random.random())  # noqa: S311
            ask_again_s = min(2 * ask_again_s, _ASK_AGAIN_MAX_S)
            if time.monotonic() + pause_s > until_s or self._stop.is_set():
                if told == b"wait":
                    raise Throttled(f"{limits.name} asked for a pause", pause_s)
                raise SupplierAway(f"{limits.name}: no place was free in time")
            self._stop.wait(pause_s)

    def leave(
        self, limits: Limits, holder: str, error: BaseException | None = None, *,
        called: bool = True,
    ) -> None:
        """Tell how the call ended, or that it was not made (`called`), and give its place back."""
        pause_s = 0.0
        if not called:
            told = "nothing"
        elif isinstance(error, Throttled):
            told = "throttled"
            pause_s = PAUSE_S if error.retry_after_s is None else error.retry_after_s
        elif isinstance(error, SupplierAway):
            told = "fault"
        else:
            # A refusal is an answer too; and who does not understand it is at fault himself.
            told = "ok" if error is None or isinstance(error, SupplierDeclined) else "nothing"
        self._leave(
            [self._keys.slots(limits.name), self._keys.gate(limits.name)],
            [holder, told, int(pause_s * 1_000), self._failures, self._open_ms],
        )

    def states(self, suppliers: Iterable[str]) -> dict[str, GateState]:
        """What there is to see, in one round trip."""
        return gate_states(self._client, suppliers, failures=self._failures, keys=self._keys)


def give_back(
    client: Any, suppliers: Iterable[str], owners: Iterable[str], *, keys: SearchKeys = SEARCH
) -> None:
    """Give back the places of processes that died holding them. Raises EngineAway."""
    dead = tuple(f"{owner}." for owner in owners)
    with valkey_errors():
        for name in suppliers:
            held = [one for one in client.zrange(keys.slots(name), 0, -1)
                    if one.decode().startswith(dead)]
            if held:
                client.zrem(keys.slots(name), *held)
                # Whoever probed for all of them may have been one of the dead.
                client.hdel(keys.gate(name), "probe_until")


def gate_states(
    client: Any, suppliers: Iterable[str], *, failures: int, keys: SearchKeys = SEARCH
) -> dict[str, GateState]:
    """The state of each supplier's gate, in one round trip. Raises EngineAway."""
    names = list(suppliers)
    with valkey_errors():
        pipe = client.pipeline(transaction=False)
        pipe.time()
        for name in names:
            pipe.hgetall(keys.gate(name))
            pipe.zcard(keys.slots(name))
        (seconds, micros), *found = pipe.execute()
    now_ms = seconds * 1_000 + micros / 1_000
    states = {}
    for number, name in enumerate(names):
        gate = {key.decode(): float(value) for key, value in found[2 * number].items()}
        open_left_ms = gate.get("open_until", 0) - now_ms
        paused_left_ms = gate.get("paused_until", 0) - now_ms
        state = "closed"
        if gate.get("failures", 0) >= failures:
            state = "open" if open_left_ms > 0 else "half_open"
        states[name] = GateState(
            state, int(gate.get("failures", 0)), found[2 * number + 1], paused_left_ms > 0,
            round(max(open_left_ms, paused_left_ms, 0) / 1_000, 1),
        )
    return states
