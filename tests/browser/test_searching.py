"""Searching in a real browser: the page fills while the test plays the suppliers.

The page is served by a web server of its own on the engines of this worker: nobody but the test
answers a search here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
import redis
from axe_core_python.selenium import Axe
from selenium.webdriver.common.keys import Keys
from werkzeug.serving import make_server

import bootstrap
from settings import Settings
from tests.browser.surfing import Browser, Open
from tests.search_play import Play
from tests.visitor import stay
from web import build_app

HERE = f"/search?{urlencode(stay())}"
SHIFT_MAX = 0.02


class Served:
    """Where the pages are, and what the server has answered."""

    def __init__(self, settings: Settings, valkey: redis.Redis, **changes: Any) -> None:
        settings = msgspec.structs.replace(settings, **changes)
        self.entries = bootstrap.search_entries(settings, valkey)
        self.statuses: list[tuple[str, str]] = []
        app = build_app(settings)
        inner = app.wsgi_app

        def noting(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            def noted(status: str, *rest: Any) -> Any:
                self.statuses.append((environ["PATH_INFO"], status[:3]))
                return start(status, *rest)

            return inner(environ, noted)

        app.wsgi_app = noting  # type: ignore[method-assign]
        self.server = make_server("127.0.0.1", 0, app, threaded=True)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def polls(self, status: str) -> int:
        return self.statuses.count(("/api/search", status))


@pytest.fixture
def serve(settings: Settings, valkey: redis.Redis) -> Iterator[Callable[..., Served]]:
    """`serve(**changes of the settings)`: a running server, ended with the test."""
    running: list[tuple[Served, threading.Thread]] = []
    with bootstrap.connect_search_valkey(settings) as search_valkey:
        def start(**changes: Any) -> Served:
            served = Served(settings, search_valkey, **changes)
            thread = threading.Thread(target=served.server.serve_forever)
            thread.start()
            running.append((served, thread))
            return served

        yield start
        for served, thread in running:
            served.server.shutdown()
            thread.join(10)
            served.server.server_close()


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve()


@pytest.fixture
def browser(served: Served, shared_browser: Browser) -> Iterator[Browser]:
    found = Browser(shared_browser.driver, served.url)
    found.size(1280, 900)
    found.errors()
    yield found
    found.driver.get("about:blank")  # it must not poll a server that is gone


def cards(browser: Browser) -> list[str]:
    found: list[str] = browser.driver.execute_script(
        "return [...document.querySelectorAll('.stay[id]')].map(card => card.id.slice(6))")
    return found


@contextmanager
def steady(browser: Browser) -> Iterator[None]:
    """Nothing jumps meanwhile: the browser's own measure of shifts stays near zero."""
    browser.driver.execute_script("""
        window.shift = 0;
        new PerformanceObserver(list => {
          for (const entry of list.getEntries()) window.shift += entry.value;
        }).observe({type: 'layout-shift', buffered: false});""")
    yield
    shift = browser.driver.execute_async_script(
        "requestAnimationFrame(() => requestAnimationFrame(() => arguments[0](window.shift)))")
    assert shift <= SHIFT_MAX


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fills_in_its_place_while_suppliers_answer(
    served: Served, browser: Browser, width: int
) -> None:
    browser.size(width, 900)
    play = Play(served.entries, "hotelbeds", "ascenda", "perhotel")
    browser.open(HERE)
    assert browser.heading() == "Rooms in Lisbon"
    assert cards(browser) == []
    browser.driver.execute_script("window.same = true")
    with steady(browser):
        play.answer("hotelbeds", play.rate(1, "99.00"), play.rate(2, "120.00"))
        browser.wait(lambda: cards(browser) == ["lisbon-1", "lisbon-2"], "the first rates show")
        assert "2 rates in" in browser.text(".supplier-done")
        play.answer("perhotel", play.rate(3, "70.00"), play.rate(1, "65.50"), finished=False)
        browser.wait(lambda: len(cards(browser)) == 3, "more come below")
        assert cards(browser) == ["lisbon-1", "lisbon-2", "lisbon-3"]
        assert browser.text("#hotel-lisbon-1 .price").endswith("€65.50")
        assert "2 rates so far" in browser.text("#suppliers")
        play.answer("ascenda", error="HTTP 503")
        play.answer("perhotel")
        browser.wait(lambda: browser.text("#found") == "3 hotels", "it is complete")
    assert "could not answer this time" in browser.text(".supplier-failed")
    assert browser.text("#news").startswith("3 hotels. 3 of 3 suppliers have answered")
    assert browser.driver.execute_script("return window.same"), "the page was not loaded again"
    assert browser.errors() == []


