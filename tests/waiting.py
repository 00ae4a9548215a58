"""Waiting in tests: on a condition, with a bound; never a sleep that hopes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.02
PATIENCE_S = 20.0


def eventually(
    condition: Callable[[], T], within_s: float = PATIENCE_S, message: str = "", *,
    poll_s: float = _POLL_S,
) -> T:
    """Call `condition` until it returns something true, and return that.

    A condition that raises AssertionError is not yet true; any other error is the test's own.
    Fails with `message` and what the condition said last when `within_s` have passed, but not
    before PATIENCE_S: on a busy machine a shorter wait tries the machine.
    """
    within_s = max(within_s, PATIENCE_S)
    deadline = time.monotonic() + within_s
    while True:
        try:
            last: object = (value := condition())
            if value:
                return value
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(
                f"{message or 'the condition'}: not within {within_s} s; at the end: {last!r}"
            )
        time.sleep(poll_s)
