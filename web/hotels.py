"""The catalogue as pages. All of it comes from Valkey and memory; no view here knows MongoDB."""

from __future__ import annotations

from urllib.parse import parse_qsl

import msgspec
from flask import Blueprint, Response, make_response, redirect, render_template, request
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as BaseResponse

from catalogue.follower import Snapshot
from catalogue.rows import Filters, Order
from web import visits
from web.api import answer
from web.finished import HTML, finished
from web.listing_query import FIELDS, VALUE_MAX_CHARS, Query, address, query_of
from web.listings import PageGone
from web.services import services

hotels = Blueprint("hotels", __name__)

SLUG_MAX_CHARS = 200
# An address may be made another hotel's or listing's: nobody is to keep a redirect for long.
REDIRECT_CACHE = "public, max-age=60"


@hotels.get("/hotels")
def listing() -> BaseResponse:
    """All hotels, or those of the filters in the query."""
    name = request.full_path
    listings = services().listings
    snapshot = listings.snapshot()
    kept = None if visits.visitor_of(request) else listings.kept(name, snapshot)
    if kept is not None:
        return finished(kept.body, kept.etag, HTML)
    return _listing(name, snapshot, Filters())


@hotels.get("/hotels/<slug>")
def page(slug: str) -> BaseResponse:
    """A hotel's own page, or the listing that a slug says."""
    found = services()
    snapshot = found.listings.snapshot()
    hotel_id = snapshot.index.hotel_id_of(slug)
    if hotel_id is not None:
        part = found.listings.hotel(hotel_id, snapshot)
        if part is not None:
            return finished(part.body, part.etag, HTML)
    name = request.full_path
    kept = None if visits.visitor_of(request) else found.listings.kept(name, snapshot)
    if kept is not None:
        return finished(kept.body, kept.etag, HTML)
    said = snapshot.words.parse(slug) if len(slug) <= SLUG_MAX_CHARS else None
    if said is not None:
        return _listing(name, snapshot, said)
    # A hotel that is so new that this process has not heard of it.
    hotel_id = found.catalogue.hotel_id_of(slug[:SLUG_MAX_CHARS])
    part = found.catalogue.page(hotel_id) if hotel_id is not None else None
    if part is not None:
        return finished(part.body, part.etag, HTML)
    return _missing(slug[:SLUG_MAX_CHARS], snapshot)


@hotels.post("/hotels/<hotel_id>/visit")
def visit(hotel_id: str) -> Response:
    """What this visitor is told beside everybody's page; that they came is noted."""
    snapshot = services().listings.snapshot()
    if not len(snapshot.index.positions([hotel_id])):
        raise NotFound("There is no hotel with this id.")
    told, cookie = visits.visit(hotel_id)
    response = answer(told)
    visits.set_cookie(response, cookie)
    return response


def _listing(name: str, snapshot: Snapshot, said: Filters) -> BaseResponse:
    where = request.args.get("where", "").strip()[:VALUE_MAX_CHARS]
    query = query_of(request.args, snapshot.words, said)
    if where:
        place = _place(where, snapshot)
        if place is None:
            return _missing(where, snapshot, where)
        query = msgspec.structs.replace(query, page_no=1, filters=msgspec.structs.replace(
            query.filters, cities=place.cities, countries=place.countries))  # fmt: skip
    wanted = address(query, snapshot.words)
    if _differs(wanted):
        response = redirect(wanted, 302)
        response.headers["Cache-Control"] = REDIRECT_CACHE
        return response
    listings = services().listings
    try:
        own = _own_order(query, snapshot)
        if own is not None:
            return own
        made = listings.kept(name, snapshot) or listings.page(name, query, snapshot)
    except PageGone:
        return _missing("", snapshot, first=Query(filters=query.filters, order=query.order))
    return finished(made.body, made.etag, HTML)


def _own_order(query: Query, snapshot: Snapshot) -> Response | None:
    """The listing in the order of its visitor's taste, for those of whom something is known."""
    visitor = visits.visitor_of(request)
    if visitor is None or query.order is not Order.RECO:
        return None
    seen = visitor.seen_by(query.page_no)
    made = services().listings.personal(query, snapshot, visitor.visitor_id, seen)
    if made is None:
        return None
    response = finished(made.body, made.etag, HTML)
    response.headers["Cache-Control"] = "private, no-cache"
    response.headers["Vary"] = "Accept-Encoding, Cookie"
    if query.page_no == 1 and visitor.began is not None:
        visits.set_cookie(response, msgspec.structs.replace(visitor, began=None))
    return response


def _differs(wanted: str) -> bool:
    """Whether the address that was asked for says the same in other words.

    What we do not know, such as a campaign's mark in an advertisement, is no reason to send
    anybody elsewhere.
    """
    path, _, query = wanted.partition("?")
    asked = [(name, value) for name, value in request.args.items(multi=True)
             if name in (*FIELDS, "where")]  # fmt: skip
    return request.path != path or sorted(asked) != sorted(parse_qsl(query))


def _place(text: str, snapshot: Snapshot) -> Filters | None:
    """The city or country that somebody typed."""
    return snapshot.words.place(text)


def _missing(
    slug: str, snapshot: Snapshot, where: str = "", first: Query | None = None
) -> Response:
    suggestions = [(f"/hotels/{path}", title)
                   for path, title in snapshot.words.suggestions(slug)] if slug else []
    response = make_response(render_template(
        "hotel_missing.html", where=where, suggestions=suggestions,
        first=address(first, snapshot.words) if first else None,
    ), 404)
    response.headers["Cache-Control"] = "no-store"
    return response
