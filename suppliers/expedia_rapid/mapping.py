"""Expedia Rapid documents -> rates. Pure: no call, no clock."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import msgspec

import shapes
from errors import SupplierAway, SupplierDeclined
from suppliers import reading
from suppliers.places.hotel_ids import EXPEDIA_RAPID
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

NAME = "expedia_rapid"
REFERENCE_MAX = 28
# Where and how is sold, as Rapid wants to know it.
_MARKET = {"country_code": "US", "language": "en-US", "sales_channel": "website",
           "sales_environment": "hotel_only"}  # fmt: skip
_RATES_PER_PROPERTY = 250
_CANCELLED = "canceled"


class _Money(msgspec.Struct):
    value: Decimal
    currency: str


class _BothMoneys(msgspec.Struct):
    """A total as billed and as asked for; or, in older documents, a plain one."""

    request_currency: _Money | None = None
    billable_currency: _Money | None = None
    value: Decimal | None = None
    currency: str | None = None


class _Totals(msgspec.Struct):
    inclusive: _BothMoneys


class _Pricing(msgspec.Struct):
    totals: _Totals


class _Link(msgspec.Struct):
    href: str


class _Penalty(msgspec.Struct):
    start: dt.datetime


class _BedLinks(msgspec.Struct):
    price_check: _Link | None = None


class _Beds(msgspec.Struct):
    links: _BedLinks


class _Rate(msgspec.Struct):
    bed_groups: dict[str, _Beds]
    occupancy_pricing: dict[str, _Pricing]
    status: str | None = None
    available_rooms: Decimal | None = None
    refundable: bool | None = None
    cancel_penalties: list[_Penalty] | None = None


class _Room(msgspec.Struct):
    room_name: str
    rates: list[msgspec.Raw]


class _PropertyId(msgspec.Struct):
    property_id: str | int


class _Property(_PropertyId):
    rooms: list[msgspec.Raw]


class _CheckLinks(msgspec.Struct):
    book: _Link | None = None


class _PriceCheck(msgspec.Struct):
    status: str
    occupancy_pricing: dict[str, _Pricing] = {}
    links: _CheckLinks = msgspec.field(default_factory=_CheckLinks)


class _Itinerary(msgspec.Struct):
    itinerary_id: str


class _RoomLinks(msgspec.Struct):
    cancel: _Link | None = None


class _BookedRoom(msgspec.Struct):
    status: str = _CANCELLED
    links: _RoomLinks = msgspec.field(default_factory=_RoomLinks)


class _Retrieved(msgspec.Struct):
    itinerary_id: str
    rooms: list[_BookedRoom]


class _Refusal(msgspec.Struct):
    type: str


class Key(msgspec.Struct, frozen=True):
    """What recheck and booking need: addresses below the base URL, and the occupancy priced."""

    price_check: str
    occupancy: str
    book: str = ""


def availability_query(query: RateQuery, part: Part) -> dict[str, object]:
    """Parameters of GET /availability. Hotels that Expedia does not know are left out."""
    return {
        "checkin": query.check_in.isoformat(),
        "checkout": query.check_out.isoformat(),
        "currency": query.currency,
        "occupancy": str(query.guests),
        "property_id": [property_id for hotel_id in part.hotel_ids
                        if (property_id := EXPEDIA_RAPID.theirs(hotel_id))],
        "rate_plan_count": _RATES_PER_PROPERTY,
        **_MARKET,
    }


def availability(body: bytes, query: RateQuery, part: Part, now: dt.datetime) -> FetchedChunk:
    """Answer of GET /availability. Raises SupplierAway for garbage."""
    harvest = reading.Harvest(NAME, part.hotel_ids)
    for hotel_id, found in harvest.hotels(
        reading.document(body, list[msgspec.Raw]), _Property, _PropertyId, EXPEDIA_RAPID.ours
    ):
        for raw in found.rooms:
            try:
                room = reading.piece(raw, _Room)
            except Unreadable as error:
                harvest.fail(hotel_id, "unreadable", str(error))
                continue
            harvest.rates(hotel_id, room.rates, _Rate,
                          lambda rate, hotel_id=hotel_id, room=room: _rate(  # type: ignore[misc]
                              hotel_id, room, rate, str(query.guests), now))
    return harvest.chunk(str(part.number))


def _rate(
    hotel_id: str, room: _Room, found: _Rate, occupancy: str, now: dt.datetime
) -> Rate | None:
    if found.status == "sold_out" or found.available_rooms == 0:
        return None
    amount, code = _total(found.occupancy_pricing, occupancy)
    checks = [beds.links.price_check for beds in found.bed_groups.values()
              if beds.links.price_check is not None]
    if not checks:
        raise Unreadable("no link to check the price")
    # Bed groups differ in beds, not in price: the first one stands for all.
    key = Key(own_path(checks[0].href), occupancy)
    penalties = found.cancel_penalties or []
    return Rate(
        hotel_id=hotel_id,
        supplier=NAME,
        room=reading.words(room.room_name),
        board=Board.UNKNOWN,
        price=price(amount, code),
        currency=code,
        refundable=found.refundable is True and (
            not penalties or reading.free_until((penalty.start for penalty in penalties), now)),
        vendor_key=reading.vendor_key(key),
    )


def _total(pricing: dict[str, _Pricing], occupancy: str) -> tuple[Decimal, str]:
    """The whole stay with taxes and fees, in the currency asked for if that is given."""
    try:
        inclusive = pricing[occupancy].totals.inclusive
    except KeyError:
        raise Unreadable(f"no price for the occupancy {occupancy}") from None
    money = inclusive.request_currency or inclusive.billable_currency
    if money is not None:
        return money.value, currency(money.currency)
    if inclusive.value is None or inclusive.currency is None:
        raise Unreadable("a total without value and currency")
    return inclusive.value, currency(inclusive.currency)


def own_path(href: str) -> str:
    """A link of a document, which must stay on the supplier's own host: calls carry secrets."""
    if not href.startswith("/v3/") or "\\" in href or not href.isprintable():
        raise Unreadable("a link that does not begin with /v3/")
    return href


