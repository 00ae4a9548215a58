"""Ascenda as its public clients use it: polled, without authentication.

Its published clients show no booking call; POST /api/bookings here is the simulator's own.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from flask import Blueprint, Response, request

from settings import Settings
from suppliers.places import cities
from suppliers.places.hotel_ids import ASCENDA
from suppliers.simulator.problems import body_as
from suppliers.simulator.vendors.answers import VendorRefusal, answer
from suppliers.simulator.vendors.gate import Gate
from suppliers.simulator.vendors.market import Market, Offer, Stay, stay_of
from suppliers.simulator.vendors.stay_book import StayBook

# A completed search is answered as it is for this long; then a poll begins a new one.
SEARCH_LIFE_S = 60.0
SEARCHES_MAX = 2_000
# Until this part of the time has passed, an answer has no hotels at all.
NOTHING_BEFORE = 0.25


class _Search(NamedTuple):
    begun: float
    takes_s: float
    draw: int


class _Guest(msgspec.Struct):
    first_name: str
    last_name: str
    email: str


class _Booking(msgspec.Struct):
    hotel_id: str
    room_key: str
    price: Decimal
    currency: str
    client_reference: str
    guest: _Guest


class Searches:
    """The searches under way, by their parameters; the oldest make room for new ones."""

    def __init__(self, gate: Gate, market: Market) -> None:
        self._gate = gate
        self._market = market
        self._searches: OrderedDict[tuple[str, ...], _Search] = OrderedDict()
        self._changing = threading.Lock()

    def poll(self, key: tuple[str, ...], *, renew: bool) -> tuple[_Search, float]:
        """The search and the part of its time that has passed (0 to 1). Begun when there is
        none, or when it is old and `renew` is set."""
        now = time.monotonic()
        with self._changing:
            found = self._searches.get(key)
            if found is None or (
                renew and now > found.begun + found.takes_s + SEARCH_LIFE_S
            ):
                found = _Search(now, self._gate.latency_s(), self._market.draw())
                self._searches[key] = found
                while len(self._searches) > SEARCHES_MAX:
                    self._searches.popitem(last=False)
        passed = now - found.begun
        return found, 1.0 if passed >= found.takes_s else passed / found.takes_s


def blueprint(settings: Settings, gate: Gate, market: Market, stays: StayBook) -> Blueprint:
    """The routes below /ascenda."""
    section = Blueprint("ascenda", __name__, url_prefix="/ascenda/api")
    searches = Searches(gate, market)
    slugs = {city.ascenda_id: city.slug for city in cities().values()}

    def authorise() -> None:
        """Nobody has to say who they are."""

    gate.guard(section, authorise, _refusal, polled=True)

    def asked() -> tuple[tuple[str, ...], str, Stay, str]:
        slug = slugs.get(request.args.get("destination_id", ""))
        if slug is None or not request.args.get("partner_id"):
            raise VendorRefusal(422, "unknown_destination")
        stay = stay_of(request.args.get("checkin", ""), request.args.get("checkout", ""),
                       request.args.get("guests", "").partition("|")[0])
        currency = request.args.get("currency", "USD")
        return (slug, repr(stay), currency), slug, stay, currency

    @section.get("/hotels/prices")
    def prices() -> Response:
        key, slug, stay, currency = asked()
        search, done = searches.poll(key, renew=True)
        document: dict[str, Any] = _envelope(done, currency)
        ids = cities()[slug].hotel_ids()
        if done >= NOTHING_BEFORE:
            shown = ids if done == 1 else ids[: int(len(ids) * done)]
            document["hotels"] = [
                hotel for hotel_id in shown
                if (hotel := _hotel(market, hotel_id, stay, currency, search.draw)) is not None]
        return answer(document)

    @section.get("/hotels/<their_id>/price")
    def price(their_id: str) -> Response:
        key, _, stay, currency = asked()
        hotel_id = ASCENDA.ours(their_id)
        if hotel_id is None:
            raise VendorRefusal(404, "unknown_hotel")
        search, _ = searches.poll(key, renew=False)
        rooms = []
        for offer in market.offers(hotel_id, stay, currency, search.draw):
            outcome, now = market.check(offer)
            if outcome != "sold_out":
                rooms.append(_room(market, now))
        return answer(_envelope(1.0, currency) | {"rooms": rooms})

    @section.post("/bookings")
    def book() -> Response:
        wanted = body_as(_Booking)
        offer = market.unseal(wanted.room_key)

        def decide() -> tuple[str, str]:
            outcome, now = market.check(offer)
            if outcome == "sold_out":
                raise VendorRefusal(409, "sold_out")
            if (now.price, now.currency) != (wanted.price, wanted.currency):
                raise VendorRefusal(409, "price_changed")
            return str(now.price), now.currency

        number = stays.book("ascenda", wanted.client_reference, wanted.room_key, decide)
        return answer({"reference": number, "status": "confirmed"}, 201)

    @section.delete("/bookings/<client_reference>")
    def cancel(client_reference: str) -> Response:
        stays.cancel("ascenda", client_reference[:100])
        return Response(status=204)

    return section


def _refusal(refused: VendorRefusal) -> Response:
    return answer({"error": refused.code, "message": str(refused)}, refused.status)


def _envelope(done: float, currency: str) -> dict[str, Any]:
    completed = done == 1
    return {"searchCompleted": None, "completed": completed, "status": None,
            "currency": currency, "body": None}


def _hotel(market: Market, hotel_id: str, stay: Stay, currency: str, draw: int
           ) -> dict[str, Any] | None:
    offers = list(market.offers(hotel_id, stay, currency, draw))
    if not offers:
        return None
    price = min(offer.price for offer in offers)
    # The amounts that are not converted are in another currency: nobody may take them for these.
    inner = (price * Decimal("1.1")).quantize(Decimal("0.01"))
    document = {
        "id": ASCENDA.theirs(hotel_id), "searchRank": 0.9, "price_type": "multi",
        "max_cash_payment": inner, "coverted_max_cash_payment": price,
        "points": int(inner * 50), "bonuses": 0, "lowest_price": inner, "price": inner,
        "converted_price": price, "lowest_converted_price": price,
        "market_rates": [{"supplier": "expedia", "rate": inner}],
    }
    if market.is_broken(hotel_id, draw):
        document["converted_price"] = "n/a"
    return document


def _room(market: Market, offer: Offer) -> dict[str, Any]:
    return {"key": market.seal(offer), "roomNormalizedDescription": offer.room,
            "free_cancellation": offer.refundable, "converted_price": offer.price,
            "price": (offer.price * Decimal("1.1")).quantize(Decimal("0.01")),
            "chargeableRate": offer.price}
