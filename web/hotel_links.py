"""Where a hotel and a rate have their pages: one place, for all views that name them."""

from __future__ import annotations

from urllib.parse import quote

from flask import request


def hotel_address(hotel_id: str) -> str:
    """The hotel's page of the catalogue; empty while there is none to link to."""
    del hotel_id
    return ""


def rate_address(rate_id: str) -> str:
    """The page on which a rate is booked at its pinned price."""
    return f"{request.script_root}/rates/{quote(rate_id, safe='')}"
