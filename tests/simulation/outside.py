"""The world outside: a supplier's book with the semantics of suppliers/simulator, and its wire.

The first answer to a key is repeated, declines are a hash of seed and key, a cancellation leaves
a tombstone, and a room needs a flight ticket that is booked. The client is the production one.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import Any, cast

import msgspec

from errors import SupplierAway
from suppliers.reservations import ReservationSupplier
from tests.simulation.kernel import Event, Process
from tests.simulation.network import Network, Server, Steps

FLIGHTS, HOTELS = "flights", "hotels"
_NUMBER_FIELD = {FLIGHTS: "flight_ticket_number", HOTELS: "hotel_reservation_number"}
_DECLINED = {FLIGHTS: "flight_declined", HOTELS: "room_declined"}

Answer = tuple[int, bytes]


class Entry(msgspec.Struct):
    """What the book says of one key: booked, declined or cancelled."""

    state: str
    asked: bytes | None = None
    number: str | None = None


class Book:
    """Who has reserved what. Rates are parts of all keys (0 to 1)."""

    def __init__(self, seed: str, flight_failure_rate: float, room_failure_rate: float) -> None:
        self.entries: dict[tuple[str, str], Entry] = {}
        self._seed = seed
        self._rates = {FLIGHTS: flight_failure_rate, HOTELS: room_failure_rate}

    def handle(self, method: str, path: str, key: str, body: bytes | None) -> Answer:
        """One request: status and body of its answer."""
        road = FLIGHTS if "/flights/" in path else HOTELS
        if method == "DELETE":
            return self.cancel(road, key)
        return self.reserve(road, key, body or b"")

    def reserve(self, road: str, key: str, asked: bytes) -> Answer:
        """Book or decline once; later the first answer again."""
        entry = self.entries.get((road, key))
        if entry is None:
            ticket = msgspec.json.decode(asked).get("flight_ticket_number")
            if road == HOTELS and not self._is_booked(ticket):
                return _problem(422, "unknown_flight_ticket")
            entry = self.entries[road, key] = self._decide(road, key, asked)
        if entry.state == "cancelled":
            return _problem(410, "cancelled")
        if entry.asked != asked:
            return _problem(422, "idempotency_mismatch")
        if entry.state == "declined":
            return _problem(409, _DECLINED[road])
        return 201, msgspec.json.encode({_NUMBER_FIELD[road]: entry.number})

    def cancel(self, road: str, key: str) -> Answer:
        """Cancel whatever the key holds, and refuse it from now on."""
        entry = self.entries.get((road, key))
        if entry is None:
            self.entries[road, key] = Entry("cancelled")
        else:
            entry.state = "cancelled"
        return 204, b""

    def booked(self, road: str) -> dict[str, str]:
        """Key -> number of all that is booked now."""
        return {
            key: entry.number or ""
            for (where, key), entry in self.entries.items()
            if where == road and entry.state == "booked"
        }

    def _is_booked(self, ticket: str | None) -> bool:
        return any(
            road == FLIGHTS and entry.number == ticket and entry.state == "booked"
            for (road, _), entry in self.entries.items()
        )

    def _decide(self, road: str, key: str, asked: bytes) -> Entry:
        digest = hashlib.blake2b(f"{self._seed} {road} {key}".encode(), digest_size=16).digest()
        if int.from_bytes(digest[:8], "big") < self._rates[road] * 2**64:
            return Entry("declined", asked)
        return Entry("booked", asked, f"{road[0].upper()}-{digest[8:].hex()}")


def _problem(status: int, reason: str) -> Answer:
    return status, msgspec.json.encode({"reason": reason})


class OutsideServer(Server):
    """The supplier on the network. `on_change` is told after each request that it handled."""

    name = "supplier"

    def __init__(self, book: Book, on_change: Callable[[], None]) -> None:
        super().__init__()
        self.book = book
        self._on_change = on_change

    def work(self, *request: Any) -> Steps:
        """One request."""
        return self.book.handle(*request)
        yield

    def settle(self) -> None:
        """The book may have changed."""
        self._on_change()

    def away(self, why: str, label: str = "") -> Exception:
        """What the client makes of a call without an answer."""
        return SupplierAway(f"{label}: {why}")


class OutsideClient(ReservationSupplier):
    """The production client, its tries, pauses and readings of answers; only HTTP is replaced."""

    def __init__(
        self, network: Network, process: Process, server: OutsideServer, *, attempts: int
    ) -> None:
        super().__init__(
            "http://supplier.example", timeout_s=5.0, attempts=attempts, backoff_max_s=0.3,
            pool_size=1, stop=cast(threading.Event, cast(Event, process.stop)),
        )  # fmt: skip
        self._wire = (network, process, server)

    def _exchange(
        self, method: str, path: str, order_id: str, body: bytes | None = None
    ) -> Answer:
        network, process, server = self._wire
        answer: Answer = network.call(
            process, server, f"{method} {path.removeprefix('/api/')} {order_id}",
            lambda: server.work(method, path, order_id, body),
        )
        return answer
