"""Browsing hotels as people do: with and without JavaScript, there and back, on to live rates."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from selenium.webdriver.common.by import By

from tests.browser.surfing import Browser, Open
from web.visits import COOKIE

SHOWN = 24


def names(browser: Browser) -> list[str]:
    return [one.text for one in browser.driver.find_elements(By.CSS_SELECTOR, ".lodge h3")]


@pytest.mark.parametrize("javascript", [True, False])
def test_from_a_place_to_a_filter_to_a_hotel_to_its_live_rates(
    open_browser: Open, javascript: bool
) -> None:
    browser = open_browser(javascript=javascript)
    browser.open("/hotels")
    assert len(names(browser)) == SHOWN
    browser.type("#where", "Lisbon")
    browser.find(".wish-row button").click()
    browser.wait_heading("Hotels in Lisbon")
    assert browser.path == "/hotels/hotels-in-lisbon"
    all_here = names(browser)

    browser.find("input[name=stars]").click()
    if not javascript:
        browser.find(".facets button").click()
    browser.wait(lambda: browser.find(".chips li:nth-child(2)"), "the filter is a chip")
    browser.wait(lambda: 0 < len(names(browser)) < len(all_here), "the list is narrower")
    browser.wait(lambda: "-star-hotels-in-lisbon" in browser.path, "its address says so")

    browser.driver.back()
    browser.wait(lambda: names(browser) == all_here or None, "back to all of Lisbon")
    ticked = "return document.querySelectorAll('input[name=stars]:checked').length"
    if javascript:
        browser.wait(lambda: browser.driver.execute_script(ticked) == 0, "no filter is ticked")

    name = all_here[0]
    browser.find(".lodge h3 a").click()
    browser.wait_heading(name)
    hotel_id = browser.find(".hotel").get_attribute("data-hotel")
    browser.find(".ask button").click()
    browser.wait(lambda: browser.path.startswith("/search?"), "the search comes")
    asked = parse_qs(urlsplit(browser.path).query)
    assert asked["destination"] == ["lisbon"]
    assert asked["hotel_ids"] == [hotel_id]
    browser.wait_heading("Rooms in Lisbon")


def test_pages_lead_on_and_back_and_show_each_hotel_once(open_browser: Open) -> None:
    browser = open_browser(javascript=False)
    browser.open("/hotels?order_by=price_asc")
    seen: list[str] = []
    while True:
        seen += [link.get_attribute("href") or "" for link in
                 browser.driver.find_elements(By.CSS_SELECTOR, ".lodge h3 a")]
        following = browser.driver.find_elements(By.CSS_SELECTOR, "a[rel=next]")
        if not following:
            break
        following[0].click()
    assert len(seen) == len(set(seen)) == 60
    browser.find("a[rel=prev]").click()
    assert "page_no=2" in browser.path


def test_a_hotel_that_was_seen_before_says_so_and_nothing_moves(open_browser: Open) -> None:
    browser = open_browser()
    browser.open("/hotels")
    browser.driver.delete_all_cookies()
    browser.find(".lodge h3 a").click()
    browser.wait(lambda: browser.find(".hotel"), "the hotel's page")
    # The look is told behind the page; who is faster than that has not been seen yet.
    browser.wait(lambda: browser.driver.get_cookie(COOKIE), "the visitor's cookie")
    browser.driver.refresh()
    browser.wait(lambda: "before" in browser.text("#live") or None, "it was seen before")
    shift = browser.driver.execute_async_script("""
        const done = arguments[0];
        let sum = 0;
        new PerformanceObserver(list => {
          for (const entry of list.getEntries()) sum += entry.value;
        }).observe({type: 'layout-shift', buffered: true});
        requestAnimationFrame(() => requestAnimationFrame(() => done(sum)));""")
    assert shift <= 0.02
    assert browser.errors() == []


def test_a_phone_folds_the_filters_and_a_wide_screen_shows_them(open_browser: Open) -> None:
    browser = open_browser(javascript=False)
    for width, shown in ((390, False), (1280, True)):
        browser.size(width, 900)
        browser.open("/hotels")
        assert browser.find("input[name=stars]").is_displayed() is shown
    browser.size(390, 900)
    browser.find(".unfold a").click()
    assert browser.find("input[name=stars]").is_displayed()


def test_a_phone_shows_all_pictures_of_a_hotel_and_a_short_way_to_live_rates(
    open_browser: Open,
) -> None:
    browser = open_browser(javascript=False)
    browser.size(390, 800)
    browser.open("/hotels")
    browser.find(".lodge h3 a").click()
    pictures = browser.driver.find_elements(By.CSS_SELECTOR, ".gallery img")
    assert len(pictures) > 1
    assert all(one.is_displayed() and one.rect["height"] > 100 for one in pictures)
    button = browser.find(".ask button")
    assert button.rect["y"] > 800, "it is far below"
    browser.find(".to-ask a").click()
    top = browser.wait(lambda: browser.driver.execute_script("return window.scrollY"), "it moves")
    assert top < button.rect["y"] < top + 800
    browser.size(1280, 900)
    assert not browser.find(".to-ask a").is_displayed()
