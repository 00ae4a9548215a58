"""Hotelbeds documents -> rates. Pure: no call, no clock."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import msgspec

import shapes
from errors import SupplierAway, SupplierDeclined
from suppliers import reading
from suppliers.http import reference
from suppliers.places.hotel_ids import HOTELBEDS
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

NAME = "hotelbeds"
REFERENCE_MAX = 20
# The word of an error for a room that is gone, and for one whose price went up since.
GONE = "PRODUCT_ERROR"
DEARER = "PRICE_INCREASED"

_BOARDS = {"RO": Board.ROOM_ONLY, "SC": Board.ROOM_ONLY, "BB": Board.BREAKFAST,
           "HB": Board.HALF_BOARD, "FB": Board.FULL_BOARD, "AI": Board.ALL_INCLUSIVE}  # fmt: skip


class _Document(msgspec.Struct, rename="camel"):
    pass


class _Policy(_Document):
    begins: dt.datetime = msgspec.field(name="from")


class _Rate(_Document):
    rate_key: str
    rate_class: str
    net: Decimal | None = None
    selling_rate: Decimal | None = None
    allotment: Decimal | None = None
    board_code: str | None = None
    cancellation_policies: list[_Policy] | None = None


class _Room(_Document):
    name: str
    rates: list[msgspec.Raw]


class _HotelCode(_Document):
    code: int | str


class _Hotel(_HotelCode):
    currency: str
    rooms: list[msgspec.Raw]


class _Hotels(_Document):
    hotels: list[msgspec.Raw] = []


class _Availability(_Document):
    hotels: _Hotels


class _Checked(_Document):
    hotel: _Hotel


class _Error(_Document):
    code: str


class _Refusal(_Document):
    error: _Error


class _Booking(_Document):
    reference: str
    status: str


class _Booked(_Document):
    booking: _Booking


class _ListedBooking(_Booking):
    client_reference: str = ""


class _Bookings(_Document):
    bookings: list[_ListedBooking] = []


class _Listed(_Document):
    bookings: _Bookings


class Key(msgspec.Struct, frozen=True):
    """What recheck and booking need."""

    rate_key: str
    guests: int


def availability_request(query: RateQuery, part: Part) -> dict[str, object]:
    """Body of POST /hotels. Hotels that Hotelbeds does not know are left out."""
    codes = [int(code) for hotel_id in part.hotel_ids if (code := HOTELBEDS.theirs(hotel_id))]
    return {
        "stay": {"checkIn": query.check_in, "checkOut": query.check_out},
        "occupancies": [{"rooms": 1, "adults": query.guests, "children": 0}],
        "hotels": {"hotel": codes},
    }


def availability(body: bytes, query: RateQuery, part: Part, now: dt.datetime) -> FetchedChunk:
    """Answer of POST /hotels. Raises SupplierAway for garbage."""
    harvest = reading.Harvest(NAME, part.hotel_ids)
    found = reading.document(body, _Availability)
    for hotel_id, hotel in harvest.hotels(
        found.hotels.hotels, _Hotel, _HotelCode, HOTELBEDS.ours
    ):
        _take_rooms(harvest, hotel_id, hotel, query.guests, now)
    return harvest.chunk(str(part.number))


def checked(body: bytes, pinned: Rate, now: dt.datetime) -> Recheck:
    """Answer of POST /checkrates to the key of `pinned`. Raises SupplierAway for garbage."""
    harvest = reading.Harvest(NAME, [pinned.hotel_id])
    hotel = reading.document(body, _Checked).hotel
    _take_rooms(harvest, pinned.hotel_id, hotel, key_of(pinned).guests, now)
    chunk = harvest.chunk("")
    if chunk.errors:
        raise SupplierAway(f"hotelbeds: a recheck that is not understood: {chunk.errors[0].detail}")
    return rechecked(pinned, chunk.rates[0]) if chunk.rates else Recheck("sold_out")


def _take_rooms(
    harvest: reading.Harvest, hotel_id: str, hotel: _Hotel, guests: int, now: dt.datetime
) -> None:
    for raw in hotel.rooms:
        try:
            room = reading.piece(raw, _Room)
        except Unreadable as error:
            harvest.fail(hotel_id, "unreadable", str(error))
            continue
        harvest.rates(hotel_id, room.rates, _Rate,
                      lambda found, room=room: _rate(  # type: ignore[misc]
                          hotel_id, hotel, room, found, guests, now))


def _rate(
    hotel_id: str, hotel: _Hotel, room: _Room, found: _Rate, guests: int, now: dt.datetime
) -> Rate | None:
    if found.allotment == 0:
        return None
    # Where Hotelbeds prescribes the price for the customer, `net` is only what the agency pays.
    amount = found.net if found.selling_rate is None else found.selling_rate
    if amount is None:
        raise Unreadable("neither net nor sellingRate")
    return Rate(
        hotel_id=hotel_id,
        supplier=NAME,
        room=reading.words(room.name),
        board=_BOARDS.get(found.board_code or "", Board.UNKNOWN),
        price=price(amount, hotel.currency),
        currency=currency(hotel.currency),
        refundable=found.rate_class == "NOR" and reading.free_until(
            (policy.begins for policy in found.cancellation_policies or ()), now),
        vendor_key=reading.vendor_key(Key(found.rate_key, guests)),
    )


def key_of(rate: Rate) -> Key:
    """What was put into the rate's `vendor_key`."""
    return shapes.decode(rate.vendor_key, Key)


def refusal(body: bytes) -> str:
    """Our word for an error document: sold_out, price_changed, or empty for any other."""
    try:
        code = reading.piece(body, _Refusal).error.code
    except Unreadable:
        return ""
    return {GONE: "sold_out", DEARER: "price_changed"}.get(code, "")


def booking_request(rate: Rate, holder: Holder, own: str) -> dict[str, object]:
    """Body of POST /bookings. A tolerance of 0 makes Hotelbeds refuse any dearer price."""
    key = key_of(rate)
    name = {"name": holder.given_name, "surname": holder.family_name}
    paxes = [{"roomId": 1, "type": "AD", **name}] + [{"roomId": 1, "type": "AD"}] * (key.guests - 1)
    return {
        "holder": name,
        "clientReference": own,
        "rooms": [{"rateKey": key.rate_key, "paxes": paxes}],
        "tolerance": 0,
    }


def booked(body: bytes) -> str:
    """Answer of POST /bookings -> Hotelbeds' reference."""
    booking = reading.document(body, _Booked).booking
    if booking.status != "CONFIRMED":
        raise SupplierDeclined("not_confirmed")
    return booking.reference


def listed(body: bytes, key: str) -> tuple[str, bool]:
    """Answer of GET /bookings -> the reference under our key, and whether it is cancelled."""
    own = reference(key, REFERENCE_MAX)
    for booking in reading.document(body, _Listed).bookings.bookings:
        if booking.client_reference == own:
            return booking.reference, booking.status == "CANCELLED"
    return "", False


def cancelled(body: bytes) -> bool:
    """Answer of DELETE or GET /bookings/{reference} -> whether it is cancelled now."""
    return reading.document(body, _Booked).booking.status == "CANCELLED"
