"""Real engines for every test that asks: one pair per pytest worker, clean for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import redis
from pymongo import MongoClient
from pymongo.database import Database
from ulid import ULID

import embedded
from booking.documents import Document
from bootstrap import connect_mongo, connect_valkey
from embedded import RunningEngines
from embedded.ports import free_port
from settings import Settings
from tests.booking_world import World

# A slow machine is no finding, and what one run finds, every run finds.
hypothesis.settings.register_profile(
    "berth", deadline=None, derandomize=True, database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("berth")

# Tests run beside each other: what steps back for them would be waited for.
os.environ.setdefault("SEARCH_NICENESS", "0")


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningEngines]:
    """Valkey and MongoDB of this pytest worker. A test that kills one takes `own_engines`."""
    with embedded.engines(tmp_path_factory.mktemp("engines"), maxmemory_mb=256) as running:
        yield running


@pytest.fixture
def own_engines(tmp_path: Path) -> Iterator[RunningEngines]:
    """Engines of this one test, for tests that stop, kill or fill them."""
    with embedded.engines(tmp_path / "engines", maxmemory_mb=256) as running:
        yield running


@pytest.fixture(scope="session")
def mongo_client(engines: RunningEngines) -> Iterator[MongoClient[Document]]:
    """A client of the shared MongoDB, as the composition root builds it."""
    with connect_mongo(Settings(mongo_url=engines.mongo_url)) as client:
        yield client


@pytest.fixture
def mongo_database(mongo_client: MongoClient[Document]) -> Iterator[Database[Document]]:
    """An empty database that no other test uses; dropped afterwards."""
    name = f"test-{ULID()}".lower()
    yield mongo_client[name]
    mongo_client.drop_database(name)


@pytest.fixture
def valkey(engines: RunningEngines) -> Iterator[redis.Redis]:
    """A client of this worker's own Valkey, emptied first. Nobody else's data is in it."""
    with connect_valkey(Settings(redis_url=engines.redis_url)) as client:
        client.flushall()
        yield client


@pytest.fixture
def settings(
    engines: RunningEngines,
    valkey: redis.Redis,
    mongo_database: Database[Document],
    tmp_path: Path,
) -> Settings:
    """Settings that point at this test's empty engines, free ports and an empty data folder."""
    return Settings(
        data_dir=str(tmp_path / "data"),
        redis_url=engines.redis_url,
        mongo_url=engines.mongo_url,
        mongo_database=mongo_database.name,
        port=free_port(),
        simulator_port=free_port(),
        secret_key="only for tests",
    )


@pytest.fixture
def world(valkey: redis.Redis, mongo_database: Database[Document], settings: Settings) -> World:
    """An empty booking road with its indexes; see tests/booking_world.py."""
    return World(valkey, mongo_database, settings)
