"""Where a hotel and a rate have their pages: one place, for all views that name them."""

from __future__ import annotations

from urllib.parse import quote

from flask import request

from web.listing_query import Query, address
from web.services import services


def hotel_address(hotel_id: str) -> str:
    """The hotel's page of the catalogue; empty while there is none to link to."""
    snapshot = services().listings.peek()
    slug = snapshot.index.slug_of(hotel_id) if snapshot else None
    return f"{request.script_root}/hotels/{slug}" if slug else ""


def city_address(city: str) -> str:
    """The hotels of a city, by its name; empty for a city that has none."""
    snapshot = services().listings.peek()
    if snapshot is None:
        return ""
    found = snapshot.words.place(city)
    if found is None or not found.cities:
        return ""
    return request.script_root + address(Query(filters=found), snapshot.words)


def rate_address(rate_id: str) -> str:
    """The page on which a rate is booked at its pinned price."""
    return f"{request.script_root}/rates/{quote(rate_id, safe='')}"
