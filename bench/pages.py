"""The pages of the catalogue beside a bare Flask route, and beside the listing from MongoDB.

All run under the same gunicorn settings, and are asked in turn, round by round: a hotel's page
(all hotels, in a random order), a listing with two filters (every city with every number of stars),
the same listing under an address that nobody asked for before, so that it is made anew each time,
the same listing by one MongoDB aggregation and a template per request, and a route that says "ok".
Then the pages at a steady rate, while nothing changes.
"""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil  # type: ignore[import-untyped]
import requests

import bootstrap
from bench import catalogue_peer, minimal
from bench.booking import median_ratio
from bench.load import Load, check_installed, load
from bench.machine import machine
from bench.world import ROOT, BenchError, Child, Tell, World, wait_for, world
from catalogue.shelf import CatalogueReader
from embedded.ports import LOOPBACK, free_port, why_not
from errors import CatalogueBuilding

# Each process reads every page once before it is measured, and rests between two loads.
WARM_UP_S = 6
REST_S = 0.5
PACED = ("hotel", "listing", "listing_anew")
SEED = 7
SEEDING_WITHIN_S = 120
ANSWER_WITHIN_S = 30.0
DISTINCT_PATHS = 200_000

Report = dict[str, Any]


class Contender(msgspec.Struct, frozen=True):
    """What is asked for: a name in the report, the app that answers, and the paths."""

    name: str
    factory: str
    paths: Path


class Target:
    """One contender under gunicorn."""

    def __init__(self, contender: Contender, port: int, child: Child) -> None:
        self.name = contender.name
        self._paths = contender.paths
        self._url = f"http://{LOOPBACK}:{port}/"
        self._child = child

    def load(self, seconds: int, *, rate: int = 0) -> Load:
        """Ask for the paths; see `bench.load`. Raises BenchError unless all are answered well."""
        seen = load(self._url, seconds, rate=rate, paths=self._paths)
        self._child.check()
        if seen.refused or seen.broken:
            raise BenchError(f"{self.name}: {seen.refused} requests were refused, "
                             f"{seen.broken} connections broke")
        return seen

    def cpu_s(self) -> float:
        """What gunicorn and its workers have used of the processors so far, in seconds."""
        master = psutil.Process(self._child.process.pid)
        times = [process.cpu_times() for process in (master, *master.children())]
        return float(sum(one.user + one.system for one in times))


def run(hotels: int, rate: int, seconds: int, rounds: int, tell: Tell) -> Report:
    """`rounds` of `seconds` for each contender, then the pages at `rate` per second.

    Returns the fields of the JSON line. Raises BenchError when wrk is missing, an answer was no
    page, or a page says something else than the JSON does.
    """
    check_installed()
    figures: dict[str, list[float]] = {}
    overrides = {"DEFAULT_HOTELS": str(min(hotels, 10_000))}
    with world(**overrides) as place, ExitStack() as stack, \
            tempfile.TemporaryDirectory(prefix="berth-bench-paths-") as folder:
        _seed(place, tell)
        targets = [stack.enter_context(_target(place, one))
                   for one in _contenders(place, Path(folder), stack)]
        for one in targets:
            one.load(WARM_UP_S)
        for number in range(1, rounds + 1):
            for one in targets:
                time.sleep(REST_S)
                before_s = one.cpu_s()
                seen = one.load(seconds)
                figures.setdefault(f"{one.name}_per_s", []).append(seen.per_s)
                figures.setdefault(f"{one.name}_cpu_us", []).append(
                    1e6 * (one.cpu_s() - before_s) / seen.answered)
                tell(f"round {number} of {rounds}   {one.name:>16} {seen.per_s:9,.0f} per s")
        paced = {}
        for one in targets:
            if one.name not in PACED:
                continue
            seen = one.load(max(seconds, 5), rate=rate)
            paced |= {f"{one.name}_p50_ms": seen.p50_ms, f"{one.name}_p99_ms": seen.p99_ms,
                      f"{one.name}_paced_per_s": round(seen.per_s, 1)}
        memory_mb = round(int(place.valkey.info("memory")["used_memory"]) / 1e6, 1)
        found = machine(place)
    middle = {name: round(statistics.median(values), 2) for name, values in figures.items()}
    # By rate, and by what the web's processes used of the processors: less disturbed by others.
    ratio = {
        f"ratio_cpu_{name}": round(median_ratio(figures["bare_cpu_us"],
                                                figures[f"{name}_cpu_us"]), 3)
        for name in ("hotel", "listing", "listing_anew")
    } | {
        f"ratio_{name}": round(median_ratio(figures[f"{name}_per_s"], figures["bare_per_s"]), 3)
        for name in ("hotel", "listing", "listing_anew", "mongo")
    }
    return {
        "hotels": hotels, "rounds": rounds, "seconds": seconds, "rate_per_s": rate, **middle,
        **ratio, **paced, "valkey_mb": memory_mb, "machine": found,
    }


