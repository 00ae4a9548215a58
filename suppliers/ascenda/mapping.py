"""Ascenda documents -> rates. Pure: no call, no clock."""

from __future__ import annotations

from decimal import Decimal

import msgspec

import shapes
from errors import SupplierAway, SupplierDeclined
from suppliers import reading
from suppliers.places import cities
from suppliers.places.hotel_ids import ASCENDA
from suppliers.rates import (
    Board,
    FetchedChunk,
    Holder,
    Part,
    Rate,
    RateQuery,
    Recheck,
    Unreadable,
    currency,
    price,
    rechecked,
)

NAME = "ascenda"
REFERENCE_MAX = 40
# A destination's answer has a price per hotel and no word on the room.
_ANY_ROOM = "The hotel's best price"


class _Prices(msgspec.Struct):
    """The amounts of a hotel or room; see `_amount` for which of them counts."""

    converted_price: Decimal | None = None
    lowest_converted_price: Decimal | None = None
    # The misspelling is the vendor's; the right spelling is read as well, should it be mended.
    coverted_max_cash_payment: Decimal | None = None
    converted_max_cash_payment: Decimal | None = None
    price: Decimal | None = None
    lowest_price: Decimal | None = None


class _HotelId(msgspec.Struct):
    id: str


class _Room(_Prices, kw_only=True):
    key: str
    room_description: str | None = msgspec.field(default=None, name="roomNormalizedDescription")
    free_cancellation: bool | None = None


class _Envelope(msgspec.Struct):
    completed: bool | None = None
    currency: str | None = None
    hotels: list[msgspec.Raw] | None = None
    rooms: list[msgspec.Raw] | None = None


class _Booked(msgspec.Struct):
    reference: str


class _Refusal(msgspec.Struct):
    error: str


class Key(msgspec.Struct, frozen=True):
    """What recheck and booking need: the query again. `room` comes with the recheck."""

    hotel: str
    query: dict[str, str]
    room: str = ""


def prices_query(query: RateQuery, partner_id: str) -> dict[str, str]:
    """Parameters of GET /api/hotels/prices, and of a single hotel's prices."""
    return {
        "destination_id": cities()[query.destination].ascenda_id,
        "checkin": query.check_in.isoformat(),
        "checkout": query.check_out.isoformat(),
        "lang": "en_US",
        "currency": query.currency,
        "country_code": "US",
        "guests": str(query.guests),
        "partner_id": partner_id,
    }


def hotel_prices(
    body: bytes, part: Part, asked: dict[str, str], known: set[str]
) -> tuple[bool, list[FetchedChunk]]:
    """Answer of one poll -> whether it was the last, and a chunk per hotel not yet in `known`.

    Adds to `known`. What is unreadable may only be unfinished: it becomes an error in the last
    answer alone. Raises SupplierAway for garbage.
    """
    found = reading.document(body, _Envelope)
    completed = found.completed is True
    harvest = reading.Harvest(NAME, set(part.hotel_ids) - known, by_destination=True)
    for hotel_id, hotel in harvest.hotels(found.hotels or (), _Prices, _HotelId, ASCENDA.ours):
        harvest.rate(hotel_id, lambda hotel_id=hotel_id, hotel=hotel: _rate(  # type: ignore[misc]
            hotel_id, hotel, found.currency, asked))
    gathered = harvest.chunk("")
    known.update(rate.hotel_id for rate in gathered.rates)
    chunks = [FetchedChunk(rate.hotel_id, (rate,)) for rate in gathered.rates]
    if completed and gathered.errors:
        chunks.append(FetchedChunk("errors", (), gathered.errors))
    return completed, chunks


def _rate(hotel_id: str, hotel: _Prices, code: str | None, asked: dict[str, str]) -> Rate:
    their_id = ASCENDA.theirs(hotel_id) or ""
    amount, currency_code = _amount(hotel, code)
    return Rate(
        hotel_id=hotel_id,
        supplier=NAME,
        room=_ANY_ROOM,
        board=Board.UNKNOWN,
        price=price(amount, currency_code),
        currency=currency_code,
        refundable=False,
        vendor_key=reading.vendor_key(Key(their_id, asked)),
    )


def _amount(prices: _Prices, code: str | None) -> tuple[Decimal, str]:
    """The converted amounts are in the envelope's currency; the others only where none is."""
    if code is None:
        raise Unreadable("prices without a currency")
    for amount in (prices.converted_price, prices.lowest_converted_price,
                   prices.coverted_max_cash_payment, prices.converted_max_cash_payment,
                   prices.price, prices.lowest_price):  # fmt: skip
        if amount is not None:
            return amount, currency(code)
    raise Unreadable("no price in any of its fields")


def room_prices(body: bytes, pinned: Rate) -> tuple[bool, Recheck]:
    """Answer of one poll of a single hotel -> whether it was the last, and the best room.

    Raises SupplierAway for garbage, and when no room of several can be read.
    """
    found = reading.document(body, _Envelope)
    rooms, unreadable = [], ""
    for raw in found.rooms or ():
        try:
            room = reading.piece(raw, _Room)
            amount, code = _amount(room, found.currency)
            fresh = msgspec.structs.replace(key_of(pinned), room=room.key)
            rooms.append((amount, msgspec.structs.replace(
                pinned, room=reading.words(room.room_description or pinned.room),
                price=price(amount, code), currency=code,
                refundable=room.free_cancellation is True,
                vendor_key=reading.vendor_key(fresh))))
        except Unreadable as error:
            unreadable = str(error)
    completed = found.completed is True
    if rooms:
        _, best = min(rooms, key=lambda pair: pair[0])
        return completed, rechecked(pinned, best)
    if completed and unreadable:
        raise SupplierAway(f"ascenda: rooms that are not understood: {unreadable}")
    return completed, Recheck("sold_out")


def key_of(rate: Rate) -> Key:
    """What was put into the rate's `vendor_key`."""
    return shapes.decode(rate.vendor_key, Key)


def refusal(body: bytes) -> str:
    """The word of an error document; empty when it has none."""
    try:
        return reading.piece(body, _Refusal).error
    except Unreadable:
        return ""


def booking_request(rate: Rate, holder: Holder, reference: str) -> dict[str, object]:
    """Body of POST /api/bookings."""
    key = key_of(rate)
    return {
        "hotel_id": key.hotel,
        "room_key": key.room,
        "price": rate.price,
        "currency": rate.currency,
        "client_reference": reference,
        "guest": {"first_name": holder.given_name, "last_name": holder.family_name,
                  "email": holder.email},
    }


def booked(body: bytes) -> str:
    """Answer of POST /api/bookings -> Ascenda's reference."""
    reference = reading.document(body, _Booked).reference
    if not reference:
        raise SupplierDeclined("not_confirmed")
    return reference
