"""Expedia Rapid v3 as its documentation gives it."""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from settings import Settings
from suppliers.places.hotel_ids import EXPEDIA_RAPID
from suppliers.simulator.problems import body_as
from suppliers.simulator.vendors.answers import VendorRefusal, answer, either
from suppliers.simulator.vendors.gate import Gate
from suppliers.simulator.vendors.market import Market, Offer, Stay, stay_of
from suppliers.simulator.vendors.stay_book import StayBook

SIGNATURE_WINDOW_S = 300
PROPERTIES_MAX = 250
_AUTHORIZATION = re.compile(r"EAN APIKey=([^,]+),Signature=([0-9a-f]{128}),timestamp=([0-9]{10})")
_REQUIRED = ("checkin", "checkout", "currency", "country_code", "language", "occupancy",
             "rate_plan_count", "sales_channel", "sales_environment")  # fmt: skip
# The header Test asks for an answer, as it does at the real one.
_TESTS = {"service_unavailable": 503, "unknown_internal_error": 500}


class _Guest(msgspec.Struct):
    given_name: str
    family_name: str


class _Booking(msgspec.Struct):
    affiliate_reference_id: str
    email: str
    rooms: list[_Guest]


def blueprint(settings: Settings, gate: Gate, market: Market, stays: StayBook) -> Blueprint:
    """The routes below /expedia_rapid."""
    section = Blueprint("expedia_rapid", __name__, url_prefix="/expedia_rapid/v3")

    def authorise() -> None:
        found = _AUTHORIZATION.fullmatch(request.headers.get("Authorization", ""))
        if found is None or not _is_signed(found[1], found[2], found[3], settings):
            raise VendorRefusal(401, "request_unauthenticated", "Data required to match the "
                                "session's authenticity is missing or wrong.")
        test = request.headers.get("Test", "standard")
        if test in _TESTS:
            raise VendorRefusal(_TESTS[test], test)

    gate.guard(section, authorise, _refusal)

    @section.after_request
    def tell_limits(response: Response) -> Response:
        used_up = response.status_code == 429
        response.headers["Rate-Limit-Minute-Remaining"] = "0" if used_up else "99"
        response.headers["Rate-Limit-Day-Remaining"] = "99"
        reset_s = time.time() + (gate.conduct.retry_after_s if used_up else 60)
        response.headers["Rate-Limit-Minute-Reset"] = str(int(reset_s * 1_000))
        return response

    @section.get("/properties/availability")
    def search() -> Response:
        missing = [name for name in _REQUIRED if not request.args.get(name)]
        ids = request.args.getlist("property_id")
        if missing or not 1 <= len(ids) <= PROPERTIES_MAX:
            raise VendorRefusal(400, "invalid_input", f"missing: {missing}, or not 1 to 250 ids")
        stay = stay_of(request.args["checkin"], request.args["checkout"],
                       request.args["occupancy"].partition("-")[0])
        draw = market.draw()
        found = [document for property_id in ids
                 if (document := _property(market, property_id, stay, draw)) is not None]
        if not found:
            raise VendorRefusal(404, "no_availability", "No availability was found.")
        return answer(found)

    @section.get("/properties/<property_id>/check")
    def check(property_id: str) -> Response:
        outcome, offer = market.check(market.unseal(request.args.get("token", "")))
        if EXPEDIA_RAPID.theirs(offer.hotel_id) != property_id:
            raise VendorRefusal(404, "not_found")
        if outcome == "sold_out":
            return answer({"status": "sold_out"})
        return answer({
            "status": outcome,
            "occupancy_pricing": _pricing(offer),
            "links": {"book": {"method": "POST",
                               "href": f"/v3/itineraries?token={market.seal(offer)}"}},
        })

    @section.post("/itineraries")
    def book() -> Response:
        token = request.args.get("token", "")
        offer = market.unseal(token)
        asked = body_as(_Booking)

        def decide() -> tuple[str, str]:
            outcome, now = market.check(offer)
            if outcome == "sold_out":
                raise VendorRefusal(410, "rooms_unavailable", "The rooms are gone.")
            if outcome == "price_changed":
                raise VendorRefusal(409, "price_mismatch", "The price is another one now.")
            return str(now.price), now.currency

        number = stays.book("expedia_rapid", asked.affiliate_reference_id, token, decide)
        return answer({"itinerary_id": number, "links": {}}, 201)

    @section.get("/itineraries")
    def retrieve() -> Response:
        found = stays.find("expedia_rapid",
                           reference=request.args.get("affiliate_reference_id", ""))
        if found is None:
            raise VendorRefusal(404, "resource_not_found", "no such itinerary")
        cancelled = found.state == "cancelled"
        links = {} if cancelled else {"cancel": {
            "method": "DELETE", "href": f"/v3/itineraries/{found.number}/rooms/1?token=1"}}
        return answer([{"itinerary_id": found.number, "rooms": [
            {"id": "1", "status": "canceled" if cancelled else "booked", "links": links}]}])

    @section.delete("/itineraries/<number>/rooms/<room>")
    def cancel(number: str, room: str) -> Response:
        found = stays.find("expedia_rapid", number=number)
        if found is None:
            raise VendorRefusal(404, "resource_not_found", "no such itinerary")
        stays.cancel("expedia_rapid", found.client_reference)
        return Response(status=204)

    return section


