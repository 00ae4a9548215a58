"""Hotels put into MongoDB: the default ones where there is none, or those of a file."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pymongo import InsertOne, ReplaceOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError
from pymongo.write_concern import WriteConcern

from catalogue import default_hotels as default
from catalogue import documents as d
from catalogue.documents import Document
from catalogue.hotels_file import Good
from catalogue.source import HotelSource
from engine_errors import mongo_errors

_AT_ONCE = 2_000
_DUPLICATE_KEY = 11_000


class HotelSeeding:
    """What db_init.py does for the catalogue. All may raise EngineAway; all may be run again."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database.with_options(
            write_concern=WriteConcern(w="majority", j=True, wtimeout=20_000)
        )
        self._source = HotelSource(database)

    def ensure_indexes(self) -> str:
        """Create the indexes that are missing. Returns what has to be mended first, if anything."""
        return self._source.ensure_indexes()

    def count(self) -> int:
        """How many hotels are stored."""
        with mongo_errors():
            return int(self._database[d.HOTELS].estimated_document_count())

    def active(self) -> int:
        """How many hotels are marked active, whether there is room to show them or not."""
        with mongo_errors():
            return int(self._database[d.HOTELS].count_documents({"active": True}))

    def fill_words(self, places: Iterable[default.Place]) -> None:
        """Insert the cities of these places, and all types and amenities: what hotels name."""
        for name, found in default.vocabulary(places).items():
            self._insert(name, found)

    def fill(
        self, places: Sequence[default.Place], *, today: dt.date, currency: str,
        progress: Callable[[int], object],
    ) -> None:
        """Insert the default hotels. What is there already stays as it is.

        A hotel comes after everything that belongs to it: killed anywhere, no half of one is
        shown, and the next run goes on.
        """
        self.fill_words(places)
        waiting: dict[str, list[Document]] = defaultdict(list)
        for number, place in enumerate(places, start=1):
            for name, document in default.documents(place, today=today, currency=currency):
                waiting[name].append(document)
            if number % _AT_ONCE == 0 or number == len(places):
                for name in (d.IMAGES, d.PRICES, d.RATINGS, d.HOTELS):
                    self._insert(name, waiting.pop(name, []))
                progress((number - 1) % _AT_ONCE + 1)

    def top_up_prices(
        self, places: Sequence[default.Place], *, today: dt.date, currency: str
    ) -> int:
        """Give default hotels the prices of months that have come since; returns how many."""
        added = 0
        for month in default.months(today):
            label = month.isoformat()[:7]
            with mongo_errors():
                there = {one["hotel_id"] for one in self._database[d.PRICES].find(
                    {"month": label}, {"hotel_id": 1, "_id": 0})}
                stored = {str(one["_id"]) for one in self._database[d.HOTELS].find({}, {"_id": 1})}
            missing = [default.prices(place.hotel_id, place.stars, month, currency)
                       for place in places
                       if place.hotel_id in stored and place.hotel_id not in there]
            for first in range(0, len(missing), _AT_ONCE):
                self._insert(d.PRICES, missing[first:first + _AT_ONCE])
            added += len(missing)
        return added

    def put(self, hotels: Sequence[Good]) -> dict[str, str]:
        """Write these in place of what has their ids. Returns hotels that are refused, and why:
        nothing of them is written but what other rows may name.
        """
        refused = self._taken(hotels)
        waiting: dict[str, list[Any]] = defaultdict(list)
        for hotel in hotels:
            for name, document in hotel.documents:
                if name in d.NAMED_BY or hotel.hotel_id not in refused:
                    waiting[name].append(
                        ReplaceOne({"_id": document["_id"]}, document, upsert=True))
        with mongo_errors():
            for name in (one for one in d.COLLECTIONS if one != d.HOTELS and waiting[one]):
                self._database[name].bulk_write(waiting[name], ordered=False)
            # Hotels last: killed anywhere, no half of one is shown.
            return refused | self._put_last(waiting[d.HOTELS])

    def _put_last(self, writes: Sequence[ReplaceOne[Document]]) -> dict[str, str]:
        """Hotels that MongoDB refuses: their address was taken since it was looked for."""
        try:
            if writes:
                self._database[d.HOTELS].bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            refused = _refused(error)
            if not refused or any(one.get("code") != _DUPLICATE_KEY for one in refused):
                raise
            return {one["op"]["q"]["_id"]: f"slug: {one['op']['u']['slug']} was taken just now"
                    for one in refused}
        return {}

    def _taken(self, hotels: Sequence[Good]) -> dict[str, str]:
        """Hotels whose address another one has, and the words for it. Of two that want the same,
        the first gets it.
        """
        texts = {"$in": [one.slug for one in hotels], "$not": {"$type": "array"}}
        with mongo_errors():
            owners = {one["slug"]: one["_id"] for one in
                      self._database[d.HOTELS].find({"slug": texts}, {"slug": 1})}
        return {one.hotel_id: f"slug: {one.slug} is that of hotel {owners[one.slug]}"
                for one in hotels if owners.setdefault(one.slug, one.hotel_id) != one.hotel_id}

    def known(self, name: str) -> set[str]:
        """The ids of a collection that hotels may name."""
        with mongo_errors():
            return {str(one["_id"]) for one in self._database[name].find({}, {"_id": 1})}

    def drop(self) -> None:
        """Remove all hotels and what belongs to them. Repeating it is harmless."""
        with mongo_errors():
            for name in d.COLLECTIONS:
                self._database.drop_collection(name)

    def _insert(self, name: str, documents: Sequence[Document]) -> None:
        if not documents:
            return
        with mongo_errors():
            try:
                self._database[name].bulk_write([InsertOne(one) for one in documents],
                                                ordered=False)
            except BulkWriteError as error:
                if any(one.get("code") != _DUPLICATE_KEY for one in _refused(error)):
                    raise


def _refused(error: BulkWriteError) -> list[Document]:
    """The writes that MongoDB refused, and why."""
    return list((error.details or {}).get("writeErrors", []))
