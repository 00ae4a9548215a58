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
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import requests

from bench import catalogue_peer, hotels, minimal
from bench.booking import median_ratio
from bench.hotels import OURS, Contender, Hotel, Target
from bench.load import check_installed
from bench.machine import machine
from bench.world import Tell, World, world

# Each process reads every page once before it is measured, and rests between two loads.
WARM_UP_S = 6
REST_S = 0.5
PACED = ("hotel", "listing", "listing_anew")
SEED = 7
DISTINCT_PATHS = 200_000

Report = dict[str, Any]


def run(count: int, rate: int, seconds: int, rounds: int, tell: Tell) -> Report:
    """Over `count` hotels: `rounds` of `seconds` for each contender, then the pages at `rate`.

    Returns the fields of the JSON line. Raises BenchError when wrk is missing, an answer was no
    page, or a page says something else than the JSON does.
    """
    check_installed()
    figures: dict[str, list[float]] = {}
    overrides = {"DEFAULT_HOTELS": str(min(count, hotels.HOTELS_MAX))}
    with world(**overrides) as place, ExitStack() as stack, \
            tempfile.TemporaryDirectory(prefix="berth-bench-paths-") as folder:
        hotels.seed(place, tell)
        with hotels.building(place, tell):
            pass  # nothing changes while pages are measured
        targets = [stack.enter_context(hotels.target(place, one))
                   for one in _contenders(place, Path(folder))]
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
        paced: dict[str, float] = {}
        for one in targets:
            if one.name not in PACED:
                continue
            seen = one.load(max(seconds, 5), rate=rate)
            paced |= {f"{one.name}_p50_ms": seen.p50_ms, f"{one.name}_p99_ms": seen.p99_ms,
                      f"{one.name}_paced_per_s": round(seen.per_s, 1)}
        memory_mb = hotels.memory_mb(stack.enter_context(hotels.client(place)))
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
        "hotels": count, "rounds": rounds, "seconds": seconds, "rate_per_s": rate, **middle,
        **ratio, **paced, "valkey_mb": memory_mb, "machine": found,
    }


def _contenders(place: World, folder: Path) -> list[Contender]:
    """What is asked for; the hotels are read from a web process as anybody would."""
    with hotels.target(place, Contender("reading", OURS, folder)) as target:
        found = _whole(target)
    catalogue_peer.fill(place.database, found)
    dice = random.Random(SEED)
    addresses = [hotel["url"] for hotel in found]
    dice.shuffle(addresses)
    listings = hotels.listing_addresses(found)
    dice.shuffle(listings)
    pairs = sorted({(hotel["city"]["slug"], hotel["stars"]) for hotel in found})
    dice.shuffle(pairs)
    anew = [f"{listings[n % len(listings)]}?utm_term={n}" for n in range(DISTINCT_PATHS)]

    def file(name: str, paths: Sequence[str]) -> Path:
        return hotels.paths_file(folder, name, paths)

    return [
        Contender("hotel", OURS, file("hotels", addresses)),
        Contender("bare", "bench.minimal:bare()", file("bare", [minimal.PATH])),
        Contender("listing", OURS, file("listings", listings)),
        Contender("listing_anew", OURS, file("anew", anew), anew=True),
        Contender("mongo", "bench.catalogue_peer:listing()", file("mongo", [
            f"{catalogue_peer.PATH}?city={city}&stars={stars}" for city, stars in pairs])),
    ]


def _whole(target: Target) -> list[Hotel]:
    """All hotels with all that is told of each."""
    with requests.Session() as http:
        return [hotels.get(http, f"{target.url}/api/hotels/{one['id']}")
                for one in hotels.listed(target.url, http)]
