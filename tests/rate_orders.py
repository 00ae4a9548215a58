"""A pinned rate, as orders copy it, for tests that ask no supplier."""

from __future__ import annotations

import threading
from contextlib import nullcontext

from booking.commands import PlaceRateOrder
from booking.model import Guest, RateFacts, RateOffer
from consumer.stays import Stays

OFFER = RateOffer(
    RateFacts(
        id="0" * 32 + "-" + "1" * 16, hotel_id="lisbon-1", hotel="Hotel Mill Lisbon",
        city="Lisbon", room="Double", board="breakfast", check_in="2027-03-01",
        check_out="2027-03-04", guests=2, price="120.00", currency="EUR", refundable=True,
        supplier="perhotel",
    ),
    "a key",
)


def placed(order_id: str = "A") -> PlaceRateOrder:
    return PlaceRateOrder(order_id=order_id, rate=OFFER, email="a@example.org", guest=Guest(),
                          accepted_ms=1_000)


def no_stays() -> Stays:
    """For sagas of packages: there is no supplier of rates."""
    return Stays({}, place=lambda _: nullcontext(), timeout_s=1, settled_after_s=3, attempts=1,
                 backoff_max_s=0.01, stop=threading.Event(), now_ms=lambda: 0)
