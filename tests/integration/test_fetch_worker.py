"""The two processes of a fetch worker end together, whoever of them ends, and how."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from queues.keys import INTERACTIONS, SEARCH
from settings import Settings
from tests.search_road import search_road
from tests.waiting import eventually

pytestmark = pytest.mark.xdist_group("search road")


def test_the_processes_of_a_fetch_worker_end_together(settings: Settings, tmp_path: Path) -> None:
    with search_road(settings, tmp_path, start=()) as road:
        def started(name: str) -> tuple[psutil.Process, psutil.Process]:
            road.client.delete(SEARCH.workers)
            road.start(name)
            eventually(lambda: road.client.zcard(SEARCH.workers) == 2, 60, "both have a heartbeat")
            first = psutil.Process(road.processes[name].pid)
            (second,) = first.children()
            return first, second

        first, second = started("fetch-1")
        os.kill(first.pid, signal.SIGTERM)
        assert road.processes["fetch-1"].wait(20) == 0
        assert not second.is_running()
        assert road.client.zcard(SEARCH.workers) == 0, "both took their leave"

        first, second = started("fetch-2")
        road.kill("fetch-2")
        eventually(lambda: not second.is_running() or second.status() == "zombie", 20,
                   "the second one ends with the first")
        assert road.client.zcard(SEARCH.workers) == 2, "what they had is brought back by others"

        first, second = started("fetch-3")
        second.kill()
        assert road.processes["fetch-3"].wait(20) == 1, "whoever started it starts it anew"


def test_a_worker_of_one_kind_of_suppliers_is_one_process(
    settings: Settings, tmp_path: Path
) -> None:
    with search_road(settings, tmp_path, start=("fetch",), RATE_SUPPLIERS="perhotel") as road:
        assert not psutil.Process(road.processes["fetch"].pid).children()
        assert road.client.zcard(SEARCH.workers) == 1


def test_a_worker_that_is_ended_tells_the_log_of_its_last_calls(
    settings: Settings, tmp_path: Path
) -> None:
    with search_road(settings, tmp_path) as road:
        entry = road.completed(road.search("lisbon"))
        os.kill(road.processes["fetch"].pid, signal.SIGTERM)
        assert {one.error for one in entry.suppliers.values()} == {None}
        assert road.processes["fetch"].wait(20) == 0
        told = road.client.llen(INTERACTIONS.jobs)
        assert told == sum(road.calls().values())
