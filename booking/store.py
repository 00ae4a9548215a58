"""Orders and packages in MongoDB: what the booking consumer reads and writes.

Reads are majority reads of the primary, writes are majority and journaled. Every method may raise
EngineAway; a write that met another writer's raises Surprise.
"""

from __future__ import annotations

import logging
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, NamedTuple

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from pymongo import ASCENDING, InsertOne, ReadPreference, UpdateMany, UpdateOne
from pymongo.collection import Collection as MongoCollection
from pymongo.database import Database
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from booking import documents
from booking.model import LIMIT_MAX, Order, Package
from engine_errors import mongo_errors
from errors import BadInput, EngineUnfit, Surprise

log = logging.getLogger(__name__)

# name -> (keys, options). The two unique ones carry the promise that nothing is oversold.
ORDER_INDEXES: dict[str, tuple[list[tuple[str, int]], dict[str, Any]]] = {
    "unit": ([("unit", ASCENDING)], {"unique": True, "sparse": True}),
    "slot": ([("slot", ASCENDING)], {"unique": True, "sparse": True}),
    "hold_expires_at": ([("hold_expires_at", ASCENDING)], {"sparse": True}),
    "owed_since": ([("owed_since", ASCENDING)], {"sparse": True}),
}
WRITE_TIMEOUT_MS = 5_000
# Below this, a second connection costs more than it brings.
PARALLEL_FROM = 100
UNITS_AT_ONCE = 20_000
# An order whose cancellation is done never changes again. Its state alone does not say so: a
# writer that slept through the cancellation would owe it once more, and nobody would ask for it.
_NOT_SETTLED = {"compensated": None}


class Writes(NamedTuple):
    """What a batch wants written, encoded."""

    updates: list[documents.Change]
    inserts: list[InsertOne[Any]]


