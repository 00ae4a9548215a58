"""What was booked at the simulated vendors: once per vendor and client reference."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Literal

import msgspec

from suppliers.simulator.book import Book
from suppliers.simulator.vendors.answers import VendorRefusal

SCHEMA = """
CREATE TABLE IF NOT EXISTS stays (
    vendor           TEXT NOT NULL,
    client_reference TEXT NOT NULL,
    number           TEXT NOT NULL,
    asked            TEXT NOT NULL,   -- the key that was booked
    price            TEXT NOT NULL,
    currency         TEXT NOT NULL,
    PRIMARY KEY (vendor, client_reference)
) WITHOUT ROWID
"""
# What was cancelled, booked before or not: nothing is booked under such a reference any more.
TOMBSTONES = """
CREATE TABLE IF NOT EXISTS cancelled_stays (
    vendor           TEXT NOT NULL,
    client_reference TEXT NOT NULL,
    PRIMARY KEY (vendor, client_reference)
) WITHOUT ROWID
"""
_COLUMNS = """
SELECT s.vendor, s.client_reference, s.number, s.price, s.currency,
       CASE WHEN c.vendor IS NULL THEN 'booked' ELSE 'cancelled' END
FROM stays s LEFT JOIN cancelled_stays c USING (vendor, client_reference)
"""


class StayEntry(msgspec.Struct, frozen=True):
    """One booking as an auditor reads it."""

    vendor: str
    client_reference: str
    number: str
    price: str
    currency: str
    state: Literal["booked", "cancelled"] = "booked"


class StayBook:
    """A further table in the simulator's book: on disk before anybody hears of it."""

    def __init__(self, book: Book, seed: str) -> None:
        self._book = book
        self._seed = seed
        book.transact(lambda connection: connection.execute(SCHEMA).rowcount)
        book.transact(lambda connection: connection.execute(TOMBSTONES).rowcount)

    def book(
        self, vendor: str, client_reference: str, asked: str, decide: Callable[[], tuple[str, str]]
    ) -> str:
        """The number of the booking under this reference, the same at every repetition.

        `decide` returns price and currency of a new booking or raises VendorRefusal; it is not
        asked about a booking that exists. The same reference for another key is refused (409),
        one that was cancelled too (410).
        """
        if not 1 <= len(client_reference) <= 100:
            raise VendorRefusal(400, "invalid_request", "a client reference is missing")
        number = self._find(vendor, client_reference, asked)
        if number is not None:
            return number
        price, currency = decide()
        digest = hashlib.blake2b(f"{self._seed}\x1f{vendor}\x1f{client_reference}".encode(),
                                 digest_size=8).digest()
        new = f"{vendor[:2].upper()}-{base64.b32encode(digest).decode().rstrip('=')}"
        # Two of the same reference at once both come here: the first one to be written counts.
        self._book.transact(lambda connection: connection.execute(
            "INSERT OR IGNORE INTO stays SELECT ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM "
            "cancelled_stays WHERE vendor = ? AND client_reference = ?)",
            (vendor, client_reference, new, asked, price, currency, vendor, client_reference),
        ).rowcount)
        found = self._find(vendor, client_reference, asked)
        assert found is not None  # else the tombstone is there, which raises
        return found

    def cancel(self, vendor: str, client_reference: str) -> None:
        """Cancel what the reference holds, and refuse it from now on, booked or not."""
        self._book.transact(lambda connection: connection.execute(
            "INSERT OR IGNORE INTO cancelled_stays VALUES (?, ?)",
            (vendor, client_reference)).rowcount)

    def find(self, vendor: str, *, reference: str = "", number: str = "") -> StayEntry | None:
        """A booking by either of its names, also one that is cancelled."""
        row = self._book.transact(lambda connection: connection.execute(
            _COLUMNS + "WHERE s.vendor = ? AND (s.client_reference = ? OR s.number = ?)",
            (vendor, reference, number)).fetchone())
        return StayEntry(*row) if row else None

    def page(self, after: tuple[str, str], limit: int) -> list[StayEntry]:
        """Up to `limit` bookings in the order of vendor and reference, behind `after`."""
        rows = self._book.transact(lambda connection: connection.execute(
            _COLUMNS + "WHERE (s.vendor, s.client_reference) > (?, ?) "
            "ORDER BY s.vendor, s.client_reference LIMIT ?",
            (*after, limit)).fetchall())
        return [StayEntry(*row) for row in rows]

    def _find(self, vendor: str, client_reference: str, asked: str) -> str | None:
        row = self._book.transact(lambda connection: connection.execute(
            "SELECT number, asked FROM stays WHERE vendor = ? AND client_reference = ?",
            (vendor, client_reference)).fetchone())
        if self._is_cancelled(vendor, client_reference):
            raise VendorRefusal(410, "cancelled", "this reference was cancelled")
        if row is None:
            return None
        if row[1] != asked:
            raise VendorRefusal(409, "duplicate_reference", "this reference booked another rate")
        return str(row[0])

    def _is_cancelled(self, vendor: str, client_reference: str) -> bool:
        return self._book.transact(lambda connection: connection.execute(
            "SELECT 1 FROM cancelled_stays WHERE vendor = ? AND client_reference = ?",
            (vendor, client_reference)).fetchone()) is not None
