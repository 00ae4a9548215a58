"""Valkey and a one-node MongoDB replica set on this machine: commands, readiness, addresses.

The starter hands these commands to its process manager; tests and the bench start the same
engines by themselves:

    with engines(data_dir) as running:
        redis.Redis.from_url(running.redis_url)
        running.valkey.kill()              # as `kill -9` does
        running.valkey.start()
        running.wait_ready()
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from functools import partial
from pathlib import Path

from embedded import binaries, replica_set
from embedded.orphans import end_with_parent
from embedded.ports import LOOPBACK, remembered_ports
from errors import EngineAway

READY_WITHIN_S = 60.0
STOP_WITHIN_S = 10.0
_POLL_S = 0.02


class Valkey(Enum):
    """The Valkeys, each with a memory limit of its own: a flood of searches takes no room from
    orders, and whoever empties the catalogue's touches neither.
    """

    ORDERS = "valkey"
    SEARCH = "valkey-search"
    CATALOGUE = "valkey-catalogue"

    @property
    def folder(self) -> str:
        """Its folder in the data directory, and its name among the programs."""
        return self.value


class EnginePlan:
    """What is started in one data directory, and where it will be found.

    Makes the folders (readable by this user alone) and chooses the ports. Nothing is started.
    Each command runs in the folder of its engine and names no other by its whole path, so that
    no character of a path has to be spared. It raises EngineUnfit when the program is missing.
    """

    def __init__(
        self, data_dir: Path, *, maxmemory_mb: int, search_mb: int = 256, catalogue_mb: int = 512
    ) -> None:
        self.data_dir = private_folder(data_dir.absolute())
        self.mongo_dir = private_folder(self.data_dir / "mongo")
        names = [role.folder for role in Valkey]
        ports = remembered_ports(self.data_dir / "ports.json", (*names, "mongo"))
        self.mongo_port = ports["mongo"]
        self._ports = {role: ports[role.folder] for role in Valkey}
        self._memory_mb = {
            Valkey.ORDERS: maxmemory_mb, Valkey.SEARCH: search_mb, Valkey.CATALOGUE: catalogue_mb,
        }

    def valkey_dir(self, role: Valkey) -> Path:
        """The folder of one Valkey, made if it is not there."""
        return private_folder(self.data_dir / role.folder)

    def valkey_port(self, role: Valkey) -> int:
        """The loopback port of one Valkey."""
        return self._ports[role]

    def valkey_command(self, role: Valkey) -> list[str]:
        """What starts one Valkey in its folder."""
        return [
            *binaries.valkey_server(),
            "--bind", LOOPBACK, "--port", str(self._ports[role]), "--dir", ".",
            # 202 says "durable": an order is on disk before Valkey answers. A search or a page
            # that is lost is asked for or built again.
            "--appendonly", "yes",
            "--appendfsync", "always" if role is Valkey.ORDERS else "everysec",
            # The append-only file is the copy; a dump besides it would be written for nobody.
            "--save", "",
            # A full queue refuses new work. It never throws accepted work away.
            "--maxmemory", f"{self._memory_mb[role]}mb", "--maxmemory-policy", "noeviction",
            "--databases", "16",
        ]  # fmt: skip

    def mongo_command(self) -> list[str]:
        """What starts MongoDB in `mongo_dir`."""
        return [
            *binaries.mongod(self.data_dir / "lib", run_in=self.mongo_dir),
            "--bind_ip", f"{LOOPBACK},{replica_set.MEMBER}", "--port", str(self.mongo_port),
            "--dbpath", ".", "--replSet", replica_set.NAME,
            # Else one more socket lies in /tmp, where a file of another user can stop the start.
            "--nounixsocket",
            # Else half of the machine's memory for the cache and a twentieth of its disk for the
            # log of changes.
            "--wiredTigerCacheSizeGB", "0.5", "--oplogSize", "1024",
            # Journal files of 100 MB, written full of zeros beforehand, are for big servers:
            # small ones start in half the time, are back sooner after a crash, and inserts are as
            # fast.
            "--wiredTigerEngineConfigString", "log=(prealloc=false,file_max=16MB)",
            "--setParameter", "diagnosticDataCollectionEnabled=false",
            # On SIGTERM a member of a set lets others take over for up to 15 s. There are none.
            "--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100",
        ]  # fmt: skip

    def valkey_url(self, role: Valkey) -> str:
        """Address of one embedded Valkey."""
        return f"redis://{LOOPBACK}:{self._ports[role]}/0"

    @property
    def mongo_url(self) -> str:
        """Address of the embedded replica set."""
        return (
            f"mongodb://{LOOPBACK}:{self.mongo_port}/"
            f"?replicaSet={replica_set.NAME}&directConnection=true"
        )


def private_folder(path: Path) -> Path:
    """Make a folder that only this user can look into. Orders hold people's addresses."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


