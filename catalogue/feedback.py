"""Who looked at which hotel and who booked: told, kept, and the taste model that comes of it.

A visitor is a random id of a signed cookie, or a keyed hash of a buyer's address: nobody can be
read from either. Feedback is worth little one by one, so what a crash or a full list takes is not
brought back; but none counts twice, because each has an id.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import numpy as np
import redis
from msgspec import Meta
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError
from ulid import ULID

from catalogue.taste import Floats, Seen, TasteModel
from engine_errors import mongo_errors, valkey_errors
from errors import BrokenJob, NewerJob
from queues.keys import FEEDBACK, FeedbackKeys
from queues.scripts import Script

VERSION = 1
# What is older says nothing about this season.
KEPT_DAYS = 180
# The latest of these are learned from.
LEARNED_FROM_MAX = 2_000_000
_DUPLICATE_KEY = 11_000
# A second look is worth less than the first; a booking is worth several looks.
_LOOKS_MAX = 3
_BOOKING_WEIGHT = 5.0
_TASTES_AT_ONCE = 5_000


class Kind(StrEnum):
    """What somebody did."""

    VIEW = "view"
    BOOKING = "booking"


class Feedback(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="feedback"):
    """One event. `at_ms` is when it happened, in milliseconds since the epoch."""

    event_id: Annotated[str, Meta(min_length=1, max_length=40)]
    visitor: Annotated[str, Meta(min_length=1, max_length=64)]
    hotel_id: Annotated[str, Meta(min_length=1, max_length=64)]
    kind: Kind
    at_ms: int
    v: int = VERSION


class _Version(msgspec.Struct):
    v: int = VERSION


_decoder = msgspec.json.Decoder(Feedback)
_version = msgspec.json.Decoder(_Version)


def decode(raw: bytes) -> Feedback:
    """One job. Raises NewerJob, and BrokenJob for what is none."""
    try:
        if _version.decode(raw).v > VERSION:
            raise NewerJob("feedback of a later version")
        return _decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise BrokenJob(f"feedback that cannot be read: {error}") from error


class FeedbackTeller:
    """The producers' side. Shared by threads."""

    def __init__(
        self, client: redis.Redis, *, most_waiting: int, keys: FeedbackKeys = FEEDBACK
    ) -> None:
        self._keys = keys
        self._most_waiting = most_waiting
        self._push = Script(client, "push")

    def tell(self, visitor: str, hotel_id: str, kind: Kind, *, at_ms: int) -> bool:
        """Push one event. False when too many wait: it is dropped. Raises EngineAway."""
        event = Feedback(event_id=str(ULID()), visitor=visitor, hotel_id=hotel_id, kind=kind,
                         at_ms=at_ms)
        keys = self._keys
        waiting = self._push([keys.jobs, keys.bell, keys.counters],
                             [self._most_waiting, msgspec.json.encode(event)])
        return bool(waiting >= 0)


class FeedbackStore:
    """The feedback in MongoDB. All may raise EngineAway."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self._events: Collection[dict[str, Any]] = database["feedback"]

    def ensure_indexes(self) -> None:
        """Old feedback goes by itself."""
        with mongo_errors():
            self._events.create_index("at", expireAfterSeconds=KEPT_DAYS * 86_400)

    def add(self, events: Sequence[Feedback]) -> int:
        """Keep them; returns how many were new. The same event twice is kept once."""
        if not events:
            return 0
        documents = [
            {"_id": event.event_id, "visitor": event.visitor, "hotel_id": event.hotel_id,
             "kind": event.kind.value, "at": dt.datetime.fromtimestamp(event.at_ms / 1_000, dt.UTC)}
            for event in events
        ]
        with mongo_errors():
            try:
                self._events.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                refused = (error.details or {}).get("writeErrors", [])
                if any(one.get("code") != _DUPLICATE_KEY for one in refused):
                    raise
                return len(documents) - len(refused)
        return len(documents)

    def count(self) -> int:
        """About how many there are."""
        with mongo_errors():
            return int(self._events.estimated_document_count())

    def looks(self, since: dt.datetime) -> Iterator[tuple[str, str]]:
        """(hotel, visitor) of each look since then."""
        wanted = {"at": {"$gte": since}, "kind": Kind.VIEW.value}
        with mongo_errors():
            for one in self._events.find(wanted, {"hotel_id": 1, "visitor": 1}):
                yield one["hotel_id"], one["visitor"]

    def seen(self) -> Iterator[Seen]:
        """The latest feedback, added up by visitor and hotel."""
        steps: list[dict[str, Any]] = [
            {"$sort": {"at": -1}},
            {"$limit": LEARNED_FROM_MAX},
            {"$group": {
                "_id": {"visitor": "$visitor", "hotel": "$hotel_id"},
                "looks": {"$sum": {"$cond": [{"$eq": ["$kind", Kind.VIEW.value]}, 1, 0]}},
                "bookings": {"$sum": {"$cond": [{"$eq": ["$kind", Kind.BOOKING.value]}, 1, 0]}},
            }},
        ]  # fmt: skip
        with mongo_errors():
            for found in self._events.aggregate(steps, allowDiskUse=True):
                weight = min(found["looks"], _LOOKS_MAX) ** 0.5
                weight += _BOOKING_WEIGHT if found["bookings"] else 0.0
                yield Seen(found["_id"]["visitor"], found["_id"]["hotel"], weight)


class TasteShelf:
    """The model in Valkey, for web processes. All may raise EngineAway."""

    def __init__(self, client: redis.Redis, keys: FeedbackKeys = FEEDBACK) -> None:
        self._client = client
        self._keys = keys

    def put(self, model: TasteModel, tastes: dict[str, Floats], *, learned_from: int) -> None:
        """Show a model. The tastes come first, under its version: a reader that sees the model
        finds the tastes that belong to it, and a crash before the last call changes nothing.
        """
        name = self._keys.tastes(model.version)
        flat = {visitor: taste.astype(np.float32).tobytes() for visitor, taste in tastes.items()}
        visitors = list(flat)
        before = self.version()
        with valkey_errors():
            for first in range(0, len(visitors), _TASTES_AT_ONCE):
                some = visitors[first:first + _TASTES_AT_ONCE]
                self._client.hset(name, mapping={one: flat[one] for one in some})
            self._client.expire(name, KEPT_DAYS * 86_400)
            self._client.hset(self._keys.model, mapping={
                "version": model.version, "block": model.to_bytes(),
                "learned_from": str(learned_from),
            })
            if before and before != model.version:
                # Readers load the next model within seconds; until then they need these.
                self._client.expire(self._keys.tastes(before), 60)

    def version(self) -> str | None:
        """The version of the model that is shown."""
        found = self._read(self._keys.model, "version")
        return found.decode() if found else None

    def learned_from(self) -> int | None:
        """How much feedback the model that is shown was made of; None without one."""
        found = self._read(self._keys.model, "learned_from")
        return int(found) if found else None

    def load(self) -> TasteModel | None:
        """The model that is shown. Raises UnreadableModel."""
        block = self._read(self._keys.model, "block")
        return TasteModel.from_bytes(block) if block else None

    def taste(self, model: TasteModel, visitor: str) -> Floats | None:
        """What the model learned of a visitor; None for one that it does not know."""
        found = self._read(self._keys.tastes(model.version), visitor)
        if not found or len(found) != 4 * model.width:
            return None
        return np.frombuffer(found, np.float32)

    def _read(self, key: str, field: str) -> bytes | None:
        with valkey_errors():
            found: Any = self._client.hget(key, field)
        return bytes(found) if found is not None else None
