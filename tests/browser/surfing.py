"""What a person does in a browser, with a bound on every wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from selenium.common.exceptions import (
    NoSuchElementException,
    StaleElementReferenceException,
    WebDriverException,
)
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement

from tests.waiting import eventually

T = TypeVar("T")
WITHIN_S = 20.0


class Browser:
    """A browser at the system's address."""

    def __init__(self, driver: WebDriver, url: str) -> None:
        self.driver = driver
        self.url = url

    # --- going ----------------------------------------------------------------------------------

    def open(self, path: str) -> None:
        self.driver.get(self.url + path)

    def size(self, width: int, height: int, *, dark: bool = False) -> None:
        """A screen of this many CSS pixels."""
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 700})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})

    @property
    def path(self) -> str:
        return self.driver.current_url.removeprefix(self.url)

    # --- looking --------------------------------------------------------------------------------

    def find(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def text(self, css: str = "main") -> str:
        return self.find(css).text

    def heading(self) -> str:
        return self.text("h1")

    def wait(self, condition: Callable[[], T], what: str) -> T:
        """Until `condition` holds; a page that changes meanwhile is looked at again."""
        def looked() -> T:
            try:
                return condition()
            except (NoSuchElementException, StaleElementReferenceException) as error:
                raise AssertionError(str(error).splitlines()[0]) from None
            except WebDriverException as error:
                # Chromium's own way to say stale, while one page takes the place of another.
                if "does not belong to the document" in str(error):
                    raise AssertionError("the page has just changed") from None
                raise

        return eventually(looked, WITHIN_S, what)

    def wait_heading(self, start: str) -> None:
        self.wait(lambda: self.heading().startswith(start), f"the page says {start!r}")

    def focused(self) -> WebElement:
        return self.driver.switch_to.active_element

    def errors(self) -> list[str]:
        """What the browser complained of since the last call, policy violations included."""
        logged: list[dict[str, Any]] = self.driver.get_log("browser")
        return [line["message"] for line in logged if line["level"] == "SEVERE"]

    # --- doing ----------------------------------------------------------------------------------

    def type(self, css: str, text: str) -> None:
        field = self.find(css)
        field.clear()
        field.send_keys(text)

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def replace(self, text: str) -> None:
        """Type over all that stands in the focused field."""
        ActionChains(self.driver).key_down(Keys.CONTROL).send_keys("a").key_up(
            Keys.CONTROL).send_keys(text).perform()

    def double_click(self, css: str) -> None:
        ActionChains(self.driver).double_click(self.find(css)).perform()

    def order(self, package_id: int, email: str) -> str:
        """Order by the form; returns the order's id."""
        self.open(f"/order?package={package_id}")
        self.type("#email", email)
        self.find(".take button").click()
        return self.ordered()

    def ordered(self) -> str:
        """The id of the order whose page is shown, as soon as it is."""
        self.wait(lambda: self.path.startswith("/orders/"), "the order's page comes")
        return self.path.rpartition("/")[2]

    def query(self, order_id: str, email: str) -> None:
        self.open("/query")
        self.type("#order_id", order_id)
        self.type("#email", email)
        self.find("main form button").click()


Open = Callable[..., Browser]  # the fixture `open_browser`