class EngineProcess:
    """One engine as a plain child of this process, for tests and the bench. Not thread-safe."""

    def __init__(self, name: str, command: list[str], folder: Path, log: Path) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id. Raises EngineAway when it was not started."""
        if self._process is None:
            raise EngineAway(f"{self.name} was not started")
        return self._process.pid

    def start(self) -> None:
        """Start it, and return before it is ready. It dies with this process."""
        us = os.getpid()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: PLW1509 (it only asks the kernel)
                self._command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: end_with_parent(us),
            )

    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """End it in its own way; after STOP_WITHIN_S by force."""
        if self._process is None or not self.running():
            return
        self._process.send_signal(signal.SIGCONT)  # a test may have stopped it
        self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it as `kill -9` does, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_WITHIN_S)

    def last_words(self) -> str:
        """The end of its log."""
        with suppress(OSError):
            return self.log.read_text(errors="replace")[-1_500:]
        return ""


class RunningEngines:
    """The engines as plain children of this process. See `engines`."""

    def __init__(self, plan: EnginePlan, roles: Sequence[Valkey]) -> None:
        logs = private_folder(plan.data_dir / "logs")
        self.plan = plan
        self.redis_url = plan.valkey_url(Valkey.ORDERS)
        self.mongo_url = plan.mongo_url
        self.valkeys = {
            role: EngineProcess("Valkey", plan.valkey_command(role), plan.valkey_dir(role),
                                logs / f"{role.folder}.log")
            for role in roles
        }
        self.valkey = self.valkeys[Valkey.ORDERS]
        self.mongo = EngineProcess(
            "MongoDB", plan.mongo_command(), plan.mongo_dir, logs / "mongo.log"
        )

    def wait_ready(self, within_s: float = READY_WITHIN_S) -> None:
        """Return when all answer. Raises EngineAway with the last words of the one that fails."""
        for engine, wait in (
            *((engine, partial(wait_valkey, self.plan.valkey_port(role)))
              for role, engine in self.valkeys.items()),
            (self.mongo, partial(replica_set.wait_primary, self.plan.mongo_port)),
        ):
            try:
                wait(within_s=within_s, still_running=engine.running)
            except EngineAway as error:
                raise EngineAway(f"{error}. Its last words:\n{engine.last_words()}") from error


@contextmanager
def engines(
    data_dir: Path, *, maxmemory_mb: int = 512, roles: Sequence[Valkey] = (Valkey.ORDERS,)
) -> Iterator[RunningEngines]:
    """Valkey and MongoDB in `data_dir`, ready; stopped at the end, killed if this process is.

    Without the Valkeys of searches and the catalogue among `roles`, these are the next databases
    of that of orders, as with any REDIS_URL. Raises EngineUnfit when a program is missing,
    EngineAway when an engine does not start.
    """
    running = RunningEngines(EnginePlan(data_dir, maxmemory_mb=maxmemory_mb), roles)
    started = [*running.valkeys.values(), running.mongo]
    try:
        for engine in started:
            engine.start()
        running.wait_ready()
        yield running
    finally:
        for engine in started:
            engine.stop()


def wait_valkey(
    port: int, *, within_s: float, still_running: Callable[[], bool] = lambda: True
) -> None:
    """Return when Valkey answers on this loopback port and has read its file.

    Raises EngineAway when that takes longer, or when `still_running` says no.
    """
    deadline = time.monotonic() + within_s
    while not _answers_ping(port):
        if not still_running():
            raise EngineAway("Valkey ended")
        if time.monotonic() > deadline:
            raise EngineAway(f"Valkey was not ready within {within_s:.0f} s")
        time.sleep(_POLL_S)


def _answers_ping(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")  # else -LOADING
    except OSError:
        return False
