"""pymongo's Database, Collection and cursor, as far as Berth uses them, over a wire of our own.

Errors, results and codec options are pymongo's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from bson.codec_options import CodecOptions
from pymongo import ASCENDING, InsertOne, UpdateMany, UpdateOne
from pymongo.results import BulkWriteResult

from tests.simulation.mongo_engine import Document, Find, Insert, Steps, Table, Update


class MongoWire(Protocol):
    """Brings work to a server. Raises pymongo's errors."""

    def run(self, label: str, work: Callable[[], Steps]) -> Any:
        """What the work returns in the end."""

    def table(self, name: str) -> Table:
        """The server's collection of that name."""


class MongoDatabase:
    """A database as one process sees it."""

    def __init__(self, wire: MongoWire) -> None:
        self._wire = wire

    def get_collection(
        self, name: str, *, codec_options: CodecOptions[Any], **_concerns: Any
    ) -> MongoCollection:
        """A collection. Concerns are heard and not needed: all here is majority and journaled."""
        return MongoCollection(self._wire, self._wire.table(name), codec_options)


class MongoCollection:
    """A collection as one process sees it."""

    def __init__(self, wire: MongoWire, table: Table, codec: CodecOptions[Any]) -> None:
        self._wire = wire
        self._table = table
        self._codec = codec
        self.name = table.name

    def create_index(self, keys: list[tuple[str, int]], *, name: str, **options: Any) -> str:
        """Make an index over one field."""

        def work() -> Steps:
            return self._table.create_index(name, keys, options)
            yield

        return str(self._wire.run("create_index", work))

    def index_information(self) -> Document:
        """Name -> keys and options."""

        def work() -> Steps:
            return self._table.index_information()
            yield

        information: Document = self._wire.run("index_information", work)
        return information

    def find(
        self, wanted: Document, projection: Document | None = None, *, batch_size: int = 0
    ) -> MongoCursor:
        """A cursor; nothing is asked before it is read."""
        query = Find(wanted, projection, None, None, 0)
        label = f"find {self.name} {_shown(wanted)}"
        return MongoCursor(
            query,
            lambda query: self._wire.run(label, lambda: self._table.find(query, self._codec)),
        )

    def bulk_write(
        self, requests: Sequence[InsertOne[Document] | UpdateOne | UpdateMany], *, ordered: bool
    ) -> BulkWriteResult:
        """An unordered bulk write. Raises BulkWriteError."""
        if ordered:
            raise NotImplementedError("ordered bulk writes are not simulated")
        work = [_request(request) for request in requests]
        label = f"bulk_write {self.name} {len(work)} {type(work[0]).__name__.lower()}s"
        return BulkWriteResult(self._wire.run(label, lambda: self._table.bulk_write(work)), True)


class MongoCursor:
    """What pymongo's cursor does until it is read."""

    def __init__(self, query: Find, read: Callable[[Find], list[Document]]) -> None:
        self._query = query
        self._read = read

    def hint(self, index: str) -> MongoCursor:
        """Go by this index."""
        self._query = self._query._replace(hint=index)
        return self

    def sort(self, field: str, direction: int) -> MongoCursor:
        """Go by this field, upwards."""
        if direction != ASCENDING:
            raise NotImplementedError("only ascending sorts are simulated")
        self._query = self._query._replace(sort=field)
        return self

    def limit(self, most: int) -> MongoCursor:
        """No more than so many."""
        self._query = self._query._replace(limit=most)
        return self

    def __iter__(self) -> Iterator[Document]:
        return iter(self._read(self._query))


def _request(request: InsertOne[Document] | UpdateOne | UpdateMany) -> Insert | Update:
    if isinstance(request, InsertOne):
        return Insert(dict(request._doc))
    return Update(dict(request._filter), dict(request._doc), isinstance(request, UpdateMany))


def _shown(wanted: Mapping[str, Any]) -> str:
    """A query for the trace: lists of ids come from sets, so they are put in order."""
    parts = []
    for name, test in wanted.items():
        if isinstance(test, Mapping) and "$in" in test:
            parts.append(f"{name} in {sorted(test['$in'])}")
        elif isinstance(test, Mapping):
            parts.append(f"{name} " + " ".join(f"{k} {v!r}" for k, v in test.items()))
        else:
            parts.append(f"{name} {test!r}")
    return ", ".join(parts)
