"""The app of the pages on real engines, with a campaign on sale, and a visitor."""

from __future__ import annotations

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from settings import Settings
from tests.booking_world import World
from tests.visitor import ANN, UNKNOWN_ID, Visitor, sell_campaign, stay, work
from web import build_app


@pytest.fixture
def road(world: World) -> World:
    sell_campaign(world)
    return world


@pytest.fixture
def app(settings: Settings, road: World) -> Flask:
    return build_app(settings)


@pytest.fixture
def ann(app: Flask) -> Visitor:
    return Visitor(app)


@pytest.fixture
def every_page(ann: Visitor, road: World) -> dict[str, TestResponse]:
    """All kinds of pages there are, by a name."""
    order_id = ann.order()
    work(road)
    form = ann.order_form()
    return {
        "window": ann.get("/order"),
        "form": ann.get("/order?package=1"),
        "closed": ann.get("/order?package=2"),
        "form with errors": ann.client.post("/order", data={**form, "email": ""}),
        "result": ann.get(f"/orders/{order_id}"),
        "cancel": ann.get(f"/orders/{order_id}/cancel"),
        "query": ann.get("/query"),
        "query missed": ann.query(UNKNOWN_ID, ANN),
        "problem": ann.get("/nowhere"),
        "bad form": ann.client.post("/order"),
        "docs": ann.get("/api/docs"),
        "search form": ann.get("/search"),
        "search with errors": ann.get("/search?destination=atlantis&guests=2"),
        "search": ann.get("/search", query_string=stay()),
    }
