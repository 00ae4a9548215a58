"""Engines and processes for one bench, in a folder that goes away with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import redis
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.write_concern import WriteConcern

import bootstrap
from booking.documents import Document, package_document
from booking.model import Package, PackageFacts
from booking.store import ORDER_INDEXES, BookingStore
from embedded import Valkey, engines
from embedded.orphans import end_with_parent
from errors import BerthError
from queues.keys import BOOKING
from settings import Settings, load

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 120.0
STOP_WITHIN_S = 30.0
LAST_WORDS_CHARS = 1_500
DURABLE = WriteConcern(w="majority", j=True)
PACKAGE_ID = 1

Tell = Callable[[str], None]


class BenchError(BerthError):
    """The bench cannot measure, or what it measured is not what it claims: nothing is reported."""


def offer(quota: int) -> Package:
    """The one package of every bench."""
    facts = PackageFacts(PACKAGE_ID, "LIS-NRT BE204", "2027-03-01", "100.00", "EUR")
    return Package(facts=facts, quota=quota)


class Child:
    """A process of the bench, with a log of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    def check(self) -> None:
        """Raises BenchError with the end of its log when it has ended by itself."""
        if self.process.poll() is not None:
            raise BenchError(
                f"{' '.join(map(str, self.process.args))} ended with "  # type: ignore[arg-type]
                f"{self.process.returncode}. Its last words:\n{self._last_words()}"
            )

    def stop(self) -> None:
        """End it, and all that it started, in its own way; after STOP_WITHIN_S by force."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_WITHIN_S)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_WITHIN_S)

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-LAST_WORDS_CHARS:]


class World:
    """Clients of the engines under test, and the processes that run on them."""

    def __init__(self, settings: Settings, environment: dict[str, str]) -> None:
        self.settings = settings
        self.environment = environment
        self.valkey: redis.Redis = bootstrap.connect_valkey(settings)
        self.store: BookingStore = bootstrap.booking_store(settings)
        self.mongo: MongoClient[Document] = bootstrap.connect_mongo(settings)
        self.database: Database[Document] = bootstrap.database(settings, self.mongo)

    @contextmanager
    def child(self, *arguments: str, changes: Mapping[str, str] | None = None) -> Iterator[Child]:
        """A Python program with these arguments, and these changes to the environment."""
        us = os.getpid()
        log = Path(self.settings.data_dir) / f"{'-'.join(arguments)[:60].replace('/', '_')}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: PLW1509 (it only asks the kernel)
                [sys.executable, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL,
                # A group of its own, to be ended together; one session, as in `make run`: who
                # steps back for whom is settled within a session.
                stdout=output, stderr=output, process_group=0,
                env={**self.environment, **(changes or {})},
                # Whoever ends the bench without mercy leaves no worker behind that asks for
                # engines that are gone.
                preexec_fn=lambda: end_with_parent(us, signal.SIGTERM),
            )
        child = Child(process, log)
        try:
            yield child
        finally:
            child.stop()

    @contextmanager
    def consumer(self, name: str) -> Iterator[Child]:
        """A consumer as the process that it is in production, once it holds the lease."""
        with self.child("-m", "consumer", name) as child:
            if name == "booking":
                wait_for(lambda: self.valkey.exists(BOOKING.lease) == 1, "the lease", child)
                wait_for(lambda: self.valkey.exists(BOOKING.packages) == 1, "the shelf", child)
            yield child

    def sell(self, quota: int) -> None:
        """Forget all orders and jobs, which are the bench's own; put one package on sale."""
        self.valkey.flushdb()
        for name in ("orders", "packages"):
            self.database.drop_collection(name)
        self.store.ensure_indexes()
        self.database.packages.insert_one(package_document(offer(quota)))

    def orders_like(self, name: str) -> Collection[Document]:
        """An empty collection with the indexes and the durability of the orders."""
        self.database.drop_collection(name)
        collection = self.database.get_collection(name, write_concern=DURABLE)
        for index, (keys, options) in ORDER_INDEXES.items():
            collection.create_index(keys, name=index, **options)
        return collection

    def check_sold(self, name: str, *, orders: int, quota: int) -> None:
        """Raises BenchError unless `orders` live orders hold each a unit of its own of `quota`."""
        units = [document["unit"] for document in self.database[name].find(
            {"unit": {"$exists": True}}, {"_id": 0, "unit": 1})]
        given = set(units) & {f"{PACKAGE_ID}:{n}" for n in range(1, quota + 1)}
        if not len(units) == len(given) == orders:
            raise BenchError(
                f"{name}: {len(given)} of {quota} units were given in {len(units)} orders where "
                f"{orders} were to get one each: the figure would be a lie"
            )


@contextmanager
def world(**overrides: str) -> Iterator[World]:
    """Fresh engines; `overrides` are settings by their environment names."""
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as folder, \
            engines(Path(folder), maxmemory_mb=2_048, roles=tuple(Valkey)) as running:
        environment = {
            **os.environ, "DATA_DIR": folder, "REDIS_URL": running.redis_url,
            "SEARCH_REDIS_URL": running.plan.valkey_url(Valkey.SEARCH),
            "CATALOGUE_REDIS_URL": running.plan.valkey_url(Valkey.CATALOGUE),
            "MONGO_URL": running.mongo_url, "SECRET_KEY": "only for the bench", **overrides,
        }
        place = World(load(environment), environment)
        try:
            yield place
        finally:
            place.mongo.close()
            place.valkey.close()


def wait_for(
    condition: Callable[[], bool], what: str, *needed: Child, poll_s: float = 0.005,
    within_s: float = PATIENCE_S,
) -> None:
    """Wait, bounded. Raises BenchError that names what never came, or the child that ended."""
    give_up_s = time.monotonic() + within_s
    while not condition():
        for child in needed:
            child.check()
        if time.monotonic() > give_up_s:
            raise BenchError(f"{what} did not come within {within_s:.0f} s")
        time.sleep(poll_s)


def percentile(values: list[float], part: float) -> float:
    """The value below which `part` (0..1) of the values lie; 0.0 of no values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
