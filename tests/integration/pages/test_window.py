"""The window: all packages, what is left of them, and what leads to an order."""

from __future__ import annotations

import pytest
import redis

from settings import Settings
from tests.html_page import Page
from tests.visitor import (
    Visitor,
)
from web import build_app


@pytest.mark.parametrize("path", ["/", "/order-queue"])
def test_the_front_door_and_the_name_in_the_seed_lead_to_the_order_page(
    ann: Visitor, path: str
) -> None:
    answer = ann.get(path)
    assert answer.status_code == 302
    assert answer.location == "/order"


def test_the_window_shows_all_packages_and_what_can_be_ordered_first(ann: Visitor) -> None:
    page = ann.page("/order")
    assert [title.split()[0] for title in page.heads("h2")] == [
        "Open", "Opening", "Sold", "Paused", "Sale"]
    assert page.heads("h3") == ["Flight-6", "Tokyo", "Flight-3", "Flight-5", "Flight-4", "Flight-2"]
    for text in ("€49.90", "3 of 3 left", "Tue 9 Aug 2022", "Quiet Lantern Inn", "LIS", "NRT"):
        assert text in page.text
    ways = [a["href"] for a in page.all("a") if "package=" in a["href"]]
    assert ways == [f"/order?package={number}" for number in (6, 1, 3, 5, 4)]


def test_the_window_is_made_from_one_call_and_belongs_to_nobody(
    ann: Visitor, valkey: redis.Redis
) -> None:
    ann.get("/order")
    valkey.config_resetstat()
    answer = ann.get("/order")
    calls = {name: int(stats["calls"]) for name, stats in valkey.info("commandstats").items()}
    for own in ("cmdstat_config|resetstat", "cmdstat_info"):
        calls.pop(own, None)
    assert calls == {"cmdstat_hvals": 1}
    assert answer.headers["Cache-Control"] == "public, max-age=1"
    assert "Set-Cookie" not in answer.headers
    assert "Cookie" not in answer.headers.get("Vary", "")


def test_a_wish_narrows_the_window_and_an_unknown_one_harms_nothing(ann: Visitor) -> None:
    assert ann.page("/order?to=tokyo").heads("h3") == ["Tokyo"]
    assert ann.page("/order?from=LIS").heads("h3") == ["Tokyo"]
    assert ann.page("/order?to=atlantis").heads("h2") == ["Nothing matches"]
    assert ann.page("/order?from=XXX").heads("h2") == ["Nothing matches"]
    assert len(ann.page("/order?sort=weird&from=&x=1").heads("h3")) == 6


def test_without_packages_the_page_says_so_and_when_to_come_back(
    settings: Settings, valkey: redis.Redis
) -> None:
    visitor = Visitor(build_app(settings))
    for path in ("/order", "/order?package=1"):
        answer = visitor.get(path)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) > 0
        assert "The sale is being prepared" in Page(answer.text).heads("h1")
