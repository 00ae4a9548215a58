"""A small catalogue on real engines: its documents, its consumer, and its reader."""

from __future__ import annotations

import datetime as dt
import threading
from itertools import islice
from typing import Any

import redis
from pymongo.database import Database

from catalogue import documents as d
from catalogue.default_hotels import Place
from catalogue.model import Hotel
from catalogue.seeding import HotelSeeding
from catalogue.shelf import CatalogueReader
from catalogue.shelf_writer import ShelfWriter
from catalogue.source import HotelSource
from consumer.catalogue import CatalogueConsumer
from db_init import _places

TODAY = dt.date(2026, 12, 10)
STEPS_MAX = 100


def places(count: int) -> list[Place]:
    """The first default hotels; the first twenty are in Lisbon."""
    return list(islice(_places(), count))


class CatalogueWorld:
    """`today` may be changed; all else is as in production."""

    def __init__(
        self, valkey: redis.Redis, database: Database[d.Document], *, hotels: int = 25
    ) -> None:
        self.valkey = valkey
        self.database = database
        self.today = TODAY
        self.seeding = HotelSeeding(database)
        self.seeding.ensure_indexes()
        self.seeding.fill(places(hotels), today=TODAY, currency="EUR", progress=lambda n: None)
        self.reader = CatalogueReader(valkey)
        self.stop = threading.Event()

    def consumer(self, name: str = "one", *, active_max: int = 1_000, lease_ms: int = 5_000
                 ) -> CatalogueConsumer:
        """A consumer of this catalogue."""
        return CatalogueConsumer(
            HotelSource(self.database),
            ShelfWriter(self.valkey, consumer=name, lease_ms=lease_ms),
            active_max=active_max, currency="EUR", stop=self.stop, today=lambda: self.today,
        )

    def settle(self, consumer: CatalogueConsumer) -> None:
        """Step until a change that is made now, behind all others, has been told."""
        self.database[d.RATINGS].update_one(
            {"_id": "lisbon-1"}, {"$inc": {"count": 1}}, upsert=True
        )
        wanted = self.database[d.RATINGS].find_one({"_id": "lisbon-1"})
        assert wanted is not None
        for _ in range(STEPS_MAX):
            consumer.step()
            if self.shown("lisbon-1")["rating_count"] == wanted["count"]:
                return
        raise AssertionError("the catalogue does not follow")

    def shown(self, hotel_id: str) -> dict[str, Any]:
        """The JSON of a hotel as it is shown; empty when it is not."""
        import gzip
        import json

        part = self.reader.json(hotel_id)
        found: dict[str, Any] = json.loads(gzip.decompress(part.body)) if part else {}
        return found

    def rows(self) -> dict[str, bytes]:
        """All rows of the listing that are shown."""
        found: dict[str, bytes] = {}
        for some in self.reader.rows(self.reader.standing().generation):
            found.update(some)
        return found


__all__ = ["TODAY", "CatalogueWorld", "Hotel", "places"]
