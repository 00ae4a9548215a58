"""Searches as they are shown: one that is repeated, and one of a thousand hotels, whole."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import requests

from bench.accept import DOOR
from bench.world import BenchError, World, percentile, wait_for
from embedded.ports import LOOPBACK, free_port
from search.query import SearchQuery

if TYPE_CHECKING:
    from bench.search import Road

REPEATED = 2_000
BIG_REPEATED = 300
BIG_CITY = "london"
# The first ones find cold processes.
COLD = 50


class Told(NamedTuple):
    """What came, when its first and its last byte was there, and how many bytes travelled."""

    status: int
    body: bytes
    first_ms: float
    whole_ms: float
    size: int


Ask = Callable[[str, SearchQuery], Told]


def answers(address: str) -> bool:
    """Whether somebody does; a port may be bound before anybody listens."""
    try:
        return requests.get(address, timeout=10).ok
    except requests.RequestException:
        return False


@contextmanager
def door(place: World) -> Iterator[Ask]:
    """The web server as in production; yields how to ask it for a search, under an address."""
    port = free_port()
    gunicorn = ("-m", "gunicorn", "-c", "embedded/gunicorn_conf.py", DOOR.factory)
    with place.child(*gunicorn, changes={"PORT": str(port)}) as server, \
            requests.Session() as session:
        base = f"http://{LOOPBACK}:{port}"
        wait_for(lambda: answers(f"{base}/livez"), "the web server", server)

        def ask(address: str, query: SearchQuery) -> Told:
            params = {"destination": query.destination, "check_in": query.check_in.isoformat(),
                      "check_out": query.check_out.isoformat(), "guests": str(query.guests)}
            begun_s = time.perf_counter()
            answer = session.get(f"{base}{address}", params=params, timeout=30, stream=True)
            sent = answer.raw.read()
            whole_ms = 1e3 * (time.perf_counter() - begun_s)
            body = gzip.decompress(sent) if "Content-Encoding" in answer.headers else sent
            return Told(answer.status_code, body, 1e3 * answer.elapsed.total_seconds(), whole_ms,
                        len(sent))

        yield ask


def repeated(road: Road, ask: Ask) -> dict[str, Any]:
    """The API's answer to a search of a small city, to its first byte."""
    query = road.fresh()
    road.begin(query)
    road.completed(query)
    calls = road.calls()
    waits = []
    for _ in range(REPEATED + COLD):
        told = ask("/api/search", query)
        found = json.loads(told.body)
        if told.status != 200 or not found["is_completed"]:
            raise BenchError(f"a repeated search was answered {told.status}")
        waits.append(told.first_ms)
    return {
        "repeated_p50_ms": round(percentile(waits[COLD:], 0.5), 2),
        "repeated_p99_ms": round(percentile(waits[COLD:], 0.99), 2),
        "repeated_rates": len(found["rates"]),
        "repeated_vendor_calls": road.calls() - calls,
    }


def big(road: Road, ask: Ask) -> dict[str, Any]:
    """A completed search of a thousand hotels, to the last byte: the API's answer with all rates,
    and the page, which shows the first hotels. The very first one is told apart.
    """
    query = road.fresh(BIG_CITY)
    road.begin(query)
    report: dict[str, Any] = {"big_rates": road.completed(query).count}
    for name, address in (("api", "/api/search"), ("page", "/search")):
        told = [ask(address, query) for _ in range(BIG_REPEATED + COLD)]
        if any(one.status != 200 for one in told):
            raise BenchError(f"{address} of {BIG_CITY} was refused")
        waits = [one.whole_ms for one in told[COLD:]]
        report |= {
            f"big_{name}_first_ms": round(told[0].whole_ms, 1),
            f"big_{name}_p50_ms": round(percentile(waits, 0.5), 2),
            f"big_{name}_p99_ms": round(percentile(waits, 0.99), 2),
            f"big_{name}_bytes": told[-1].size,
            f"big_{name}_bytes_unpacked": len(told[-1].body),
        }
    return report
