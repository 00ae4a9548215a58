"""A small MongoDB: the reads, bulk writes and unique sparse indexes that Berth uses.

Every document goes through real BSON on its way in and out. A bulk write is a series of steps, one
for each document that it touches, as it is in a mongod: whoever drives it may let others come
between two of them, or stop in the middle. What is not used by Berth is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.errors import BulkWriteError, OperationFailure

Document = dict[str, Any]
Steps = Generator[None, None, Any]

PLAIN: CodecOptions[Document] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS
)
DUPLICATE_KEY = 11_000
BAD_VALUE = 2
INDEX_CONFLICT = 86
_MISSING = object()


class Insert(NamedTuple):
    """Insert one document."""

    document: Document


class Update(NamedTuple):
    """Change one or all documents that match."""

    wanted: Document
    change: Document
    many: bool


class Find(NamedTuple):
    """A query with all that a cursor was told."""

    wanted: Document
    projection: Document | None
    hint: str | None
    sort: str | None
    limit: int


class _Duplicate(Exception):  # noqa: N818 (never leaves this file)
    def __init__(self, index: str, field: str, value: object) -> None:
        super().__init__(index)
        self.index, self.field, self.value = index, field, value


class Table:
    """One collection. `on_change` sees each document before and after each change of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.documents: dict[Any, Document] = {}
        self.indexes: dict[str, Document] = {}
        self.on_change: Callable[[Document | None, Document | None], None] = lambda *_: None

    # --- an operator's hand -------------------------------------------------------------------

    def put(self, document: Document) -> None:
        """Insert or replace, in one step."""
        after = stored(document)
        before = self.documents.get(after["_id"])
        self.documents[after["_id"]] = after
        self.on_change(before, after)

    def drop(self, key: object) -> None:
        """Delete one document."""
        before = self.documents.pop(key)
        self.on_change(before, None)

    # --- indexes ------------------------------------------------------------------------------

    def create_index(self, name: str, keys: list[tuple[str, int]], options: Document) -> str:
        """Harmless when it is there; OperationFailure when another one has its name."""
        index = {"v": 2, "key": keys, **options}
        if len(keys) != 1 or self.indexes.setdefault(name, index) != index:
            raise OperationFailure("An existing index has the same name", INDEX_CONFLICT)
        return name

    def index_information(self) -> Document:
        """As Collection.index_information; empty while there is no collection."""
        if not self.documents and not self.indexes:
            return {}
        return {"_id_": {"v": 2, "key": [("_id", 1)]}, **self.indexes}

    def _check_unique(self, document: Document) -> None:
        for name, index in self.indexes.items():
            field = index["key"][0][0]
            value = document.get(field, _MISSING)
            if not index.get("unique") or (value is _MISSING and index.get("sparse")):
                continue
            for other in self.documents.values():
                if other.get(field, _MISSING) == value and other["_id"] != document["_id"]:
                    raise _Duplicate(name, field, value)

    # --- reads --------------------------------------------------------------------------------

    def find(self, query: Find, codec: CodecOptions[Any]) -> Steps:
        """The documents, in two steps: a cursor is no snapshot, others may write between."""
        wanted = stored(query.wanted)
        check_operators(wanted)
        if query.hint is not None and query.hint not in self.indexes:
            raise OperationFailure(
                "error processing query: hint provided does not correspond to an existing index",
                BAD_VALUE,
            )
        order = self._order(query)
        first = self._matching(wanted, order)
        half = first[: (len(first) + 1) // 2]
        found = [self._shown(document, query, codec) for document in half]
        if len(first) > len(half):
            yield
            behind, seen = _place(half[-1], order), {document["_id"] for document in half}
            found += [
                self._shown(document, query, codec)
                for document in self._matching(wanted, order)
                if _place(document, order) >= behind and document["_id"] not in seen
            ]
        return found[: query.limit] if query.limit else found

    def _order(self, query: Find) -> str | None:
        """The field by whose index the scan goes; None for the order of insertion."""
        if query.sort is not None:
            return query.sort
        if query.hint is not None:
            key: str = self.indexes[query.hint]["key"][0][0]
            return key
        fields = [index["key"][0][0] for index in self.indexes.values()]
        return next((field for field in query.wanted if field == "_id" or field in fields), None)

    def _matching(self, wanted: Document, order: str | None) -> list[Document]:
        found = [d for d in self.documents.values() if matches(d, wanted)]
        if order is not None:
            found.sort(key=lambda document: _place(document, order))
        return found

    @staticmethod
    def _shown(document: Document, query: Find, codec: CodecOptions[Any]) -> Any:
        shown = document
        if query.projection is not None:
            fields = {name for name, kept in query.projection.items() if kept}
            if query.projection.get("_id", 1):
                fields.add("_id")
            shown = {name: value for name, value in document.items() if name in fields}
        return bson.decode(bson.encode(shown), codec)

    # --- writes -------------------------------------------------------------------------------

    def bulk_write(self, requests: Sequence[Insert | Update]) -> Steps:
        """An unordered bulk write; its end is the raw result, or BulkWriteError.

        As pymongo does it: first all inserts, then all updates. One that fails stops no other.
        """
        result: Document = {
            "writeErrors": [], "writeConcernErrors": [], "nInserted": 0, "nUpserted": 0,
            "nMatched": 0, "nModified": 0, "nRemoved": 0, "upserted": [],
        }  # fmt: skip
        numbered = sorted(enumerate(requests), key=lambda item: type(item[1]) is Update)
        for index, request in numbered:
            try:
                if isinstance(request, Insert):
                    self._insert(request.document)
                    result["nInserted"] += 1
                    yield
                else:
                    yield from self._update(request, result)
            except _Duplicate as duplicate:
                result["writeErrors"].append(self._write_error(index, duplicate))
        if result["writeErrors"]:
            result["writeErrors"].sort(key=lambda error: error["index"])
            raise BulkWriteError(result)
        return result

    def _insert(self, document: Document) -> None:
        new = stored(document)
        if new["_id"] in self.documents:
            raise _Duplicate("_id_", "_id", new["_id"])
        self._check_unique(new)
        self.documents[new["_id"]] = new
        self.on_change(None, new)

    def _update(self, request: Update, result: Document) -> Iterator[None]:
        wanted, change = stored(request.wanted), stored(request.change)
        check_operators(wanted)
        matched = self._matching(wanted, "_id")
        # A statement that fails counts nothing, and what it has changed by then stays changed.
        counted = modified = 0
        for before in matched if request.many else matched[:1]:
            # Another one may have come between: each document is looked at again.
            before = self.documents.get(before["_id"], before)
            if not matches(before, wanted):
                continue
            after = changed(before, change)
            self._check_unique(after)
            counted += 1
            if after != before:
                modified += 1
                self.documents[after["_id"]] = after
                self.on_change(before, after)
            yield
        result["nMatched"] += counted
        result["nModified"] += modified

    def _write_error(self, index: int, duplicate: _Duplicate) -> Document:
        return {
            "index": index, "code": DUPLICATE_KEY,
            "errmsg": f"E11000 duplicate key error collection: {self.name} index: "
                      f"{duplicate.index} dup key: {{ {duplicate.field}: {duplicate.value!r} }}",
            "keyPattern": {duplicate.field: 1}, "keyValue": {duplicate.field: duplicate.value},
        }  # fmt: skip


def stored(document: Document) -> Document:
    """The document as BSON keeps it."""
    return bson.decode(bson.encode(document), PLAIN)


def check_operators(wanted: Document) -> None:
    """OperationFailure for a query that no server understands, whatever documents there are."""
    for test in wanted.values():
        for operator in test if isinstance(test, dict) else ():
            if operator not in _COMPARE and operator != "$in":
                raise OperationFailure(f"unknown operator: {operator}", BAD_VALUE)


def matches(document: Document, wanted: Document) -> bool:
    """Whether a query means this document."""
    return all(_matches(document.get(name, _MISSING), test) for name, test in wanted.items())


def _matches(value: Any, test: Any) -> bool:
    if isinstance(value, list):
        raise NotImplementedError("queries of lists are not simulated")
    if test is None:
        return value is None or value is _MISSING
    if not isinstance(test, dict):
        return bool(value == test)
    for operator, operand in test.items():
        if operator == "$in":
            if value not in operand:
                return False
        else:
            # Only values of one kind are compared; a missing one is of none.
            alike = type(value) is type(operand)
            if not alike or not _COMPARE[operator](value, operand):
                return False
    return True


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "$gt": lambda value, operand: value > operand,
    "$gte": lambda value, operand: value >= operand,
    "$lt": lambda value, operand: value < operand,
    "$lte": lambda value, operand: value <= operand,
}


def changed(before: Document, change: Document) -> Document:
    """The document after an update."""
    after = dict(before)
    for operator, fields in change.items():
        for name, value in fields.items():
            if operator == "$set":
                after[name] = value
            elif operator == "$unset":
                after.pop(name, None)
            elif operator == "$push":
                after[name] = [*after.get(name, ()), *value["$each"]]
            else:
                raise OperationFailure(f"Unknown modifier: {operator}", 9)
    return after


def _place(document: Document, order: str | None) -> Any:
    """Where a scan by this field meets the document; a missing field comes first."""
    if order is None:
        return 0
    value = document.get(order)
    return (value is not None, value if value is not None else 0)
