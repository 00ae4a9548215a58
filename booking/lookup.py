"""Finding an order again by its id and its e-mail; never by one of them alone."""

from __future__ import annotations

import datetime as dt
import hmac
import re

import msgspec
import redis

import shapes
from booking.model import Order, PackageFacts, RateFacts, Reason, State
from booking.store import BookingStore
from engine_errors import valkey_errors
from queues.keys import BOOKING

_ORDER_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")


class HistoryLine(msgspec.Struct, frozen=True):
    """One step of an order's life."""

    state: State
    reason: Reason | None
    at: dt.datetime


class OrderView(msgspec.Struct, frozen=True, kw_only=True):
    """An order as its customer sees it. `position` is the place in the queue while queued."""

    order_id: str
    state: State
    reason: Reason | None
    package: PackageFacts | None
    rate: RateFacts | None
    flight_ticket_number: str | None
    hotel_reservation_number: str | None
    position: int | None
    accepted_at: dt.datetime
    decided_at: dt.datetime | None
    history: list[HistoryLine]


class OrderLookup:
    """Reads what is queued from Valkey and what is decided from MongoDB."""

    def __init__(self, client: redis.Redis, store: BookingStore) -> None:
        self._client = client
        self._store = store

    def find(self, order_id: str, email: str) -> OrderView | None:
        """The order, or None for a wrong id and for a wrong e-mail alike. Raises EngineAway."""
        order_id = order_id.strip().upper()
        if not _ORDER_ID.fullmatch(order_id):
            return None
        with valkey_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.hgetall(BOOKING.status(order_id))
            pipe.hget(BOOKING.counters, "applied")
            status, applied = pipe.execute()
        if status.get(b"state") == b"queued":
            return self._queued(order_id, email, status, int(applied or 0))
        order = self._store.find_order(order_id)
        if order is None or not _same(order.email, email):
            return None
        return _decided(order)

    def _queued(
        self, order_id: str, email: str, status: dict[bytes, bytes], applied: int
    ) -> OrderView | None:
        if not _same(status[b"email"].decode(), email):
            return None
        package = None
        if package_id := status[b"package_id"].decode():
            with valkey_errors():
                package = self._client.hget(BOOKING.packages, package_id)
        rate = status.get(b"rate")
        accepted_at = moment(int(status[b"accepted_ms"]))
        return OrderView(
            order_id=order_id,
            state=State.QUEUED,
            reason=None,
            package=shapes.decode(package, PackageFacts) if package else None,
            rate=shapes.decode(rate, RateFacts) if rate else None,
            flight_ticket_number=None,
            hotel_reservation_number=None,
            position=max(1, int(status[b"seq"]) - applied),
            accepted_at=accepted_at,
            decided_at=None,
            history=[HistoryLine(State.QUEUED, None, accepted_at)],
        )


def _decided(order: Order) -> OrderView:
    return OrderView(
        order_id=order.order_id,
        state=order.state,
        reason=order.reason,
        package=order.package,
        rate=order.rate.facts if order.rate else None,
        flight_ticket_number=order.flight_ticket_number,
        hotel_reservation_number=order.hotel_reservation_number,
        position=None,
        accepted_at=moment(order.accepted_ms),
        decided_at=moment(order.decided_ms),
        history=[HistoryLine(e.state, e.reason, moment(e.at_ms)) for e in order.history],
    )


def moment(ms: int) -> dt.datetime:
    """Milliseconds since 1970 as a UTC datetime."""
    return dt.datetime.fromtimestamp(ms / 1_000, tz=dt.UTC)


def _same(ours: str, given: str) -> bool:
    """Compared in constant time, so that the answer's delay tells nothing."""
    return hmac.compare_digest(_comparable(ours), _comparable(given))


def _comparable(email: str) -> bytes:
    return email.strip().casefold().encode(errors="surrogatepass")  # of whatever was sent
