"""What ten times as many hotels cost: the listing's latency, a rebuild's time and memory.

The default hotels first, then as many again under other ids as it takes. For each number of hotels
all pages are built by a consumer that finds an empty Valkey, and listings are asked for at a
steady rate from gunicorn: pages that are kept (every city with every number of stars, in turn),
and the same listings under addresses that nobody asked for before. What counts are all hotels.
"""

from __future__ import annotations

import datetime as dt
import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import requests

from bench import hotels
from bench.hotels import OURS, Contender, Target
from bench.load import check_installed
from bench.machine import machine
from bench.world import BenchError, Tell, World, wait_for, world
from catalogue.default_hotels import Place
from catalogue.seeding import HotelSeeding
from suppliers import places

WARM_UP_S = 6
ROUNDS = 3
SEED = 7
DISTINCT_PATHS = 200_000
BUILT_WITHIN_S = 400.0

Report = dict[str, Any]


def run(few: int, many: int, rate: int, seconds: int, tell: Tell) -> Report:
    """`few` hotels and `many`; in each of ROUNDS, listings are asked for `seconds`.

    Returns the fields of the JSON line. Raises BenchError when wrk is missing, or a request was
    not answered with a page.
    """
    check_installed()
    if few > many:
        raise BenchError(f"{few} hotels are more than {many}")
    overrides = {"CATALOGUE_ACTIVE_MAX": str(many), "DEFAULT_HOTELS": "0"}
    found: dict[int, dict[str, float]] = {}
    with world(**overrides) as place:
        seeding, source = HotelSeeding(place.database), _places()
        seeding.ensure_indexes()
        there = 0
        for count in dict.fromkeys((few, many)):
            tell(f"seeding {count:,} hotels")
            seeding.fill(list(itertools.islice(source, count - there)), today=_today(),
                         currency=place.settings.catalogue_currency, progress=lambda _: None)
            there = count
            found[count] = {**_built(place, tell), **_asked(place, count, rate, seconds, tell)}
        report = machine(place)
    ratios = {f"{name}_p99_ratio": round(found[many][f"{name}_p99_ms"]
                                         / found[few][f"{name}_p99_ms"], 2)
              for name in ("listing", "listing_anew")}
    return {
        "few": few, "many": many, "rate_per_s": rate, "seconds": seconds, "rounds": ROUNDS,
        **ratios,
        **{f"{name}_{size}": value for size, count in (("few", few), ("many", many))
           for name, value in found[count].items()},
        "machine": report,
    }


def _today() -> dt.date:
    return dt.datetime.now(dt.UTC).date()


def _places() -> Iterator[Place]:
    """The default hotels, then the same houses again and again under ids of their own."""
    known = [one for city in places.cities().values() for one in
             (places.hotel(hotel_id) for hotel_id in city.hotel_ids()) if one is not None]
    for again in itertools.count():
        for one in known:
            city, _, number = one.hotel_id.rpartition("-")
            hotel_id = f"{city}-{int(number) + again * len(known)}"
            yield Place(hotel_id, one.name, one.stars, one.latitude, one.longitude, one.city.slug,
                        one.city.name, one.city.country, one.city.country_name)


def _built(place: World, tell: Tell) -> dict[str, float]:
    """All pages, by a consumer that finds none."""
    with hotels.client(place) as valkey:
        valkey.config_set("maxmemory", 0)  # how much they take is what is asked
        valkey.flushdb()
        began_s = time.monotonic()
        with place.consumer("catalogue") as child:
            wait_for(lambda: hotels.generation(valkey) > 0, "the catalogue", child,
                     within_s=BUILT_WITHIN_S, poll_s=0.05)
            took_s = time.monotonic() - began_s
            peak_mb = _peak_mb(child.process.pid)
        tell(f"built in {took_s:.1f} s, with {peak_mb:.0f} MB in the consumer")
        return {"rebuild_s": round(took_s, 1), "consumer_mb": round(peak_mb, 1),
                "valkey_mb": hotels.memory_mb(valkey)}


def _peak_mb(pid: int) -> float:
    """The most memory that a process ever had."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    peak_kb = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak_kb.split()[1]) * 1_024 / 1e6


def _asked(place: World, count: int, rate: int, seconds: int, tell: Tell) -> dict[str, float]:
    """The listing at a steady rate, kept and made anew in turn; medians."""
    with tempfile.TemporaryDirectory(prefix="berth-bench-paths-") as folder, \
            hotels.target(place, Contender("listing", OURS, Path(folder) / "kept")) as target:
        with requests.Session() as http:
            total = hotels.get(http, f"{target.url}/api/hotels")["total"]
            listings = hotels.listing_addresses(hotels.listed(target.url, http))
        if total != count:
            raise BenchError(f"{total} hotels are listed where {count} are shown")
        random.Random(SEED).shuffle(listings)
        hotels.paths_file(Path(folder), "kept", listings)
        paths = hotels.paths_file(Path(folder), "anew", [
            f"{listings[n % len(listings)]}?utm_term={n}" for n in range(DISTINCT_PATHS)])
        anew = target.of(Contender("listing_anew", OURS, paths, anew=True))
        seen: dict[str, list[float]] = {}
        for one in (target, anew):
            one.load(min(WARM_UP_S, seconds))
        for _ in range(ROUNDS):
            for one in (target, anew):
                loaded = one.load(seconds, rate=rate)
                for name, value in (("p50", loaded.p50_ms), ("p99", loaded.p99_ms)):
                    seen.setdefault(f"{one.name}_{name}_ms", []).append(value)
        middle = {name: round(statistics.median(values), 2) for name, values in seen.items()}
        tell(f"{count:,} hotels: the listing at {rate}/s p99 {middle['listing_p99_ms']:.1f} ms, "
             f"made anew {middle['listing_anew_p99_ms']:.1f} ms")
        return {**middle, "web_worker_mb": _worker_mb(target)}


def _worker_mb(target: Target) -> float:
    """What the larger of gunicorn's workers takes."""
    return round(max(float(process.memory_info().rss) for process in
                     psutil.Process(target.pid).children()) / 1e6, 1)