TORN = """
    const torn = [];
    for (const one of document.querySelectorAll(arguments[0])) {
      const range = document.createRange();
      range.selectNodeContents(one);
      const lines = new Set([...range.getClientRects()].map(line => Math.round(line.bottom)));
      const isCut = one.scrollWidth > one.clientWidth;
      if (isCut || lines.size > arguments[1]) torn.push(one.textContent);
    }
    return torn;"""


@pytest.mark.parametrize("width", [1280, 980, 390, 360])
def test_no_word_of_the_price_is_cut_short_and_no_number_stands_apart(
    served: Served, browser: Browser, width: int
) -> None:
    browser.size(width, 900)
    play = Play(served.entries, "hotelbeds", "perhotel", "expedia_rapid")
    for number, supplier in enumerate(("hotelbeds", "perhotel", "expedia_rapid"), 1):
        play.answer(supplier, play.rate(number, "1234.50", supplier=supplier, currency="JPY"))
    browser.open(HERE)
    browser.wait(lambda: "left)" in browser.text("#left"), "the page counts")
    assert "from the hotel itself" in browser.text("#hotel-lisbon-2")
    assert browser.text("#hotel-lisbon-2 .stay-more") == "One rate"
    for words, lines in ((".stay-price .hint", 2), (".said", 1), (".holds strong", 1),
                         (".hero .part + .dot + .part", 1)):
        assert browser.driver.execute_script(TORN, words, lines) == [], (words, width)


def test_a_search_that_ends_without_a_room_says_what_can_be_done(
    served: Served, browser: Browser
) -> None:
    play = Play(served.entries, "hotelbeds", "ascenda")
    browser.open(HERE)
    assert browser.text("#holding") == "These prices hold until"
    play.answer("hotelbeds")
    play.answer("ascenda", error="HTTP 503")
    browser.wait(lambda: browser.text("#found") == "No room found", "it is over")
    assert "Not everybody could answer" in browser.text(".nothing")
    assert browser.text("#holding") == "This answer holds until"
    assert not browser.find(".sorts").is_displayed(), "there is nothing to sort"
    browser.find(".nothing a").click()
    assert browser.focused().get_attribute("id") == "destination"


def test_polls_without_news_are_answered_304_and_stop_when_complete(
    served: Served, browser: Browser
) -> None:
    play = Play(served.entries, "hotelbeds")
    browser.open(HERE)
    browser.wait(lambda: served.polls("304") >= 2, "polls bring nothing")
    assert served.statuses.count(("/search", "200")) == 1, "nothing new, so no page was taken"
    play.answer("hotelbeds", play.rate(1, "99.00"))
    browser.wait(lambda: cards(browser) == ["lisbon-1"], "the rate shows")
    polls = len(served.statuses)
    browser.driver.execute_async_script("setTimeout(arguments[0], 1500)")
    assert len(served.statuses) == polls


def test_by_price_new_rates_wait_until_they_are_asked_for(
    served: Served, browser: Browser
) -> None:
    play = Play(served.entries, "hotelbeds", "ascenda")
    play.answer("hotelbeds", play.rate(1, "99.00"), play.rate(2, "80.00"))
    browser.open(HERE)
    browser.find(".sorts a[href*=price]").click()
    browser.wait(lambda: cards(browser) == ["lisbon-2", "lisbon-1"], "sorted by price")
    with steady(browser):
        play.answer("ascenda", play.rate(3, "85.00"), play.rate(4, "50.00", currency="GBP"))
        browser.wait(lambda: browser.find("#held").is_displayed(), "it says that more has come")
        assert cards(browser) == ["lisbon-2", "lisbon-1"]
    browser.find("#held button").click()
    assert cards(browser) == ["lisbon-2", "lisbon-3", "lisbon-1", "lisbon-4"]
    assert [one.text for one in browser.driver.find_elements("css selector", ".currency")] == [
        "Prices in euros", "Prices in British pounds"]
    assert not browser.find("#held").is_displayed()
    browser.driver.back()
    browser.wait(lambda: "order" not in browser.path, "back to the first view")
    browser.wait(lambda: cards(browser)[:2] == ["lisbon-1", "lisbon-2"], "in its order")


