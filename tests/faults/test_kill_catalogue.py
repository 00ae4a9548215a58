"""kill -9 of what makes the catalogue, while somebody changes hotels in MongoDB: afterwards every
page is what a fresh rebuild gives, and the audit says so.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import redis
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

import embedded
from audit.__main__ import main
from catalogue import default_hotels as default
from catalogue import documents as d
from catalogue.hotels_file import Good
from catalogue.seeding import HotelSeeding
from catalogue.shelf_writer import ask_for_rebuild
from db_init import _places
from embedded import RunningEngines, Valkey
from errors import BerthError
from queues.keys import CATALOGUE
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
HOTELS, ACTIVE_MAX = 300, 250
CHANGES_AROUND = 40
AGAIN_WITHIN_S = 30.0


class Operator:
    """Changes hotels as any program may, by a seed, until told to stop; engines may go away."""

    def __init__(self, database: Database[d.Document], seed: int) -> None:
        self._database = database
        self._chance = random.Random(seed)
        self._places = list(islice(_places(), HOTELS, HOTELS + 2_000))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.done = 0

    def __enter__(self) -> Operator:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def wait_for(self, changes: int) -> None:
        """Return when that many more were made."""
        wanted = self.done + changes
        eventually(lambda: self.done >= wanted, AGAIN_WITHIN_S, "hotels are changed")

    def _run(self) -> None:
        ways: list[Callable[[str], Any]] = [
            self._price, self._price, self._rating, self._name, self._active, self._active,
            self._come, self._go, self._address, self._city, self._label, self._all_prices,
            self._odd,
        ]  # fmt: skip
        while not self._stop.is_set():
            with suppress(PyMongoError, BerthError):
                found = list(self._database[d.HOTELS].aggregate([{"$sample": {"size": 1}}]))
                self._chance.choice(ways)(str(found[0]["_id"]))
                self.done += 1
            self._stop.wait(0.01)

    def _set(self, collection: str, key: str, **fields: Any) -> None:
        self._database[collection].update_one({"_id": key}, {"$set": fields})

    def _price(self, hotel_id: str) -> None:
        self._database[d.PRICES].update_one(
            {"hotel_id": hotel_id}, {"$set": {"nights": self._nights()}})

    def _nights(self) -> dict[str, str]:
        day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=self._chance.randrange(20))
        return {day.isoformat(): f"{self._chance.randrange(40, 400)}.00"}

    def _rating(self, hotel_id: str) -> None:
        self._set(d.RATINGS, hotel_id, average_tenths=self._chance.randrange(101))

    def _name(self, hotel_id: str) -> None:
        self._set(d.HOTELS, hotel_id, name=f"House {self._chance.randrange(10_000)}")

    def _active(self, hotel_id: str) -> None:
        self._set(d.HOTELS, hotel_id, active=self._chance.random() < 0.7)

    def _come(self, _: str) -> None:
        found = list(default.documents(
            self._places.pop(), today=dt.datetime.now(dt.UTC).date(), currency="EUR"))
        hotel = dict(found)[d.HOTELS]
        HotelSeeding(self._database).put([Good("", hotel["_id"], hotel["slug"], found)])

    def _go(self, hotel_id: str) -> None:
        self._database[d.HOTELS].delete_one({"_id": hotel_id})

    def _address(self, hotel_id: str) -> None:
        self._set(d.HOTELS, hotel_id, slug=f"{hotel_id}-{self._chance.randrange(10)}")

    def _city(self, _: str) -> None:
        self._set(d.CITIES, self._chance.choice(["lisbon", "porto"]),
                  name=f"City {self._chance.randrange(100)}")

    def _label(self, _: str) -> None:
        self._set(d.AMENITIES, "pool", label=f"Pool {self._chance.randrange(100)}")

    def _all_prices(self, _: str) -> None:
        self._database[d.PRICES].update_many({}, {"$set": {"nights": self._nights()}})

    def _odd(self, hotel_id: str) -> None:
        self._set(d.HOTELS, hotel_id, stars=self._chance.choice([3, 4, "many"]))


class Keeper:
    """The catalogue consumer as a process of its own, started again when it was killed."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "consumer", "catalogue"], cwd=ROOT, stdout=output,
                stderr=subprocess.STDOUT, env={**os.environ, **self._environment})

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def is_alive(self) -> bool:
        return self._process.poll() is None


@contextmanager
def kept(environment: dict[str, str], log: Path) -> Iterator[Keeper]:
    keeper = Keeper(environment, log)
    try:
        yield keeper
    finally:
        keeper.kill()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunningEngines]:
    with embedded.engines(tmp_path / "engines", roles=(Valkey.ORDERS, Valkey.CATALOGUE)) as found:
        yield found


def test_after_every_kill_each_page_is_what_a_rebuild_gives(
    running: RunningEngines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], record_property: pytest.RecordProperty,
) -> None:
    environment = {
        "DATA_DIR": str(tmp_path / "data"), "MONGO_URL": running.mongo_url,
        "REDIS_URL": running.redis_url,
        "CATALOGUE_REDIS_URL": running.plan.valkey_url(Valkey.CATALOGUE),
        "CATALOGUE_ACTIVE_MAX": str(ACTIVE_MAX), "LEASE_MS": "1000", "BEAT_MS": "200",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    valkey = running.valkeys[Valkey.CATALOGUE]
    with (
        MongoClient[d.Document](running.mongo_url, serverSelectionTimeoutMS=1_000) as mongo,
        redis.Redis.from_url(environment["CATALOGUE_REDIS_URL"]) as shelf,
    ):
        database = mongo["berth"]
        seeding = HotelSeeding(database)
        seeding.ensure_indexes()
        seeding.fill(list(islice(_places(), HOTELS)), today=dt.datetime.now(dt.UTC).date(),
                     currency="EUR", progress=lambda n: None)
        with kept(environment, tmp_path / "consumer.log") as keeper:

            def is_built() -> bool:
                with suppress(redis.RedisError):
                    return bool(shelf.hexists(CATALOGUE.state, "generation"))
                return False

            def rebuild_begins() -> bool:
                return bool(shelf.hexists(CATALOGUE.state, "building"))

            eventually(is_built, AGAIN_WITHIN_S, "the catalogue is built")
            ends: dict[str, list[Any]] = {
                "consumer": [keeper], "valkey": [valkey], "mongod": [running.mongo],
                "consumer in a rebuild": [keeper], "all at once": [valkey, running.mongo, keeper],
                "all in a rebuild": [keeper, valkey, running.mongo],
            }
            for number, (what, victims) in enumerate(ends.items()):
                with Operator(database, seed=number) as operator:
                    operator.wait_for(CHANGES_AROUND)
                    if "rebuild" in what:
                        ask_for_rebuild(shelf)
                        eventually(rebuild_begins, AGAIN_WITHIN_S, "a rebuild begins")
                    for victim in victims:
                        victim.kill()
                    for victim in victims:
                        victim.start()
                    running.wait_ready()
                    operator.wait_for(CHANGES_AROUND)
                capsys.readouterr()
                code = main(["--json", "--only", "catalogue", "--quiet-within", "30"])
                answer = json.loads(capsys.readouterr().out)
                assert code == 0, (what, answer)
                assert answer["hotels"] + answer["hotels_broken"] > HOTELS // 3, answer
                assert keeper.is_alive(), f"after {what}: the consumer has ended"
                record_property(what, answer["seconds"])
