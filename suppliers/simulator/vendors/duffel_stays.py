"""Duffel Stays as its documentation gives it."""

from __future__ import annotations

import datetime as dt
import hmac
from email.utils import format_datetime
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from settings import Settings
from suppliers.places import hotel
from suppliers.places.hotel_ids import DUFFEL_STAYS
from suppliers.simulator.problems import body_as
from suppliers.simulator.vendors.answers import VendorRefusal, answer
from suppliers.simulator.vendors.gate import Gate
from suppliers.simulator.vendors.market import Market, Offer, Stay, stay_of
from suppliers.simulator.vendors.stay_book import StayBook, StayEntry

RATE_LIFE = dt.timedelta(minutes=30)
_BOARDS = {"RO": "room_only", "BB": "breakfast", "HB": "half_board"}


class _Accommodation(msgspec.Struct):
    ids: list[str]


class _SearchData(msgspec.Struct):
    check_in_date: str
    check_out_date: str
    rooms: int
    guests: list[dict[str, Any]]
    accommodation: _Accommodation


class _Search(msgspec.Struct):
    data: _SearchData


class _QuoteData(msgspec.Struct):
    rate_id: str


class _Quote(msgspec.Struct):
    data: _QuoteData


class _BookingData(msgspec.Struct):
    quote_id: str
    email: str
    phone_number: str
    guests: list[dict[str, str]]
    metadata: dict[str, str]


class _Booking(msgspec.Struct):
    data: _BookingData


def blueprint(settings: Settings, gate: Gate, market: Market, stays: StayBook) -> Blueprint:
    """The routes below /duffel_stays."""
    section = Blueprint("duffel_stays", __name__, url_prefix="/duffel_stays/stays")

    def authorise() -> None:
        right = f"Bearer {settings.duffel_stays_access_token}"
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), right.encode()):
            raise VendorRefusal(401, "access_token_not_found", "the access token is not known")
        if request.headers.get("Duffel-Version") != "v2":
            raise VendorRefusal(400, "unsupported_version", "Duffel-Version: v2")

    # What is registered later runs earlier: this one has the last word, after the gate.
    @section.after_request
    def tell_limits(response: Response) -> Response:
        pause_s = gate.conduct.retry_after_s if response.status_code == 429 else 60
        reset = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=pause_s)
        response.headers["RateLimit-Limit"] = "120"
        response.headers["RateLimit-Remaining"] = "0" if response.status_code == 429 else "119"
        response.headers["RateLimit-Reset"] = format_datetime(reset, usegmt=True)
        # Duffel names no pause in the usual way.
        response.headers.pop("Retry-After", None)
        return response

    gate.guard(section, authorise, _refusal)

    @section.post("/search")
    def search() -> Response:
        asked = body_as(_Search).data
        stay = stay_of(asked.check_in_date, asked.check_out_date, len(asked.guests))
        draw = market.draw()
        results = [result for their_id in asked.accommodation.ids
                   if (result := _result(market, their_id, stay, draw)) is not None]
        return answer({"data": {"results": results, "created_at": _now().isoformat()}})

    @section.post("/search_results/<result_id>/actions/fetch_all_rates")
    def fetch_all_rates(result_id: str) -> Response:
        # The id of a result is its sealed cheapest offer: hotel, stay and draw are inside.
        found = market.unseal(result_id)
        draw = found.draw
        offers = list(market.offers(found.hotel_id, found.stay, found.currency, draw))
        rooms = [{"name": offer.room, "beds": [{"type": "double", "count": 1}],
                  "rates": [_rate(market, offer)]} for offer in offers]
        if market.is_broken(found.hotel_id, draw) and rooms:
            rooms[0]["rates"] = [{**_rate(market, offers[0]), "total_amount": None}]
        accommodation = {"id": DUFFEL_STAYS.theirs(found.hotel_id), "rooms": rooms}
        return answer({"data": {"id": result_id, "accommodation": accommodation,
                                "expires_at": _expires()}})

    @section.post("/quotes")
    def quote() -> Response:
        outcome, offer = market.check(market.unseal(body_as(_Quote).data.rate_id))
        if outcome == "sold_out":
            raise VendorRefusal(422, "rate_unavailable", "the rate is gone")
        return answer({"data": {"id": market.seal(offer), "total_amount": str(offer.price),
                                "total_currency": offer.currency}}, 201)

    @section.post("/bookings")
    def book() -> Response:
        asked = body_as(_Booking).data
        offer = market.unseal(asked.quote_id)

        def decide() -> tuple[str, str]:
            outcome, now = market.check(offer)
            if outcome == "sold_out":
                raise VendorRefusal(422, "quote_unavailable", "the quote is gone")
            if outcome == "price_changed":
                raise VendorRefusal(422, "price_changed", "the price is another one now")
            return str(now.price), now.currency

        number = stays.book("duffel_stays", asked.metadata.get("client_reference", ""),
                            asked.quote_id, decide)
        return answer({"data": {"id": f"bok_{number}", "reference": number,
                                "status": "confirmed"}}, 201)

    @section.get("/bookings")
    def listing() -> Response:
        # In the order of their references, where Duffel has the latest first.
        after = request.args.get("after", "")
        found = stays.page(("duffel_stays", after), 200)
        page = [_booked(entry) for entry in found if entry.vendor == "duffel_stays"]
        more = found[-1].client_reference if len(page) == 200 else None
        return answer({"data": page, "meta": {"after": more, "limit": 200}})

    @section.post("/bookings/<booking_id>/actions/cancel")
    def cancel(booking_id: str) -> Response:
        found = stays.find("duffel_stays", number=booking_id.removeprefix("bok_"))
        if found is None:
            raise VendorRefusal(404, "not_found", "no such booking")
        stays.cancel("duffel_stays", found.client_reference)
        return answer({"data": _booked(msgspec.structs.replace(found, state="cancelled"))})

    return section


