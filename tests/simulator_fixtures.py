"""The real simulator as a process, on a free port, with a book in a temporary folder."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 20
QUIET = {"SIMULATOR_LATENCY_MS_MIN": "0", "SIMULATOR_LATENCY_MS_MAX": "0",
         "SIMULATOR_RATE_LATENCY_PERCENT": "0"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class SimulatorProcess:
    """Start it, kill it, start it again: the port and the data folder stay the same."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = data_dir / "simulator.log"
        self._environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "SEARCH_NICENESS")
               if name in os.environ},
            "DATA_DIR": str(data_dir),
            "SIMULATOR_PORT": str(self.port),
            **QUIET,
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "suppliers.simulator"], cwd=ROOT, env=self._environment,
                stdout=log, stderr=log, start_new_session=True,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            try:
                if requests.get(f"{self.url}/healthz", timeout=2).status_code == 200:
                    return
            except requests.ConnectionError:
                time.sleep(0.02)
        raise AssertionError(f"the simulator did not start:\n{self.log.read_text()}")

    def terminate(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(10)

    def kill(self) -> None:
        """`kill -9` of the server and its worker at once."""
        assert self._process is not None
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._process.wait(10)

    # --- what tests ask of it -----------------------------------------------------------------

    def flight(self, key: str, flight: str = "Flight-1", stay: str = "2022-08-09"
               ) -> requests.Response:
        return requests.post(f"{self.url}/api/flights/reservations", timeout=10,
                             json={"flight": flight, "stay": stay},
                             headers={"Idempotency-Key": key})

    def room(self, key: str, ticket: str, stay: str = "2022-08-09") -> requests.Response:
        return requests.post(f"{self.url}/api/hotels/reservations", timeout=10,
                             json={"flight_ticket_number": ticket, "stay": stay},
                             headers={"Idempotency-Key": key})

    def cancel(self, word: str, key: str) -> requests.Response:
        return requests.delete(f"{self.url}/api/{word}/reservations/{key}", timeout=10)

    def book(self, word: str, **query: Any) -> dict[str, Any]:
        answer = requests.get(f"{self.url}/api/{word}/reservations", params=query, timeout=10)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def switch(self, **fields: Any) -> requests.Response:
        return requests.patch(f"{self.url}/api/simulator/settings", json=fields, timeout=10)


@contextmanager
def running_simulator(data_dir: Path, **environment: str) -> Iterator[SimulatorProcess]:
    simulator = SimulatorProcess(data_dir, **environment)
    try:
        simulator.start()
        yield simulator
    finally:
        simulator.kill()