def price_checked(body: bytes, pinned: Rate) -> Recheck:
    """Answer of a price check of `pinned`. Raises SupplierAway for garbage."""
    check = reading.document(body, _PriceCheck)
    if check.status == "sold_out":
        return Recheck("sold_out")
    if check.status not in ("available", "price_changed") or check.links.book is None:
        raise SupplierAway(f"expedia_rapid: a price check that says {check.status[:40]!r}")
    key = key_of(pinned)
    try:
        amount, code = _total(check.occupancy_pricing, key.occupancy)
        fresh = msgspec.structs.replace(key, book=own_path(check.links.book.href))
        now = msgspec.structs.replace(pinned, price=price(amount, code), currency=code,
                                      vendor_key=reading.vendor_key(fresh))
    except Unreadable as error:
        raise SupplierAway(f"expedia_rapid: a price check that is not understood: {error}"
                           ) from error
    return rechecked(pinned, now)


def key_of(rate: Rate) -> Key:
    """What was put into the rate's `vendor_key`."""
    return shapes.decode(rate.vendor_key, Key)


def refusal(body: bytes) -> str:
    """The type of an error document; empty when it has none."""
    try:
        return reading.piece(body, _Refusal).type
    except Unreadable:
        return ""


def booking_request(holder: Holder, reference: str) -> dict[str, object]:
    """Body of POST /v3/itineraries; what is booked stands in its address."""
    return {
        "affiliate_reference_id": reference,
        "hold": False,
        "email": holder.email,
        "phone": holder.phone,
        "rooms": [{"given_name": holder.given_name, "family_name": holder.family_name,
                   "smoking": False}],
        "payments": [{"type": "affiliate_collect"}],
    }


def booked(body: bytes) -> str:
    """Answer of POST /v3/itineraries -> the itinerary's id."""
    itinerary = reading.document(body, _Itinerary).itinerary_id
    if not itinerary:
        raise SupplierDeclined("not_confirmed")
    return itinerary


def cancel_links(body: bytes) -> tuple[bool, list[str]]:
    """Answer of GET /v3/itineraries -> whether a room is in it, and how to cancel what it holds.

    A room that is cancelled has no such link any more. Raises SupplierAway for garbage, and for
    a room that has none yet.
    """
    found = reading.document(body, list[_Retrieved])
    rooms = [room for itinerary in found for room in itinerary.rooms]
    if any(room.links.cancel is None and room.status != _CANCELLED for room in rooms):
        raise SupplierAway("expedia_rapid: a room that cannot be cancelled yet")
    try:
        return bool(rooms), [own_path(room.links.cancel.href) for room in rooms
                             if room.links.cancel is not None]
    except Unreadable as error:
        raise SupplierAway(f"expedia_rapid: an itinerary that is not understood: {error}"
                           ) from error
