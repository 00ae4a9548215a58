"""What the benches of the catalogue share: hotels seeded and built, and web apps under gunicorn."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil  # type: ignore[import-untyped]
import redis
import requests

import bootstrap
from bench.load import Load, Loading, load, loading
from bench.world import ROOT, BenchError, Child, Tell, World, wait_for
from catalogue.shelf import CatalogueReader
from catalogue.shelf_writer import ask_for_rebuild
from embedded.ports import LOOPBACK, free_port, why_not
from errors import CatalogueBuilding
from queues.keys import CATALOGUE

OURS = "app_queue:create_app()"
HOTELS_MAX = 10_000
SEEDING_WITHIN_S = 120
ANSWER_WITHIN_S = 30.0
PAGE_SIZE = 100

Hotel = dict[str, Any]


class Contender(msgspec.Struct, frozen=True):
    """What is asked for: a name in the report, the app that answers, and the paths.

    `anew`: each load asks for addresses that nobody asked for before.
    """

    name: str
    factory: str
    paths: Path
    anew: bool = False


class Target:
    """One contender under gunicorn."""

    def __init__(self, contender: Contender, port: int, child: Child) -> None:
        self.name = contender.name
        self.url = f"http://{LOOPBACK}:{port}"
        self.pid = child.process.pid
        self._port = port
        self._contender = contender
        self._child = child
        self._loads = itertools.count()

    def of(self, contender: Contender) -> Target:
        """The same server, asked for other paths."""
        return Target(contender, self._port, self._child)

    def load(self, seconds: int, *, rate: int = 0) -> Load:
        """Ask for the paths; see `bench.load`. Raises BenchError unless all are answered well."""
        return self.checked(load(self.url, seconds, rate=rate, paths=self._paths()))

    @contextmanager
    def loading(self, seconds: int, *, rate: int) -> Iterator[Loading]:
        """The same, while something else is done."""
        with loading(self.url, seconds, rate=rate, paths=self._paths()) as found:
            yield found

    def checked(self, seen: Load) -> Load:
        """Raises BenchError unless all was answered well."""
        self._child.check()
        if seen.refused or seen.broken:
            raise BenchError(f"{self.name}: {seen.refused} requests were refused, "
                             f"{seen.broken} connections broke")
        return seen

    def cpu_s(self) -> float:
        """What gunicorn and its workers have used of the processors so far, in seconds."""
        master = psutil.Process(self.pid)
        times = [process.cpu_times() for process in (master, *master.children())]
        return float(sum(one.user + one.system for one in times))

    def _paths(self) -> Path:
        plain = self._contender.paths
        if not self._contender.anew:
            return plain
        number = next(self._loads)
        salted = plain.with_name(f"{plain.name}-{number}")
        with plain.open(encoding="utf-8") as lines, salted.open("w", encoding="utf-8") as file:
            file.writelines(f"{line.rstrip()}&utm_id={number}\n" for line in lines)
        return salted


@contextmanager
def target(place: World, contender: Contender) -> Iterator[Target]:
    """A contender's app under gunicorn, once it listens."""
    port = free_port()
    gunicorn = ("-m", "gunicorn", "-c", "embedded/gunicorn_conf.py", contender.factory)
    with place.child(*gunicorn, changes={"PORT": str(port)}) as child:
        wait_for(lambda: bool(why_not(LOOPBACK, port)), f"the server of {contender.name}", child)
        yield Target(contender, port, child)


def seed(place: World, tell: Tell) -> float:
    """The default hotels, by the command that an operator runs; how many seconds it took."""
    tell("seeding hotels")
    began_s = time.monotonic()
    subprocess.run([sys.executable, "db_init.py"], cwd=ROOT, env=place.environment, check=True,
                   timeout=SEEDING_WITHIN_S, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began_s


@contextmanager
def building(place: World, tell: Tell) -> Iterator[Child]:
    """The catalogue's consumer, once all pages are there."""
    tell("building the catalogue")
    with client(place) as valkey, place.consumer("catalogue") as child:
        wait_for(lambda: generation(valkey) > 0, "the catalogue", child)
        yield child


@contextmanager
def client(place: World) -> Iterator[redis.Redis]:
    """A client of the catalogue's Valkey."""
    with bootstrap.connect_catalogue_valkey(place.settings) as found:
        yield found


def generation(valkey: redis.Redis) -> int:
    """The generation that is shown; 0 for none."""
    try:
        return CatalogueReader(valkey).standing().generation
    except CatalogueBuilding:
        return 0


def rebuild(valkey: redis.Redis, consumer: Child) -> float:
    """Have all pages built anew; how many seconds until they are shown."""
    before = generation(valkey)
    began_s = time.monotonic()
    ask_for_rebuild(valkey)
    wait_for(lambda: generation(valkey) > before, "the rebuild", consumer)
    took_s = time.monotonic() - began_s
    wait_for(lambda: not valkey.llen(CATALOGUE.old), "the end of the old pages", consumer)
    return took_s


def memory_mb(valkey: redis.Redis, field: str = "used_memory") -> float:
    """What the catalogue's Valkey takes."""
    return round(int(valkey.info("memory")[field]) / 1e6, 1)


def listed(url: str, http: requests.Session) -> list[Hotel]:
    """All hotels in brief, as anybody reads them. Raises BenchError when some are missing."""
    found: list[Hotel] = []
    number, count, total = 1, 1, 0
    while number <= count:
        page = get(http, f"{url}/api/hotels?page_size={PAGE_SIZE}&order_by=newest"
                         f"&page_no={number}")
        count, total, number = page["page_count"], page["total"], number + 1
        found += page["hotels"]
    if len({hotel["id"] for hotel in found}) != min(total, HOTELS_MAX):
        raise BenchError(f"{len(found)} hotels are listed where {total} are told")
    return found


def get(http: requests.Session, address: str) -> Any:
    """JSON."""
    answer = http.get(address, timeout=ANSWER_WITHIN_S)
    answer.raise_for_status()
    return answer.json()


def listing_addresses(hotels: Sequence[Hotel]) -> list[str]:
    """A listing with two filters for every city and number of stars that some hotel has."""
    pairs = sorted({(hotel["city"]["slug"], hotel["stars"]) for hotel in hotels})
    return [f"/hotels/{stars}-star-hotels-in-{city}" for city, stars in pairs]


def paths_file(folder: Path, name: str, paths: Sequence[str]) -> Path:
    """The paths as wrk.lua reads them."""
    found = folder / name
    found.write_text("\n".join(paths) + "\n", encoding="utf-8")
    return found
