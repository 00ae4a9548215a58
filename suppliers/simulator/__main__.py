"""`python -m suppliers.simulator`: the server process of the outside world."""

from __future__ import annotations

import argparse
import atexit
import sys
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]

from errors import SettingsError
from settings import Settings, load
from suppliers.precedence import step_back
from suppliers.simulator.app import create_app
from suppliers.simulator.book import Book

# A slow supplier of rates holds a thread for each of its calls, and a hundred searches may wait.
THREADS = 512
# The address of a request for 250 hotels is longer than gunicorn allows by default.
ADDRESS_MAX_BYTES = 8_190
# After a SIGTERM, gunicorn keeps idle connections for 2 s; what still runs after this is cut.
GRACE_S = 3
KEEPALIVE_S = 60


class SimulatorServer(BaseApplication):  # type: ignore[misc]
    """One worker process, because the conduct lives in its memory and the book has one writer."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        chosen: dict[str, Any] = {
            "bind": f"{self._settings.host}:{self._settings.simulator_port}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": THREADS,
            "limit_request_line": ADDRESS_MAX_BYTES,
            "keepalive": KEEPALIVE_S,
            "graceful_timeout": GRACE_S,
            "control_socket_disable": True,
        }
        for name, value in chosen.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        # This runs in the worker, after the fork: neither the connection nor the thread of the
        # book could be carried over one.
        book = Book(Path(self._settings.data_dir) / "simulator" / "book.sqlite3",
                    self._settings.simulator_seed)
        atexit.register(book.close)
        return create_app(self._settings, book)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m suppliers.simulator",
        description="Stand for the suppliers of flights, rooms and hotel rates until SIGTERM. "
        "Binds HOST and SIMULATOR_PORT; its book is kept under DATA_DIR. See tunables.py for "
        "SIMULATOR_SEED, SIMULATOR_RATE_LATENCY_PERCENT, FLIGHT_FAILURE_RATE, "
        "ROOM_FAILURE_RATE, SIMULATOR_LATENCY_MS_MIN and _MAX, "
        "SIMULATOR_FAULT_RATE and SIMULATOR_LOST_ANSWER_RATE. All but the seed can be changed "
        "while it runs: PATCH /api/simulator/settings.",
    )
    parser.parse_args()
    try:
        settings = load()
    except SettingsError as error:
        parser.exit(2, f"{error}\n")
    step_back(settings.search_niceness)
    SimulatorServer(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
