"""Orders and packages as documents: nothing is lost on the way, and bad packages are refused."""

from __future__ import annotations

import datetime as dt
from typing import Any

import bson
import msgspec
import pytest
from bson import Decimal128, Int64
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from hypothesis import given, settings
from hypothesis import strategies as st

from booking.documents import (
    Alike,
    Change,
    Document,
    order_bson,
    order_change,
    order_document,
    package_document,
    read_order,
    read_package,
)
from booking.model import (
    COMPENSATION_ORDER,
    LIMIT_MAX,
    MOMENT_END_MS,
    PACKAGE_ID_MAX,
    QUOTA_MAX,
    Event,
    Order,
    Package,
    PackageAbout,
    PackageFacts,
    Reason,
    State,
)
from errors import BadInput

FACTS = PackageFacts(7, "Flight-7", "2022-08-09", "49.90", "EUR")
ABOUT = PackageAbout(
    origin_city="Lisbon", origin_iata="LIS", destination_city="Porto", destination_iata="OPO",
    destination_country="Portugal", hotel="Harbour",
)  # fmt: skip
AS_THE_STORE_READS: CodecOptions[Document] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS
)
MOMENTS = st.integers(0, 4_102_444_800_000)


def through_bson(document: Document) -> Document:
    return bson.decode(bson.encode(document), AS_THE_STORE_READS)


HELD = Order(
    order_id="A", email="Ann@example.org", package_id=7, package=FACTS, state=State.HELD,
    reason=None, accepted_ms=1_700_000_000_001, decided_ms=1_700_000_000_999,
    history=(Event(State.QUEUED, None, 1_700_000_000_001),
             Event(State.HELD, None, 1_700_000_000_999)),
    unit=3, slot=2, quota_seen=9, limit_seen=2, hold_expires_ms=1_700_000_300_999,
)  # fmt: skip


def moved(order: Order, state: State, reason: Reason | None = None, **changes: Any) -> Order:
    return msgspec.structs.replace(
        order, state=state, reason=reason, decided_ms=2_000_000_000_001,
        history=(*order.history, Event(state, reason, 2_000_000_000_001)), **changes,
    )


CONFIRMED = moved(HELD, State.CONFIRMED, hold_expires_ms=None, flight_ticket_number="F",
                  hotel_reservation_number="R")
GONE = {"unit": None, "slot": None, "hold_expires_ms": None}
FAILED = moved(HELD, State.FAILED, Reason.ROOM_DECLINED, owed=COMPENSATION_ORDER,
               owed_since_ms=2_000_000_000_001, **GONE)
CLEARED = msgspec.structs.replace(FAILED, owed=(), owed_since_ms=None, compensated=True)
CANCELLED = moved(CONFIRMED, State.CANCELLED, Reason.CUSTOMER_REQUEST, owed=COMPENSATION_ORDER,
                  owed_since_ms=2_000_000_000_001, **GONE)
REJECTED = msgspec.structs.replace(
    HELD, state=State.REJECTED, reason=Reason.UNKNOWN_PACKAGE, package=None, quota_seen=None,
    limit_seen=None, **GONE,
)  # fmt: skip


# --- orders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order", [HELD, CONFIRMED, FAILED, CLEARED, CANCELLED, REJECTED], ids=lambda o: str(o.state)
)
def test_an_order_comes_back_as_it_was_written(order: Order) -> None:
    assert read_order(through_bson(order_document(order))) == order


@settings(max_examples=60, deadline=None)
@given(st.builds(
    Order,
    order_id=st.text(min_size=1, max_size=20), email=st.text(max_size=30),
    package_id=st.integers(1, PACKAGE_ID_MAX), package=st.none() | st.just(FACTS),
    state=st.sampled_from(State), reason=st.none() | st.sampled_from(Reason),
    accepted_ms=MOMENTS, decided_ms=MOMENTS,
    history=st.lists(st.builds(Event, st.sampled_from(State), st.none() | st.sampled_from(Reason),
                               MOMENTS), max_size=4).map(tuple),
    unit=st.none() | st.integers(1, QUOTA_MAX), slot=st.none() | st.integers(1, LIMIT_MAX),
    quota_seen=st.none() | st.integers(0, QUOTA_MAX), hold_expires_ms=st.none() | MOMENTS,
    flight_ticket_number=st.none() | st.text(min_size=1, max_size=9),
    hotel_reservation_number=st.none() | st.text(min_size=1, max_size=9),
    limit_seen=st.none() | st.integers(1, LIMIT_MAX), owed=st.just(COMPENSATION_ORDER),
    owed_since_ms=MOMENTS, compensated=st.booleans(),
))  # fmt: skip
def test_any_order_comes_back_as_it_was_written(order: Order) -> None:
    assert read_order(through_bson(order_document(order))) == order
    # Encoded from shared parts, it is the same document; the second takes the first one's parts.
    alike: Alike = {}
    for one in (order, msgspec.structs.replace(order, order_id="B", email="b@c.de")):
        assert bson.decode(order_bson(one, alike).raw) == bson.decode(
            bson.encode(order_document(one)))