def test_what_somebody_uses_is_left_alone_until_they_are_done(
    served: Served, browser: Browser
) -> None:
    play = Play(served.entries, "hotelbeds", "ascenda")
    play.answer("hotelbeds", play.rate(1, "99.00"), play.rate(1, "120.00"), play.rate(2, "80.00"))
    browser.open(HERE)
    browser.driver.execute_script("document.querySelector('#hotel-lisbon-1 summary').focus()")
    browser.press(Keys.ENTER)
    assert browser.find("#hotel-lisbon-1 .others").is_displayed()
    play.answer("ascenda", play.rate(1, "60.00"), play.rate(2, "50.00"))
    browser.wait(lambda: browser.text("#hotel-lisbon-2 .price").endswith("€50"), "news elsewhere")
    assert browser.text("#hotel-lisbon-1 .price").endswith("€99")
    assert browser.focused().tag_name == "summary"
    browser.press(Keys.ENTER)
    browser.press(Keys.TAB)
    browser.wait(lambda: browser.text("#hotel-lisbon-1 .price").endswith("€60"), "now it is told")


def test_when_the_prices_expire_the_page_says_so_and_searches_again(
    serve: Callable[..., Served], shared_browser: Browser
) -> None:
    served = serve(search_life_s=4, search_deadline_s=2)
    browser = Browser(shared_browser.driver, served.url)
    play = Play(served.entries, "hotelbeds")
    rate = play.rate(1, "99.00")
    play.answer("hotelbeds", rate)
    browser.open(HERE)
    assert browser.find(".book").get_attribute("href") == f"{served.url}/rates/{rate.rate_id}"
    assert "left)" in browser.text("#left")
    browser.wait(lambda: browser.find("#expired a").is_displayed(), "it says that they expired")
    assert not browser.find(".book").is_displayed()
    assert browser.find(".book").get_attribute("href") is None
    browser.find("#expired a").click()
    browser.wait(lambda: "left)" in browser.text("#left"), "a new search has begun")
    assert cards(browser) == []
    browser.driver.get("about:blank")


def test_without_javascript_the_page_refreshes_itself(served: Served, open_browser: Open) -> None:
    browser = Browser(open_browser(javascript=False).driver, served.url)
    play = Play(served.entries, "hotelbeds")
    browser.open(HERE)
    play.answer("hotelbeds", play.rate(1, "99.00"), play.rate(1, "120.00"))
    browser.wait(lambda: "1 hotel" in browser.text("#found"), "it has looked again")
    browser.find("summary").click()
    browser.wait(lambda: browser.find(".others").is_displayed(), "the others unfold")
    browser.find(".sorts a[href*=price]").click()
    browser.wait(lambda: "order=price" in browser.path, "sorted by a link")
    assert served.polls("200") == 0


def test_the_form_leads_to_the_search(served: Served, browser: Browser) -> None:
    browser.open("/search")
    browser.type("#destination", "Lisbon, Portugal")
    browser.press(Keys.ENTER)
    browser.wait(lambda: browser.heading() == "Rooms in Lisbon", "the search has begun")
    assert len(browser.driver.find_elements("css selector", "#suppliers li")) == 5
    assert browser.errors() == []


@pytest.mark.parametrize("order", ["arrival", "price"])
def test_axe_finds_no_barrier_and_nothing_is_too_wide(
    served: Served, browser: Browser, order: str
) -> None:
    play = Play(served.entries, "hotelbeds", "ascenda", "duffel_stays")
    play.answer("hotelbeds", play.rate(1, "99.00"), play.rate(1, "1234.50", currency="GBP"),
                play.rate(2, "123456.00", currency="JPY", room="A room " * 30, refundable=False))
    play.answer("ascenda", error="HTTP 500")
    browser.open(f"{HERE}&order={order}")
    browser.driver.execute_script(
        "document.querySelectorAll('details').forEach(d => { d.open = true; })")
    for width, dark in ((1280, False), (1280, True), (390, False), (320, True), (768, False)):
        browser.size(width, 900, dark=dark)
        wide = browser.driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= width
        found = Axe().run(browser.driver, None, {"resultTypes": ["violations"]})
        barriers = [(one["id"], one["help"], node["html"][:120])
                    for one in found["violations"] for node in one["nodes"]]
        assert barriers == [], f"{width} px, {'dark' if dark else 'light'}"
