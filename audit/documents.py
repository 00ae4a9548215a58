"""Orders and packages as they stood at one moment, read in a stream.

A look reads through one snapshot session: a sum over all orders is then true of one moment, even
while orders move. MongoDB keeps such a moment for five minutes by default.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import ASCENDING, ReadPreference
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from engine_errors import mongo_errors

Document = dict[str, Any]

BATCH = 5_000
_UNIQUE = ("unit", "slot")


class Documents:
    """The two collections, read only."""

    def __init__(self, database: Database[Document]) -> None:
        # Dates as plain milliseconds: a document that somebody edited may hold any year.
        options: CodecOptions[Document] = CodecOptions(
            datetime_conversion=DatetimeConversion.DATETIME_MS
        )
        self._client = database.client
        self._orders = database.get_collection(
            "orders", options, ReadPreference.PRIMARY, read_concern=ReadConcern("majority")
        )
        self._packages = database.get_collection(
            "packages", options, ReadPreference.PRIMARY, read_concern=ReadConcern("majority")
        )

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Everything read through it is of one moment. Raises EngineAway."""
        with mongo_errors(), self._client.start_session(snapshot=True) as session:
            yield Snapshot(self._orders, self._packages, session)

    def about_how_many(self) -> int:
        """The number of orders, from the collection's metadata; for a progress bar."""
        with mongo_errors():
            return self._orders.estimated_document_count()

    def states(self, order_ids: Sequence[str]) -> dict[str, tuple[Any, Any]]:
        """Order id -> (state, reason) as it is now, for those that exist."""
        with mongo_errors():
            found = self._orders.find({"_id": {"$in": list(order_ids)}}, {"state": 1, "reason": 1})
            return {d["_id"]: (d.get("state"), d.get("reason")) for d in found}

    def count(self, wanted: Document) -> int:
        """How many orders match now. Meant for indexed fields."""
        with mongo_errors():
            return self._orders.count_documents(wanted)

    def missing_indexes(self) -> list[str]:
        """Of the unique indexes that refuse a second live order of a unit, those not there."""
        with mongo_errors():
            found = self._orders.index_information()
        there = {
            index["key"][0][0]
            for index in found.values()
            if index.get("unique") and index.get("sparse") and len(index["key"]) == 1
        }
        return [name for name in _UNIQUE if name not in there]


class Snapshot:
    """MongoDB at one moment."""

    def __init__(self, orders: Any, packages: Any, session: ClientSession) -> None:
        self._orders = orders
        self._packages = packages
        self._session = session

    def packages(self) -> list[Document]:
        """All packages."""
        with mongo_errors():
            return list(self._packages.find({}, session=self._session))

    def orders(self, fields: Sequence[str] = ()) -> Iterator[Document]:
        """All orders by id; only `fields` of them where some are named."""
        with mongo_errors():
            yield from self._orders.find(
                {},
                dict.fromkeys(fields, 1) or None,
                sort=[("_id", ASCENDING)],
                batch_size=BATCH,
                session=self._session,
            )

    def repeated(self, field: str) -> Iterator[tuple[str, list[str]]]:
        """(value, some order ids) for each value of `field` that more than one order carries.

        In the order of the values, so that only neighbours are compared and nothing is kept.
        """
        with mongo_errors():
            found = self._orders.find(
                {field: {"$gt": ""}},
                {"_id": 0, field: 1},
                sort=[(field, ASCENDING)],
                batch_size=BATCH,
                allow_disk_use=True,
                session=self._session,
            )
            for value, same in groupby(document[field] for document in found):
                if sum(1 for _ in same) > 1:
                    carriers = self._orders.find(
                        {field: value}, {"_id": 1}, limit=3, session=self._session
                    )
                    yield value, sorted(str(carrier["_id"]) for carrier in carriers)