def test_what_a_live_order_alone_has_is_absent_otherwise() -> None:
    assert {"unit", "slot", "hold_expires_at"} <= order_document(HELD).keys()
    absent = {"unit", "slot", "hold_expires_at", "owed", "owed_since"}
    assert not absent & order_document(CLEARED).keys(), "a null would be in the sparse index"


def test_the_unique_keys_name_package_and_customer_without_case() -> None:
    document = order_document(HELD)
    assert document["unit"] == "7:3"
    assert document["slot"] == "7:ann@example.org:2"
    shouted = msgspec.structs.replace(HELD, email="ANN@EXAMPLE.ORG")
    assert order_document(shouted)["slot"] == document["slot"]


def apply_update(document: Document, change: Change) -> Document:
    """What MongoDB makes of the three operators that a change uses."""
    assert set(change.update) <= {"$set", "$unset", "$push"}
    after = {**document, **change.update["$set"]}
    for name in change.update.get("$unset", {}):
        del after[name]
    if "$push" in change.update:
        lines = change.update["$push"]["history"]["$each"]
        after["history"] = [*document["history"], *lines]
    return after


@pytest.mark.parametrize(("before", "after"), [
    (HELD, CONFIRMED), (HELD, FAILED), (FAILED, CLEARED), (CONFIRMED, CANCELLED),
    (HELD, moved(CONFIRMED, State.CANCELLED, Reason.CUSTOMER_REQUEST, owed=COMPENSATION_ORDER,
                 **GONE)),
    (moved(HELD, State.EXPIRED, Reason.HOLD_EXPIRED, **GONE),
     msgspec.structs.replace(moved(HELD, State.EXPIRED, Reason.HOLD_EXPIRED, **GONE),
                             owed=COMPENSATION_ORDER)),
])  # fmt: skip
def test_a_change_folds_any_number_of_steps_and_leaves_the_order_as_decided(
    before: Order, after: Order
) -> None:
    change = order_change(before, after)
    assert (change.order_id, change.from_state) == ("A", str(before.state))
    document = apply_update(through_bson(order_document(before)), change)
    assert read_order(through_bson(document)) == after


def test_orders_that_end_alike_are_twins_and_their_updates_are_equal() -> None:
    changes = [
        order_change(
            msgspec.structs.replace(HELD, order_id=name, email=name, unit=unit, slot=None),
            msgspec.structs.replace(FAILED, order_id=name, email=name),
        )
        for name, unit in (("A", 1), ("B", 2))
    ]
    assert changes[0].twin is not None
    assert changes[0].twin == changes[1].twin
    assert changes[0].update == changes[1].update


@pytest.mark.parametrize(("left", "right"), [
    ((HELD, FAILED), (HELD, CONFIRMED)),
    ((HELD, FAILED), (CONFIRMED, CANCELLED)),
    ((HELD, FAILED), (HELD, moved(HELD, State.EXPIRED, Reason.HOLD_EXPIRED, **GONE))),
    ((HELD, FAILED), (HELD, moved(HELD, State.FAILED, Reason.FLIGHT_DECLINED, **GONE))),
    ((FAILED, CLEARED),
     (msgspec.structs.replace(FAILED, owed=(), compensated=False), FAILED)),
    ((HELD, FAILED), (msgspec.structs.replace(HELD, slot=None), FAILED)),
])  # fmt: skip
def test_orders_that_end_otherwise_are_no_twins(
    left: tuple[Order, Order], right: tuple[Order, Order]
) -> None:
    one, other = order_change(*left), order_change(*right)
    assert one.update != other.update
    assert one.twin is None or one.twin != other.twin


