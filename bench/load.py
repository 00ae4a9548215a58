"""Load over HTTP, made by wrk: as much as is answered, or at a steady rate. See wrk.lua."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

import shapes
from bench.world import PACKAGE_ID, BenchError

# One for each thread of the web by default, so that all of them have something to do.
CONNECTIONS = 16
# A paced request finds a free one, though some answers take long.
PACED_CONNECTIONS = 32
STOP_WITHIN_S = 30.0
ORDER = {"package_id": PACKAGE_ID, "email": "customer@berth.travel"}
# Each request is of another customer: wrk.lua puts a number in.
BODY = json.dumps(ORDER).replace("customer", "customer%d")
SCRIPT = Path(__file__).with_name("wrk.lua")


class Load(msgspec.Struct, frozen=True):
    """What wrk saw: answers, for how long, those that were no 2xx, connections that broke, and
    how long answers took. Up to `connections` requests were under way when it ended.
    """

    connections: int
    answered: int
    took_s: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float

    @property
    def per_s(self) -> float:
        """Answers per second."""
        return self.answered / self.took_s


def check_installed() -> None:
    """Raises BenchError that says how to get wrk."""
    if shutil.which("wrk") is None:
        raise BenchError("wrk, which makes the load, is not installed. On Debian and Ubuntu: "
                         "apt-get install wrk")


def load(
    url: str, seconds: int, *, rate: int = 0, keys: bool = False, paths: Path | None = None
) -> Load:
    """Send orders to `url` for `seconds`: `rate` per second, or 0 for as many as are answered.

    `keys` gives each an Idempotency-Key of its own. With a file of `paths`, these are got in
    turn instead. Raises BenchError when wrk fails.
    """
    with loading(url, seconds, rate=rate, keys=keys, paths=paths) as found:
        return found.seen()


class Loading:
    """A load under way."""

    def __init__(self, process: subprocess.Popen[str], connections: int, seconds: int) -> None:
        self._process = process
        self._connections = connections
        self._seconds = seconds

    def end(self) -> Load:
        """End it now; what was seen so far. Raises BenchError when wrk fails."""
        self._process.send_signal(signal.SIGINT)
        return self.seen()

    def seen(self) -> Load:
        """What was seen, when the time is over. Raises BenchError when wrk fails."""
        told, errors = self._process.communicate(timeout=self._seconds + STOP_WITHIN_S)
        if self._process.returncode or not told:
            raise BenchError(f"wrk failed: {errors or told}")
        found = json.loads(told.splitlines()[-1])
        return shapes.convert({**found, "connections": self._connections}, Load)


@contextmanager
def loading(
    url: str, seconds: int, *, rate: int = 0, keys: bool = False, paths: Path | None = None
) -> Iterator[Loading]:
    """As `load`, beside something else; for `seconds` at most."""
    connections = PACED_CONNECTIONS if rate else CONNECTIONS
    process = subprocess.Popen(
        ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s",
         "--script", str(SCRIPT), url, "--", BODY, str(rate), "keys" if keys else "no",
         *([str(paths)] if paths else [])],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    try:
        yield Loading(process, connections, seconds)
    finally:
        process.kill()
        process.wait(STOP_WITHIN_S)
