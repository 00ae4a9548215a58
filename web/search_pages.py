"""GET /search: the form, and the rates as they come. It works without JavaScript."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from flask import Blueprint, Response, make_response, render_template, request, url_for
from markupsafe import Markup
from werkzeug.exceptions import TooManyRequests

from booking.lookup import moment
from errors import BadInput, EngineAway
from search.entries import TooManySearches
from search.model import SupplierState
from search.places import Destinations, Place
from search.query import AHEAD_MAX_DAYS, GUESTS_MAX, SearchQuery
from web import search_window
from web.finished import takes_gzip
from web.hotel_links import hotel_address, rate_address
from web.packing import Piece, packed, piece
from web.problems import problem_of
from web.search_api import etag_of
from web.search_views import SearchView
from web.searches import (
    ORDERS,
    found_or_begun,
    order_of,
    poll_after_ms,
    progress_of,
    query_of,
)
from web.services import services
from web.types import FieldError
from web.words import field_text, for_people

search_pages = Blueprint("search_pages", __name__)

# So many hotels at first, and so many more with each "show more".
HOTELS_SHOWN = 40
HOTELS_SHOWN_MAX = 1_000
# Without JavaScript the page looks again this often, until the search is completed.
REFRESH_S = 3
# A stay that the empty form proposes.
_PROPOSED_AHEAD_DAYS, _PROPOSED_NIGHTS = 30, 3

# Stands for the hotels in the page around them; no text of a page can be so, `<` is escaped.
_HERE = Markup("<!-- the hotels -->")

_FIELDS = ("destination", "check_in", "check_out", "guests")


@search_pages.after_request
def keep_fresh(response: Response) -> Response:
    """A page that is filling is never taken from a cache; going back asks for it again."""
    response.headers.setdefault("Cache-Control", "no-store")
    response.vary.add("Accept-Encoding")
    return response


@search_pages.app_context_processor
def helpers() -> dict[str, Any]:
    """What templates call."""
    return {"hotel_address": hotel_address, "rate_address": rate_address}


@search_pages.get("/search")
def search() -> Response:
    """The form alone, or with what the search of its fields has brought so far."""
    typed = _typed()
    if not set(request.args) & {"check_in", "check_out", "guests"}:
        return _form_page(typed)
    try:
        place = _place(typed["destination"], services().destinations)
        query = query_of(request.args, place.slug if place else None)
        order = order_of(request.args)
        shown_max = _shown_max(request.args.get("show", ""))
    except BadInput as error:
        return _form_page(typed, 422, wrong=error)
    try:
        view = found_or_begun(query)
    except (TooManySearches, TooManyRequests, EngineAway) as error:
        problem, headers = problem_of(error, services().settings.retry_after_s)
        trouble = ((problem.title, problem.detail) if isinstance(error, TooManyRequests)
                   else for_people(problem))
        return _form_page(typed, problem.status, headers, trouble=trouble)
    return _result_page(typed, query, view, order, shown_max)


def _typed() -> dict[str, str]:
    """The form as it was sent; where it was not, a stay that makes sense."""
    arrival = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=_PROPOSED_AHEAD_DAYS)
    proposed = {"destination": "", "check_in": str(arrival), "guests": "2",
                "check_out": str(arrival + dt.timedelta(days=_PROPOSED_NIGHTS))}
    found = {name: request.args.get(name, default)[:100] for name, default in proposed.items()}
    place = services().destinations.places.get(found["destination"])
    if place is not None:
        found["destination"] = search_window.place_label(place)
    return found


@lru_cache(maxsize=4)
def _labels(destinations: Destinations) -> Mapping[str, Place]:
    """Every place by its label, in the order of the alphabet."""
    labelled = {search_window.place_label(place): place for place in destinations.places.values()}
    return dict(sorted(labelled.items()))


def _place(text: str, destinations: Destinations) -> Place | None:
    """The place that somebody means: what the list proposes, a name, or an address's own word."""
    return (_labels(destinations).get(text) or destinations.find(text)
            or destinations.find(text.partition(",")[0]))


def _shown_max(text: str) -> int:
    """How many hotels to show. What is no number asks for nothing special."""
    wanted = int(text) if text.isascii() and text.isdecimal() and len(text) <= 4 else 0
    return min(max(wanted, HOTELS_SHOWN), HOTELS_SHOWN_MAX)


