"""Access tokens, one per account for all workers: issued by one of them, ahead of their end.

A process remembers what it read, so that a token costs no round trip per call. A token that a
supplier refuses is forgotten everywhere by whoever was refused. Valkey holds tokens as they are:
it is reached by our own processes only, and a token lives for minutes. No log names one.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import redis

from engine_errors import valkey_errors
from errors import SupplierAway
from queues.keys import SEARCH, SearchKeys
from queues.scripts import Script
from suppliers.http import IssuedToken

# A new token is asked for when this part of the life of the old one is left, a minute at most.
AHEAD = 0.2
AHEAD_MAX_S = 60.0
# Whoever has a token issued answers within this, or another one does it.
LOCK_S = 15.0
WAIT_S = 15.0
_LOOK_AGAIN_S = 0.03


class _Held(NamedTuple):
    value: str
    fresh_until_s: float  # monotonic; from then on a new one is looked for
    good_until_s: float


class TokenState(NamedTuple):
    """What an operator sees of a token: how old it is, and for how long it is good."""

    age_s: float
    left_s: float


class SharedTokens:
    """See `suppliers.http.Tokens`. One instance serves all threads of a process."""

    def __init__(
        self,
        client: redis.Redis,
        issuers: Mapping[str, Callable[[], IssuedToken]],
        *,
        stop: threading.Event,
        keys: SearchKeys = SEARCH,
    ) -> None:
        self._client: Any = client
        self._issuers = issuers
        self._stop = stop
        self._keys = keys
        self._held: dict[str, _Held] = {}
        self._store = Script(client, "token_store")
        self._drop = Script(client, "token_drop")

    def get(self, vendor_account: str) -> str:
        """A token that is believed to be good. Raises SupplierAway, SupplierDeclined, EngineAway.
        """
        held = self._held.get(vendor_account)
        if held is not None and time.monotonic() < held.fresh_until_s:
            return held.value
        give_up_s = time.monotonic() + WAIT_S
        while True:
            held = self._look(vendor_account)
            if held is not None and time.monotonic() < held.fresh_until_s:
                return held.value
            owner = uuid.uuid4().hex
            with valkey_errors():
                ours = self._client.set(
                    self._keys.token_lock(vendor_account), owner, nx=True, px=int(LOCK_S * 1_000)
                )
            if ours:
                return self._issue(vendor_account, owner, held)
            if held is not None:
                return held.value  # still good, and the next one is on its way
            if time.monotonic() > give_up_s or self._stop.wait(_LOOK_AGAIN_S):
                raise SupplierAway("no access token could be had in time")

    def refused(self, token: str) -> None:
        """The supplier does not take this token: everybody forgets it."""
        for account, held in list(self._held.items()):
            if held.value == token:
                self._held.pop(account, None)
                self._drop([self._keys.token(account)], [token])

    def _look(self, account: str) -> _Held | None:
        with valkey_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.hmget(self._keys.token(account), "value", "expires_ms", "life_ms")
            pipe.time()
            (value, expires_ms, life_ms), (seconds, micros) = pipe.execute()
        if value is None:
            self._held.pop(account, None)
            return None
        left_s = int(expires_ms) / 1_000 - seconds - micros / 1_000_000
        return self._remember(account, value.decode(), left_s, int(life_ms) / 1_000)

    def _issue(self, account: str, owner: str, old: _Held | None) -> str:
        lock = self._keys.token_lock(account)
        try:
            # Somebody may have been done between our look and our lock.
            held = self._look(account)
            if held is not None and time.monotonic() < held.fresh_until_s:
                self._drop([lock], [owner])
                return held.value
            issued = self._issuers[account]()
        except SupplierAway:
            self._drop([lock], [owner])
            if old is not None and time.monotonic() < old.good_until_s:
                return old.value  # what is left of it may do until the desk answers again
            raise
        except BaseException:
            self._drop([lock], [owner])
            raise
        self._store([self._keys.token(account), lock],
                    [owner, issued.value, int(issued.expires_in_s * 1_000)])
        return self._remember(account, issued.value, issued.expires_in_s,
                              issued.expires_in_s).value

    def _remember(self, account: str, value: str, left_s: float, life_s: float) -> _Held:
        now_s = time.monotonic()
        ahead_s = min(AHEAD * life_s, AHEAD_MAX_S)
        held = _Held(value, now_s + left_s - ahead_s, now_s + left_s)
        self._held[account] = held
        return held


def token_states(
    client: Any, accounts: Iterable[str], *, keys: SearchKeys = SEARCH
) -> dict[str, TokenState | None]:
    """The token of each account, None where there is none now. Raises EngineAway."""
    names = list(accounts)
    with valkey_errors():
        pipe = client.pipeline(transaction=False)
        pipe.time()
        for name in names:
            pipe.hmget(keys.token(name), "expires_ms", "life_ms")
        (seconds, micros), *found = pipe.execute()
    now_s = seconds + micros / 1_000_000
    states: dict[str, TokenState | None] = {}
    for name, (expires_ms, life_ms) in zip(names, found, strict=True):
        states[name] = None
        if expires_ms is not None:
            left_s = int(expires_ms) / 1_000 - now_s
            states[name] = TokenState(round(int(life_ms) / 1_000 - left_s, 1), round(left_s, 1))
    return states
