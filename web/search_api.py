"""GET /api/search: what suppliers have brought so far, at prices that hold."""

from __future__ import annotations

import datetime as dt
import re
import time
from decimal import Decimal
from typing import Annotated, Any, cast

import msgspec
from flask import Blueprint, Response, request
from msgspec import Meta
from werkzeug.http import parse_etags

from booking.lookup import moment
from errors import BerthError
from search.model import Cursor, Entry, SupplierState, Version, cursor_of
from search.query import GUESTS_MAX, HOTELS_MAX
from web.finished import takes_gzip
from web.openapi import Answer, Operation, Parameter, documented
from web.packing import packed, piece
from web.search_views import SearchView
from web.searches import (
    continued,
    found_or_begun,
    order_of,
    poll_after_ms,
    progress_of,
    query_of,
)
from web.services import services

search_api = Blueprint("search_api", __name__, url_prefix="/api")

# A completed search never changes before it expires; this bounds what a cache makes of that.
COMPLETED_MAX_AGE_S = 60
# Counted up with every change of the answer's shape, so that no client keeps an old one for new.
_SHAPE = 1

_Slug = Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,59}$")]
_Day = Annotated[dt.date, Meta(description="Such as 2027-03-01")]
_Guests = Annotated[int, Meta(ge=1, le=GUESTS_MAX)]
_HotelIds = Annotated[str, Meta(min_length=1, pattern="^[A-Za-z0-9_-]+(,[A-Za-z0-9_-]+)*$")]
_Since = Annotated[str, Meta(pattern="^[0-9a-f]{1,14}-[0-9]{1,7}$")]
_Order = Annotated[str, Meta(extra_json_schema={"enum": ["arrival", "price"]})]


class SearchExpired(BerthError):
    """The search that a cursor belongs to is gone."""


class ShownRate(msgspec.Struct, frozen=True):
    """A price for the whole stay and all guests; the same in every view until `expires_at`."""

    rate_id: str
    hotel_id: str
    supplier: str
    room: str
    price: Annotated[str, Meta(description="Decimal text, exact")]
    currency: Annotated[str, Meta(description="ISO 4217")]
    refundable: bool
    board: Annotated[str, Meta(description="Which meals it includes, such as breakfast")]


class SupplierLine(msgspec.Struct, frozen=True):
    """How far one supplier is; `latency_ms` runs from the start of the search."""

    state: SupplierState
    latency_ms: int | None
    rates: int
    error: str | None


class HotelLine(msgspec.Struct, frozen=True):
    """A hotel that rates of this answer name."""

    name: str
    stars: int


class SearchAnswer(msgspec.Struct, frozen=True):
    """A search as it stands."""

    search_id: str
    is_completed: bool
    expires_at: Annotated[dt.datetime, Meta(description="Until then the prices hold")]
    cursor: Annotated[str, Meta(description="Pass it as since= to get only what comes after")]
    poll_after_ms: Annotated[
        int | None, Meta(description="When to look again; null once it is completed")
    ]
    suppliers: dict[str, SupplierLine]
    hotels: dict[str, HotelLine]
    rates: list[ShownRate]


@search_api.get("/search")
@documented(Operation(
    "Hotel rates of all suppliers, as they come",
    (Answer(200, "The search as it stands; begun by whoever asks first", SearchAnswer,
            headers=("ETag", "Cache-Control")),
     Answer(304, "Nothing is new since the ETag of If-None-Match", headers=("ETag",), empty=True),
     Answer(410, "The search that `since` belongs to has expired: ask again without it"),
     Answer(422, "A parameter is missing or wrong"),
     Answer(429, "Too many new searches of one client", headers=("Retry-After",)),
     Answer(503, "Too many searches wait; nothing was begun", headers=("Retry-After",))),
    parameters=(
        Parameter("destination", "query", _Slug, "A destination, such as lisbon"),
        Parameter("check_in", "query", _Day, "First night, from today on"),
        Parameter("check_out", "query", _Day, "Day of departure"),
        Parameter("guests", "query", _Guests, "Adults in one room"),
        Parameter("hotel_ids", "query", _HotelIds,
                  f"Only these hotels, at most {HOTELS_MAX:,}, with commas", required=False),
        Parameter("since", "query", _Since, "The cursor of an earlier answer: rates after it only",
                  required=False),
        Parameter("order", "query", _Order, "arrival (the default), or price: within each "
                  "currency, since amounts of different ones are not compared", required=False),
    ),
))
def search() -> Response:
    query = query_of(request.args)
    order = order_of(request.args)
    since = cursor_of(request.args["since"]) if request.args.get("since") else None
    known = _known_version(_suffix(order, since))
    if since is None:
        return _whole(found_or_begun(query), order, known)
    entry = continued(query, since, known)
    if entry is None:
        raise SearchExpired("the search of this cursor has expired")
    body = None
    if not entry.unchanged:
        # A view of the news alone: it is not kept.
        body = _encoded(SearchView(entry), order, poll_after_ms(entry, time.time() * 1_000))
    return _response(entry, etag_of(entry, order, since), body)


