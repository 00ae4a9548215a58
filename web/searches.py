"""From the parameters of an address to the search that they mean, for the API and the page."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping

from flask import request
from werkzeug.datastructures import MultiDict

from errors import BadInput, BerthError
from search.model import Cursor, Entry, SupplierProgress, SupplierState, Version
from search.query import SearchQuery, parse
from web.search_views import SearchView
from web.services import services

log = logging.getLogger(__name__)

NAMES = ("destination", "check_in", "check_out", "guests", "hotel_ids")
ORDERS = ("arrival", "price")
_MISSING = SupplierProgress(state=SupplierState.TIMED_OUT, parts=0, parts_done=0, rates=0)


def query_of(args: MultiDict[str, str], destination: str | None = None) -> SearchQuery:
    """What is searched for. Raises BadInput that names the parameter, before anything is queued.

    `destination` stands in for the parameter where a name that people type was understood.
    """
    for name in args:
        if name in (*NAMES, "since", "order") and len(args.getlist(name)) > 1:
            raise BadInput("once only", field=name)
    wanted = {name: args.get(name, "") for name in NAMES}
    if destination is not None:
        wanted["destination"] = destination
    query = parse(**wanted, today=dt.datetime.now(dt.UTC).date())
    services().destinations.check(query)
    return query


def order_of(args: MultiDict[str, str]) -> str:
    """The order that is asked for."""
    order = args.get("order", "") or ORDERS[0]
    if order not in ORDERS:
        raise BadInput(f"one of {', '.join(ORDERS)}", field="order")
    return order


def found_or_begun(query: SearchQuery) -> SearchView:
    """The search as it stands. Raises TooManySearches, or TooManyRequests for a client that
    begins too many: each costs many calls of suppliers. Looking at one that exists is one call.
    """
    views = services().views
    found = views.read(query.search_id)
    if found is None:
        services().search_throttle.count(request.remote_addr or "unknown")
        entry = services().entries.begin(query)
        found = views.add(entry), entry
    view, news = found
    _note_lowest(query, news)
    return view


def continued(query: SearchQuery, since: Cursor, known: Version | None) -> Entry | None:
    """What is new after `since`; None when that search has expired. It never begins one."""
    entry = services().entries.read(query.search_id, since=since, known=known)
    if entry is not None:
        _note_lowest(query, entry)
    return entry


def _note_lowest(query: SearchQuery, entry: Entry) -> None:
    """For the pages of the hotels. Whoever searches gets the answer, whatever becomes of it."""
    try:
        services().lowest.note(query, entry)
    except BerthError as error:
        log.warning("the lowest rates are not noted: %s", error)


def progress_of(entry: Entry) -> Mapping[str, SupplierProgress]:
    """Who has answered. Where nobody was asked before the deadline, everybody is missing."""
    if entry.is_completed and not entry.suppliers and not entry.unchanged:
        return dict.fromkeys(services().rate_suppliers, _MISSING)
    return entry.suppliers


def poll_after_ms(entry: Entry, now_ms: float) -> int | None:
    """When looking again is likely to show something new; None: never, it is complete."""
    if entry.is_completed:
        return None
    age_ms = now_ms - entry.created_ms
    if age_ms < 5_000:
        return 400
    return 1_000 if age_ms < 15_000 else 2_000
