"""Hotelbeds APItude as its documentation gives it."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import hmac
import time
from decimal import Decimal
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from settings import Settings
from suppliers.places import hotel
from suppliers.places.hotel_ids import HOTELBEDS
from suppliers.simulator.problems import body_as
from suppliers.simulator.vendors.answers import VendorRefusal, answer, either
from suppliers.simulator.vendors.gate import Gate
from suppliers.simulator.vendors.market import Market, Offer, Stay, stay_of
from suppliers.simulator.vendors.stay_book import StayBook, StayEntry

SIGNATURE_WINDOW_S = 300
HOTELS_MAX = 2_000


class _Dates(msgspec.Struct, rename="camel"):
    check_in: str
    check_out: str


class _Occupancy(msgspec.Struct):
    rooms: int
    adults: int
    children: int


class _Hotels(msgspec.Struct):
    hotel: list[int]


class _Search(msgspec.Struct):
    stay: _Dates
    occupancies: list[_Occupancy]
    hotels: _Hotels


class _RateKey(msgspec.Struct, rename="camel"):
    rate_key: str


class _Check(msgspec.Struct):
    rooms: list[_RateKey]


class _Holder(msgspec.Struct):
    name: str
    surname: str


class _Booking(msgspec.Struct, rename="camel"):
    holder: _Holder
    client_reference: str
    rooms: list[_RateKey]
    tolerance: Decimal = Decimal(0)


def blueprint(settings: Settings, gate: Gate, market: Market, stays: StayBook) -> Blueprint:
    """The routes below /hotelbeds."""
    section = Blueprint("hotelbeds", __name__, url_prefix="/hotelbeds/hotel-api/1.0")

    def authorise() -> None:
        key = request.headers.get("Api-key", "")
        given = request.headers.get("X-Signature", "")
        if key != settings.hotelbeds_api_key or not _is_signed(given, settings):
            raise VendorRefusal(401, "AUTHORIZATION_ERROR", "Authorization failed")

    gate.guard(section, authorise, _refusal)

    @section.after_request
    def pack(response: Response) -> Response:
        if response.status_code == 200 and not response.is_streamed and "gzip" in \
                request.headers.get("Accept-Encoding", ""):
            response.set_data(gzip.compress(response.get_data(), 1))
            response.headers["Content-Encoding"] = "gzip"
        return response

    @section.post("/hotels")
    def search() -> Response:
        asked = body_as(_Search)
        [occupancy] = asked.occupancies[:1] or [_Occupancy(1, 0, 0)]
        if not 1 <= len(asked.hotels.hotel) <= HOTELS_MAX:
            raise VendorRefusal(400, "INVALID_DATA", "hotels: 1 to 2000")
        stay = stay_of(asked.stay.check_in, asked.stay.check_out, occupancy.adults)
        draw = market.draw()
        found = [document for code in asked.hotels.hotel
                 if (document := _hotel_document(market, code, stay, draw)) is not None]
        return answer({"auditData": _audit(), "hotels": {
            "hotels": found, "checkIn": stay.check_in, "checkOut": stay.check_out,
            "total": len(found)} if found else {"total": 0}})

    @section.post("/checkrates")
    def check() -> Response:
        offer = _one(body_as(_Check).rooms, market)
        outcome, offer = market.check(offer)
        if outcome == "sold_out":
            raise VendorRefusal(400, "PRODUCT_ERROR", "Insufficient allotment")
        document = _facts(offer.hotel_id) | {
            "currency": offer.currency, "rooms": _rooms(market, [offer])}
        return answer({"auditData": _audit(), "hotel": document})

    @section.post("/bookings")
    def book() -> Response:
        asked = body_as(_Booking)
        offer = _one(asked.rooms, market)

        def decide() -> tuple[str, str]:
            outcome, now = market.check(offer)
            if outcome == "sold_out":
                raise VendorRefusal(400, "PRODUCT_ERROR", "Insufficient allotment")
            if now.price > offer.price * (1 + asked.tolerance / 100):
                raise VendorRefusal(400, "PRICE_INCREASED", "Price has increased")
            return str(now.price), now.currency

        number = stays.book("hotelbeds", asked.client_reference, asked.rooms[0].rate_key, decide)
        return answer({"auditData": _audit(), "booking": {
            "reference": number, "clientReference": asked.client_reference,
            "status": "CONFIRMED"}})

    @section.get("/bookings")
    def listing() -> Response:
        found = stays.find("hotelbeds", reference=request.args.get("clientReference", ""))
        bookings = [_booked(found)] if found else []
        return answer({"auditData": _audit(), "bookings": {
            "bookings": bookings, "from": 1, "to": 25, "total": len(bookings)}})

    @section.get("/bookings/<number>")
    def detail(number: str) -> Response:
        found = stays.find("hotelbeds", number=number)
        if found is None:
            raise VendorRefusal(404, "INVALID_DATA", "no such booking")
        return answer({"auditData": _audit(), "booking": _booked(found)})

    @section.delete("/bookings/<number>")
    def cancel(number: str) -> Response:
        found = stays.find("hotelbeds", number=number)
        if found is None:
            raise VendorRefusal(404, "INVALID_DATA", "no such booking")
        if request.args.get("cancellationFlag") == "CANCELLATION":
            stays.cancel("hotelbeds", found.client_reference)
            found = msgspec.structs.replace(found, state="cancelled")
        return answer({"auditData": _audit(), "booking": _booked(found)})

    return section


def _is_signed(given: str, settings: Settings) -> bool:
    """A signature holds its second inside: those of five minutes around are tried."""
    now = int(time.time())
    base = hashlib.sha256(
        f"{settings.hotelbeds_api_key}{settings.hotelbeds_secret}".encode())
    # Nearest first: a clock that is right is found at once.
    for offset in sorted(range(-SIGNATURE_WINDOW_S, SIGNATURE_WINDOW_S + 1), key=abs):
        digest = base.copy()
        digest.update(str(now + offset).encode())
        if hmac.compare_digest(digest.hexdigest().encode(), given.encode()):
            return True
    return False


def _refusal(refused: VendorRefusal) -> Response:
    return answer({"error": {"code": refused.code, "message": str(refused)}}, refused.status)


def _booked(entry: StayEntry) -> dict[str, Any]:
    return {"reference": entry.number, "clientReference": entry.client_reference,
            "status": "CONFIRMED" if entry.state == "booked" else "CANCELLED"}


def _audit() -> dict[str, str]:
    return {"processTime": "12", "timestamp": dt.datetime.now(dt.UTC).isoformat(), "token": "0"}


def _one(rooms: list[_RateKey], market: Market) -> Offer:
    if len(rooms) != 1:
        raise VendorRefusal(400, "INVALID_DATA", "rooms: one key a call")
    return market.unseal(rooms[0].rate_key)


def _hotel_document(
    market: Market, code: int, stay: Stay, draw: int
) -> dict[str, Any] | None:
    hotel_id = HOTELBEDS.ours(str(code))
    offers = list(market.offers(hotel_id, stay, market.currency, draw)) if hotel_id else []
    if hotel_id is None or not offers:
        return None
    prices = [offer.price for offer in offers]
    document = _facts(hotel_id) | {
        "minRate": min(prices), "maxRate": str(max(prices)), "currency": offers[0].currency,
        "rooms": _rooms(market, offers)}
    if market.is_broken(hotel_id, draw):
        document["currency"] = None
    return document


def _facts(hotel_id: str) -> dict[str, Any]:
    facts = hotel(hotel_id)
    assert facts is not None
    return {"code": facts.number, "name": facts.name, "categoryCode": f"{facts.stars}EST",
            "destinationCode": facts.city.hotelbeds_code, "zoneCode": 1,
            "latitude": str(facts.latitude), "longitude": str(facts.longitude)}


def _rooms(market: Market, offers: list[Offer]) -> list[dict[str, Any]]:
    """Offers of the same room stand together."""
    by_room: dict[str, list[Offer]] = {}
    for offer in offers:
        by_room.setdefault(offer.room, []).append(offer)
    return [{"code": f"R{number}", "name": name,
             "rates": [_rate(market, offer) for offer in of_room]}
            for number, (name, of_room) in enumerate(by_room.items())]


def _rate(market: Market, offer: Offer) -> dict[str, Any]:
    # Refundable until noon of the day before; what is not costs everything from now on.
    begins = (f"{offer.stay.check_in - dt.timedelta(days=1)}T12:00:00+00:00"
              if offer.refundable else "2020-01-01T00:00:00+00:00")
    return {
        "rateKey": market.seal(offer),
        "rateClass": "NOR" if offer.refundable else "NRF",
        "rateType": "BOOKABLE" if offer.settled or offer.refundable else "RECHECK",
        "net": either(offer.price, offer.as_text),
        "allotment": 9,
        "paymentType": "AT_WEB",
        "boardCode": offer.board,
        "boardName": offer.board,
        "cancellationPolicies": [{"amount": str(offer.price), "from": begins}],
        "rooms": 1, "adults": offer.stay.guests, "children": 0,
    }