def _seed(place: World, tell: Tell) -> None:
    tell("seeding and building the catalogue")
    subprocess.run([sys.executable, "db_init.py"], cwd=ROOT, env=place.environment, check=True,
                   timeout=SEEDING_WITHIN_S, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    reader = CatalogueReader(bootstrap.connect_catalogue_valkey(place.settings))

    def built() -> bool:
        try:
            return bool(reader.standing().generation)
        except CatalogueBuilding:
            return False

    with place.consumer("catalogue") as child:
        wait_for(built, "the catalogue", child)


def _contenders(place: World, folder: Path, stack: ExitStack) -> list[Contender]:
    """What is asked for; the hotels are read from a web process as anybody would."""
    ours = "app_queue:create_app()"
    with _target(place, Contender("reading", ours, folder)) as target:
        hotels = _all_hotels(target)
    catalogue_peer.fill(place.database, hotels)
    dice = random.Random(SEED)
    addresses = [hotel["url"] for hotel in hotels]
    dice.shuffle(addresses)
    pairs = sorted({(hotel["city"]["slug"], hotel["stars"]) for hotel in hotels})
    dice.shuffle(pairs)
    listings = [f"/hotels/{stars}-star-hotels-in-{city}" for city, stars in pairs]

    def file(name: str, paths: list[str]) -> Path:
        found = folder / name
        found.write_text("\n".join(paths) + "\n", encoding="utf-8")
        return found

    anew = [f"{listings[n % len(listings)]}?utm_term={n}" for n in range(DISTINCT_PATHS)]
    return [
        Contender("hotel", ours, file("hotels", addresses)),
        Contender("bare", "bench.minimal:bare()", file("bare", [minimal.PATH])),
        Contender("listing", ours, file("listings", listings)),
        Contender("listing_anew", ours, file("anew", anew)),
        Contender("mongo", "bench.catalogue_peer:listing()", file("mongo", [
            f"{catalogue_peer.PATH}?city={city}&stars={stars}" for city, stars in pairs])),
    ]


def _all_hotels(target: Target) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    number, count = 1, 1
    with requests.Session() as http:
        def get(path: str) -> Any:
            answer = http.get(target._url.rstrip("/") + path, timeout=ANSWER_WITHIN_S)
            answer.raise_for_status()
            return answer.json()

        while number <= count:
            page = get(f"/api/hotels?page_size=100&order_by=newest&page_no={number}")
            count, number = page["page_count"], number + 1
            found += [get(f"/api/hotels/{hotel['id']}") for hotel in page["hotels"]]
    if len({hotel["id"] for hotel in found}) != page["total"]:
        raise BenchError(f"{len(found)} hotels are listed where {page['total']} are told")
    return found


@contextmanager
def _target(place: World, contender: Contender) -> Iterator[Target]:
    port = free_port()
    gunicorn = ("-m", "gunicorn", "-c", "embedded/gunicorn_conf.py", contender.factory)
    with place.child(*gunicorn, changes={"PORT": str(port)}) as child:
        wait_for(lambda: bool(why_not(LOOPBACK, port)), f"the server of {contender.name}", child)
        yield Target(contender, port, child)
