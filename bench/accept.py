"""The door over HTTP, beside two web apps that do less, all under the same gunicorn settings.

The minimal producer is a Flask route that parses the JSON and does one LPUSH; the bare one answers
"ok". Orders go to each in turn, round by round: as many as are answered, and to the door once more
with a new Idempotency-Key each, and at a steady rate. No consumer runs meanwhile: the web is
measured, and the backlog that it made is counted afterwards.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import psutil  # type: ignore[import-untyped]
import requests

from bench import minimal
from bench.booking import median_ratio
from bench.load import ORDER, Load, check_installed, load
from bench.machine import machine
from bench.world import BenchError, Child, Tell, World, wait_for, world
from embedded.ports import LOOPBACK, free_port, why_not
from queues.keys import BOOKING

QUOTA = 100
WARM_UP_S = 1
ANSWER_WITHIN_S = 30.0
REST_S = 0.25

Report = dict[str, Any]


class App(msgspec.Struct, frozen=True):
    """A web app, and the list that its orders go to."""

    name: str
    factory: str
    waiting: str | None = None


DOOR = App("accept", "app_queue:create_app()", BOOKING.jobs)
APPS = (
    DOOR,
    App("minimal_producer", "bench.minimal:producer()", minimal.WAITING),
    App("bare_flask", "bench.minimal:bare()"),
)


class Server:
    """One app under gunicorn, on a port of its own."""

    def __init__(self, app: App, port: int, child: Child, place: World) -> None:
        self.app = app
        self._url = f"http://{LOOPBACK}:{port}{minimal.PATH}"
        self._child = child
        self._place = place

    def flood(self, seconds: int) -> Load:
        """Send it as many orders as are answered, whatever the answers are."""
        return load(self._url, seconds)

    def order(self) -> requests.Response:
        """Send it one order."""
        return requests.post(self._url, json=ORDER, timeout=ANSWER_WITHIN_S)

    def load(self, seconds: int, *, rate: int = 0, keys: bool = False) -> Load:
        """Send it orders; see `bench.load`. Raises BenchError unless all are answered and wait."""
        waiting = self._waiting()
        seen = load(self._url, seconds, rate=rate, keys=keys)
        self._child.check()
        if seen.refused or seen.broken:
            raise BenchError(f"{self.app.name}: {seen.refused} requests were refused, "
                             f"{seen.broken} connections broke")
        came = self._waiting_at_rest() - waiting
        # Whatever was under way when the load ended came, but its answer was not counted.
        if self.app.waiting and not 0 <= came - seen.answered <= seen.connections:
            raise BenchError(f"{self.app.name}: {seen.answered} were answered, {came} wait")
        return seen

    def cpu_s(self) -> float:
        """What gunicorn and its workers have used of the processors so far, in seconds."""
        master = psutil.Process(self._child.process.pid)
        times = [process.cpu_times() for process in (master, *master.children())]
        return float(sum(one.user + one.system for one in times))

    def _waiting_at_rest(self) -> int:
        """How many orders wait once no more come, so that none is counted for the next load."""
        seen = -1
        while seen != (now := self._waiting()):
            seen = now
            time.sleep(REST_S)
        return seen

    def _waiting(self) -> int:
        return int(self._place.valkey.llen(self.app.waiting)) if self.app.waiting else 0


def run(rate: int, seconds: int, rounds: int, tell: Tell) -> Report:
    """`rounds` of `seconds` for each app, and for the door at `rate` per second.

    Returns the fields of the JSON line. Raises BenchError when wrk is missing, a request was
    refused, or the backlog is not what was answered.
    """
    check_installed()
    figures: dict[str, list[float]] = {}
    # Room for every order: the door must refuse none.
    bounds = {"BACKLOG_MAX_JOBS": "10000000", "BACKLOG_MAX_BYTES": "4000000000"}
    with world(**bounds) as place, ExitStack() as stack:
        place.sell(QUOTA)
        with place.consumer("booking"):
            pass  # it has told the door which packages there are
        shelf = {key: place.valkey.dump(key) or b"" for key in (BOOKING.packages, BOOKING.doors)}
        servers = [stack.enter_context(server(place, app)) for app in APPS]
        for one in servers:
            one.load(WARM_UP_S)
        for number in range(1, rounds + 1):
            place.valkey.flushdb()  # the orders of a round fill the memory of no other
            for key, kept in shelf.items():
                place.valkey.restore(key, 0, kept)
            for name, figure in _round(servers, rate, seconds):
                figures.setdefault(name, []).append(figure)
                tell(f"round {number} of {rounds}   {name:>23} {figure:9,.2f}")
        found = machine(place)
    middle = {name: round(statistics.median(values), 2) for name, values in figures.items()}
    return {
        "rounds": rounds, "seconds": seconds, "rate_per_s": rate, **middle,
        "ratio": _ratio(figures, "minimal_producer_per_s"),
        "ratio_bare": _ratio(figures, "bare_flask_per_s"),
        "machine": found,
    }


def _ratio(figures: dict[str, list[float]], name: str) -> float:
    return round(median_ratio(figures["accept_per_s"], figures[name]), 3)


def _round(servers: list[Server], rate: int, seconds: int) -> Iterator[tuple[str, float]]:
    for one in servers:
        before_s = one.cpu_s()
        seen = one.load(seconds)
        yield f"{one.app.name}_per_s", seen.per_s
        # Time of the processors is disturbed less by what else runs here than time of the clock.
        yield f"{one.app.name}_cpu_us", 1e6 * (one.cpu_s() - before_s) / seen.answered
    door = servers[0]
    yield "accept_keyed_per_s", door.load(seconds, keys=True).per_s
    paced = door.load(seconds, rate=rate)
    yield "paced_per_s", paced.per_s
    yield "p50_ms", paced.p50_ms
    yield "p99_ms", paced.p99_ms


@contextmanager
def server(place: World, app: App) -> Iterator[Server]:
    """The app under gunicorn, with the settings that Berth has."""
    port = free_port()
    gunicorn = ("-m", "gunicorn", "-c", "embedded/gunicorn_conf.py", app.factory)
    with place.child(*gunicorn, changes={"PORT": str(port)}) as child:
        wait_for(lambda: bool(why_not(LOOPBACK, port)), f"the web server of {app.name}", child)
        yield Server(app, port, child, place)
