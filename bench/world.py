"""Engines and consumers for one bench, in a folder that goes away with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

import bootstrap
from booking.documents import Document
from booking.store import ORDER_INDEXES, BookingStore
from embedded import engines
from errors import BerthError
from queues.keys import BOOKING
from settings import Settings, load

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 120.0
DURABLE = WriteConcern(w="majority", j=True)


class World:
    """Clients of the engines under test, and the consumers that run on them."""

    def __init__(self, settings: Settings, environment: dict[str, str]) -> None:
        self.settings = settings
        self.environment = environment
        self.valkey: redis.Redis = bootstrap.connect_valkey(settings)
        self.store: BookingStore = bootstrap.booking_store(settings)
        self.mongo = bootstrap.connect_mongo(settings)
        self.database: Database[Document] = bootstrap.database(settings, self.mongo)

    @contextmanager
    def consumer(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """A consumer as the process that it is in production."""
        process = subprocess.Popen([sys.executable, "-m", "consumer", name], cwd=ROOT,
                                   env=self.environment, stderr=subprocess.DEVNULL)
        try:
            if name == "booking":
                wait_for(lambda: self.valkey.exists(BOOKING.lease) == 1, "the lease")
                wait_for(lambda: self.valkey.exists(BOOKING.packages) == 1, "the projection")
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def orders_like(self, name: str) -> Collection[Document]:
        """An empty collection with the indexes and the durability of the orders."""
        self.database.drop_collection(name)
        collection = self.database.get_collection(name, write_concern=DURABLE)
        for index, (keys, options) in ORDER_INDEXES.items():
            collection.create_index(keys, name=index, **options)
        return collection

    def clear(self) -> None:
        """Forget all orders and jobs; these engines are the bench's own."""
        self.valkey.flushdb()
        for name in ("orders", "packages"):
            self.database[name].delete_many({})
        self.store.ensure_indexes()


@contextmanager
def world(**overrides: str) -> Iterator[World]:
    """Fresh engines; `overrides` are settings by their environment names."""
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as folder, \
            engines(Path(folder), maxmemory_mb=2_048) as running:
        environment = {
            **os.environ, "DATA_DIR": folder, "REDIS_URL": running.redis_url,
            "MONGO_URL": running.mongo_url, **overrides,
        }
        yield World(load(environment), environment)


def wait_for(condition: Callable[[], bool], what: str, *, poll_s: float = 0.005) -> None:
    """Wait, bounded. Raises BerthError that names what never came."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > give_up_s:
            raise BerthError(f"{what} did not come within {PATIENCE_S:.0f} s")
        time.sleep(poll_s)


def percentile(values: list[float], part: float) -> float:
    """The value below which `part` (0..1) of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
