"""A vendor that answers for one hotel a request, behind OAuth2 client credentials.

The rates are as the rate loader of the seed asks for them; POST /rates/check and POST /bookings
are the simulator's own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from decimal import Decimal
from typing import Any

import msgspec
from flask import Blueprint, Response, request

from settings import Settings
from suppliers.places import number_of
from suppliers.simulator.problems import body_as
from suppliers.simulator.vendors.answers import VendorRefusal, answer, either
from suppliers.simulator.vendors.gate import Gate
from suppliers.simulator.vendors.market import Market, Offer, stay_of
from suppliers.simulator.vendors.stay_book import StayBook

_BOARDS = {"RO": "room_only", "BB": "breakfast", "HB": "half_board"}
_TOKEN_ENDPOINT = "token"  # noqa: S105 - the name of a route


class _Check(msgspec.Struct):
    rate_id: str


class _Booking(msgspec.Struct):
    rate_id: str
    price: Decimal
    currency: str
    reference: str
    holder: dict[str, str]


def blueprint(settings: Settings, gate: Gate, market: Market, stays: StayBook) -> Blueprint:
    """The routes below /perhotel."""
    section = Blueprint("perhotel", __name__, url_prefix="/perhotel")

    def authorise() -> None:
        given = request.headers.get("Authorization", "")
        if (request.endpoint or "").endswith(f".{_TOKEN_ENDPOINT}"):
            account = f"{settings.perhotel_client_id}:{settings.perhotel_client_secret}"
            right = f"Basic {base64.b64encode(account.encode()).decode()}"
            if not hmac.compare_digest(given.encode(), right.encode()):
                raise VendorRefusal(401, "invalid_client")
        elif not _is_good(given.removeprefix("Bearer "), settings, gate.conduct.token_life_s):
            raise VendorRefusal(401, "invalid_token")

    gate.guard(section, authorise, _refusal)

    @section.post("/oauth/token", endpoint=_TOKEN_ENDPOINT)
    def token() -> Response:
        if request.form.get("grant_type") != "client_credentials":
            raise VendorRefusal(400, "unsupported_grant_type")
        issued = str(time.time_ns())
        return answer({"access_token": f"{issued}.{_mark(issued, settings)}",
                       "token_type": "Bearer", "expires_in": gate.conduct.token_life_s})

    @section.get("/rates/<hotel_id>")
    def rates(hotel_id: str) -> Response:
        stay = stay_of(request.args.get("check_in", ""), request.args.get("check_out", ""),
                       request.args.get("guests", ""))
        if number_of(hotel_id) is None:
            raise VendorRefusal(404, "unknown_hotel")
        draw = market.draw()
        rooms = [_room(market, offer)
                 for offer in market.offers(hotel_id, stay, market.currency, draw)]
        if market.is_broken(hotel_id, draw) and rooms:
            rooms[0]["price"] = None
        return answer({"hotel_id": hotel_id, "currency": market.currency, "rooms": rooms})

    @section.post("/rates/check")
    def check() -> Response:
        outcome, offer = market.check(market.unseal(body_as(_Check).rate_id))
        if outcome == "sold_out":
            return answer({"status": "sold_out"})
        return answer({"status": outcome, "price": str(offer.price), "currency": offer.currency})

    @section.post("/bookings")
    def book() -> Response:
        asked = body_as(_Booking)
        offer = market.unseal(asked.rate_id)

        def decide() -> tuple[str, str]:
            outcome, now = market.check(offer)
            if outcome == "sold_out":
                raise VendorRefusal(409, "sold_out")
            if (now.price, now.currency) != (asked.price, asked.currency):
                raise VendorRefusal(409, "price_changed")
            return str(now.price), now.currency

        number = stays.book("perhotel", asked.reference, asked.rate_id, decide)
        return answer({"reference": number, "status": "confirmed"}, 201)

    @section.delete("/bookings/<client_reference>")
    def cancel(client_reference: str) -> Response:
        stays.cancel("perhotel", client_reference[:100])
        return Response(status=204)

    return section


def _mark(issued: str, settings: Settings) -> str:
    text = f"{issued}{settings.perhotel_client_secret}{settings.simulator_seed}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _is_good(token: str, settings: Settings, life_s: int) -> bool:
    """A token says when it was issued: shortening its life ends those that are out, too."""
    issued, _, mark = token.partition(".")
    if not hmac.compare_digest(mark.encode(), _mark(issued, settings).encode()):
        return False
    return time.time_ns() - int(issued) < life_s * 1_000_000_000


def _refusal(refused: VendorRefusal) -> Response:
    return answer({"error": refused.code, "message": str(refused)}, refused.status)


def _room(market: Market, offer: Offer) -> dict[str, Any]:
    return {"rate_id": market.seal(offer), "name": offer.room, "board": _BOARDS[offer.board],
            "price": either(offer.price, offer.as_text), "currency": offer.currency,
            "refundable": offer.refundable, "available": 4}
