"""Booking and cancelling one stay at a supplier of hotel rates, by the order's own key.

The rate is checked again, and booked only at the price that was pinned. A check speaks of the
room, not of the order: another worker that slept may still book after a check that said no. So
every failure says that a stay may exist, and its cancellation settles it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import tenacity

from booking.commands import (
    Command,
    Compensate,
    ReservationCompensated,
    ReservationConfirmed,
    ReservationFailed,
    ReserveStay,
)
from booking.model import STAY_ONLY, Guest, Order, RateOffer, Reason
from errors import SupplierAway, SupplierDeclined
from suppliers.rates import Board, Holder, Rate, RateSupplier
from suppliers.trying import tries

log = logging.getLogger(__name__)
T = TypeVar("T")

# After this many times the timeout of one call, a step begins no further try.
PATIENCE = 2
# Where the customer gave no name, hotels are told this one beside that of the address.
NO_FAMILY_NAME = "Guest"
_REFUSALS = {"sold_out": Reason.SOLD_OUT, "price_changed": Reason.PRICE_CHANGED}


class Stays:
    """Holds no state. Setting `stop` ends a pause between two tries.

    `place` is held around each try: the supplier's limits are those of searches too. One step (the
    check, or the booking) ends within 2 timeouts, a pause and one last try. `settled_after_s` is
    longer than both steps together: what is not found at a supplier by then never comes.
    """

    def __init__(
        self,
        suppliers: Mapping[str, RateSupplier],
        *,
        place: Callable[[RateSupplier], AbstractContextManager[None]],
        timeout_s: float,
        settled_after_s: float,
        attempts: int,
        backoff_max_s: float,
        stop: threading.Event,
        now_ms: Callable[[], int],
    ) -> None:
        self._suppliers = suppliers
        self._place = place
        self._settled_after_ms = int(settled_after_s * 1_000)
        self._now_ms = now_ms
        self._tries = tries(
            stop_after=tenacity.stop_any(tenacity.stop_after_attempt(attempts),
                                         tenacity.stop_after_delay(PATIENCE * timeout_s)),
            backoff_max_s=backoff_max_s, stop=stop,
        )

    def reserve(self, order: Order, job: ReserveStay) -> Command:
        """Check and book; the report. Doing it twice books nothing twice."""
        supplier = self._suppliers.get(job.rate.facts.supplier)
        if supplier is None:
            log.error("order %s: there is no supplier %s", job.order_id, job.rate.facts.supplier)
            return ReservationFailed(order_id=job.order_id, reason=Reason.SUPPLIER_UNREACHABLE)
        try:
            check = self._tries(self._try, supplier, supplier.recheck, rate_of(job.rate))
            if check.outcome != "available" or check.rate is None:
                return _failed(job, _REFUSALS[check.outcome])
            number = self._tries(self._try, supplier, supplier.book, check.rate,
                                 holder_of(order), job.order_id)
        except SupplierDeclined as declined:
            return _failed(job, _REFUSALS.get(declined.reason, Reason.ROOM_DECLINED))
        except SupplierAway as away:
            log.warning("order %s: %s", job.order_id, away)
            return _failed(job, Reason.SUPPLIER_UNREACHABLE)
        return ReservationConfirmed(order_id=job.order_id, hotel_reservation_number=number,
                                    supplier=supplier.name)

    def compensate(self, job: Compensate, order: Order | None) -> Command | None:
        """Cancel the stay; None while it stays owed.

        A supplier that keeps no tombstone says only what there is by now. It is believed once
        no request of ours can be on its way any more.
        """
        supplier = self._suppliers.get(job.supplier)
        if supplier is None:
            log.error("order %s: there is no supplier %s", job.order_id, job.supplier)
            return None
        email = order.email if order else ""
        number = (order.hotel_reservation_number if order else None) or ""
        try:
            settled = self._tries(self._try, supplier, supplier.cancel, job.order_id, email,
                                  number)
        except (SupplierAway, SupplierDeclined) as error:
            log.warning("order %s still owes a cancellation: %s", job.order_id, error)
            return None
        if not settled and order is not None and order.owed_since_ms is not None:
            settled = self._now_ms() - order.owed_since_ms >= self._settled_after_ms
        return ReservationCompensated(order_id=job.order_id) if settled else None

    def _try(self, supplier: RateSupplier, call: Callable[..., T], *what: Any) -> T:
        with self._place(supplier):
            return call(*what)


def rate_of(offer: RateOffer) -> Rate:
    """The pinned rate as its adapter knows it."""
    facts = offer.facts
    board = Board(facts.board) if facts.board in list(Board) else Board.UNKNOWN
    return Rate(hotel_id=facts.hotel_id, supplier=facts.supplier, room=facts.room, board=board,
                price=facts.price, currency=facts.currency, refundable=facts.refundable,
                vendor_key=offer.vendor_key)


def holder_of(order: Order) -> Holder:
    """In whose name is booked: the guest, or what the e-mail address calls its owner."""
    guest = order.guest or Guest()
    own = "".join(c if c.isalpha() else " " for c in order.email.partition("@")[0]).split()
    return Holder(
        given_name=guest.given_name or (own[0].capitalize() if own else NO_FAMILY_NAME),
        family_name=guest.family_name or (own[-1].capitalize() if len(own) > 1
                                          else NO_FAMILY_NAME),
        email=order.email,
    )


def _failed(job: ReserveStay, reason: Reason) -> Command:
    return ReservationFailed(order_id=job.order_id, reason=reason, may_exist=STAY_ONLY,
                             supplier=job.rate.facts.supplier)
