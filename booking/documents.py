"""Orders and packages as MongoDB documents, both ways.

Only this module knows the field names. A live order carries `unit: "<package>:<n>"`, and
`slot: "<package>:<email>:<n>"` where the package limits customers; unique sparse indexes on both
make a second live order of the same unit impossible, whoever writes.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, NamedTuple, TypeGuard

import bson
import msgspec
from bson import Decimal128
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument

import shapes
from booking.model import (
    LIMIT_MAX,
    MOMENT_END_MS,
    PACKAGE_ID_MAX,
    PRICE_DIGITS_MAX,
    QUOTA_MAX,
    Event,
    Guest,
    Order,
    Package,
    PackageAbout,
    PackageFacts,
    Part,
    RateFacts,
    RateOffer,
    Reason,
    State,
)
from errors import BadInput

Document = dict[str, Any]


def unit_key(package_id: int, unit: int) -> str:
    """The value of the unique index on `unit`."""
    return f"{package_id}:{unit}"


def slot_key(package_id: int, email: str, slot: int) -> str:
    """The value of the unique index on `slot`; case does not make another customer."""
    return f"{package_id}:{email.casefold()}:{slot}"


@lru_cache(maxsize=4_096)
def _date(ms: int) -> dt.datetime:
    """A moment as BSON keeps it. The orders of one batch share most of theirs."""
    return dt.datetime.fromtimestamp(ms / 1_000, tz=dt.UTC)


def order_document(order: Order) -> Document:
    """The whole order, for an insert. Absent fields stay absent, for the sparse indexes."""
    document: Document = {
        "_id": order.order_id,
        "email": order.email,
        "package_id": order.package_id,
        "package": facts_document(order.package) if order.package else None,
        "state": order.state._value_,
        "reason": order.reason._value_ if order.reason else None,
        "accepted_at": _date(order.accepted_ms),
        "decided_at": _date(order.decided_ms),
        "history": [_event_document(event) for event in order.history],
    }
    if order.rate is not None:
        document["rate"] = (msgspec.structs.asdict(order.rate.facts)
                            | {"vendor_key": order.rate.vendor_key})
    if order.guest is not None:
        document["guest"] = msgspec.structs.asdict(order.guest)
    if order.quota_seen is not None:
        document["quota_seen"] = order.quota_seen
    if order.limit_seen is not None:
        document["limit_seen"] = order.limit_seen
    _sometimes(order, document)
    return document


Alike = dict[Order, bytes]


def order_bson(order: Order, alike: Alike) -> RawBSONDocument:
    """The whole order, encoded. `alike` keeps what the orders of one batch share: most of each."""
    own = {"_id": order.order_id, "email": order.email}
    if order.unit is not None:
        own["unit"] = unit_key(order.package_id, order.unit)
    if order.slot is not None:
        own["slot"] = slot_key(order.package_id, order.email, order.slot)
    others = msgspec.structs.replace(order, order_id="", email="", unit=None, slot=None)
    shared = alike.get(others)
    if shared is None:
        document = order_document(others)
        for name in ("_id", "email"):
            del document[name]
        shared = alike[others] = bson.encode(document)[4:]
    # A document is its length, its fields and a zero, so two of them make one.
    fields = bson.encode(own)[4:-1]
    size = 4 + len(fields) + len(shared)
    return RawBSONDocument(b"".join((size.to_bytes(4, "little"), fields, shared)))


class Change(NamedTuple):
    """An update of one order. Orders with equal `twin` take the same update from the same state."""

    order_id: str
    from_state: str
    update: Document
    twin: tuple[object, ...] | None


def order_change(before: Order, after: Order) -> Change:
    """What differs. Orders that end alike in one batch are twins: one statement ends them all."""
    had, kept = _sometimes(before, {}), _sometimes(after, {})
    changed = {name: value for name, value in kept.items() if had.get(name) != value}
    changed["decided_at"] = _date(after.decided_ms)
    if after.state is not before.state:
        changed["state"] = after.state._value_
        changed["reason"] = after.reason._value_ if after.reason else None
    gone = {name: "" for name in had if name not in kept}
    update: Document = {"$set": changed}
    if gone:
        update["$unset"] = gone
    new_events = after.history[len(before.history):]
    if new_events:
        update["$push"] = {"history": {"$each": [_event_document(e) for e in new_events]}}
    own = "hotel_reservation_number" in changed or "unit" in changed or "slot" in changed
    twin = None if own else (
        before.state, after.state, after.reason, after.decided_ms, after.owed, after.owed_since_ms,
        after.compensated, new_events, tuple(gone),
    )
    return Change(after.order_id, before.state._value_, update, twin)


def _sometimes(order: Order, document: Document) -> Document:
    """Add the fields that an order has only for a part of its life."""
    if order.unit is not None:
        document["unit"] = unit_key(order.package_id, order.unit)
    if order.slot is not None:
        document["slot"] = slot_key(order.package_id, order.email, order.slot)
    if order.hold_expires_ms is not None:
        document["hold_expires_at"] = _date(order.hold_expires_ms)
    if order.flight_ticket_number is not None:
        document["flight_ticket_number"] = order.flight_ticket_number
    if order.hotel_reservation_number is not None:
        document["hotel_reservation_number"] = order.hotel_reservation_number
    if order.owed:
        document["owed"] = [part._value_ for part in order.owed]
    if order.owed_since_ms is not None:
        document["owed_since"] = _date(order.owed_since_ms)
    if order.compensated:
        document["compensated"] = True
    return document


@lru_cache(maxsize=4_096)
def _event_document(event: Event) -> RawBSONDocument:
    """One line of a history, encoded once for all orders that share it."""
    line: Document = {"state": event.state._value_, "at": _date(event.at_ms)}
    if event.reason is not None:
        line["reason"] = event.reason._value_
    return RawBSONDocument(bson.encode(line))


_STATES = {state.value: state for state in State}
_REASONS = {reason.value: reason for reason in Reason}


def read_order(document: Document) -> Order:
    """The order of a document that was read with DatetimeMS for dates."""
    return Order(
        order_id=document["_id"],
        email=document["email"],
        package_id=document["package_id"],
        package=PackageFacts(**document["package"]) if document["package"] else None,
        state=_STATES[document["state"]],
        reason=_reason(document["reason"]),
        accepted_ms=int(document["accepted_at"]),
        decided_ms=int(document["decided_at"]),
        history=tuple(
            Event(_STATES[line["state"]], _reason(line.get("reason")), int(line["at"]))
            for line in document["history"]
        ),
        unit=_last_number(document.get("unit")),
        slot=_last_number(document.get("slot")),
        quota_seen=document.get("quota_seen"),
        limit_seen=document.get("limit_seen"),
        hold_expires_ms=_ms(document.get("hold_expires_at")),
        flight_ticket_number=document.get("flight_ticket_number"),
        hotel_reservation_number=document.get("hotel_reservation_number"),
        owed=tuple(Part(part) for part in document.get("owed", ())),
        owed_since_ms=_ms(document.get("owed_since")),
        compensated=document.get("compensated", False),
        rate=_rate(document.get("rate")),
        guest=Guest(**document["guest"]) if "guest" in document else None,
    )


def _rate(document: Document | None) -> RateOffer | None:
    if document is None:
        return None
    facts = dict(document)
    vendor_key = facts.pop("vendor_key")
    return RateOffer(RateFacts(**facts), vendor_key)


def _reason(text: str | None) -> Reason | None:
    return _REASONS[text] if text else None


def _last_number(key: str | None) -> int | None:
    return int(key.rpartition(":")[2]) if key else None


def _ms(value: Any) -> int | None:
    return None if value is None else int(value)


@lru_cache(maxsize=4_096)
def facts_document(facts: PackageFacts) -> RawBSONDocument:
    """The part of a package that an order copies, encoded once for all of its orders."""
    return RawBSONDocument(bson.encode({
        "id": facts.id,
        "flight": facts.flight,
        "stay": facts.stay,
        "price": facts.price,
        "currency": facts.currency,
    }))


def package_document(package: Package) -> Document:
    """A package as db_init writes it; optional fields stay absent."""
    document: Document = {
        "_id": package.facts.id,
        "flight": package.facts.flight,
        "stay": package.facts.stay,
        "price": package.facts.price,
        "currency": package.facts.currency,
        "quota": package.quota,
    }
    if package.sale_starts_ms is not None:
        document["sale_starts_at"] = DatetimeMS(package.sale_starts_ms)
    if package.sale_ends_ms is not None:
        document["sale_ends_at"] = DatetimeMS(package.sale_ends_ms)
    if package.limit_per_customer is not None:
        document["limit_per_customer"] = package.limit_per_customer
    if package.paused:
        document["paused"] = True
    if package.about is not None:
        document["about"] = msgspec.to_builtins(package.about)
    return document


def read_package(document: Document) -> Package:
    """A package that anyone may have edited in MongoDB.

    Raises BadInput that names the field when it cannot be sold as it stands.
    """
    package_id = document.get("_id")
    if not _is_whole(package_id) or not 1 <= int(package_id) <= PACKAGE_ID_MAX:
        raise BadInput("a package id is a whole number from 1", field="_id")
    quota = document.get("quota")
    if not _is_whole(quota) or not 0 <= int(quota) <= QUOTA_MAX:
        raise BadInput(f"a whole number from 0 to {QUOTA_MAX}", field="quota")
    limit = document.get("limit_per_customer")
    if limit is not None and (not _is_whole(limit) or not 1 <= int(limit) <= LIMIT_MAX):
        raise BadInput(f"a whole number from 1 to {LIMIT_MAX}", field="limit_per_customer")
    for name in ("flight", "stay", "currency"):
        if not isinstance(document.get(name), str):
            raise BadInput("a text", field=name)
    return Package(
        facts=PackageFacts(
            id=int(package_id),
            flight=document["flight"],
            stay=document["stay"],
            price=_price(document.get("price")),
            currency=document["currency"],
        ),
        quota=int(quota),
        sale_starts_ms=_moment(document, "sale_starts_at"),
        sale_ends_ms=_moment(document, "sale_ends_at"),
        limit_per_customer=None if limit is None else int(limit),
        paused=bool(document.get("paused", False)),
        about=_about(document.get("about")),
    )


def _about(value: object) -> PackageAbout | None:
    """A description that is not whole is not shown. It is no reason to stop a sale."""
    try:
        return shapes.convert(value, PackageAbout)
    except msgspec.ValidationError:
        return None


def _is_whole(value: object) -> TypeGuard[int | float]:
    """Shells write 3.0 where people type 3."""
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


def _price(value: object) -> str:
    """Text, Decimal128 or a number; kept as decimal text, never as a float."""
    text = str(value.to_decimal() if isinstance(value, Decimal128) else value)
    try:
        price = Decimal(text)
    except InvalidOperation:
        raise BadInput("a decimal number", field="price") from None
    if not price.is_finite() or price < 0:
        raise BadInput("a decimal number from 0", field="price")
    if abs(price.adjusted()) > PRICE_DIGITS_MAX or len(text) > 2 * PRICE_DIGITS_MAX:
        # Written out, a price of 1e999999999 would be a gigabyte of zeros.
        raise BadInput(f"at most {PRICE_DIGITS_MAX} digits", field="price")
    return f"{price:f}"


def _moment(document: Document, name: str) -> int | None:
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, DatetimeMS):
        ms = int(value)
    elif isinstance(value, dt.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        ms = round(aware.timestamp() * 1_000)
    else:
        raise BadInput("a date", field=name)
    if not 0 <= ms < MOMENT_END_MS:
        # MongoDB keeps dates that Python cannot write, and the door counts from 1970.
        raise BadInput("a date from 1970 to 9999", field=name)
    return ms
