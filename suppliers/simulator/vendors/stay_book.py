"""What was booked at the simulated vendors: once per vendor and client reference."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

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


class StayEntry(msgspec.Struct, frozen=True):
    """One booking as an auditor reads it."""

    vendor: str
    client_reference: str
    number: str
    price: str
    currency: str


class StayBook:
    """A further table in the simulator's book: on disk before anybody hears of it."""

    def __init__(self, book: Book, seed: str) -> None:
        self._book = book
        self._seed = seed
        book.transact(lambda connection: connection.execute(SCHEMA).rowcount)

    def book(
        self, vendor: str, client_reference: str, asked: str, decide: Callable[[], tuple[str, str]]
    ) -> str:
        """The number of the booking under this reference, the same at every repetition.

        `decide` returns price and currency of a new booking or raises VendorRefusal; it is not
        asked about a booking that exists. The same reference for another key is refused (409).
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
            "INSERT OR IGNORE INTO stays VALUES (?, ?, ?, ?, ?, ?)",
            (vendor, client_reference, new, asked, price, currency)).rowcount)
        found = self._find(vendor, client_reference, asked)
        assert found is not None
        return found

    def page(self, after: tuple[str, str], limit: int) -> list[StayEntry]:
        """Up to `limit` bookings in the order of vendor and reference, behind `after`."""
        rows = self._book.transact(lambda connection: connection.execute(
            "SELECT vendor, client_reference, number, price, currency FROM stays "
            "WHERE (vendor, client_reference) > (?, ?) ORDER BY vendor, client_reference LIMIT ?",
            (*after, limit)).fetchall())
        return [StayEntry(*row) for row in rows]

    def _find(self, vendor: str, client_reference: str, asked: str) -> str | None:
        row = self._book.transact(lambda connection: connection.execute(
            "SELECT number, asked FROM stays WHERE vendor = ? AND client_reference = ?",
            (vendor, client_reference)).fetchone())
        if row is None:
            return None
        if row[1] != asked:
            raise VendorRefusal(409, "duplicate_reference", "this reference booked another rate")
        return str(row[0])
