"""The simulator's book: one row per road and key, on disk before anybody hears of it.

One thread owns the only connection. Whoever asks hands it a function and waits; the thread runs
all that are waiting in one transaction, so that many callers share one fsync. A kill before the
COMMIT means that nothing was written and nobody was answered; a kill after it means that the row
is there and the same question gets the same answer.
"""

from __future__ import annotations

import base64
import hashlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

from suppliers.simulator.problems import Refused

T = TypeVar("T")

ANSWER_TIMEOUT_S = 20.0
GROUP_MAX = 256

SCHEMA = """
CREATE TABLE IF NOT EXISTS reservations (
    road   TEXT NOT NULL CHECK (road IN ('flights', 'hotels')),
    key    TEXT NOT NULL,
    state  TEXT NOT NULL CHECK (state IN ('booked', 'declined', 'cancelled')),
    asked  BLOB,          -- the order as first asked; NULL: cancelled before anything was asked
    number TEXT UNIQUE,   -- NULL: never booked
    flight_ticket_number TEXT,
    PRIMARY KEY (road, key)
) WITHOUT ROWID
"""
COLUMNS = "key, state, number, flight_ticket_number, asked"


class Road(Enum):
    """What is sold: the word of its address, the field of its number, its word for no."""

    FLIGHTS = ("flights", "flight_ticket_number", "flight_declined", "F")
    HOTELS = ("hotels", "hotel_reservation_number", "room_declined", "H")

    def __init__(self, word: str, number_field: str, declined: str, prefix: str) -> None:
        self.word = word
        self.number_field = number_field
        self.declined = declined
        self.prefix = prefix


class Entry(msgspec.Struct, frozen=True):
    """One row of the book as an auditor reads it. `number` is None if it was never booked."""

    key: str
    state: Literal["booked", "declined", "cancelled"]
    number: str | None
    flight_ticket_number: str | None


