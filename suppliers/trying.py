"""Trying again what books or cancels: after pauses that grow, or that the supplier asked for."""

from __future__ import annotations

import logging
import threading
from typing import Any

import tenacity

from errors import SupplierAway, Throttled

log = logging.getLogger(__name__)

_FIRST_S = 0.1


def tries(
    *, stop_after: Any, backoff_max_s: float, stop: threading.Event
) -> tenacity.Retrying:
    """Calls what it is given until that raises no SupplierAway, or `stop_after` (tenacity's) says
    so. No pause is longer than `backoff_max_s`; setting `stop` ends one, and the call with it.
    """
    jitter = tenacity.wait_random_exponential(multiplier=_FIRST_S, max=backoff_max_s)

    def pause_s(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Throttled) and error.retry_after_s is not None:
            return min(error.retry_after_s, backoff_max_s)
        return jitter(state)

    def pause(seconds: float) -> None:
        if stop.wait(seconds):
            raise SupplierAway("stopped between two tries")

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(SupplierAway), stop=stop_after, wait=pause_s,
        sleep=pause, before_sleep=_log_failed_try, reraise=True,
    )


def _log_failed_try(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.info("Try %d failed, the next follows: %s", state.attempt_number, error)
