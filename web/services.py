"""What the views use, built once per process and found through the app."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import redis
from flask import current_app, request
from werkzeug.exceptions import NotFound

from booking.intake import Intake
from booking.lookup import OrderLookup, OrderView
from booking.projection import Shelf
from booking.store import BookingStore
from catalogue.feedback import FeedbackTeller
from catalogue.shelf import CatalogueReader
from search.entries import SearchEntries
from search.lowest import LowestRates
from search.places import Destinations
from settings import Settings
from web.listings import Listings
from web.search_views import SearchViews
from web.throttle import MissThrottle, SearchThrottle

_NAME = "berth"


class Services(msgspec.Struct, frozen=True):
    """Everything behind the views."""

    settings: Settings
    valkey: redis.Redis
    search_valkey: redis.Redis
    catalogue_valkey: redis.Redis
    store: BookingStore
    intake: Intake
    lookup: OrderLookup
    shelf: Shelf
    throttle: MissThrottle
    entries: SearchEntries
    views: SearchViews
    destinations: Destinations
    rate_suppliers: tuple[str, ...]
    search_throttle: SearchThrottle
    lowest: LowestRates
    catalogue: CatalogueReader
    listings: Listings
    feedback: FeedbackTeller
    # Suppliers of rates that are not called as always now, and why.
    gates: Callable[[], dict[str, str]]


def services() -> Services:
    """The services of the app that answers this request."""
    found: Services = current_app.extensions[_NAME]
    return found


def found_order(order_id: str, email: str) -> OrderView:
    """The order with this id and this e-mail. Raises NotFound, or TooManyRequests after many."""
    found = services()
    address = request.remote_addr or "unknown"
    found.throttle.check(address)
    order = found.lookup.find(order_id, email)
    if order is None:
        found.throttle.missed(address)
        raise NotFound("There is no order with this id and this e-mail.")
    return order
