"""Reads hotels out of MongoDB: a query per collection, however many hotels are asked for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import pymongo
from bson import json_util
from bson.codec_options import DatetimeConversion
from pymongo.change_stream import DatabaseChangeStream
from pymongo.database import Database
from pymongo.errors import InvalidOperation
from pymongo.read_concern import ReadConcern

from catalogue import documents as d
from catalogue.assembly import Facts, Vocabulary, vocabulary
from catalogue.documents import Document
from catalogue.namesakes import Namesakes
from engine_errors import mongo_errors
from errors import BerthError, EngineUnfit

# A stream that finds nothing waits this long in MongoDB before it says so.
AWAIT_MS = 100
_EVENTS_AT_ONCE = 1_000
# Only what says which documents changed travels here; they are read when the batch is built.
_EVENTS: list[dict[str, Any]] = [
    {"$match": {"$or": [
        {"ns.coll": {"$in": list(d.COLLECTIONS)}},
        {"operationType": {"$in": ["dropDatabase", "invalidate"]}},
    ]}},
    {"$project": {"operationType": 1, "ns": 1, "documentKey": 1, "clusterTime": 1}},
]  # fmt: skip


class HistoryLost(BerthError):
    """The changes since a token cannot be had any more: everything has to be built anew."""


class ChangeFeed:
    """MongoDB's notices of changed documents, one after the other."""

    def __init__(self, stream: DatabaseChangeStream[Document]) -> None:
        self._stream = stream
        # When the latest change was made, by MongoDB's clock, to the second.
        self.told_ms = 0

    @property
    def token(self) -> str:
        """Where to go on after what was read."""
        return str(json_util.dumps(self._stream.resume_token))

    def next(self) -> tuple[str, str] | None:
        """(collection, `_id`) of the next change; None when AWAIT_MS brought none.

        Raises HistoryLost, also for what cannot be told by documents, EngineAway.
        """
        try:
            with mongo_errors():
                change = self._stream.try_next()
        except (EngineUnfit, StopIteration, InvalidOperation) as error:
            raise HistoryLost(f"the change stream has ended: {error}") from error
        if change is None:
            return None
        if "documentKey" not in change:
            raise HistoryLost(f"a collection went through {change['operationType']!r}")
        self.told_ms = change["clusterTime"].time * 1_000
        return change["ns"]["coll"], str(change["documentKey"]["_id"])

    def waiting(self, most: int) -> tuple[int, int | None]:
        """How many changes come at once, up to `most`, and the second of the first, in ms.

        Raises as `next` does.
        """
        count, first_ms = 0, None
        while count < most and self.next() is not None:
            first_ms = self.told_ms if first_ms is None else first_ms
            count += 1
        return count, first_ms

    def close(self) -> None:
        """Forget it; what cannot be told to MongoDB, it finds out by itself."""
        with suppress(BerthError), mongo_errors():
            self._stream.close()


class HotelSource:
    """The hotels' collections. All may raise EngineAway."""

    def __init__(self, database: Database[Document]) -> None:
        # A date that Python cannot hold is one document's fault; read as it comes, it is found to
        # be unfit where the page is made.
        dates = database.codec_options.with_options(
            datetime_conversion=DatetimeConversion.DATETIME_AUTO)
        self._database = database.with_options(dates, read_concern=ReadConcern("majority"))
        self._namesakes = Namesakes(database)

    def ensure_indexes(self) -> str:
        """Create the indexes that are missing. Returns what has to be mended before that of
        addresses can stand; empty when it does.
        """
        with mongo_errors():
            for name, fields in d.INDEXES:
                self._database[name].create_index([(field, 1) for field in fields])
        return self._namesakes.refuse()

    def namesakes(self) -> dict[str, str]:
        """Active hotel -> the one that has its address and came first. Costs nothing once MongoDB
        refuses them.
        """
        return self._namesakes.found()

    def moment(self) -> str:
        """Where MongoDB's time stands; what is read afterwards is at least that new.

        Sorts as text, so that versions of pages can be compared anywhere.
        """
        with mongo_errors():
            told = self._database.client.admin.command("ping")
        if "operationTime" not in told:
            raise EngineUnfit("MongoDB is no replica set: its changes cannot be followed.")
        stamp = told["operationTime"]
        return f"{stamp.time:010d}.{stamp.inc:010d}"

    def changes(self, token: str = "") -> ChangeFeed:
        """The changes after `token`, or from now on. Raises HistoryLost."""
        try:
            after = json_util.loads(token) if token else None
            with mongo_errors():
                return ChangeFeed(self._database.watch(
                    _EVENTS, resume_after=after, max_await_time_ms=AWAIT_MS,
                    batch_size=_EVENTS_AT_ONCE,
                ))
        except (EngineUnfit, ValueError) as error:
            if not token:
                raise
            # From before MongoDB's log of changes begins, or no token at all: either way, what
            # was missed is not known.
            raise HistoryLost(f"changes since then cannot be had: {error}") from error

    def vocabulary(self) -> Vocabulary:
        """All that hotels name by id."""
        with mongo_errors():
            return vocabulary(*(
                self._database[name].find({}) for name in (d.CITIES, d.TYPES, d.AMENITIES)
            ))

    def ids_naming(self, collection: str, names: Sequence[str]) -> list[str]:
        """The hotels that name one of these documents."""
        with mongo_errors():
            found = self._database[d.HOTELS].find(
                {d.NAMED_BY[collection]: {"$in": list(names)}}, {"_id": 1}
            )
            return [str(one["_id"]) for one in found]

    def active_ids(self, most: int) -> list[str]:
        """Hotels that may be shown: of those marked active, the `most` that came first."""
        with mongo_errors():
            found = self._database[d.HOTELS].find({"active": True}, {"_id": 1})
            return [str(one["_id"]) for one in
                    found.sort([("created_at", 1), ("_id", 1)]).limit(most)]

    def facts(self, hotel_ids: Sequence[str], *, today: dt.date) -> dict[str, Facts]:
        """All documents of these hotels, by id; those that are gone or not active are missing."""
        wanted = list(hotel_ids)
        if not wanted:
            return {}
        belongs: Mapping[str, Any] = {"hotel_id": {"$in": wanted}}
        database = self._database
        with mongo_errors():
            found = {
                str(one["_id"]): Facts(one) for one in
                database[d.HOTELS].find({"_id": {"$in": wanted}, "active": True})
            }
            for one in _of(database[d.IMAGES].find(belongs), found):
                found[one["hotel_id"]].images.append(one)
            months = {**belongs, "month": {"$gte": today.isoformat()[:7]}}
            for one in _of(database[d.PRICES].find(months), found):
                found[one["hotel_id"]].prices.append(one)
            for one in database[d.RATINGS].find({"_id": {"$in": wanted}}):
                if one["_id"] in found:
                    found[one["_id"]].rating = one
        return found


def _of(
    cursor: pymongo.cursor.Cursor[Document], known: Mapping[str, Facts]
) -> Iterator[Document]:
    """Those whose `hotel_id` is one of them; an array that holds one matches the query as well."""
    return (one for one in cursor if str(one.get("hotel_id")) in known)
