"""How the simulator behaves: latency, faults, lost answers and failure rates.

Faults are drawn anew for every call, so that another try can get through. Whether a reservation
is declined is not drawn here: the book decides it by key, once and for good.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

import shapes
from errors import BadInput
from settings import Settings

LatencyMs = Annotated[int, Meta(ge=0, le=60_000)]
Rate = Annotated[float, Meta(ge=0, le=1)]


class Conduct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Latencies are in milliseconds, rates are parts of all calls (0 to 1)."""

    latency_ms_min: LatencyMs
    latency_ms_max: LatencyMs
    fault_rate: Rate
    lost_answer_rate: Rate
    flight_failure_rate: Rate
    room_failure_rate: Rate

    def __post_init__(self) -> None:
        if self.latency_ms_min > self.latency_ms_max:
            raise ValueError("latency_ms_min is above latency_ms_max")

    @classmethod
    def from_settings(cls, settings: Settings) -> Conduct:
        """The conduct that a fresh process starts with; what was switched ends with it."""
        return cls(
            latency_ms_min=settings.simulator_latency_ms_min,
            latency_ms_max=settings.simulator_latency_ms_max,
            fault_rate=settings.simulator_fault_rate,
            lost_answer_rate=settings.simulator_lost_answer_rate,
            flight_failure_rate=settings.flight_failure_rate,
            room_failure_rate=settings.room_failure_rate,
        )


class ConductSwitch:
    """The conduct of now, read by every request and changed by an operator or a test."""

    def __init__(self, conduct: Conduct) -> None:
        self.now = conduct
        self._changing = threading.Lock()
        self._random = random.SystemRandom()

    def change(self, fields: Mapping[str, object]) -> Conduct:
        """Replace the named fields, all or none. Raises BadInput for a name or a bound."""
        with self._changing:
            merged = msgspec.structs.asdict(self.now) | dict(fields)
            try:
                self.now = shapes.convert(merged, Conduct)
            except msgspec.ValidationError as error:
                raise BadInput(str(error)) from None
            return self.now

    def sleep(self) -> None:
        """Take the time that this supplier takes, before it does anything."""
        conduct = self.now
        time.sleep(self._random.uniform(conduct.latency_ms_min, conduct.latency_ms_max) / 1_000)

    def faults(self) -> bool:
        """Whether this call fails before any work."""
        return self._random.random() < self.now.fault_rate

    def loses_answer(self) -> bool:
        """Whether the answer to this call is lost after the work."""
        return self._random.random() < self.now.lost_answer_rate

    def names_a_pause(self) -> bool:
        """Half of the faults carry a Retry-After: a client must cope with both."""
        return self._random.random() < 0.5
