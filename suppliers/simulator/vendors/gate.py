"""What every request to a simulated vendor passes, before and after its route."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator

from flask import Blueprint, Response, g, request

from errors import BadInput
from suppliers.simulator.vendors.answers import VendorRefusal
from suppliers.simulator.vendors.conduct import VendorConduct, VendorSwitch

HANG_S = 60.0
# Of so many calls it is known how much longer they took than they were to take.
LATE_KEPT = 1_000
SLOW_BODY_STEPS = 120
SLOW_BODY_STEP_S = 0.25


class Gate:
    """One vendor's limits, faults and latency, and the count of its calls."""

    def __init__(self, vendor: str, switch: VendorSwitch) -> None:
        self.vendor = vendor
        self._switch = switch
        self._random = random.SystemRandom()
        self._counting = threading.Lock()
        self._at_once = 0
        self._at_once_peak = 0
        self._calls: Counter[str] = Counter()
        self._late_ms: deque[float] = deque(maxlen=LATE_KEPT)

    @property
    def conduct(self) -> VendorConduct:
        """The vendor's conduct of now."""
        return self._switch.now[self.vendor]

    def counts(self) -> dict[str, object]:
        """Calls by route since the start, refused ones included, and most of them at once; how
        much longer than they were to take the latest ones took, by this process's own clock.
        """
        with self._counting:
            return {"calls": dict(self._calls), "at_once": self._at_once,
                    "at_once_peak": self._at_once_peak, "late_ms": list(self._late_ms)}

    def latency_s(self) -> float:
        """The time that this call takes."""
        conduct = self.conduct
        low, high = conduct.latency_ms_min, conduct.latency_ms_max
        return self._random.uniform(low, high) / 1_000

    def guard(
        self,
        section: Blueprint,
        authorise: Callable[[], None],
        refusal: Callable[[VendorRefusal], Response],
        *,
        polled: bool = False,
    ) -> None:
        """Let all requests to `section` pass here.

        `authorise` raises VendorRefusal; `refusal` writes one as the vendor does. A `polled`
        vendor takes its time over several calls and answers each at once.
        """

        @section.before_request
        def enter() -> Response | None:
            g.counted = False
            try:
                self._enter(authorise, polled)
            except VendorRefusal as refused:
                return refusal(refused)
            return None

        @section.errorhandler(VendorRefusal)
        def refuse(refused: VendorRefusal) -> Response:
            return refusal(refused)

        @section.errorhandler(BadInput)
        def refuse_input(error: BadInput) -> Response:
            return refusal(VendorRefusal(400, "invalid_request", str(error)))

        @section.after_request
        def spoil(response: Response) -> Response:
            if response.status_code == 429:
                response.headers["Retry-After"] = str(self.conduct.retry_after_s)
            return self._spoilt(response) if response.status_code < 300 else response

        @section.teardown_request
        def leave(_: BaseException | None) -> None:
            if g.pop("counted", False):
                due = g.pop("due", None)
                with self._counting:
                    self._at_once -= 1
                    if due is not None:
                        self._late_ms.append(round(1e3 * (time.monotonic() - due), 2))

    def _enter(self, authorise: Callable[[], None], polled: bool) -> None:
        conduct, begun_s = self.conduct, time.monotonic()
        with self._counting:
            self._calls[(request.endpoint or "").rpartition(".")[2]] += 1
            self._at_once += 1
            g.counted = True
            self._at_once_peak = max(self._at_once_peak, self._at_once)
            too_many = 0 < conduct.at_once_max < self._at_once
        authorise()
        if too_many or self._drawn(conduct.throttle_rate):
            raise VendorRefusal(429, "too_many_requests", "too many requests")
        if self._drawn(conduct.hang_rate):
            self._hang()
        if not polled:
            takes_s = self.latency_s()
            g.due = begun_s + takes_s
            time.sleep(takes_s)
        if self._drawn(conduct.fault_rate):
            raise VendorRefusal(503, "service_unavailable", "try again later")

    def _hang(self) -> None:
        """Answer nothing until the caller has certainly given up, or hanging is switched off."""
        deadline = time.monotonic() + HANG_S
        while time.monotonic() < deadline and self.conduct.hang_rate:
            time.sleep(0.1)
        raise VendorRefusal(504, "timeout", "took too long")

    def _spoilt(self, response: Response) -> Response:
        conduct = self.conduct
        if self._drawn(conduct.garbage_rate):
            body = response.get_data()
            response.set_data(body[: len(body) // 2] or b"<html>")
        elif self._drawn(conduct.slow_body_rate):
            response.response = _drip(response.get_data())
        return response

    def _drawn(self, rate: float) -> bool:
        return self._random.random() < rate


def _drip(body: bytes) -> Iterator[bytes]:
    step = max(len(body) // SLOW_BODY_STEPS, 1)
    for start in range(0, len(body), step):
        yield body[start:start + step]
        time.sleep(SLOW_BODY_STEP_S)
