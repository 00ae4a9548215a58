"""Limits, pauses, breakers and tokens are one for all workers."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest
import redis

import bootstrap
from errors import CircuitOpen, SupplierAway, SupplierDeclined, Throttled
from queues.keys import SEARCH
from settings import Settings
from suppliers.gate import VendorGate, give_back
from suppliers.http import IssuedToken
from suppliers.tokens import SharedTokens
from tests.waiting import eventually


class Vendor(NamedTuple):
    name: str = "acme"
    at_once_max: int = 3
    per_s_max: int = 0


def gate_of(client: redis.Redis, *, open_s: float = 60.0) -> VendorGate:
    return VendorGate(client, failures=3, open_s=open_s, stop=threading.Event())


def later(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


def test_so_many_at_once_and_no_more(settings: Settings, valkey: redis.Redis) -> None:
    busy: Counter[str] = Counter()
    peak = 0
    lock = threading.Lock()

    def work(client: redis.Redis) -> None:
        nonlocal peak
        with gate_of(client).call(Vendor(), until_s=later()):
            with lock:
                busy["now"] += 1
                peak = max(peak, busy["now"])
            threading.Event().wait(0.01)
            with lock:
                busy["now"] -= 1

    with bootstrap.connect_search_valkey(settings, connections=20) as client, \
            ThreadPoolExecutor(12) as pool:
        list(pool.map(work, [client] * 40))
    assert peak == 3


def test_a_holder_that_died_keeps_nobody_out_for_ever(valkey: redis.Redis) -> None:
    gate = gate_of(valkey)
    for number in range(3):
        gate.enter(Vendor(), f"dead-{number}", until_s=later())
    with pytest.raises(SupplierAway, match="no place was free"):
        gate.enter(Vendor(), "late", until_s=later(0.05))
    # Their time is over.
    valkey.zadd(SEARCH.slots("acme"), {f"dead-{number}": 1 for number in range(3)})
    gate.enter(Vendor(), "late", until_s=later())


def test_a_429_pauses_all_of_them(valkey: redis.Redis) -> None:
    with pytest.raises(Throttled), gate_of(valkey).call(Vendor(), until_s=later()):
        raise Throttled("slow down", 0.3)
    with pytest.raises(Throttled, match="asked for a pause"):
        gate_of(valkey).enter(Vendor(), "other", until_s=later(0.05))
    begun = time.monotonic()
    gate_of(valkey).enter(Vendor(), "patient", until_s=later())
    assert time.monotonic() - begun > 0.15, "it waited for the pause to end"


def test_requests_a_second_are_spread(valkey: redis.Redis) -> None:
    gate = gate_of(valkey)
    begun = time.monotonic()
    for number in range(30):
        gate.enter(Vendor(at_once_max=0, per_s_max=50), str(number), until_s=later())
    # Thirty at fifty a second take 0.6 s, less the tenth that may come at once.
    assert time.monotonic() - begun > 0.4


def test_each_call_within_the_gate_waits_for_the_rate_and_for_pauses(valkey: redis.Redis) -> None:
    gate, slow = gate_of(valkey), Vendor(at_once_max=1, per_s_max=50)
    begun = time.monotonic()
    with gate.call(slow, until_s=later()):
        for _ in range(30):
            gate.admit()
    # As above, though they are calls of one part, in one place.
    assert time.monotonic() - begun > 0.4

    def two_calls() -> None:
        with gate.call(slow, until_s=later(0.1)):
            gate.admit()
            gate_of(valkey).leave(slow, "another", Throttled("slow down", 60.0))
            gate.admit()

    with pytest.raises(Throttled):
        two_calls()
    state = gate.states(["acme"])["acme"]
    assert (state.paused, state.calls_now) == (True, 0)
    assert 59 < state.left_s <= 60, "who was not let through extends no pause"


def test_who_tries_after_a_failure_may_make_all_calls_of_a_part(valkey: redis.Redis) -> None:
    gate = gate_of(valkey)
    for _ in range(3):
        gate.leave(Vendor(), "somebody", SupplierAway("nothing"))
    valkey.hset(SEARCH.gate("acme"), "open_until", 1)  # half open
    with gate.call(Vendor(), until_s=later()):
        for _ in range(3):
            gate.admit()
        with pytest.raises(CircuitOpen):
            gate_of(valkey).enter(Vendor(), "other", until_s=later())
    assert gate.states(["acme"])["acme"].state == "closed"


def test_a_call_outside_of_the_gate_is_a_mistake_of_ours(valkey: redis.Redis) -> None:
    gate = gate_of(valkey)
    with gate.call(Vendor(), until_s=later()):
        gate.admit()
    with pytest.raises(RuntimeError, match="outside of its gate"):
        gate.admit()


def test_the_breaker_opens_lets_one_through_and_closes(valkey: redis.Redis) -> None:
    gate, other = gate_of(valkey), gate_of(valkey)
    for _ in range(3):
        with pytest.raises(SupplierAway), gate.call(Vendor(), until_s=later()):
            raise SupplierAway("nothing")
    with pytest.raises(CircuitOpen) as refused:
        other.enter(Vendor(), "x", until_s=later())
    assert 50 < refused.value.left_s <= 60
    assert other.states(["acme"])["acme"].state == "open"
    valkey.hset(SEARCH.gate("acme"), "open_until", 1)  # its time is over
    assert other.states(["acme"])["acme"].state == "half_open"
    gate.enter(Vendor(), "probe", until_s=later())
    with pytest.raises(CircuitOpen):
        other.enter(Vendor(), "x", until_s=later())
    gate.leave(Vendor(), "probe", SupplierAway("still nothing"))
    with pytest.raises(CircuitOpen):
        other.enter(Vendor(), "x", until_s=later())
    valkey.hset(SEARCH.gate("acme"), "open_until", 1)
    with gate.call(Vendor(), until_s=later()):
        pass
    assert other.states(["acme"])["acme"].state == "half_open", "nothing was asked"
    with gate.call(Vendor(), until_s=later()):
        gate.admit()
    assert other.states(["acme"])["acme"] == ("closed", 0, 0, False, 0.0)
    other.enter(Vendor(), "x", until_s=later())


def test_a_refusal_is_an_answer_and_no_failure(valkey: redis.Redis) -> None:
    gate = gate_of(valkey)
    for _ in range(5):
        with pytest.raises(SupplierDeclined), gate.call(Vendor(), until_s=later()):
            raise SupplierDeclined("forbidden")
    assert gate.states(["acme"])["acme"].failures == 0


def test_a_probe_that_finds_no_place_keeps_nobody_out(valkey: redis.Redis) -> None:
    gate = gate_of(valkey)
    for number in range(3):
        gate.enter(Vendor(), f"hanging-{number}", until_s=later())
    for _ in range(3):
        gate.leave(Vendor(), "somebody", SupplierAway("nothing"))
    valkey.hset(SEARCH.gate("acme"), "open_until", 1)  # half open, and all places are taken
    with pytest.raises(SupplierAway, match="no place was free"):
        gate.enter(Vendor(), "probe", until_s=later(0.05))
    gate.leave(Vendor(), "hanging-0")
    gate.enter(Vendor(), "next", until_s=later(1))


def test_places_of_a_dead_process_are_given_back(valkey: redis.Redis) -> None:
    for number in range(2):
        gate_of(valkey).enter(Vendor(), f"dead.{number}", until_s=later())
    gate_of(valkey).enter(Vendor(), "alive.1", until_s=later())
    give_back(valkey, ["acme"], ["dead"])
    assert valkey.zrange(SEARCH.slots("acme"), 0, -1) == [b"alive.1"]


# --- tokens ---------------------------------------------------------------------------------------


class Desk:
    """Issues numbered tokens, and counts."""

    def __init__(self, life_s: float = 600.0, takes_s: float = 0.0) -> None:
        self.issued = 0
        self.life_s = life_s
        self.takes_s = takes_s
        self.away = False

    def issue(self) -> IssuedToken:
        threading.Event().wait(self.takes_s)
        if self.away:
            raise SupplierAway("the desk is closed")
        self.issued += 1
        return IssuedToken(f"token-{self.issued}", self.life_s)


def manager(client: redis.Redis, desk: Desk) -> SharedTokens:
    return SharedTokens(client, {"acme:me": desk.issue}, stop=threading.Event())


def test_a_hundred_workers_at_once_cause_one_request(
    settings: Settings, valkey: redis.Redis
) -> None:
    desk = Desk(takes_s=0.2)
    with bootstrap.connect_search_valkey(settings, connections=110) as client, \
            ThreadPoolExecutor(100) as pool:
        managers = [manager(client, desk) for _ in range(100)]
        found = list(pool.map(lambda one: one.get("acme:me"), managers))
    assert set(found) == {"token-1"}
    assert desk.issued == 1


def test_a_refused_token_is_forgotten_by_all_and_asked_for_once(valkey: redis.Redis) -> None:
    desk = Desk()
    one, two = manager(valkey, desk), manager(valkey, desk)
    assert one.get("acme:me") == two.get("acme:me") == "token-1"
    one.refused("token-1")
    assert one.get("acme:me") == "token-2"
    two.refused("token-1")  # it had the old one in mind; the new one stays
    assert two.get("acme:me") == "token-2"
    assert desk.issued == 2


def test_a_token_is_renewed_ahead_of_its_end_and_nobody_waits(valkey: redis.Redis) -> None:
    desk = Desk(life_s=1.0)
    one, two = manager(valkey, desk), manager(valkey, desk)
    assert one.get("acme:me") == "token-1"
    eventually(lambda: one.get("acme:me") == "token-2", 5, "a new one comes")
    assert desk.issued == 2
    # The desk closes: what is left of the old token's life is used.
    desk.away = True
    assert two.get("acme:me") == "token-2"
    eventually(lambda: _refuses(two), 5, "it runs out in the end")
    desk.away = False
    assert two.get("acme:me") == "token-3"


def _refuses(tokens: SharedTokens) -> bool:
    try:
        tokens.get("acme:me")
    except SupplierAway:
        return True
    return False


def test_who_slept_through_its_lock_puts_no_old_token_back(valkey: redis.Redis) -> None:
    desk = Desk()
    slow = manager(valkey, desk)

    def issue() -> IssuedToken:
        valkey.delete(SEARCH.token_lock("acme:me"))  # its lock ran out while the desk took long
        assert manager(valkey, desk).get("acme:me") == "token-1"
        return IssuedToken("stale", 600.0)

    slow._issuers = {"acme:me": issue}
    slow.get("acme:me")
    assert valkey.hget(SEARCH.token("acme:me"), "value") == b"token-1"
