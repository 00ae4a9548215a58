"""Is it alive, is it ready, is it whole: for restarts, for the proxy, for the operator."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import redis
import requests
from flask import Blueprint, Response

from engine_errors import valkey_errors
from errors import BerthError
from queues.keys import BOOKING, CATALOGUE, FEEDBACK, INTERACTIONS, SEARCH, QueueKeys
from web.api import answer
from web.services import Services, services

health = Blueprint("health", __name__)
SUPPLIER_TIMEOUT_S = 1.0


class Part(msgspec.Struct, frozen=True):
    """One part of the system and whether it answers."""

    name: str
    ok: bool
    detail: str
    latency_ms: float


class Health(msgspec.Struct, frozen=True):
    """The whole system at a glance."""

    ok: bool
    parts: list[Part]


@health.get("/livez")
def livez() -> Response:
    """This process answers; whether its engines do is not its health."""
    return answer({"ok": True})


@health.get("/readyz")
def readyz() -> Response:
    """Orders can be taken: Valkey answers."""
    part = _look("valkey", _valkey, services())
    return answer(part, 200 if part.ok else 503)


@health.get("/healthz")
def healthz() -> Response:
    """The operator's view, a line per part."""
    found = services()
    parts = [_look(name, check, found) for name, check in _CHECKS.items()]
    ok = all(part.ok for part in parts)
    return answer(Health(ok, parts), 200 if ok else 503)


def _valkey(found: Services) -> str:
    return _ping(found.valkey)


def _search_valkey(found: Services) -> str:
    return _ping(found.search_valkey)


def _catalogue_valkey(found: Services) -> str:
    return _ping(found.catalogue_valkey)


def _ping(client: redis.Redis) -> str:
    with valkey_errors():
        client.ping()
    return "answers"


def _mongo(found: Services) -> str:
    found.store.check_indexes()
    return "answers, indexes are there"


def _booking(found: Services) -> str:
    with valkey_errors():
        holder = found.valkey.get(BOOKING.lease)
        waiting = found.valkey.llen(BOOKING.jobs)
    if holder is None:
        raise BerthError("no booking consumer holds the lease")
    return f"{holder.decode()} holds the lease, {waiting} jobs wait"


def _reservation(found: Services) -> str:
    with valkey_errors():
        now_s, micros = found.valkey.time()
        now_ms = now_s * 1_000 + micros // 1_000
        alive = found.valkey.zcount(BOOKING.reservations.workers, f"({now_ms}", "+inf")
        waiting = found.valkey.llen(BOOKING.reservations.waiting)
    if not alive:
        raise BerthError("no reservation worker has a heartbeat")
    return f"{alive} workers, {waiting} jobs wait"


def _packages(found: Services) -> str:
    count = len(found.shelf.packages())
    if not count:
        raise BerthError("the booking consumer has not told the packages yet")
    return f"{count} on the shelf"


def _catalogue(found: Services) -> str:
    with valkey_errors():
        holder = found.catalogue_valkey.get(CATALOGUE.lease)
        built = found.catalogue_valkey.hget(CATALOGUE.state, "generation")
    if holder is None:
        raise BerthError("no catalogue consumer holds the lease")
    return f"{holder.decode()} holds the lease, {'pages are shown' if built else 'building'}"


def _search(found: Services) -> str:
    return _holder(found.search_valkey, SEARCH, "search consumer")


def _interactions(found: Services) -> str:
    return _holder(found.search_valkey, INTERACTIONS, "interactions consumer")


def _feedback(found: Services) -> str:
    return _holder(found.catalogue_valkey, FEEDBACK, "feedback consumer")


def _holder(client: redis.Redis, keys: QueueKeys, name: str) -> str:
    with valkey_errors():
        holder = client.get(keys.lease)
        waiting = client.llen(keys.jobs)
    if holder is None:
        raise BerthError(f"no {name} holds the lease")
    return f"{holder.decode()} holds the lease, {waiting} jobs wait"


def _fetch(found: Services) -> str:
    with valkey_errors():
        now_s, micros = found.search_valkey.time()
        now_ms = now_s * 1_000 + micros // 1_000
        alive = found.search_valkey.zcount(SEARCH.workers, f"({now_ms}", "+inf")
    if not alive:
        raise BerthError("no fetch worker has a heartbeat")
    return f"{alive} workers"


def _gates(found: Services) -> str:
    """Told, but no fault of ours: a supplier that is left alone costs its own rates only."""
    told = found.gates()
    return "; ".join(f"{name}: {state}" for name, state in told.items()) or "all may be called"


def _supplier(found: Services) -> str:
    url = f"{found.settings.supplier_base_url}/healthz"
    try:
        requests.get(url, timeout=SUPPLIER_TIMEOUT_S).raise_for_status()
    except requests.RequestException as error:
        raise BerthError(f"does not answer: {type(error).__name__}") from error
    return "answers"


_CHECKS: dict[str, Callable[[Services], str]] = {
    "valkey": _valkey,
    "valkey of searches": _search_valkey,
    "valkey of the catalogue": _catalogue_valkey,
    "mongodb": _mongo,
    "booking consumer": _booking,
    "reservation consumer": _reservation,
    "packages": _packages,
    "catalogue consumer": _catalogue,
    "search consumer": _search,
    "fetch workers": _fetch,
    "rate suppliers": _gates,
    "interactions consumer": _interactions,
    "feedback consumer": _feedback,
    "supplier": _supplier,
}


def _look(name: str, check: Callable[[Services], str], found: Services) -> Part:
    started = time.perf_counter()
    try:
        detail, ok = check(found), True
    except BerthError as error:
        detail, ok = str(error), False
    return Part(name, ok, detail, round((time.perf_counter() - started) * 1_000, 2))
