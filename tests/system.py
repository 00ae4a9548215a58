"""The whole of Berth as a customer's machine runs it: `python app_queue.py` on free ports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import requests

from embedded.ports import free_port
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parent.parent
START_WITHIN_S = 60.0
STOP_WITHIN_S = 15.0
FINAL = {"confirmed", "failed", "rejected", "expired", "cancelled"}

# What each part's command line holds; `kill` looks for it among the starter's descendants. The
# Valkeys differ by the folder that they run in.
PARTS = {
    "web": "app_queue:create_app()",
    "booking": "consumer booking",
    "reservation": "consumer reservation",
    "catalogue": "consumer catalogue",
    "search": "consumer search",
    "fetch": "consumer fetch",
    "simulator": "suppliers.simulator",
    "valkey": "valkey-server",
    "valkey-search": "valkey-server",
    "valkey-catalogue": "valkey-server",
    "mongo": "mongod",
}

Json = dict[str, Any]


class System:
    """A running system, seen from outside."""

    def __init__(self, process: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
        self.process = process
        self.environment = environment
        self.url = f"http://127.0.0.1:{environment['PORT']}"
        self.http = requests.Session()

    def order(self, package_id: int, email: str, key: str | None = None) -> requests.Response:
        """POST /api/orders."""
        return self.http.post(
            f"{self.url}/api/orders", json={"package_id": package_id, "email": email},
            headers={"Idempotency-Key": key} if key else {}, timeout=10,
        )

    def look(self, order_id: str, email: str) -> Json:
        """GET /api/orders/<id>; a failed assertion while it does not answer 200."""
        try:
            answer = self.http.get(f"{self.url}/api/orders/{order_id}",
                                   params={"email": email}, timeout=10)
        except requests.ConnectionError as error:
            raise AssertionError(f"no answer: {error}") from error
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def final(self, order_id: str, email: str, within_s: float = 10.0) -> Json:
        """The order once it is final."""
        def settled() -> Json | None:
            found = self.look(order_id, email)
            return found if found["state"] in FINAL else None

        found = eventually(settled, within_s, f"order {order_id} is final")
        assert found is not None
        return found

    def packages(self) -> dict[int, Json]:
        """GET /api/packages by id."""
        found = self.http.get(f"{self.url}/api/packages", timeout=10).json()["packages"]
        return {package["id"]: package for package in found}

    def whole(self) -> bool:
        """Whether /healthz says that every part answers."""
        try:
            return self.http.get(f"{self.url}/healthz", timeout=10).status_code == 200
        except requests.RequestException:
            return False

    def pids(self, part: str) -> list[int]:
        """The processes of a part."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if PARTS[part] in " ".join(process.cmdline()) and (
                    not part.startswith("valkey") or Path(process.cwd()).name == part
                ):
                    found.append(process.pid)
            except psutil.Error:
                continue  # it has just ended
        return found

    def kill(self, part: str) -> None:
        """kill -9 of one process of the part, its main one."""
        os.kill(min(self.pids(part)), signal.SIGKILL)

    def run(self, *command: str, timeout_s: float = 90) -> subprocess.CompletedProcess[str]:
        """A command of the project, typed beside the running system."""
        return subprocess.run([sys.executable, *command], cwd=ROOT, env=self.environment,
                              capture_output=True, text=True, timeout=timeout_s, check=False)

    def audit(self) -> Json:
        """python -m audit; fails the test unless it finds nothing."""
        done = self.run("-m", "audit", "--json")
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        found: Json = json.loads(done.stdout.splitlines()[-1])
        return found


@contextmanager
def running_system(data_dir: Path, **overrides: str) -> Iterator[System]:
    """Start everything, wait until it is whole, and stop it at the end."""
    environment = {
        **os.environ,
        "DATA_DIR": str(data_dir),
        "PORT": str(free_port()),
        "SIMULATOR_PORT": str(free_port()),
        "DEFAULT_HOTELS": "60",
        "SIMULATOR_LATENCY_MS_MIN": "5",
        "SIMULATOR_LATENCY_MS_MAX": "30",
        **overrides,
    }
    for name in ("REDIS_URL", "SEARCH_REDIS_URL", "CATALOGUE_REDIS_URL", "MONGO_URL",
                 "SUPPLIER_URL"):
        environment.pop(name, None)
    log = data_dir.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "app_queue.py"], cwd=ROOT, env=environment,
                                   stdout=output, stderr=subprocess.STDOUT)
    system = System(process, environment)
    try:
        eventually(system.whole, START_WITHIN_S, f"the system is whole; see {log}")
        yield system
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def fire(system: System, orders: Sequence[tuple[int, str]], threads: int = 32) -> list[Json]:
    """Place all orders at once; returns {"order_id", "email", "package_id"} of each."""
    def place(order: tuple[int, str]) -> Json:
        package_id, email = order
        answer = system.order(package_id, email, key=f"{package_id}-{email}")
        assert answer.status_code == 202, answer.text
        return {**answer.json(), "email": email, "package_id": package_id}

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(place, orders))