class Book:
    """Opens (or creates) the book at `path`. `seed` decides, with the key, what is declined."""

    def __init__(self, path: Path, seed: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._seed = seed
        self._connection = sqlite3.connect(
            path, timeout=5, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode=WAL")
        # NORMAL would survive a kill of the process but not of the machine.
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(SCHEMA)
        # The server's threads bound this queue: each of them waits for one answer at a time.
        self._asked: queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._writer = threading.Thread(target=self._serve, name="book", daemon=True)
        self._writer.start()

    def reserve(
        self, road: Road, key: str, asked: bytes, *, ticket: str | None, failure_rate: float
    ) -> Entry:
        """Book or decline, once per key; the same key and order get the first answer again.

        `asked` is the order in one fixed spelling, `ticket` the flight ticket number of a room,
        `failure_rate` the part (0 to 1) of new keys that is declined. Raises Refused for a
        cancelled key, for a key that named another order, and for a ticket that is not valid.
        """
        return self._ask(lambda: self._reserve(road, key, asked, ticket, failure_rate))

    def cancel(self, road: Road, key: str) -> None:
        """Cancel whatever the key holds, and refuse the key from now on, booked or not."""
        self._ask(lambda: self._connection.execute(
            "INSERT INTO reservations (road, key, state) VALUES (?, ?, 'cancelled') "
            "ON CONFLICT (road, key) DO UPDATE SET state = 'cancelled'",
            (road.word, key),
        ).rowcount)

    def page(self, road: Road, after: str, limit: int) -> list[Entry]:
        """Up to `limit` entries in the order of their keys, from the first one behind `after`."""
        rows = self._ask(lambda: self._connection.execute(
            f"SELECT {COLUMNS} FROM reservations WHERE road = ? AND key > ? "  # noqa: S608
            "ORDER BY key LIMIT ?",
            (road.word, after, limit),
        ).fetchall())
        return [Entry(*row[:4]) for row in rows]

    def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the writer's next transaction; for sections with a table of their own.

        Returns or raises once it is on disk; see `_ask` for TimeoutError. Of errors, only
        Refused leaves the others of the same transaction as they are.
        """
        return self._ask(lambda: work(self._connection))

    def check(self) -> None:
        """Raise what a caller would get if the book could not be written now."""
        self._ask(lambda: None)

    def close(self) -> None:
        """Answer what is waiting, then close the file."""
        self._asked.put(None)
        self._writer.join(ANSWER_TIMEOUT_S)
        self._connection.close()

    # --- in the caller's thread ---------------------------------------------------------------

    def _ask(self, work: Callable[[], T]) -> T:
        """Run `work` in the writer's next transaction; return or raise once it is on disk.

        Raises TimeoutError when the disk is too slow. The work may still be done then, as with
        any supplier that does not answer in time.
        """
        future: Future[T] = Future()
        self._asked.put((work, future))
        return future.result(ANSWER_TIMEOUT_S)

    # --- in the writer's thread ---------------------------------------------------------------

    def _serve(self) -> None:
        while (first := self._asked.get()) is not None:
            group = [first]
            # The group is what piled up during the last fsync. The None of close() is put back:
            # it ends the loop after this group.
            while len(group) < GROUP_MAX and not self._asked.empty():
                following = self._asked.get()
                if following is None:
                    self._asked.put(None)
                    break
                group.append(following)
            self._write(group)

    def _write(self, group: list[tuple[Callable[[], Any], Future[Any]]]) -> None:
        outcomes: list[Any] = []
        try:
            with self._connection:
                # IMMEDIATE: a second process on the same file (one that outlives its killed
                # parent for a moment) takes turns with this one and reads what it wrote.
                self._connection.execute("BEGIN IMMEDIATE")
                for work, _ in group:
                    try:
                        outcomes.append(work())
                    except Refused as refused:
                        outcomes.append(refused)
        except Exception as error:  # noqa: BLE001 - raised again in every caller's thread
            # The transaction is rolled back as one: nobody of this group has been answered.
            outcomes = [error] * len(group)
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

    def _reserve(
        self, road: Road, key: str, asked: bytes, ticket: str | None, failure_rate: float
    ) -> Entry:
        row = self._connection.execute(
            f"SELECT {COLUMNS} FROM reservations WHERE road = ? AND key = ?",  # noqa: S608
            (road.word, key),
        ).fetchone()
        if row is not None:
            return _first_answer(Entry(*row[:4]), row[4], asked)
        if ticket is not None and not self._is_valid(ticket):
            raise Refused("unknown_flight_ticket", "no such flight ticket is booked here",
                          field="flight_ticket_number")
        entry = self._decide(road, key, ticket, failure_rate)
        self._connection.execute(
            "INSERT INTO reservations (road, key, state, number, flight_ticket_number, asked) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (road.word, key, entry.state, entry.number, ticket, asked),
        )
        return entry

    def _is_valid(self, ticket: str) -> bool:
        return self._connection.execute(
            "SELECT 1 FROM reservations WHERE number = ? AND road = 'flights' "
            "AND state = 'booked'",
            (ticket,),
        ).fetchone() is not None

    def _decide(self, road: Road, key: str, ticket: str | None, failure_rate: float) -> Entry:
        """A hash of seed, road and key decides: even a lost book would be written the same."""
        digest = hashlib.blake2b(
            msgspec.json.encode((self._seed, road.word, key)), digest_size=18
        ).digest()
        if int.from_bytes(digest[:8], "big") < failure_rate * 2**64:
            return Entry(key, "declined", None, ticket)
        number = f"{road.prefix}-{base64.b32encode(digest[8:]).decode()}"
        return Entry(key, "booked", number, ticket)


def _first_answer(entry: Entry, first_asked: bytes | None, asked: bytes) -> Entry:
    if entry.state == "cancelled":
        # Without this tombstone, a slow request that its sender has given up would book here
        # after the cancellation, and nobody would know.
        raise Refused("cancelled", "this reservation was cancelled", status=410)
    if first_asked != asked:
        raise Refused("idempotency_mismatch", "this key was used for another order",
                      field="Idempotency-Key")
    return entry
