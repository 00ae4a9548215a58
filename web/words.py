"""What people read about an order: a table for every state, every reason and every refusal."""

from __future__ import annotations

import msgspec

from booking.lookup import OrderView
from booking.model import Reason, State
from web.types import FieldError, Problem


class Words(msgspec.Struct, frozen=True):
    """What happened in one sentence, and what the customer can do now."""

    what: str
    next: str


class StateWords(msgspec.Struct, frozen=True):
    """`title` heads the result page, `step` is the line of the history."""

    title: str
    step: str
    what: str
    next: str


STATES: dict[State, StateWords] = {
    State.QUEUED: StateWords(
        "You are in the queue",
        "Order accepted",
        "Your order is safe with us and takes its turn, in the order in which people came.",
        "Nothing is needed from you.",
    ),
    State.HELD: StateWords(
        "We have your place",
        "Place held for you",
        "It is held for you alone while we book the flight and then the room.",
        "Nothing is needed from you.",
    ),
    State.CONFIRMED: StateWords(
        "You are booked",
        "Flight and room booked",
        "Flight and room are yours.",
        "Keep the order id: with it and your e-mail address you find this page again.",
    ),
    State.FAILED: StateWords(
        "This booking did not work out",
        "Booking failed",
        "We could not book this package for you.",
        "Your place has gone back on sale.",
    ),
    State.EXPIRED: StateWords(
        "The hold has run out",
        "Hold ran out",
        "We could not finish the booking in time.",
        "Your place has gone back on sale.",
    ),
    State.REJECTED: StateWords(
        "No place this time",
        "Order turned down",
        "We could not give you a place.",
        "Another package may still have one.",
    ),
    State.CANCELLED: StateWords(
        "This order is cancelled",
        "Order cancelled",
        "The order has ended and its place has gone back on sale.",
        "You can order again at any time.",
    ),
}

REASONS: dict[Reason, Words] = {
    Reason.SOLD_OUT: Words(
        "When your turn came, the last place of this package was taken.",
        "A place comes back when somebody else's booking fails, so it is worth looking again.",
    ),
    Reason.UNKNOWN_PACKAGE: Words(
        "This package is no longer offered.",
        "Have a look at the packages that are on sale.",
    ),
    Reason.SALES_CLOSED: Words(
        "The sale of this package was not open when you ordered.",
        "The package's page says when its sale opens and ends.",
    ),
    Reason.SALES_PAUSED: Words(
        "The sale of this package is paused.",
        "It may go on later; other packages are on sale now.",
    ),
    Reason.LIMIT_REACHED: Words(
        "You already hold as many places of this package as one customer may have.",
        "You can cancel an earlier order of yours, or choose another package.",
    ),
    Reason.FLIGHT_DECLINED: Words(
        "The airline declined the seat, so we booked nothing for you.",
        "Your place has gone back on sale. You can order it again: the next try may succeed.",
    ),
    Reason.ROOM_DECLINED: Words(
        "The hotel declined the room, so we gave the flight back too.",
        "Your place has gone back on sale. You can order it again, or choose another package.",
    ),
    Reason.PRICE_CHANGED: Words(
        "The hotel asks another price by now, so we booked nothing for you.",
        "You pay no price that you did not see.",
    ),
    Reason.SUPPLIER_UNREACHABLE: Words(
        "The airline or the hotel did not answer us in time, so we booked nothing for you.",
        "Your place has gone back on sale. Please try again in a few minutes.",
    ),
    Reason.HOLD_EXPIRED: Words(
        "The booking took longer than a place may be held.",
        "Your place has gone back on sale, and anything booked for you is being undone. "
        "You can order it again.",
    ),
    Reason.CUSTOMER_REQUEST: Words(
        "It was cancelled on request, and what was booked for it is being undone.",
        "If you change your mind, order again while there are places.",
    ),
    Reason.INTERNAL_ERROR: Words(
        "Something went wrong on our side, and we could not take this order any further.",
        "We have kept a record of it. Please order again.",
    ),
}


# What is said of orders of a hotel rate where the words above speak of packages.
RATE_REASONS: dict[Reason, Words] = {
    Reason.SOLD_OUT: Words(
        "The hotel has sold this room meanwhile, so we booked nothing for you.",
        "Search again: other rooms and hotels may be free.",
    ),
    Reason.PRICE_CHANGED: Words(
        "The hotel asks another price by now, so we booked nothing for you.",
        "You pay no price that you did not see. Other rooms hold theirs; what this one costs now "
        "is shown once the prices of your search have run out.",
    ),
    Reason.ROOM_DECLINED: Words(
        "The hotel did not accept the booking.",
        "Search again, and choose another room or hotel.",
    ),
    Reason.SUPPLIER_UNREACHABLE: Words(
        "The hotel did not answer us in time. Should it have booked, we are cancelling that.",
        "Please search again in a few minutes.",
    ),
    Reason.HOLD_EXPIRED: Words(
        "The booking took longer than it may. Anything booked for you is being undone.",
        "Search again to order a room at its price of today.",
    ),
    Reason.CUSTOMER_REQUEST: Words(
        "It was cancelled on request, and what was booked for it is being undone.",
        "If you change your mind, search again.",
    ),
}
# The lines of its history that differ from a package's.
RATE_STEPS: dict[State, str] = {
    State.HELD: "Asking the hotel", State.CONFIRMED: "Room booked",
}
RATE_STATES: dict[State, Words] = {
    State.HELD: Words(
        "We are asking the hotel whether the room is still there at your price, and book it.",
        "This takes some seconds. Nothing is needed from you.",
    ),
    State.CONFIRMED: Words(
        "Your room is booked at the price that you saw.",
        "Keep the order id: with it and your e-mail address you find this page again.",
    ),
}


