"""What customers were told, key by key, against what the documents say.

The keys are a second witness of what was accepted: each status, and each Idempotency-Key, names
an order that must exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec
import redis

from audit.documents import Documents
from audit.findings import Findings, Kind
from engine_errors import valkey_errors
from queues.keys import BOOKING

PAGE = 1_000
_IDEMPOTENCY = BOOKING.idempotency("").rpartition(":")[0] + ":"


class Bar(Protocol):
    """As much of a progress bar as is used here."""

    def update(self, done: int) -> object: ...


class Told(msgspec.Struct):
    """What the keys add to the answer: accepted orders without a document, and stray lists."""

    undecided: set[str] = msgspec.field(default_factory=set)
    taken_lists: list[str] = msgspec.field(default_factory=list)


class Statuses:
    """Goes through all keys of the road once."""

    def __init__(self, client: redis.Redis, documents: Documents) -> None:
        self._client = client
        self._documents = documents

    def check(
        self,
        placing: set[str],
        findings: Findings,
        progress: AbstractContextManager[Bar],
    ) -> Told:
        """`placing` are the orders whose jobs still wait. Raises EngineAway."""
        told = Told()
        with progress as bar:
            for names in self._pages():
                orders, promises = [], []
                for name in names:
                    if name.startswith(BOOKING.status_prefix):
                        orders.append(name.removeprefix(BOOKING.status_prefix))
                    elif name.startswith(_IDEMPOTENCY):
                        promises.append(name)
                    elif name.startswith(BOOKING.reservations.inflight_prefix):
                        told.taken_lists.append(name)
                told.undecided |= self._check_statuses(orders, placing, findings)
                self._check_promises(promises, findings)
                bar.update(len(names))
        return told

    def _pages(self) -> Iterator[list[str]]:
        cursor = None
        while cursor != 0:
            with valkey_errors():
                cursor, names = self._client.scan(
                    cursor or 0, match=BOOKING.prefix + "*", count=PAGE
                )
            yield [_text(name) for name in names]

    def _check_statuses(
        self, order_ids: list[str], placing: set[str], findings: Findings
    ) -> set[str]:
        """Returns those of the orders that have no document."""
        if not order_ids:
            return set()
        with valkey_errors():
            pipe = self._client.pipeline(transaction=False)
            for order_id in order_ids:
                pipe.hmget(BOOKING.status(order_id), "state", "reason", "package_id")
                pipe.pttl(BOOKING.status(order_id))
            answers = pipe.execute()
        # The document after the key: what is told was written before.
        states = self._documents.states(order_ids)
        undecided = set()
        for order_id, words, ttl_ms in zip(order_ids, answers[::2], answers[1::2], strict=True):
            state, reason, package = (_text(word or b"") for word in words)
            if not state:
                continue  # it ran out between the scan and this
            if order_id not in states:
                undecided.add(order_id)
            if defect := _defect(state, reason, ttl_ms, states.get(order_id), order_id in placing):
                findings.doubt(defect[0], f"order {order_id} of package {package} {defect[1]}")
        return undecided

    def _check_promises(self, names: list[str], findings: Findings) -> None:
        if not names:
            return
        with valkey_errors():
            found = self._client.mget(names)
        promised = sorted({_text(value).partition(" ")[0] for value in found if value})
        known = self._documents.states(promised)
        missing = [order_id for order_id in promised if order_id not in known]
        if not missing:
            return
        with valkey_errors():
            pipe = self._client.pipeline(transaction=False)
            for order_id in missing:
                pipe.exists(BOOKING.status(order_id))
            there = pipe.execute()
        for order_id in _without(missing, there):
            findings.doubt(Kind.LOST, f"order {order_id} is promised to an Idempotency-Key, and "
                                      "neither queued nor decided")


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode(errors="replace")


def _without(order_ids: Iterable[str], there: Iterable[int]) -> Iterator[str]:
    return (order_id for order_id, known in zip(order_ids, there, strict=True) if not known)


def _defect(
    state: str,
    reason: str,
    ttl_ms: int,
    decided: tuple[object, object] | None,
    waits: bool,
) -> tuple[Kind, str] | None:
    if decided is None:
        if state == "queued" and waits:
            return None
        return Kind.LOST, f"was told to be {state}, and has neither a document nor a waiting job"
    if (state, reason) != (decided[0], decided[1] or ""):
        return Kind.DUPLICATED, (
            f"was told to be {state} ({reason or 'no reason'}), and its document says {decided[0]} "
            f"({decided[1] or 'no reason'})"
        )
    forgettable = state not in ("queued", "held")
    if forgettable and ttl_ms == -1:
        return Kind.DRIFTED, "is final, and its status would stay in memory for ever"
    if not forgettable and ttl_ms >= 0:
        return Kind.DRIFTED, f"is {state}, and its status would be forgotten before its end"
    return None
