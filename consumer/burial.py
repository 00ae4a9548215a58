"""The order of a job that cannot be applied: it ends here, or is told as it stands."""

from __future__ import annotations

import logging

from booking import commands
from booking.commands import Command, PlaceOrder, PlaceRateOrder
from booking.dead_letters import buried_order, named_by, order_of_status
from booking.model import Order
from booking.store import BookingStore
from errors import BerthError, BrokenJob
from queues.reliable import BookingQueue

log = logging.getLogger(__name__)


class Burial:
    """Reads and ends orders; the job itself is kept by whoever buries it."""

    def __init__(self, queue: BookingQueue, store: BookingStore) -> None:
        self._queue = queue
        self._store = store

    def letter_is_spared(self, raw: bytes, most: int) -> bool:
        """Whether the letter of this job may be left out, because `most` of them wait already.

        An expiry's may: its hold stands in the order, and the sweep asks again. Each time that
        letter would come once more, and the list would grow for ever.
        """
        if named_by(raw)[1] != "expire_hold" or self._queue.dead_letters() < most:
            return False
        log.error("no dead letter is kept of an expiry: %d wait already", most)
        return True

    def order_of(self, raw: bytes, now_ms: int) -> tuple[Order | None, bool]:
        """The order that a buried job names, and whether the job was to place it.

        One that was to be placed is written as rejected. A crash after that brings the job back,
        and it is found written.
        """
        command: Command | None = None
        try:
            job = command = commands.decode_command(raw)
            order_id, places = job.order_id, isinstance(job, PlaceOrder | PlaceRateOrder)
        except BrokenJob:
            order_id, kind = named_by(raw)
            places = not kind or kind.startswith("place_")
        if not order_id:
            return None, False
        try:
            order = self._store.find_order(order_id)
            if order is None and places:
                if isinstance(command, PlaceOrder | PlaceRateOrder):
                    order = buried_order(command, now_ms)
                else:
                    # What the door wrote down beside the job says whose order it was.
                    order = order_of_status(order_id, self._queue.status(order_id), now_ms)
                if order is not None:
                    self._store.write([(None, order)])
        except BerthError:
            raise
        except Exception:
            # What can neither be read nor be written as rejected must not stop the road for all
            # others. The dead letter keeps it.
            log.exception("the order %r of a buried job could not be ended", order_id)
            return None, False
        return order, places
