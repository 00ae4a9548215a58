"""What an order and a package are, the states they pass, and why.

Nothing here knows Valkey, MongoDB, Flask or a clock. All times are milliseconds since 1970, UTC.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class State(StrEnum):
    """Where an order stands."""

    QUEUED = "queued"
    HELD = "held"
    CONFIRMED = "confirmed"
    FAILED = "failed"
    EXPIRED = "expired"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


class Reason(StrEnum):
    """Why an order stands where it does; the only words that are used for it."""

    SOLD_OUT = "sold_out"
    UNKNOWN_PACKAGE = "unknown_package"
    SALES_CLOSED = "sales_closed"
    SALES_PAUSED = "sales_paused"
    LIMIT_REACHED = "limit_reached"
    FLIGHT_DECLINED = "flight_declined"
    ROOM_DECLINED = "room_declined"
    PRICE_CHANGED = "price_changed"
    SUPPLIER_UNREACHABLE = "supplier_unreachable"
    HOLD_EXPIRED = "hold_expired"
    CUSTOMER_REQUEST = "customer_request"
    INTERNAL_ERROR = "internal_error"


# The one table of what may follow what. States without followers are final for good.
TRANSITIONS: dict[State, frozenset[State]] = {
    State.QUEUED: frozenset({State.HELD, State.REJECTED}),
    State.HELD: frozenset({State.CONFIRMED, State.FAILED, State.EXPIRED, State.CANCELLED}),
    State.CONFIRMED: frozenset({State.CANCELLED}),
    State.FAILED: frozenset(),
    State.EXPIRED: frozenset(),
    State.REJECTED: frozenset(),
    State.CANCELLED: frozenset(),
}
LIVE = frozenset({State.HELD, State.CONFIRMED})
FINAL = frozenset(State) - {State.QUEUED, State.HELD}

# Whom a limit counts: a package, and an e-mail address with its case folded.
Customer = tuple[int, str]


class Part(StrEnum):
    """What a supplier may have booked for an order."""

    FLIGHT = "flight"
    ROOM = "room"
    STAY = "stay"


# A room is cancelled before the flight that it needs a ticket of.
COMPENSATION_ORDER: tuple[Part, ...] = (Part.ROOM, Part.FLIGHT)
# What may be booked for an order of a rate.
STAY_ONLY: tuple[Part, ...] = (Part.STAY,)
# The package of an order that is for a rate.
NO_PACKAGE = 0


class PackageFacts(msgspec.Struct, frozen=True):
    """What the customer bought; copied into the order, so a later change does not touch it.

    `price` is a decimal string in `currency` (ISO 4217); `stay` is an ISO date.
    """

    id: int
    flight: str
    stay: str
    price: str
    currency: str


class RateFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A hotel rate that the customer bought, as it was pinned when the order was accepted.

    `price` is a decimal string for the whole stay and all guests, in `currency` (ISO 4217);
    `check_in` and `check_out` are ISO dates. `room` and `board` are the supplier's words.
    """

    id: str
    hotel_id: str
    hotel: str
    city: str
    room: str
    board: str
    check_in: str
    check_out: str
    guests: int
    price: str
    currency: str
    refundable: bool
    supplier: str


class RateOffer(msgspec.Struct, frozen=True):
    """A pinned rate, and what its supplier wants back for the recheck; no view shows that."""

    facts: RateFacts
    vendor_key: str


class Guest(msgspec.Struct, frozen=True):
    """In whose name a stay is booked. Empty: as the e-mail address says."""

    given_name: str = ""
    family_name: str = ""


class PackageAbout(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What makes a package inviting to read. Nothing is decided by it, and no order copies it.

    The countries and cities are English names, the airports their three-letter IATA codes.
    `hotel_id` is the hotel's id in the catalogue; empty when it is not there.
    """

    origin_city: str
    origin_iata: str
    destination_city: str
    destination_iata: str
    destination_country: str
    hotel: str
    hotel_id: str = ""


# Bounds of what a package may say, for campaign files and for documents that people edit.
PACKAGE_ID_MAX = 2**53 - 1  # the largest whole number that every JSON reader keeps exactly
QUOTA_MAX = 10_000_000
LIMIT_MAX = 100
PRICE_DIGITS_MAX = 12  # before the decimal point
MOMENT_END_MS = 253_402_300_800_000  # the year 10000, which no calendar library writes any more


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A package as the operator keeps it. A missing moment leaves that side of the sale open."""

    facts: PackageFacts
    quota: int
    sale_starts_ms: int | None = None
    sale_ends_ms: int | None = None
    limit_per_customer: int | None = None
    paused: bool = False
    about: PackageAbout | None = None


class Event(msgspec.Struct, frozen=True, array_like=True):
    """One line of an order's history."""

    state: State
    reason: Reason | None
    at_ms: int


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order from its first decision on.

    An order is for a package or for a `rate`; the latter has no unit, and NO_PACKAGE.

    `unit` and `slot` are numbers from 1, held only while the order is live. `quota_seen` and
    `limit_seen` are the quota and the limit per customer at the moment of the hold. `owed` is what
    is still to be cancelled at the supplier, and `owed_since_ms` when it came to be owed;
    `compensated` says that it was cancelled, and that tombstones stand there for whatever is late.
    """

    order_id: str
    email: str
    package_id: int
    package: PackageFacts | None
    state: State
    reason: Reason | None
    accepted_ms: int
    decided_ms: int
    history: tuple[Event, ...]
    unit: int | None = None
    slot: int | None = None
    quota_seen: int | None = None
    limit_seen: int | None = None
    hold_expires_ms: int | None = None
    flight_ticket_number: str | None = None
    hotel_reservation_number: str | None = None
    owed: tuple[Part, ...] = ()
    owed_since_ms: int | None = None
    compensated: bool = False
    rate: RateOffer | None = None
    guest: Guest | None = None

    @property
    def bookable(self) -> tuple[Part, ...]:
        """All that may be booked for it, in the order of its cancellation."""
        return STAY_ONLY if self.rate is not None else COMPENSATION_ORDER