def _form_page(
    typed: dict[str, str], status: int = 200, headers: dict[str, str] | None = None, *,
    wrong: BadInput | None = None, trouble: tuple[str, str] | None = None,
) -> Response:
    said = {}
    if wrong is not None:
        field = wrong.field if wrong.field in _FIELDS else "destination"
        said = {field: _sentence(wrong, typed)}
    return make_response(
        render_template("search.html", typed=typed, wrong=said, trouble=trouble, search=None,
                        **_form_context()),
        status, headers or {},
    )


def _sentence(wrong: BadInput, typed: dict[str, str]) -> str:
    if wrong.field == "destination":
        near = [search_window.place_label(place)
                for place in services().destinations.like(typed["destination"])]
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        return f"Choose a city from the list.{hint}"
    return field_text(FieldError(wrong.detail, wrong.field))


def _form_context() -> dict[str, Any]:
    today = dt.datetime.now(dt.UTC).date()
    return {
        "labels": list(_labels(services().destinations)),
        "guests_max": GUESTS_MAX,
        "day_min": today,
        "day_max": today + dt.timedelta(days=AHEAD_MAX_DAYS),
    }


def _result_page(
    typed: dict[str, str], query: SearchQuery, view: SearchView, order: str, shown_max: int
) -> Response:
    found = services()
    place = found.destinations.places[query.destination]
    stay = search_window.nights_text(query.check_in, query.check_out, query.guests)
    with view.reading:
        entry, count = view.entry, len(view.hotels)
        stays = view.made(("stays", order, shown_max),
                          lambda: _stays(view, stay, order, shown_max))
    progress = progress_of(entry)
    rows = search_window.supplier_rows(progress, found.rate_suppliers)
    address = {**_address(query), "order": order}
    now_ms = time.time() * 1_000
    context = {
        "typed": {**typed, "destination": search_window.place_label(place)},
        "wrong": {},
        "trouble": None,
        "search": entry,
        "place": place,
        "query": query,
        "stay": stay,
        "art_name": search_window.art_of(place.slug),
        "count": count,
        "shown": min(count, shown_max),
        "stays": _HERE,
        "rows": rows,
        "answered": sum(line.state is not SupplierState.PENDING
                        for line in progress.values()),
        "order": order,
        "api": url_for("search_api.search", **_address(query)),
        "etag": etag_of(entry, ORDERS[0], entry.cursor),
        "poll_ms": poll_after_ms(entry, now_ms) or 0,
        "expires": moment(entry.expires_ms),
        "left_ms": max(0, int(entry.expires_ms - now_ms)),
        "here": url_for("search_pages.search", **address, show=shown_max),
        "orders": [(one, url_for("search_pages.search", **{**address, "order": one}))
                   for one in ORDERS],
        "more": url_for("search_pages.search", **address,
                        show=min(shown_max + HOTELS_SHOWN, HOTELS_SHOWN_MAX)),
        "noscript_refresh_s": 0 if entry.is_completed else REFRESH_S,
        **_form_context(),
    }
    before, here, behind = (text.encode() for text in
                            render_template("search.html", **context).partition(_HERE))
    if not takes_gzip():
        return make_response(before + (stays.plain if here else b"") + behind)
    # The hotels are most of the page, and the same for everybody: packed once.
    response = make_response(packed(piece(before), *([stays] if here else ()), piece(behind)))
    response.headers["Content-Encoding"] = "gzip"
    return response


def _stays(view: SearchView, stay: str, order: str, shown_max: int) -> Piece:
    found = services()
    sections = search_window.sections(
        view, found.destinations.hotel, order=order, currency=found.settings.search_currency,
        shown_max=shown_max,
    )
    return piece(render_template("_stays.html", sections=sections, stay=stay, order=order
                                 ).encode())


def _address(query: SearchQuery) -> dict[str, Any]:
    """The parameters of the same search."""
    found: dict[str, Any] = {"destination": query.destination, "check_in": str(query.check_in),
             "check_out": str(query.check_out), "guests": str(query.guests)}
    if query.hotel_ids:
        found["hotel_ids"] = ",".join(query.hotel_ids)
    return found
