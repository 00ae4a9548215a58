"""Ordering as people do it, in a real browser on the whole system."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from ulid import ULID

import bootstrap
import settings
from tests.browser.surfing import Browser, Open
from tests.system import System
from tests.waiting import eventually

TABS_MAX = 40


def somebody() -> str:
    """An address that no other test has used."""
    return f"{ULID()}@example.org".lower()


def orders_of(system: System, email: str) -> list[str]:
    """The ids of all orders with this address, decided or not."""
    found = settings.load({"DATA_DIR": system.environment["DATA_DIR"]})
    with bootstrap.connect_mongo(found) as mongo:
        orders = bootstrap.database(found, mongo)["orders"].find({"email": email}, {"_id": 1})
        return [order["_id"] for order in orders]


@contextmanager
def stopped(system: System, part: str) -> Iterator[None]:
    """The part stands still, as a busy one does, and goes on at the end."""
    pids = system.pids(part)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_without_javascript_an_order_is_placed_and_watched_to_its_end(
    open_browser: Open, system: System
) -> None:
    browser = open_browser(javascript=False)
    browser.open("/")
    assert browser.path == "/order"
    browser.find("a[href='/order?package=6']").click()
    browser.type("#email", somebody())
    with stopped(system, "booking"):
        browser.find(".take button").click()
        order_id = browser.ordered()
        assert browser.heading().endswith("in the queue")
    browser.wait_heading("You are booked")  # the page has looked again by itself
    assert browser.path == f"/orders/{order_id}"
    assert browser.text("#flight-ticket").startswith("F-")
    assert browser.text("#hotel-reservation").startswith("H-")
    assert browser.text("#order-id") == order_id


@pytest.mark.parametrize("javascript", [True, False])
def test_a_double_click_is_one_order(
    open_browser: Open, system: System, javascript: bool
) -> None:
    browser, email = open_browser(javascript=javascript), somebody()
    browser.open("/order?package=8")
    browser.type("#email", email)
    browser.double_click(".take button")
    order_id = browser.ordered()
    system.final(order_id, email)
    # A second order would have been queued behind this one before it was final.
    after = system.order(9, email).json()["order_id"]
    system.final(after, email)
    assert sorted(orders_of(system, email)) == sorted([order_id, after])


def test_going_back_and_ordering_again_is_another_order(open_browser: Open) -> None:
    browser, email = open_browser(), somebody()
    first = browser.order(12, email)
    browser.driver.back()
    browser.wait(lambda: browser.path.startswith("/order?"), "the form is back")
    browser.type("#email", email)
    browser.find(".take button").click()
    assert browser.ordered() != first, "the form that came back had a key of its own"


def test_with_the_keyboard_alone(open_browser: Open) -> None:
    browser, email = open_browser(), somebody()
    browser.open("/order")
    browser.press(Keys.TAB)
    assert browser.focused().text == "Skip to the content"
    browser.press(Keys.ENTER)
    _tab_to(browser, lambda: "package=13" in (browser.focused().get_attribute("href") or ""))
    browser.press(Keys.ENTER)
    browser.wait(lambda: browser.find("#email"), "the form comes")
    _tab_to(browser, lambda: browser.focused().get_attribute("id") == "email")
    browser.press("not an address", Keys.ENTER)
    browser.wait(lambda: browser.find("#email-wrong"), "the address is refused")
    assert browser.focused().get_attribute("id") == "email", "one can type on at once"
    browser.replace(email)
    browser.press(Keys.ENTER)
    browser.ordered()
    browser.wait_heading("You are booked")
    _tab_to(browser, lambda: browser.focused().get_attribute("id") == "cancel")
    browser.press(Keys.ENTER)
    browser.wait_heading("Cancel this order?")
    _tab_to(browser, lambda: browser.focused().text == "Yes, cancel it")
    browser.press(Keys.ENTER)
    browser.wait_heading("This order is cancelled")


def _tab_to(browser: Browser, there: Callable[[], bool]) -> None:
    for _ in range(TABS_MAX):
        if there():
            outline = browser.focused().value_of_css_property("outline-style")
            assert outline != "none", "the focus must be seen"
            return
        browser.press(Keys.TAB)
    raise AssertionError(f"not reached with {TABS_MAX} tabs; at {browser.focused().tag_name}")


def test_with_javascript_the_page_changes_in_its_place_and_says_so(
    open_browser: Open, system: System
) -> None:
    browser = open_browser()
    with stopped(system, "booking"):
        browser.order(14, somebody())
        assert browser.heading().endswith("in the queue")
        assert browser.text("#news") == ""
        browser.driver.execute_script(
            "window.same = true; document.getElementById('again').focus();"
            "window.said = []; new MutationObserver(() => window.said.push("
            "document.getElementById('news').textContent)).observe("
            "document.getElementById('news'), {childList: true});")
        browser.wait(lambda: _looked_again(browser), "the page looks again by itself")
        assert browser.focused().get_attribute("id") == "again", "nothing new moves no focus"
    browser.wait_heading("You are booked")
    assert browser.driver.execute_script("return window.same"), "the page was not loaded again"
    said = browser.driver.execute_script("return window.said")
    assert said[-1] == browser.heading()
    assert browser.driver.title == f"{browser.heading()} · Berth"
    assert len(said) == len(set(said)), "nothing is said twice"
    assert browser.errors() == []


def _looked_again(browser: Browser) -> bool:
    seen = browser.driver.execute_script(
        "return performance.getEntriesByType('resource')"
        ".filter(e => e.initiatorType === 'fetch').length")
    return bool(seen >= 2)


def test_a_fresh_browser_finds_the_order_by_its_id_and_address(open_browser: Open) -> None:
    first, email = open_browser(), somebody()
    order_id = first.order(15, email)
    first.wait_heading("You are booked")
    second = open_browser(javascript=False)
    second.open(f"/orders/{order_id}")
    assert second.heading() == "Find your order"
    assert second.find("#order_id").get_attribute("value") == order_id
    second.type("#email", email)
    second.find("main form button").click()
    second.wait_heading("You are booked")
    assert second.path == f"/orders/{order_id}"
    assert email.partition("@")[0] not in second.driver.current_url
    assert second.text("#flight-ticket") == first.text("#flight-ticket")


def test_a_wrong_id_and_a_wrong_address_look_the_same(open_browser: Open) -> None:
    browser, email = open_browser(), somebody()
    order_id = browser.order(16, email)
    other = open_browser()
    said = []
    for asked_id, asked_email in ((order_id, somebody()), (str(ULID()), email)):
        other.query(asked_id, asked_email)
        other.wait(lambda: other.find("[role=alert]"), "the miss is said")
        said.append(other.text())
    assert said[0] == said[1]
    assert "We find no order" in said[0]


def test_a_cancellation_gives_the_place_back(open_browser: Open, system: System) -> None:
    browser = open_browser(javascript=False)
    before = system.packages()[17]["remaining"]
    browser.order(17, somebody())
    browser.wait_heading("You are booked")
    eventually(lambda: system.packages()[17]["remaining"] == before - 1)
    browser.find("#cancel").click()
    browser.find("main form button").click()
    browser.wait_heading("This order is cancelled")
    eventually(lambda: system.packages()[17]["remaining"] == before)


def test_the_data_of_this_test_are_where_it_looks(system: System) -> None:
    """`orders_of` would find nothing in a wrong place, and a count of one would mean little."""
    email = somebody()
    order_id = system.order(18, email).json()["order_id"]
    system.final(order_id, email)
    assert orders_of(system, email) == [order_id]
    assert Path(system.environment["DATA_DIR"], settings.ENGINES_FILE).exists()
