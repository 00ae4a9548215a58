"""The door: a valid order is queued in one call, or it is refused with what to mend.

Validation of form and types happens before (web/); here stand the answers of accept.lua.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import cast

import msgspec
import redis
import redis.exceptions
from ulid import PureRandomPolicy, ULIDGenerator

from booking import commands
from booking.model import MOMENT_END_MS, Guest, RateOffer
from engine_errors import valkey_errors
from errors import BerthError
from queues.keys import BOOKING
from queues.scripts import Script


class Accepted(msgspec.Struct, frozen=True):
    """202. `replayed` says that this is the first answer to the key, given again."""

    order_id: str
    replayed: bool = False
    place: int | None = None


class Refusal(BerthError):  # noqa: N818 (a refusal is an answer of the door, not an error)
    """Base of the refusals of the door; nothing was queued."""


class UnknownPackage(Refusal):
    """No such package is on sale."""


class RateGone(Refusal):
    """No search that still lives has this rate."""


class SaleClosed(Refusal):
    """Outside the sale window; the moments are in milliseconds, None where that side is open."""

    def __init__(self, starts_ms: int | None, ends_ms: int | None) -> None:
        super().__init__("the sale is not open")
        self.starts_ms = starts_ms
        self.ends_ms = ends_ms


class KeyReused(Refusal):
    """The same Idempotency-Key came with another order."""


class Overloaded(Refusal):
    """The backlog, or Valkey's memory, is full for now."""

    retryable = True


class NotReady(Refusal):
    """The booking consumer has not yet told which packages there are."""

    retryable = True


# The widest moments that the door's projection can hold: an open side of a sale window.
OPEN_FROM_MS = 0
OPEN_UNTIL_MS = MOMENT_END_MS


def door(starts_ms: int | None, ends_ms: int | None) -> str:
    """The sale window as accept.lua reads it."""
    return f"{starts_ms or OPEN_FROM_MS} {OPEN_UNTIL_MS if ends_ms is None else ends_ms}"


# The library's own generator counts up within a millisecond: who orders in a rush would know the
# ids of those beside them, and look up and cancel the orders whose address they know.
_ids = ULIDGenerator(policy=PureRandomPolicy())


def new_order_id() -> str:
    """An id that sorts by its moment and that nobody guesses."""
    return str(_ids.generate())


class Intake:
    """The producer's side of the booking road. `new_id` names each order that comes in."""

    def __init__(
        self,
        client: redis.Redis,
        *,
        backlog_max_jobs: int,
        backlog_max_bytes: int,
        idempotency_ttl_s: int,
        new_id: Callable[[], str] = new_order_id,
    ) -> None:
        self._client = client
        self._accept = Script(client, "accept")
        self._push = Script(client, "push")
        self._backlog_max_jobs = backlog_max_jobs
        self._backlog_max_bytes = backlog_max_bytes
        self._idempotency_ttl_ms = idempotency_ttl_s * 1_000
        self._new_id = new_id

    def accept(self, package_id: int, email: str, idempotency_key: str | None) -> Accepted:
        """Queue an order, in one round trip.

        Raises a Refusal, or EngineAway when it is not known whether the order was queued: with
        an Idempotency-Key the client may ask again without ordering twice.
        """
        order_id = self._new_id()
        head = commands.open_place_order(order_id, package_id, email)
        return self._queue(order_id, str(package_id), head, email, idempotency_key,
                           _digest(f"{package_id} {email}"), b"")

    def accept_rate(
        self, rate: RateOffer, email: str, guest: Guest, idempotency_key: str | None
    ) -> Accepted:
        """Queue an order of a hotel rate, in one round trip; raises as `accept` does."""
        order_id = self._new_id()
        head = commands.open_place_rate_order(order_id, rate, email, guest)
        return self._queue(order_id, "", head, email, idempotency_key,
                           _rate_digest(rate.facts.id, email, guest),
                           msgspec.json.encode(rate.facts))

    def accepted_before(
        self, rate_id: str, email: str, guest: Guest, idempotency_key: str
    ) -> Accepted | None:
        """The first answer to the key, for a rate that can no longer be looked up.

        None when the key is new. Raises KeyReused.
        """
        return self._first_answer(idempotency_key, _rate_digest(rate_id, email, guest))

    def _first_answer(self, idempotency_key: str, body: str) -> Accepted | None:
        with valkey_errors():
            seen = cast("bytes | None", self._client.get(BOOKING.idempotency(idempotency_key)))
        if seen is None:
            return None
        order_id, first_body = seen.decode().split()
        if first_body != body:
            raise KeyReused("this Idempotency-Key belongs to another order")
        return Accepted(order_id, replayed=True)

    def _queue(
        self, order_id: str, package_id: str, head: bytes, email: str,
        idempotency_key: str | None, body: str, facts: bytes,
    ) -> Accepted:
        keys = [BOOKING.jobs, BOOKING.bell, BOOKING.counters, BOOKING.status(order_id),
                BOOKING.doors, BOOKING.pressure]
        if idempotency_key is not None:
            keys.append(BOOKING.idempotency(idempotency_key))
        try:
            answer = self._accept(keys, [
                order_id, package_id, head, email, body, self._idempotency_ttl_ms,
                self._backlog_max_jobs, self._backlog_max_bytes, facts,
            ])
        except redis.exceptions.OutOfMemoryError as error:
            # The script did not run, so it did not look for the first answer to the key either.
            before = self._first_answer(idempotency_key, body) if idempotency_key else None
            if before is None:
                raise Overloaded("Valkey is at its memory limit") from error
            return before
        return _understand(answer)

    def cancel(self, order_id: str) -> None:
        """Queue a cancellation; it takes its turn behind the order itself. Raises Overloaded."""
        job = commands.encode(commands.CancelOrder(order_id=order_id))
        waiting = self._push(
            [BOOKING.jobs, BOOKING.bell, BOOKING.counters, BOOKING.pressure],
            [self._backlog_max_jobs, job],
        )
        if waiting < 0:
            raise Overloaded("the backlog or the list of dead letters is full")


def _digest(words: str) -> str:
    """What is compared when a key comes again."""
    return hashlib.sha256(words.encode()).hexdigest()[:32]


def _rate_digest(rate_id: str, email: str, guest: Guest) -> str:
    return _digest("\x1f".join((rate_id, email, guest.given_name, guest.family_name)))


def _understand(answer: list[bytes]) -> Accepted:
    match answer[0]:
        case b"queued":
            return Accepted(answer[1].decode(), place=int(answer[2]))
        case b"replayed":
            return Accepted(answer[1].decode(), replayed=True)
        case b"conflict":
            raise KeyReused("this Idempotency-Key belongs to another order")
        case b"no_packages":
            raise NotReady("the packages are not known yet")
        case b"unknown_package":
            raise UnknownPackage("no such package")
        case b"sales_closed":
            starts_ms, ends_ms = int(answer[1]), int(answer[2])
            raise SaleClosed(
                starts_ms if starts_ms != OPEN_FROM_MS else None,
                ends_ms if ends_ms not in (0, OPEN_UNTIL_MS) else None,
            )
        case b"backlog" | b"pressure":
            raise Overloaded("too many orders wait")
    raise TypeError(f"accept.lua answered {answer[0]!r}")