# --- packages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", [
    Package(facts=FACTS, quota=0),
    Package(facts=FACTS, quota=QUOTA_MAX, sale_starts_ms=0, sale_ends_ms=MOMENT_END_MS - 1,
            limit_per_customer=LIMIT_MAX, paused=True, about=ABOUT),
])  # fmt: skip
def test_a_package_comes_back_as_it_was_written(package: Package) -> None:
    assert read_package(through_bson(package_document(package))) == package


def document(**changes: object) -> Document:
    base = {"_id": 7, "flight": "F", "stay": "2022-08-09", "price": "5", "currency": "EUR",
            "quota": 3}
    return {name: value for name, value in {**base, **changes}.items() if value is not ...}


@pytest.mark.parametrize(("changes", "field", "value"), [
    ({"quota": 3.0}, "quota", 3),
    ({"quota": Int64(3)}, "quota", 3),
    ({"quota": 0}, "quota", 0),
    ({"limit_per_customer": 2.0}, "limit_per_customer", 2),
    ({"limit_per_customer": None}, "limit_per_customer", None),
    ({"paused": None}, "paused", False),
    ({"more": "a field of somebody else"}, "quota", 3),
    ({"about": {"hotel": "only"}}, "about", None),
    ({"sale_starts_at": dt.datetime(2026, 1, 1, 0, 0, 1, 1_000, dt.UTC)}, "sale_starts_ms",
     1_767_225_601_001),
    ({"sale_starts_at": dt.datetime(2026, 1, 1, 0, 0, 1, 1_000)},  # noqa: DTZ001
     "sale_starts_ms", 1_767_225_601_001),
    ({"sale_ends_at": DatetimeMS(5)}, "sale_ends_ms", 5),
])  # fmt: skip
def test_what_people_and_shells_write_is_understood(
    changes: Document, field: str, value: object
) -> None:
    assert getattr(read_package(document(**changes)), field) == value


@pytest.mark.parametrize(("price", "text"), [
    ("49.90", "49.90"), (Decimal128("49.90"), "49.90"), (50, "50"), (49.9, "49.9"),
    ("1E+2", "100"), (Decimal128("1E+3"), "1000"), (0, "0"),
])  # fmt: skip
def test_a_price_is_kept_as_decimal_text(price: object, text: str) -> None:
    assert read_package(document(price=price)).facts.price == text


@pytest.mark.parametrize(("changes", "field"), [
    ({"_id": "7"}, "_id"), ({"_id": 0}, "_id"), ({"_id": True}, "_id"),
    ({"_id": PACKAGE_ID_MAX + 1}, "_id"), ({"_id": 1.5}, "_id"),
    ({"quota": ...}, "quota"), ({"quota": -1}, "quota"), ({"quota": "3"}, "quota"),
    ({"quota": 2.5}, "quota"), ({"quota": float("nan")}, "quota"),
    ({"quota": float("inf")}, "quota"), ({"quota": True}, "quota"),
    ({"quota": QUOTA_MAX + 1}, "quota"),
    ({"limit_per_customer": 0}, "limit_per_customer"),
    ({"limit_per_customer": LIMIT_MAX + 1}, "limit_per_customer"),
    ({"limit_per_customer": "1"}, "limit_per_customer"),
    ({"flight": ...}, "flight"), ({"stay": dt.datetime(2022, 8, 9, tzinfo=dt.UTC)}, "stay"),
    ({"currency": 5}, "currency"),
    ({"price": ...}, "price"), ({"price": "cheap"}, "price"), ({"price": -1}, "price"),
    ({"price": float("nan")}, "price"), ({"price": "Infinity"}, "price"),
    ({"price": "1E+999999999"}, "price"), ({"price": [5]}, "price"), ({"price": True}, "price"),
    ({"sale_starts_at": "2026-01-01"}, "sale_starts_at"),
    ({"sale_ends_at": 5}, "sale_ends_at"),
    # MongoDB keeps moments that no calendar of ours reaches, and the door counts from 1970.
    ({"sale_ends_at": DatetimeMS(MOMENT_END_MS)}, "sale_ends_at"),
    ({"sale_ends_at": DatetimeMS(8_640_000_000_000_000)}, "sale_ends_at"),
    ({"sale_starts_at": DatetimeMS(-1)}, "sale_starts_at"),
    ({"sale_starts_at": dt.datetime(1969, 12, 31, tzinfo=dt.UTC)}, "sale_starts_at"),
])  # fmt: skip
def test_a_package_that_cannot_be_sold_is_refused_by_its_field(
    changes: Document, field: str
) -> None:
    with pytest.raises(BadInput) as refused:
        read_package(document(**changes))
    assert refused.value.field == field