def _whole(view: SearchView, order: str, known: Version | None) -> Response:
    """Made once for each version, order and advice when to look again, and packed once for all
    when nothing more can come.
    """
    with view.reading:
        entry = view.entry
        etag = etag_of(entry, order, None)
        if known == entry.version:
            return _response(entry, etag, None)
        after_ms = poll_after_ms(entry, time.time() * 1_000)
        body = view.made(("answer", order, after_ms), lambda: _encoded(view, order, after_ms))
        if not (entry.is_completed and takes_gzip()):
            return _response(entry, etag, body)
        response = _response(entry, f"W/{etag}", view.made(
            ("packed answer", order), lambda: packed(piece(body))))
        response.headers["Content-Encoding"] = "gzip"
        return response


def _response(entry: Entry, etag: str, body: bytes | None) -> Response:
    """304 without a `body`."""
    response = Response(status=304) if body is None else Response(
        body, content_type="application/json")
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = _kept(entry)
    response.headers["Vary"] = "Accept-Encoding"
    return response


def etag_of(entry: Entry, order: str, since: Cursor | None) -> str:
    """The ETag of an answer: which search, how far it is, and how it is shown."""
    return f'"{entry.created_ms:x}-{entry.revision}{_suffix(order, since)}"'


def _suffix(order: str, since: Cursor | None) -> str:
    return f"-{order}-{since or ''}-{_SHAPE}"


def _known_version(suffix: str) -> Version | None:
    """What the client has an answer of. Proxies that compress make an ETag a weak one."""
    sent = parse_etags(request.headers.get("If-None-Match", "")[:1_000])
    for tag in sent.as_set(include_weak=True):
        found = re.fullmatch(r"([0-9a-f]{1,14})-([0-9]{1,9})" + re.escape(suffix), tag)
        if found:
            return Version(int(found[1], 16), int(found[2]))
    return None


def _kept(entry: Entry) -> str:
    left_s = int(entry.expires_ms / 1_000 - time.time())
    if not entry.is_completed or left_s <= 0:
        return "no-cache"  # kept, but asked for again with its ETag
    return f"public, max-age={min(left_s, COMPLETED_MAX_AGE_S)}"


def _encoded(view: SearchView, order: str, after_ms: int | None) -> bytes:
    entry = view.entry
    hotel = services().destinations.hotel
    hotels = {hotel_id: HotelLine(facts.name, facts.stars) for hotel_id in view.hotels
              if (facts := hotel(hotel_id)) is not None}
    shown = view.shown if order == "arrival" else by_price(view)
    # Stored as JSON and answered as JSON: nothing is decoded in between.
    rates = [msgspec.Raw(one) for one in shown]
    return msgspec.json.encode(SearchAnswer(
        search_id=entry.search_id,
        is_completed=entry.is_completed,
        expires_at=moment(entry.expires_ms),
        cursor=str(entry.cursor),
        poll_after_ms=after_ms,
        suppliers={name: SupplierLine(line.state, line.latency_ms, line.rates, line.error)
                   for name, line in progress_of(entry).items()},
        hotels=hotels,
        rates=cast("list[ShownRate]", rates),
    ))


def by_price(view: SearchView) -> list[bytes]:
    """Currency by currency, the one with the most rates first, and by price within each."""
    of_currency: dict[str, list[tuple[Decimal, int]]] = {}
    for place, (currency, amount) in enumerate(view.amounts):
        of_currency.setdefault(currency, []).append((amount, place))
    groups: list[Any] = sorted(of_currency.items(), key=lambda item: (-len(item[1]), item[0]))
    return [view.shown[place] for _, members in groups for _, place in sorted(members)]