class BookingStore:
    """The two collections of the booking road in one database.

    `second` runs the other half of a bulk write of `parallel_from` items or more.
    """

    def __init__(
        self,
        database: Database[documents.Document],
        *,
        second: Executor | None = None,
        parallel_from: int = PARALLEL_FROM,
    ) -> None:
        self._orders = self._durable(database, "orders")
        self._packages = self._durable(database, "packages")
        self._second = second or ThreadPoolExecutor(1, thread_name_prefix="store")
        self._parallel_from = parallel_from

    @staticmethod
    def _durable(
        database: Database[documents.Document], name: str
    ) -> MongoCollection[documents.Document]:
        return database.get_collection(
            name,
            codec_options=CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS),
            read_preference=ReadPreference.PRIMARY,
            read_concern=ReadConcern("majority"),
            write_concern=WriteConcern(w="majority", j=True, wtimeout=WRITE_TIMEOUT_MS),
        )

    def ensure_indexes(self) -> None:
        """Create what is missing; harmless when it is there."""
        with mongo_errors():
            for name, (keys, options) in ORDER_INDEXES.items():
                self._orders.create_index(keys, name=name, **options)

    def check_indexes(self) -> None:
        """Raises EngineUnfit when an index that a promise rests on is missing or another."""
        with mongo_errors():
            found = self._orders.index_information()
        for name, (keys, options) in ORDER_INDEXES.items():
            index = found.get(name, {})
            wrong = [k for k, v in options.items() if index.get(k) != v]
            if list(index.get("key", [])) != keys or wrong:
                raise EngineUnfit(
                    f"MongoDB's orders collection lacks the index '{name}'; run `python db_init.py`"
                )

    def read_packages(self, ids: Iterable[int] | None = None) -> dict[int, Package]:
        """The packages named, or all. One that cannot be sold as it stands is left out, and said.
        """
        wanted = {} if ids is None else {"_id": {"$in": list(ids)}}
        packages: dict[int, Package] = {}
        with mongo_errors():
            found = list(self._packages.find(wanted))
        for document in found:
            try:
                package = documents.read_package(document)
            except BadInput as error:
                log.warning("package %r is not sold: %s", document.get("_id"), error)
            else:
                packages[package.facts.id] = package
        return packages

    def read_orders(self, ids: Collection[str]) -> list[Order]:
        """Those of the orders named that exist."""
        if not ids:
            return []
        with mongo_errors():
            return [documents.read_order(d) for d in self._orders.find({"_id": {"$in": list(ids)}})]

    def find_order(self, order_id: str) -> Order | None:
        """One order."""
        found = self.read_orders([order_id])
        return found[0] if found else None

    def live_units(self, package_id: int) -> list[int]:
        """Units of the live orders of a package, read from the index alone."""
        wanted = {"unit": {"$gte": f"{package_id}:", "$lt": f"{package_id};"}}
        with mongo_errors():
            found = self._orders.find(wanted, {"_id": 0, "unit": 1}, batch_size=UNITS_AT_ONCE)
            return [_numbers(d["unit"])[1] for d in found.hint("unit")]

    def all_live_units(self, keep: Callable[[], None]) -> dict[int, array[int]]:
        """The live units of every package that has any, in one index scan.

        A million take seconds: `keep` is called all along, to keep what must not run out.
        """
        units: dict[int, array[int]] = {}
        for key in self._scan("unit", keep):
            package, unit = _numbers(key)
            units.setdefault(package, array("L")).append(unit)
        return units

    def highest_slots(self, keep: Callable[[], None]) -> dict[int, int]:
        """The highest slot that a live order of each package carries, in one index scan.

        `keep` as in all_live_units.
        """
        highest: dict[int, int] = {}
        for key in self._scan("slot", keep):
            package, number = key.partition(":")[0], key.rpartition(":")[2]
            # A number that no limit ever gave is for the audit to find: it stops nobody's order.
            if package.isdecimal() and number.isdecimal() and int(number) <= LIMIT_MAX:
                highest[int(package)] = max(highest.get(int(package), 0), int(number))
        return highest

    def _scan(self, index: str, keep: Callable[[], None]) -> Iterator[str]:
        """Every value of a sparse index over one field of text."""
        with mongo_errors():
            found = self._orders.find(
                {index: {"$gt": ""}}, {"_id": 0, index: 1}, batch_size=UNITS_AT_ONCE
            )
            for count, document in enumerate(found.hint(index)):
                if count % UNITS_AT_ONCE == 0:
                    keep()
                yield document[index]

    def taken_slots(self, keys: list[str]) -> list[str]:
        """Which of the slot keys live orders carry, read from the index alone.

        Keys, not ranges: for 1,000 customers that is 3 ms where an `$or` of ranges takes 16.
        """
        if not keys:
            return []
        with mongo_errors():
            found = self._orders.find({"slot": {"$in": keys}}, {"_id": 0, "slot": 1})
            return [d["slot"] for d in found.hint("slot")]

    def prepare(self, changed: Sequence[tuple[Order | None, Order]]) -> Writes:
        """Encode (as loaded or None, as decided) pairs, so that writing them is only sending."""
        alike: documents.Alike = {}
        return Writes(
            updates=[documents.order_change(before, after)
                     for before, after in changed if before is not None],
            inserts=[InsertOne(documents.order_bson(after, alike))
                     for before, after in changed if before is None],
        )

    def write(self, changed: Writes | Sequence[tuple[Order | None, Order]]) -> None:
        """Write what was prepared, or the pairs themselves: updates first, for they free units.

        A crash between the two writes leaves ended orders and no new ones: the batch comes again
        and decides the rest. Raises Surprise unless every single write counted.
        """
        writes = changed if isinstance(changed, Writes) else self.prepare(changed)
        if writes.updates:
            self._at_once(self._update, writes.updates)
        if writes.inserts:
            self._insert(writes.inserts)

    def _at_once(self, write: Callable[[list[Any]], None], items: list[Any]) -> None:
        """Write a long list over two connections, for mongod serves each with one core.

        The halves are of one statement without an order. Both have ended when this returns or
        raises: no write of ours may come after the batch was given up.
        """
        if len(items) < self._parallel_from:
            write(items)
            return
        half = len(items) // 2
        other = self._second.submit(write, items[:half])
        try:
            write(items[half:])
        finally:
            other.exception()  # waits, and raises nothing of its own
        other.result()

    def _update(self, changes: list[documents.Change]) -> None:
        twins: dict[tuple[object, ...], list[documents.Change]] = {}
        statements: list[UpdateOne | UpdateMany] = []
        for change in changes:
            if change.twin is None:
                statements.append(UpdateOne(
                    {"_id": change.order_id, "state": change.from_state, **_NOT_SETTLED},
                    change.update,
                ))
            else:
                twins.setdefault(change.twin, []).append(change)
        for alike in twins.values():
            ids = [change.order_id for change in alike]
            statements.append(UpdateMany(
                {"_id": {"$in": ids}, "state": alike[0].from_state, **_NOT_SETTLED},
                alike[0].update,
            ))
        with mongo_errors():
            done = self._orders.bulk_write(statements, ordered=False)
        if done.matched_count != len(changes):
            raise Surprise(f"{done.matched_count} of {len(changes)} updates matched")

    def _insert(self, inserts: list[InsertOne[Any]]) -> None:
        with mongo_errors():
            done = self._orders.bulk_write(inserts, ordered=False)
        if done.inserted_count != len(inserts):
            raise Surprise(f"{done.inserted_count} of {len(inserts)} inserts counted")

    def expired_holds(self, now_ms: int, most: int) -> list[str]:
        """Orders whose hold ran out before `now_ms`, the oldest first."""
        with mongo_errors():
            found = self._orders.find(
                {"hold_expires_at": {"$lte": DatetimeMS(now_ms)}}, {"_id": 1}
            )
            return [d["_id"] for d in found.sort("hold_expires_at", ASCENDING).limit(most)]

    def owed_before(self, before_ms: int, most: int) -> list[Order]:
        """Orders that owe a cancellation since before `before_ms`, the oldest first."""
        with mongo_errors():
            found = self._orders.find({"owed_since": {"$lte": DatetimeMS(before_ms)}})
            return [
                documents.read_order(d)
                for d in found.sort("owed_since", ASCENDING).limit(most)
            ]


def _numbers(unit_key: str) -> tuple[int, int]:
    """(package id, unit) of a value in the unique index."""
    package, _, unit = unit_key.rpartition(":")
    try:
        return int(package), int(unit)
    except ValueError:
        raise EngineUnfit(f"an order has the unit {unit_key!r}, which is none") from None
