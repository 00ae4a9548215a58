"""What holds for every page in a real browser: reachable for everybody, steady, on its own."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_core_python.selenium import Axe

from tests.browser.surfing import Browser
from tests.system import System

PAGES = ["/order", "/order?package=5", "/order?package=1&x=closed", "/query", "/api/docs",
         "/nowhere", "/order?package=999999", "form errors", "query miss", "result", "cancel",
         "/order?to=atlantis", "/search", "/search?destination=lisbonn&guests=2",
         "/hotels", "/hotels/hotels-in-lisbon?rating=6&price_max=900", "/hotels?where=Atlantis",
         "/hotels?stars=9", "hotel"]
SHIFT_MAX = 0.02  # a tenth counts as good
# Contrast on a picture cannot be computed: the hero's text is looked at by people.
AXE_OPTIONS = {"resultTypes": ["violations"]}
# All cards of a kind are set the same way.
AXE_CONTEXT = {"exclude": [[".card:nth-child(n+4)"], [".lodge:nth-child(n+4)"]]}


@pytest.fixture(scope="session")
def result_path(shared_browser: Browser) -> str:
    """The page of an order that is booked."""
    shared_browser.order(19, "watcher@example.org")
    shared_browser.wait_heading("You are booked")
    return shared_browser.path


def show(browser: Browser, name: str, result_path: str) -> None:
    """Bring up the page of this name."""
    match name:
        case "form errors":
            browser.open("/order?package=5")
            browser.type("#email", "nobody@")
            browser.find(".take button").click()
            browser.wait(lambda: browser.find("#email-wrong"), "the errors are shown")
        case "query miss":
            browser.query("01JD8YV6S2Q0M5W3ZK7C4T9XRB", "nobody@example.org")
            browser.wait(lambda: browser.find("[role=alert]"), "the miss is shown")
        case "result":
            browser.open(result_path)
        case "hotel":
            browser.open("/hotels")
            browser.open(urlsplit(browser.find(".lodge h3 a").get_attribute("href") or "").path)
        case "cancel":
            browser.open(f"{result_path}/cancel")
        case _:
            browser.open(name)


@pytest.fixture(scope="module", params=PAGES)
def shown(request: pytest.FixtureRequest, shared_browser: Browser, result_path: str) -> Browser:
    """The browser with one of the pages, which is opened once for all tests that look at it."""
    shared_browser.size(1280, 900)
    shared_browser.errors()
    show(shared_browser, request.param, result_path)
    return shared_browser


def test_axe_finds_no_barrier_by_day_and_by_night(shown: Browser) -> None:
    # What is folded away is looked at too.
    shown.driver.execute_script(
        "document.querySelectorAll('details').forEach(d => { d.open = true; })")
    for width, dark in ((1280, False), (1280, True), (360, False)):
        shown.size(width, 900, dark=dark)
        found: dict[str, Any] = Axe().run(shown.driver, AXE_CONTEXT, AXE_OPTIONS)
        barriers = [
            (violation["id"], violation["help"], node["html"][:120])
            for violation in found["violations"] for node in violation["nodes"]
        ]
        assert barriers == [], f"{width} px, {'dark' if dark else 'light'}"


@pytest.mark.parametrize("width", [320, 360, 768])
def test_nothing_is_wider_than_the_screen(shown: Browser, width: int) -> None:
    shown.size(width, 800)
    wide, screen = shown.driver.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= screen == width


def test_a_page_has_one_heading_a_language_a_title_and_named_fields(shown: Browser) -> None:
    found = shown.driver.execute_script("""
        const fields = [...document.querySelectorAll('input:not([type=hidden]), select, button')];
        return {
          headings: [...document.querySelectorAll('h1')].map(h => h.innerText),
          lang: document.documentElement.lang,
          title: document.title,
          landmarks: ['header', 'nav', 'main', 'footer'].filter(t => document.querySelector(t)),
          nameless: fields.filter(f => !(f.labels?.length || f.innerText)).map(f => f.outerHTML),
        };""")
    assert len(found["headings"]) == 1
    assert found["headings"][0].strip()
    assert found["lang"] == "en"
    assert found["title"].endswith(" · Berth")
    assert found["landmarks"] == ["header", "nav", "main", "footer"]
    assert found["nameless"] == []


def test_a_page_keeps_to_its_own_policy_and_its_own_host(shown: Browser, system: System) -> None:
    loaded = shown.driver.execute_script(
        "return performance.getEntriesByType('resource').map(e => e.name)")
    assert any("berth.css" in address for address in loaded)
    assert {urlsplit(address).netloc for address in loaded} == {urlsplit(system.url).netloc}
    # A status of 4xx is the page's own answer here; everything else would be a fault.
    assert [line for line in shown.errors() if "the server responded with" not in line] == []


@pytest.mark.parametrize("name", ["/order", "/order?package=5", "result", "/api/docs",
                                  "/search", "/hotels", "hotel"])
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_jumps_while_a_page_loads(
    shared_browser: Browser, result_path: str, name: str, width: int
) -> None:
    browser = shared_browser
    browser.size(width, 900)
    browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
    show(browser, name, result_path)
    shift = browser.driver.execute_async_script("""
        const done = arguments[0];
        let sum = 0;
        new PerformanceObserver(list => {
          for (const entry of list.getEntries()) sum += entry.value;
        }).observe({type: 'layout-shift', buffered: true});
        Promise.all([document.fonts.ready, ...[...document.images]
          .filter(i => !i.complete && i.loading !== 'lazy')
          .map(i => new Promise(r => { i.onload = i.onerror = r; }))])
          .then(() => requestAnimationFrame(() => requestAnimationFrame(() => done(sum))));""")
    assert shift <= SHIFT_MAX


def test_the_fonts_and_pictures_of_the_identity_are_there(shared_browser: Browser) -> None:
    browser = shared_browser
    browser.open("/order")
    broken = browser.driver.execute_async_script("""
        const done = arguments[0];
        const images = [...document.images];
        images.forEach(i => { i.loading = 'eager'; });
        Promise.all(images.map(i => i.decode().then(() => null, () => i.src)))
          .then(found => done(found.filter(Boolean)));""")
    assert broken == []
    assert browser.driver.execute_script(
        "return document.fonts.check('20px \"Instrument Serif\"')")


def test_the_browser_itself_would_refuse_a_script_that_came_through(
    shared_browser: Browser
) -> None:
    """A control: the policy that the other tests rely on is in force."""
    browser = shared_browser
    browser.open("/order")
    browser.errors()
    ran = browser.driver.execute_async_script("""
        const done = arguments[0];
        const script = document.createElement('script');
        script.textContent = 'window.came_through = true';
        document.body.append(script);
        setTimeout(() => done(window.came_through === true));""")
    assert ran is False
    assert any("Content Security Policy" in line for line in browser.errors())
