"""Tell again what customers were told too long ago: after an older copy of Valkey was restored.

Such a copy may say `held` of an order that MongoDB has confirmed since, and no job is left that
would tell it. The order page reads MongoDB and is right all the while; but the status would stay
in memory for ever, and the audit counts it as a second outcome.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import redis

from booking import commands
from booking.commands import ExpireHold
from booking.store import BookingStore
from engine_errors import valkey_errors
from operate.output import Refused, Result
from queues.keys import BOOKING
from queues.reliable import ReliableQueue

PAGE = 500


class Retelling:
    """Finds statuses that differ from their documents, and has the consumer tell them."""

    def __init__(
        self,
        client: redis.Redis,
        store: BookingStore,
        queue: ReliableQueue,
        *,
        backlog_max_jobs: int,
    ) -> None:
        self._client = client
        self._store = store
        self._queue = queue
        self._backlog_max_jobs = backlog_max_jobs

    def retell(self) -> Result:
        """An expiry of the year 1970 ends no hold; but whatever a batch names is told again.

        So the only writer of statuses stays the consumer. Run twice, it changes nothing twice.
        """
        again = unknown = 0
        for order_ids in self._pages():
            behind, without = self._behind(order_ids)
            jobs = [commands.encode(ExpireHold(order_id=order_id, at_ms=0)) for order_id in behind]
            if not self._queue.push(jobs, most_waiting=self._backlog_max_jobs):
                raise Refused(f"The backlog is full. {again} orders are told again; run this "
                              "once more for the others.")
            again += len(behind)
            unknown += without
        data: dict[str, Any] = {"told_again": again, "without_document": unknown}
        lines = [f"{again} orders are told again."]
        if unknown:
            lines.append(f"{unknown} more are decided by their status and have no document: they "
                         "were lost. See `python -m audit`.")
        return Result(data, lines)

    def _pages(self) -> Iterator[list[str]]:
        cursor = None
        while cursor != 0:
            with valkey_errors():
                cursor, names = self._client.scan(
                    cursor or 0, match=BOOKING.status_prefix + "*", count=PAGE
                )
            keys = [name.decode() if isinstance(name, bytes) else name for name in names]
            yield [key.removeprefix(BOOKING.status_prefix) for key in keys]

    def _behind(self, order_ids: list[str]) -> tuple[list[str], int]:
        """Orders that are told otherwise than decided, and how many decided ones are not there."""
        with valkey_errors():
            pipe = self._client.pipeline(transaction=False)
            for order_id in order_ids:
                pipe.hmget(BOOKING.status(order_id), "state", "reason")
            told = {
                order_id: (state.decode(), (reason or b"").decode())
                for order_id, (state, reason) in zip(order_ids, pipe.execute(), strict=True)
                if state
            }
        decided = {
            order.order_id: (str(order.state), str(order.reason or ""))
            for order in self._store.read_orders(list(told))
        }
        behind = [order_id for order_id, words in decided.items() if told[order_id] != words]
        without = sum(1 for order_id, (state, _) in told.items()
                      if state != "queued" and order_id not in decided)
        return behind, without