def _refusal(refused: VendorRefusal) -> Response:
    error = {"type": "api_error" if refused.status >= 500 else "invalid_request_error",
             "code": refused.code, "title": refused.code.replace("_", " "),
             "message": str(refused)}
    return answer({"errors": [error], "meta": {"status": refused.status}}, refused.status)


def _booked(entry: StayEntry) -> dict[str, Any]:
    return {"id": f"bok_{entry.number}", "reference": entry.number,
            "status": "confirmed" if entry.state == "booked" else "cancelled",
            "metadata": {"client_reference": entry.client_reference}}


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _expires() -> str:
    return (_now() + RATE_LIFE).isoformat()


def _result(market: Market, their_id: str, stay: Stay, draw: int) -> dict[str, Any] | None:
    hotel_id = DUFFEL_STAYS.ours(their_id)
    facts = hotel(hotel_id) if hotel_id else None
    if hotel_id is None or facts is None:
        return None
    offers = list(market.offers(hotel_id, stay, market.currency, draw))
    if not offers:
        return None
    cheapest = msgspec.structs.replace(min(offers, key=lambda offer: offer.price), draw=draw)
    return {"id": market.seal(cheapest), "accommodation": {"id": their_id, "name": facts.name},
            "cheapest_rate_total_amount": str(cheapest.price),
            "cheapest_rate_currency": cheapest.currency, "expires_at": _expires()}


def _rate(market: Market, offer: Offer) -> dict[str, Any]:
    price = str(offer.price)
    timeline = [{"before": f"{offer.stay.check_in - dt.timedelta(days=1)}T12:00:00Z",
                 "refund_amount": price, "currency": offer.currency}]
    return {
        "id": market.seal(offer), "total_amount": price, "total_currency": offer.currency,
        "base_amount": price, "base_currency": offer.currency,
        "due_at_accommodation_amount": "0.00", "due_at_accommodation_currency": offer.currency,
        "board_type": _BOARDS[offer.board], "payment_type": "pay_now",
        "cancellation_timeline": timeline if offer.refundable else [],
        "quantity_available": 3, "expires_at": _expires(),
    }
