"""Reserving and cancelling flights and rooms over HTTP, by the order's own key.

Every call carries the order id as its idempotency key. That is what makes trying again
harmless: when an answer was lost, the next try brings the same one. It is also what a
cancellation goes by, so that it needs no number that may never have arrived.
"""

from __future__ import annotations

import threading
from typing import Annotated, TypeVar
from urllib.parse import quote

import msgspec
import requests
import tenacity
import urllib3
from msgspec import Meta

import shapes
from errors import SupplierAway, SupplierDeclined, Throttled
from suppliers.deadline import session_of
from suppliers.trying import tries

FLIGHTS = "/api/flights/reservations"
ROOMS = "/api/hotels/reservations"
BODY_MAX_BYTES = 65_536
# Refused for now, not refused: another try can be answered differently.
TRANSIENT_4XX = frozenset({408, 425, 429})
# Something else is reserved under our key. It has to be cancelled like an unknown outcome;
# a decline would say that nothing is there.
MISMATCH = "idempotency_mismatch"

Number = Annotated[str, Meta(min_length=1, max_length=100)]
A = TypeVar("A", bound=msgspec.Struct)


class _Flight(msgspec.Struct):
    flight_ticket_number: Number


class _Room(msgspec.Struct):
    hotel_reservation_number: Number


class _Problem(msgspec.Struct):
    reason: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]


class ReservationSupplier:
    """A supplier's flights and rooms. One instance serves all threads of a process.

    `timeout_s` bounds one try from connecting to the last byte, `attempts` the tries of a call,
    `backoff_max_s` each pause between two tries. A call therefore ends within
    attempts * (timeout_s + backoff_max_s). `pool_size` is the number of connections kept open;
    give it the number of threads. Setting `stop` ends a pause at once, and the call with it.

    Every method raises SupplierDeclined(reason) for a clear no, which is never tried again, and
    SupplierAway when the tries are used up: the reservation may or may not exist then.
    """

    def __init__(
        self,
        base_url: str,
        timeout_s: float,
        attempts: int,
        backoff_max_s: float,
        pool_size: int,
        stop: threading.Event | None = None,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._tries = tries(stop_after=tenacity.stop_after_attempt(attempts),
                            backoff_max_s=backoff_max_s, stop=stop or threading.Event())
        self._session = session_of(pool_size, {"Accept-Encoding": "identity",
                                               "Content-Type": "application/json"})

    def reserve_flight(self, order_id: str, flight: str, stay: str) -> str:
        """Reserve a flight; returns its ticket number, the same one at every repetition."""
        body = {"flight": flight, "stay": stay}
        answer: _Flight = self._tries(self._reserve, FLIGHTS, order_id, body, _Flight)
        return answer.flight_ticket_number

    def reserve_room(self, order_id: str, flight_ticket_number: str, stay: str) -> str:
        """Reserve the room that goes with a flight; returns the reservation number."""
        body = {"flight_ticket_number": flight_ticket_number, "stay": stay}
        answer: _Room = self._tries(self._reserve, ROOMS, order_id, body, _Room)
        return answer.hotel_reservation_number

    def cancel_flight(self, order_id: str) -> None:
        """Cancel the order's flight, and refuse a request for it that is still on its way."""
        self._tries(self._cancel, FLIGHTS, order_id)

    def cancel_room(self, order_id: str) -> None:
        """Cancel the order's room, and refuse a request for it that is still on its way."""
        self._tries(self._cancel, ROOMS, order_id)

    def close(self) -> None:
        """Close the kept connections."""
        self._session.close()

    # --- one try ------------------------------------------------------------------------------

    def _reserve(self, path: str, order_id: str, body: dict[str, str], shape: type[A]) -> A:
        status, answer = self._exchange("POST", path, order_id, msgspec.json.encode(body))
        if status not in (200, 201):
            raise _refusal(status, answer)
        return _read(answer, shape, status)

    def _cancel(self, path: str, order_id: str) -> None:
        status, answer = self._exchange("DELETE", f"{path}/{quote(order_id, safe='')}", order_id)
        if status not in (200, 204):
            raise _refusal(status, answer)

    def _exchange(
        self, method: str, path: str, order_id: str, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """Send one request; return the status, below 500, and the body of its answer."""
        call = f"{method} {path} for order {order_id}"
        try:
            with self._session.request(
                method,
                self._base_url + path,
                data=body,
                headers={"Idempotency-Key": order_id},
                timeout=self._timeout_s,
                allow_redirects=False,
                stream=True,
            ) as response:
                # One byte more than allowed tells a body at the bound from one above it. A body
                # that is read to its end gives its connection back to the pool.
                answer = response.raw.read(BODY_MAX_BYTES + 1, decode_content=False)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            # The request may have arrived, so this is no decline, whatever broke.
            raise SupplierAway(f"{call}: {type(error).__name__}: {error}") from error
        if len(answer) > BODY_MAX_BYTES:
            raise SupplierAway(f"{call}: an answer above {BODY_MAX_BYTES} bytes")
        if response.status_code >= 500 or response.status_code in TRANSIENT_4XX:
            message = f"{call}: status {response.status_code}"
            pause = response.headers.get("Retry-After", "")
            if pause.isascii() and pause.isdecimal() and len(pause) < 10:
                raise Throttled(message, int(pause))
            raise SupplierAway(message)
        return response.status_code, answer


def _read(answer: bytes, shape: type[A], status: int) -> A:
    try:
        return shapes.decode(answer, shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SupplierAway(f"status {status} with an answer that is not understood: {error}"
                           ) from error


def _refusal(status: int, answer: bytes) -> SupplierAway | SupplierDeclined:
    """A decline needs a 4xx that says why; anything else may come from a broken proxy."""
    if not 400 <= status < 500:
        return SupplierAway(f"status {status} was not expected")
    try:
        reason = _read(answer, _Problem, status).reason
    except SupplierAway as unclear:
        return unclear
    if reason == MISMATCH:
        return SupplierAway("another reservation exists under this order's key")
    return SupplierDeclined(reason)
