"""What the supplier has booked, against the orders: for the simulator, whose book can be read.

Both are read in the order of their keys and merged, so a book of any length needs one page.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import attrgetter
from typing import Literal, NamedTuple

import msgspec
import requests

import shapes
from audit.documents import Document, Snapshot
from audit.findings import Findings, Kind
from audit.orders import LIVE
from errors import SupplierAway

PAGE = 5_000
ANSWER_TIMEOUT_S = 15.0
_ORDER_FIELDS = ("state", "owed", "rate", "flight_ticket_number", "hotel_reservation_number")
_ORDER_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}", re.ASCII)


class Entry(msgspec.Struct, frozen=True):
    """One row of the book."""

    key: str
    state: Literal["booked", "declined", "cancelled"]
    number: str | None = None
    flight_ticket_number: str | None = None

    @property
    def booked(self) -> bool:
        """Whether somebody would travel on it."""
        return self.state == "booked"


class _Page(msgspec.Struct, frozen=True):
    reservations: list[Entry]
    next_after: str | None


class Stay(msgspec.Struct, frozen=True):
    """A booking of a hotel rate at one of the simulated vendors."""

    vendor: str
    client_reference: str
    number: str
    price: str
    currency: str
    state: Literal["booked", "cancelled"]


class _Stays(msgspec.Struct, frozen=True):
    stays: list[Stay]


class _Row(NamedTuple):
    """What is known under one key."""

    key: str
    order: Document | None = None
    flight: Entry | None = None
    room: Entry | None = None

    def booked(self) -> list[str]:
        """What somebody would travel on."""
        parts = (("flight", self.flight), ("room", self.room))
        return [what for what, entry in parts if entry is not None and entry.booked]


class SupplierBook:
    """The simulator's book over HTTP. Raises SupplierAway."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url.rstrip("/")
        self._session = requests.Session()
        # No proxies or passwords of the environment: the book is asked directly.
        self._session.trust_env = False

    def is_simulator(self) -> None:
        """Raises SupplierAway with why it cannot be looked at."""
        conduct = self._get("/api/simulator/settings", {})
        if b"flight_failure_rate" not in conduct:
            raise SupplierAway("the supplier is not the simulator")

    def entries(self, word: Literal["flights", "hotels"]) -> Iterator[Entry]:
        """The whole book of flights or rooms, by key."""
        after: str | None = ""
        while after is not None:
            raw = self._get(f"/api/{word}/reservations", {"after": after, "limit": str(PAGE)})
            try:
                page = shapes.decode(raw, _Page)
            except msgspec.MsgspecError as error:
                raise SupplierAway(f"its book cannot be read: {error}") from error
            yield from page.reservations
            after = page.next_after

    def stays(self) -> Iterator[Stay]:
        """All bookings of hotel rates, by vendor and reference."""
        vendor = reference = ""
        while True:
            raw = self._get("/api/simulator/stays", {
                "after_vendor": vendor, "after_reference": reference, "limit": str(PAGE)})
            try:
                page = shapes.decode(raw, _Stays).stays
            except msgspec.MsgspecError as error:
                raise SupplierAway(f"its stays cannot be read: {error}") from error
            yield from page
            if len(page) < PAGE:
                return
            vendor, reference = page[-1].vendor, page[-1].client_reference

    def _get(self, path: str, query: dict[str, str]) -> bytes:
        try:
            answer = self._session.get(
                self._base_url + path, params=query, timeout=ANSWER_TIMEOUT_S
            )
        except requests.RequestException as error:
            raise SupplierAway(f"the supplier does not answer: {type(error).__name__}") from error
        if answer.status_code == 404:
            raise SupplierAway("the supplier is not the simulator")
        if answer.status_code != 200:
            raise SupplierAway(f"the supplier answers with status {answer.status_code}")
        return answer.content


def check_book(snapshot: Snapshot, book: SupplierBook, findings: Findings) -> int:
    """Compare order by order. Returns how many bookings are older than every order known.

    Those are no orphans of this database: an erased one (`db_init.py --reset`) left them, for
    the outside world keeps its book. Raises SupplierAway and EngineAway.
    """
    merged = heapq.merge(
        (_Row(str(order["_id"]), order=order) for order in snapshot.orders(_ORDER_FIELDS)
         if "rate" not in order),
        (_Row(entry.key, flight=entry) for entry in book.entries("flights")),
        (_Row(entry.key, room=entry) for entry in book.entries("hotels")),
        key=attrgetter("key"),
    )
    earlier, seen_order = 0, False
    for key, group in groupby(merged, key=attrgetter("key")):
        row = _joined(key, group)
        seen_order = seen_order or row.order is not None
        if row.order is not None and row.order.get("state") == "confirmed":
            _check_confirmed(row, row.order, findings)
        elif row.order is None and not seen_order and _ORDER_ID.fullmatch(key):
            earlier += len(row.booked())
        else:
            _check_unwanted(row, findings)
    return earlier


def _joined(key: str, rows: Iterable[_Row]) -> _Row:
    joined = _Row(key)
    for row in rows:
        joined = _Row(key, joined.order or row.order, joined.flight or row.flight,
                      joined.room or row.room)
    return joined


def _check_confirmed(row: _Row, order: Document, findings: Findings) -> None:
    parts = (
        ("flight", row.flight, order.get("flight_ticket_number")),
        ("room", row.room, order.get("hotel_reservation_number")),
    )
    for what, entry, number in parts:
        if entry is None or not entry.booked:
            state = entry.state if entry else "not in the book"
            findings.doubt(Kind.SUPPLIER_MISSING,
                           f"order {row.key} is confirmed, and its {what} is {state}")
        elif entry.number != number:
            findings.doubt(Kind.SUPPLIER_MISSING,
                           f"order {row.key} has the {what} number {number}; the book says "
                           f"{entry.number}")
    flight, room = row.flight, row.room
    if flight and room and room.booked and room.flight_ticket_number != flight.number:
        findings.doubt(Kind.SUPPLIER_MISSING,
                       f"order {row.key} has a room that was booked with another flight's ticket")


def _check_unwanted(row: _Row, findings: Findings) -> None:
    order = row.order or {}
    if order.get("state") in LIVE:
        return  # held: its reservation is under way, or its end will owe it
    state = order.get("state", "not known")
    for what in row.booked():
        if what not in (order.get("owed") or ()):
            findings.doubt(Kind.SUPPLIER_ORPHANS,
                           f"a {what} is booked for order {row.key}, which is {state} and owes "
                           "none")
