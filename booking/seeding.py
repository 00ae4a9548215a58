"""Packages put into MongoDB, and a database emptied for a new start: what db_init.py does there.

Each seeding is one transaction: killed inside, it never happened, and of two at once the second
sees what the first one did.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

import msgspec
import pymongo
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import InsertOne, MongoClient, ReadPreference, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import CollectionInvalid, ConnectionFailure, OperationFailure
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from booking.documents import Document, package_document
from booking.model import Package
from engine_errors import mongo_errors
from errors import EngineAway, EngineUnfit

SEED_TIMEOUT_S = 20.0
_POLL_S = 0.1
_NAMESPACE_EXISTS = 48
_DURABLE = WriteConcern(w="majority", j=True, wtimeout=5_000)
# Members that a package may lack: what a file leaves out, it takes away. Not `paused`: that is
# the operator's word, and no file brings a stopped sale back.
_OPTIONAL = ("sale_starts_at", "sale_ends_at", "limit_per_customer", "about")

T = TypeVar("T")


class Seeded(msgspec.Struct, frozen=True):
    """Package ids, by what became of them; `others` is how many more there are."""

    added: list[int]
    changed: list[int]
    same: list[int]
    paused: list[int]
    others: int


def wait_for_primary(
    client: MongoClient[Document], *, within_s: float, say: Callable[[str], object]
) -> None:
    """Return when writes are possible; `say` is told once when that takes a while.

    Raises EngineAway after `within_s`, EngineUnfit for a server without a replica set.
    """
    deadline = time.monotonic() + within_s
    told = False
    while True:
        with suppress(ConnectionFailure):  # it may be starting; the deadline is the bound
            hello = client.admin.command("hello")
            if hello.get("isWritablePrimary"):
                if "setName" not in hello and hello.get("msg") != "isdbgrid":
                    raise EngineUnfit(
                        "MongoDB runs without a replica set: it has no majority to write to and "
                        "no transactions. Start it with --replSet and initiate the set."
                    )
                return
        if time.monotonic() > deadline:
            raise EngineAway(f"MongoDB had no primary within {within_s:.0f} s")
        if not told:
            say(f"Waiting for MongoDB to have a primary, up to {within_s:.0f} s.")
            told = True
        time.sleep(_POLL_S)


class Seeding:
    """The packages of one database. Methods raise EngineAway when MongoDB does not answer."""

    def __init__(self, database: Database[Document]) -> None:
        self._database = database
        self._packages = database.get_collection(
            "packages",
            codec_options=CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS),
            write_concern=_DURABLE,
        )
        self._orders = database.get_collection("orders", write_concern=_DURABLE)

    def count(self) -> int:
        """How many packages there are."""
        with mongo_errors():
            return self._packages.count_documents({})

    def fill(self, packages: Sequence[Package]) -> bool:
        """Insert the packages if there are none at all; False when there are."""
        documents = [package_document(package) for package in packages]

        def work(session: ClientSession) -> bool:
            if self._packages.count_documents({}, limit=1, session=session):
                return False
            self._packages.insert_many(documents, session=session)
            return True

        return self._together(work)

    def put(self, packages: Sequence[Package]) -> Seeded:
        """Insert what is new, give the others the fields of `packages`, leave the rest."""
        wanted = {package.facts.id: package_document(package) for package in packages}

        def work(session: ClientSession) -> Seeded:
            found = {
                document["_id"]: document
                for document in self._packages.find({"_id": {"$in": list(wanted)}}, session=session)
            }
            seeded = Seeded(
                added=[i for i in wanted if i not in found],
                changed=[i for i in wanted if i in found and not _says(found[i], wanted[i])],
                same=[i for i in wanted if i in found and _says(found[i], wanted[i])],
                paused=[i for i in wanted if i in found and found[i].get("paused")],
                others=self._packages.count_documents({}, session=session) - len(found),
            )
            writes: list[InsertOne[Document] | UpdateOne] = []
            writes.extend(InsertOne(wanted[i]) for i in seeded.added)
            writes.extend(_replacing(wanted[i]) for i in seeded.changed)
            if writes:
                self._packages.bulk_write(writes, ordered=False, session=session)
            return seeded

        return self._together(work)

    def drop_orders(self) -> None:
        """Every order goes, and the indexes with them: a consumer will not take without these."""
        with mongo_errors():
            self._orders.drop()

    def delete_packages(self) -> None:
        """Every package goes."""
        with mongo_errors():
            self._packages.delete_many({})

    def _together(self, work: Callable[[ClientSession], T]) -> T:
        with mongo_errors(), pymongo.timeout(SEED_TIMEOUT_S):
            self._ensure_collection()
            with self._database.client.start_session() as session:
                return session.with_transaction(
                    work,
                    read_concern=ReadConcern("snapshot"),
                    write_concern=_DURABLE,
                    read_preference=ReadPreference.PRIMARY,
                )

    def _ensure_collection(self) -> None:
        """Two transactions that both make the collection would meet again and again."""
        try:
            self._database.create_collection(self._packages.name)
        except CollectionInvalid:
            return
        except OperationFailure as error:
            if error.code != _NAMESPACE_EXISTS:
                raise


def _says(found: Document, wanted: Document) -> bool:
    """Whether the document says already what the file says."""
    names = {*wanted, *_OPTIONAL}
    return all(found.get(name) == wanted.get(name) for name in names)


def _replacing(wanted: Document) -> UpdateOne:
    fields = {name: value for name, value in wanted.items() if name != "_id"}
    update: Document = {"$set": fields}
    gone = {name: "" for name in _OPTIONAL if name not in wanted}
    if gone:
        update["$unset"] = gone
    return UpdateOne({"_id": wanted["_id"]}, update)
