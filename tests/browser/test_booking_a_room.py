"""From a search to a booked room, as people do it: the whole system and all simulated vendors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import requests
from axe_core_python.selenium import Axe
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from ulid import ULID

from suppliers.registry import ADAPTERS
from tests.browser.surfing import Browser, Open
from tests.system import System

STEADY: dict[str, float] = {"sold_out_rate": 0, "price_change_rate": 0}


def outside(system: System) -> str:
    return f"http://127.0.0.1:{system.environment['SIMULATOR_PORT']}"


def conduct(system: System, **how: Any) -> None:
    """Every vendor behaves so from now on."""
    answer = requests.patch(f"{outside(system)}/api/simulator/settings", timeout=10,
                            json={"vendors": dict.fromkeys(ADAPTERS, how)})
    assert answer.status_code == 200, answer.text


@contextmanager
def vendors(system: System, **how: Any) -> Iterator[None]:
    """Vendors that answer soon and sell what they offered, but for `how`."""
    conduct(system, latency_ms_min=100, latency_ms_max=900, **(STEADY | how))
    try:
        yield
    finally:
        conduct(system, **STEADY)


def stays(system: System) -> dict[str, dict[str, Any]]:
    """What is booked at the vendors, by number."""
    found = requests.get(f"{outside(system)}/api/simulator/stays", timeout=10).json()["stays"]
    return {stay["number"]: stay for stay in found if stay["state"] == "booked"}


def look_for_rooms(browser: Browser, destination: str) -> None:
    browser.open("/search")
    browser.type("#destination", destination)
    browser.press(Keys.ENTER)
    browser.wait_heading(f"Rooms in {destination.partition(',')[0]}")


def choose(browser: Browser) -> tuple[str, str]:
    """Follow the first "Book"; the hotel's name and the price that stood beside it."""
    hotel, price, address = browser.wait(lambda: offer(browser), "rates show")
    browser.driver.get(address)
    assert browser.path.startswith("/rates/")
    return hotel, price.splitlines()[-1]


def offer(browser: Browser) -> tuple[str, str, str]:
    """Name, price and address of the first stay: all of one, for another may come before it."""
    stay = browser.find(".stay")
    name, price, book = (stay.find_element(By.CSS_SELECTOR, css)
                         for css in ("h3", ".stay-price .price", ".book"))
    return name.text, price.text, book.get_attribute("href") or ""


@pytest.mark.parametrize(("javascript", "width", "city"), [
    (True, 1280, "Lisbon, Portugal"), (False, 390, "Porto, Portugal"),
], ids=["wide", "phone without JavaScript"])
def test_a_room_that_was_found_is_booked_at_the_price_that_was_shown(
    open_browser: Open, system: System, javascript: bool, width: int, city: str
) -> None:
    browser, email = open_browser(javascript=javascript), f"{ULID()}@example.org".lower()
    browser.size(width, 900)
    with vendors(system):
        before = stays(system)
        look_for_rooms(browser, city)
        hotel, price = choose(browser)
        assert browser.heading() == hotel
        assert browser.text(".take .price").endswith(price)
        browser.type("#email", email)
        browser.type("#given_name", "Ada")
        browser.type("#family_name", "Lovelace")
        browser.find(".take button").click()
        order_id = browser.ordered()
        browser.wait_heading(f"You are booked: {hotel}")
    new = {number: stay for number, stay in stays(system).items() if number not in before}
    [number] = new
    assert browser.text("#hotel-reservation") == number
    assert price in browser.text(".facts"), "the price that was shown is the one that was booked"
    found = system.look(order_id, email)
    assert (found["state"], found["hotel_reservation_number"]) == ("confirmed", number)
    assert float(new[number]["price"]) == float(found["rate"]["price"])
    # Weeks later, with the number and the address only.
    later = open_browser(javascript=javascript)
    later.query(order_id, email)
    later.wait_heading(f"You are booked: {hotel}")


def test_a_price_that_changed_is_told_and_books_nothing(
    open_browser: Open, system: System
) -> None:
    browser = open_browser()
    with vendors(system, price_change_rate=1):
        before = stays(system)
        look_for_rooms(browser, "Madrid, Spain")
        choose(browser)
        browser.type("#email", f"{ULID()}@example.org".lower())
        browser.find(".take button").click()
        browser.ordered()
        browser.wait(lambda: "another price" in browser.text(".verdict"), "it says why not")
    assert stays(system) == before


def test_the_page_of_a_rate_is_for_everybody(shared_browser: Browser, system: System) -> None:
    browser = shared_browser
    browser.size(1280, 900)
    with vendors(system):
        look_for_rooms(browser, "Lisbon, Portugal")
        choose(browser)
    browser.type("#email", "nobody@")
    browser.find(".take button").click()
    browser.wait(lambda: browser.find("#email-wrong"), "the form comes back with what is wrong")
    for width, dark in ((1280, False), (390, True), (320, False)):
        browser.size(width, 900, dark=dark)
        wide = browser.driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
        found = Axe().run(browser.driver, None, {"resultTypes": ["violations"]})
        assert [(one["id"], one["help"]) for one in found["violations"]] == []
