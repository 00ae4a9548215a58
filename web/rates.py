"""A rate of a search that lives, as an order copies it."""

from __future__ import annotations

from booking.intake import Accepted, RateGone
from booking.model import Guest, RateFacts, RateOffer
from search.model import PinnedRate
from web import visits
from web.services import services


def offer_of(pinned: PinnedRate) -> RateOffer:
    """What the order keeps, for the search may expire before it is decided."""
    rate, query = pinned.rate, pinned.query
    destinations = services().destinations
    hotel = destinations.hotel(rate.hotel_id)
    place = destinations.places.get(query.destination)
    return RateOffer(
        RateFacts(
            id=rate.rate_id,
            hotel_id=rate.hotel_id,
            hotel=hotel.name if hotel else rate.hotel_id,
            city=place.name if place else query.destination,
            room=rate.room,
            board=rate.board,
            check_in=query.check_in.isoformat(),
            check_out=query.check_out.isoformat(),
            guests=query.guests,
            price=rate.price,
            currency=rate.currency,
            refundable=rate.refundable,
            supplier=rate.supplier,
        ),
        rate.vendor_key,
    )


def order_rate(rate_id: str, email: str, guest: Guest, key: str | None) -> Accepted:
    """Queue an order of the rate. Raises a Refusal, RateGone among them, or EngineAway.

    A key that was used before brings its answer also after the search has expired.
    """
    intake = services().intake
    pinned = services().entries.find_rate(rate_id)
    if pinned is not None:
        accepted = intake.accept_rate(offer_of(pinned), email, guest, key)
        visits.booked(email, pinned.rate.hotel_id)
        return accepted
    before = intake.accepted_before(rate_id, email, guest, key) if key is not None else None
    if before is None:
        raise RateGone("no search that lives has this rate")
    return before