def words_of(order: OrderView) -> Words:
    """What to say of an order as it stands."""
    if order.rate is not None:
        own = RATE_REASONS.get(order.reason) if order.reason else RATE_STATES.get(order.state)
        if own is not None:
            return own
    if order.reason is not None:
        return REASONS[order.reason]
    state = STATES[order.state]
    return Words(state.what, state.next)


# What a person reads where a program reads a problem document, by the problem's kind.
_PROBLEMS: dict[str, tuple[str, str]] = {
    "/problems/unknown-package": (
        "There is no such package",
        "It may have been on sale once. Have a look at the packages that are on sale now.",
    ),
    "/problems/rate-gone": (
        "This price has run out",
        "Prices are kept for as long as their search lives. Search again for the prices of now.",
    ),
    "/problems/idempotency-key-reused": (
        "This form has been sent before",
        "It carried another e-mail address then. To order once more, press the button again.",
    ),
    "/problems/overloaded": (
        "Very many people are ordering right now",
        "Nothing was ordered. Please press the button again in a moment.",
    ),
    "/problems/not-ready": (
        "The sale is being prepared",
        "The packages will be here in a moment. Nothing was ordered.",
    ),
    "/problems/searches-overloaded": (
        "Very many people are searching right now",
        "We could not begin your search. Please try again in a moment.",
    ),
    "/problems/search-expired": (
        "These prices have expired",
        "Please search again for the prices of this moment.",
    ),
    "/problems/catalogue-building": (
        "The hotels are being put in order",
        "They will be here in a moment: this takes a few seconds.",
    ),
    "/problems/engine-away": (
        "We did not get an answer in time",
        "A part of our system does not answer. Please try again in a moment.",
    ),
    "/problems/csrf": (
        "Please send the form again",
        "We could not see that this form came from our own page: it was open for very long, or "
        "your browser sends no cookies. Nothing was ordered or changed.",
    ),
}
_STATUSES: dict[int, tuple[str, str]] = {
    400: ("We could not read this request", "Please go back and send the form again."),
    404: ("There is nothing at this address", "The link may be old, or a letter is missing."),
    405: ("This page is not used that way", "Please start again from the packages."),
    413: ("This is too much at once", "The form was larger than we accept."),
    429: ("Too many tries found nothing", "Please check id and e-mail, and try again later."),
    500: ("Something went wrong here", "It has been recorded. Please try again in a moment."),
}
# What a person calls a field of a form that is read from an address.
_FIELDS = {
    "check_in": "Check-in", "check_out": "Check-out", "guests": "Guests",
    "city": "City", "country": "Country", "stars": "Stars", "rating": "Guest rating",
    "price_min": "The lowest price", "price_max": "The highest price", "type": "Kind of place",
    "amenity": "What it offers", "order_by": "Show first", "page_no": "Page",
    "page_size": "Hotels on a page",
}
# A form that is sent again carries the key of the first try, which makes this a promise.
NEVER_TWICE = (
    "We cannot say yet whether your order arrived. Press the button again: this form never "
    "orders twice."
)


def for_people(problem: Problem) -> tuple[str, str]:
    """Title and text of a problem for a page."""
    own = (problem.title, problem.detail)
    if problem.type == "/problems/http":
        return _STATUSES.get(problem.status, own)
    if problem.type == "/problems/bad-input" and problem.errors:
        return "Please look at this again", field_text(problem.errors[0])
    return _PROBLEMS.get(problem.type, own)


def field_text(wrong: FieldError) -> str:
    """What is wrong with a field, as a sentence that names it unless it is one by itself."""
    if wrong.detail.endswith((".", "?")) and wrong.detail[:1].isupper():
        return wrong.detail
    end = "" if wrong.detail.endswith("?") else "."
    return f"{_FIELDS.get(wrong.pointer, wrong.pointer)}: {wrong.detail}{end}"


def wait_text(seconds: float) -> str:
    """A waiting time as people say it, rounded up."""
    if seconds < 5:
        return "a few seconds"
    if seconds < 55:
        return f"about {-(-int(seconds) // 5) * 5} seconds"
    minutes = max(1, -(-int(seconds) // 60))
    if minutes < 60:
        return f"about {minutes} minute{'s' if minutes > 1 else ''}"
    hours = -(-minutes // 60)
    return f"about {hours} hour{'s' if hours > 1 else ''}"


def estimate_s(place_then: int, seen_s: float, place_now: int, now_s: float) -> float | None:
    """How long the rest of the queue will take at the speed seen so far; None: not known yet."""
    moved, took_s = place_then - place_now, now_s - seen_s
    if place_then <= 0 or moved <= 0 or took_s <= 0:
        return None
    return place_now * took_s / moved
