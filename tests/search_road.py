"""The search road as processes: the simulator, the search consumer and fetch workers."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import redis
import requests

import bootstrap
from queues.keys import SEARCH
from search.entries import SearchEntries
from search.model import Entry
from search.query import SearchQuery
from settings import Settings
from tests.simulator_fixtures import SimulatorProcess
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parent.parent


class SearchRoad:
    """`consumers` may be killed and started again by name: search, fetch, fetch-2."""

    def __init__(
        self, settings: Settings, client: redis.Redis, simulator: SimulatorProcess,
        **environ: str,
    ) -> None:
        self.client = client
        self.simulator = simulator
        self.entries: SearchEntries = bootstrap.search_entries(settings, client)
        self.environ = {
            **os.environ, "REDIS_URL": settings.redis_url, "MONGO_URL": settings.mongo_url,
            "MONGO_DATABASE": settings.mongo_database, "DATA_DIR": settings.data_dir,
            "SIMULATOR_URL": simulator.url, "FETCH_THREADS": "8", "HEARTBEAT_MS": "1000", **environ,
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._forked: list[psutil.Process] = []

    def start(self, name: str) -> None:
        """Start a consumer."""
        self.processes[name] = subprocess.Popen(
            [sys.executable, "-m", "consumer", name.partition("-")[0]], cwd=ROOT, env=self.environ,
            stderr=subprocess.DEVNULL,
        )

    def wait_until_started(self, names: tuple[str, ...]) -> None:
        """Until they answer for themselves: a process takes seconds to start on a busy machine."""
        if "search" in names:
            eventually(lambda: self.client.exists(SEARCH.lease), 30, "the search consumer is there")
        if "fetch" in names:
            eventually(lambda: self.client.zcard(SEARCH.workers), 30, "the fetch worker is there")

    def kill(self, name: str) -> None:
        """kill -9. What it had forked ends by itself, a moment later."""
        process = self.processes[name]
        with suppress(psutil.NoSuchProcess):
            self._forked += psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait(10)

    def close(self) -> None:
        """End everything: who is left would take the jobs of the next test."""
        for name in self.processes:
            self.kill(name)
        for process in self._forked:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(self._forked, 10)

    def search(
        self, city: str = "lisbon", guests: int = 2, hotel_ids: tuple[str, ...] = ()
    ) -> SearchQuery:
        """Begin a search."""
        day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=30)
        query = SearchQuery(city, day, day + dt.timedelta(days=2), guests, hotel_ids)
        self.entries.begin(query)
        return query

    def read(self, query: SearchQuery) -> Entry:
        entry = self.entries.read(query.search_id)
        assert entry is not None
        return entry

    def completed(self, query: SearchQuery, within_s: float = 40.0) -> Entry:
        """The search once it is over."""
        eventually(lambda: self.read(query).is_completed, within_s, "the search is over")
        entry = self.read(query)
        keys = [(rate.supplier, rate.vendor_key) for rate in entry.rates]
        assert len(keys) == len(set(keys)), "a rate came twice"
        # A simulated vendor has four rooms at most, and each of them once.
        hotels = Counter((rate.supplier, rate.hotel_id) for rate in entry.rates)
        assert not hotels or max(hotels.values()) <= 4, "a hotel came twice from one supplier"
        return entry

    def calls(self) -> dict[str, int]:
        """Calls that each simulated vendor was asked so far."""
        found = requests.get(f"{self.simulator.url}/api/simulator/calls", timeout=10).json()
        return {name: sum(one["calls"].values()) for name, one in found.items()}

    def peak(self, vendor: str) -> int:
        """Most calls that a vendor had at once."""
        found = requests.get(f"{self.simulator.url}/api/simulator/calls", timeout=10).json()
        return int(found[vendor]["at_once_peak"])

    def at_once(self) -> int:
        """Calls that all vendors have now."""
        found = requests.get(f"{self.simulator.url}/api/simulator/calls", timeout=10).json()
        return sum(int(one["at_once"]) for one in found.values())

    def conduct(self, **vendors: dict[str, float]) -> None:
        """Switch how simulated vendors behave."""
        assert self.simulator.switch(vendors=vendors).status_code == 200


@contextmanager
def search_road(
    settings: Settings, folder: Path, *, start: tuple[str, ...] = ("search", "fetch"),
    **environ: str,
) -> Iterator[SearchRoad]:
    """Everything started; ended at the end."""
    simulator = SimulatorProcess(folder, SIMULATOR_RATE_LATENCY_PERCENT="2")
    simulator.start()
    with bootstrap.connect_search_valkey(settings) as client:
        found = SearchRoad(settings, client, simulator, **environ)
        try:
            for name in start:
                found.start(name)
            found.wait_until_started(start)
            yield found
        finally:
            found.close()
            simulator.kill()
