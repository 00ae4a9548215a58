"""What differs per visitor on a hotel's page, beside the copy that everybody gets.

A visitor is known by a signed cookie of their own: a random id and the hotels just seen. It names
nobody, and whoever has none gets it only by the page's script after the page stands.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import time
from decimal import Decimal

import msgspec
from flask import Request, current_app, request
from itsdangerous import BadData, URLSafeSerializer
from ulid import ULID
from werkzeug.wrappers import Response as BaseResponse

import shapes
from catalogue import words
from catalogue.feedback import Kind
from catalogue.interest import Interest
from errors import BerthError
from search.lowest import Lowest
from web.services import services

log = logging.getLogger(__name__)

COOKIE = "visitor"
COOKIE_LIFE_S = 30 * 86_400
SEEN_MAX = 20


class Visitor(msgspec.Struct, frozen=True, array_like=True):
    """Somebody's browser: `seen` are ids of hotels, the latest first.

    `began` is what `seen` was when a listing was begun, once something was looked at since: its
    next pages go on in the order of the first one, so that no hotel comes twice or never.
    """

    visitor_id: str
    seen: tuple[str, ...] = ()
    began: tuple[str, ...] | None = None

    def seen_by(self, page_no: int) -> tuple[str, ...]:
        """What orders this page of a listing."""
        return self.seen if page_no == 1 or self.began is None else self.began


class LiveRate(msgspec.Struct, frozen=True):
    """A rate that a live search found, and the words for it."""

    price: str
    currency: str
    check_in: str
    check_out: str
    guests: int
    text: str
    nights: str


class Visit(msgspec.Struct, frozen=True):
    """What a visitor is told."""

    is_seen: bool
    interested_people: int
    lowest_rate: LiveRate | None


def visitor_of(asking: Request) -> Visitor | None:
    """Who asks, by the cookie; None for a browser that has none of ours."""
    if "HTTP_COOKIE" not in asking.environ:
        return None  # as most: no cookies are parsed for them
    raw = asking.cookies.get(COOKIE)
    if not raw:
        return None
    try:
        return shapes.convert(_signer().loads(raw), Visitor)
    except (BadData, msgspec.ValidationError):
        return None  # somebody else's, or of an earlier version


def visit(hotel_id: str) -> tuple[Visit, Visitor]:
    """Note that a visitor looks at a hotel; what they are told, and who they are from now on.

    This is the one place where a view is seen: everything that learns from views hangs here.
    """
    known = visitor_of(request) or Visitor(str(ULID()))
    is_seen = hotel_id in known.seen
    _tell(known.visitor_id, hotel_id, Kind.VIEW)
    interested = Interest(services().catalogue_valkey).look(
        hotel_id, known.visitor_id, today=dt.datetime.now(dt.UTC).date())
    rest = [one for one in known.seen if one != hotel_id]
    told = Visit(is_seen, interested, _lowest(hotel_id))
    began = known.seen if known.began is None else known.began
    return told, Visitor(known.visitor_id, (hotel_id, *rest[:SEEN_MAX - 1]), began)


def set_cookie(response: BaseResponse, visitor: Visitor) -> None:
    """Give the browser its cookie."""
    response.set_cookie(
        COOKIE, _signer().dumps(msgspec.to_builtins(visitor)), max_age=COOKIE_LIFE_S,
        secure=services().settings.web_https, httponly=True, samesite="Lax",
    )


def booked(email: str, hotel_id: str) -> None:
    """Note that a buyer booked a hotel."""
    _tell(buyer_id(email), hotel_id, Kind.BOOKING)


def is_buyer(response: BaseResponse, email: str) -> None:
    """From now on this browser is known as that buyer's, by an id that tells nobody who it is.

    What they looked at before they bought stays with them.
    """
    known = visitor_of(request) or Visitor("")
    set_cookie(response, Visitor(buyer_id(email), known.seen, known.began))


def buyer_id(email: str) -> str:
    """A keyed hash: the same buyer on any device, and no way back to the address."""
    key = current_app.config["SECRET_KEY"].encode()
    return "b-" + hashlib.blake2b(email.strip().lower().encode(), digest_size=12,
                                  key=hashlib.sha256(key).digest()).hexdigest()


def _tell(visitor: str, hotel_id: str, kind: Kind) -> None:
    try:
        services().feedback.tell(visitor, hotel_id, kind, at_ms=int(time.time() * 1_000))
    except BerthError as error:
        log.warning("a %s is not kept: %s", kind.value, error)  # the page matters more


def _signer() -> URLSafeSerializer:
    return URLSafeSerializer(current_app.config["SECRET_KEY"], salt="visitor")


def _lowest(hotel_id: str) -> LiveRate | None:
    try:
        found = services().lowest.of(hotel_id, int(time.time() * 1_000))
    except BerthError as error:
        log.warning("no live rates: %s", error)  # a comfort: the page is whole without it
        return None
    return None if found is None else _live(found)


def _live(found: Lowest) -> LiveRate:
    return LiveRate(
        price=found.price, currency=found.currency, check_in=found.check_in,
        check_out=found.check_out, guests=found.guests,
        text=words.price_text(str(Decimal(found.price)), found.currency),
        nights=f"{words.date_text(found.check_in)} to {words.date_text(found.check_out)}",
    )