def _is_signed(key: str, given: str, stamp: str, settings: Settings) -> bool:
    if abs(int(stamp) - time.time()) > SIGNATURE_WINDOW_S:
        return False
    text = f"{settings.expedia_rapid_api_key}{settings.expedia_rapid_secret}{stamp}"
    right = hashlib.sha512(text.encode()).hexdigest()
    return key == settings.expedia_rapid_api_key and hmac.compare_digest(given, right)


def _refusal(refused: VendorRefusal) -> Response:
    return answer({"type": refused.code, "message": str(refused)}, refused.status)


def _property(market: Market, property_id: str, stay: Stay, draw: int
              ) -> dict[str, Any] | None:
    hotel_id = EXPEDIA_RAPID.ours(property_id)
    offers = (list(market.offers(hotel_id, stay, request.args["currency"], draw))
              if hotel_id else [])
    if hotel_id is None or not offers:
        return None
    by_room: dict[str, list[Offer]] = {}
    for offer in offers:
        by_room.setdefault(offer.room, []).append(offer)
    rooms = [{"id": str(number), "room_name": name,
              "rates": [_rate(market, property_id, offer) for offer in of_room]}
             for number, (name, of_room) in enumerate(by_room.items())]
    document = {"property_id": property_id, "status": "available", "score": 100, "rooms": rooms}
    if market.is_broken(hotel_id, draw):
        document["rooms"] = None
    return document


def _rate(market: Market, property_id: str, offer: Offer) -> dict[str, Any]:
    check = f"/v3/properties/{property_id}/check?token={market.seal(offer)}"
    penalty = {"start": f"{offer.stay.check_in}T00:00:00.000+00:00", "end":
               f"{offer.stay.check_out}T00:00:00.000+00:00", "nights": "1",
               "currency": offer.currency}
    return {
        "id": f"{offer.draw}{offer.board}", "status": "available", "available_rooms": 5,
        "refundable": offer.refundable,
        "cancel_penalties": [penalty] if offer.refundable else [],
        "bed_groups": {"37321": {"id": "37321", "links": {
            "price_check": {"method": "GET", "href": check}}}},
        "occupancy_pricing": _pricing(offer),
    }


def _pricing(offer: Offer) -> dict[str, Any]:
    money = {"value": either(offer.price, offer.as_text), "currency": offer.currency}
    return {str(offer.stay.guests): {"totals": {
        "inclusive": {"request_currency": money, "billable_currency": money},
    }}}
