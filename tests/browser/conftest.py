"""The whole system, and real browsers on it: one system per pytest worker, a fresh profile each.

Run with pytest-xdist these tests stay together on one worker (`--dist loadgroup`), so that one
system is enough; with another distribution each worker starts its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests.browser.surfing import Browser, Open
from tests.system import System, running_system

DRIVER = "/usr/bin/chromedriver"
CHROMIUM = "/usr/bin/chromium"
LOAD_WITHIN_S = 30
NO_JAVASCRIPT = 2  # "block", in Chromium's content settings


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Berth with its default campaign; the simulator declines nothing."""
    folder = tmp_path_factory.mktemp("browser") / "data"
    # A page that is watched must not be faster than the eye: the supplier takes its time.
    with running_system(folder, FLIGHT_FAILURE_RATE="0", WEB_WORKERS="1",
                        BOOKING_CONSUMERS="1", LOOKUP_MISSES_PER_MINUTE="1000") as running:
        yield running


@contextmanager
def _driver(profile: Path, javascript: bool) -> Iterator[webdriver.Chrome]:
    options = Options()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                     "--hide-scrollbars", "--window-size=1280,900", f"--user-data-dir={profile}"):
        options.add_argument(argument)
    if not javascript:
        options.add_experimental_option(
            "prefs", {"profile.managed_default_content_settings.javascript": NO_JAVASCRIPT})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.set_page_load_timeout(LOAD_WITHIN_S)
        driver.set_script_timeout(LOAD_WITHIN_S)
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def open_browser(system: System, tmp_path: Path) -> Iterator[Open]:
    """`open_browser(javascript=True)`: a browser with a profile of its own, closed at the end."""
    with ExitStack() as stack:
        def opened(*, javascript: bool = True) -> Browser:
            number = len(list(tmp_path.iterdir()))
            driver = stack.enter_context(_driver(tmp_path / f"profile-{number}", javascript))
            return Browser(driver, system.url)

        yield opened


@pytest.fixture(scope="session")
def shared_browser(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for tests that only look at pages."""
    with _driver(tmp_path_factory.mktemp("profile"), javascript=True) as driver:
        yield Browser(driver, system.url)
