"""How each simulated supplier of rates behaves; what was switched ends with the process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

import shapes
from errors import BadInput
from settings import Settings

LatencyMs = Annotated[int, Meta(ge=0, le=60_000)]
Rate = Annotated[float, Meta(ge=0, le=1)]


class VendorConduct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Latencies are in milliseconds, rates are parts of all calls or offers (0 to 1).

    The latency of the polled vendor is the time until it is completed; its polls take none.
    """

    latency_ms_min: LatencyMs
    latency_ms_max: LatencyMs
    # Calls that are answered 503; 429; not at all; with half a document; or byte by byte.
    fault_rate: Rate = 0.0
    throttle_rate: Rate = 0.0
    hang_rate: Rate = 0.0
    garbage_rate: Rate = 0.0
    slow_body_rate: Rate = 0.0
    # Hotels whose part of the document is broken.
    malformed_rate: Rate = 0.0
    # Offers that are gone, and offers that cost more, when they are checked again.
    sold_out_rate: Rate = 0.02
    price_change_rate: Rate = 0.05
    # The Retry-After of a 429; requests at once above which one is given (0: no bound).
    retry_after_s: Annotated[int, Meta(ge=0, le=3_600)] = 1
    at_once_max: Annotated[int, Meta(ge=0, le=10_000)] = 0
    token_life_s: Annotated[int, Meta(ge=0, le=86_400)] = 600
    # What is sold in, where the vendor's requests name no currency.
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")] = "EUR"

    def __post_init__(self) -> None:
        if self.latency_ms_min > self.latency_ms_max:
            raise ValueError("latency_ms_min is above latency_ms_max")


# Shortest and longest answer of each, in milliseconds, and its bound of requests at once.
_DEFAULTS = {
    "hotelbeds": (900, 2_500, 0),
    "expedia_rapid": (500, 1_500, 0),
    "duffel_stays": (300, 700, 0),
    "ascenda": (4_000, 12_000, 0),
    "perhotel": (300, 500, 50),
}


class VendorSwitch:
    """The conduct of now, read by every request and changed by an operator or a test."""

    def __init__(self, settings: Settings) -> None:
        part = settings.simulator_rate_latency_percent / 100
        self.now: Mapping[str, VendorConduct] = {
            name: VendorConduct(
                latency_ms_min=min(int(low * part), 60_000),
                latency_ms_max=min(int(high * part), 60_000),
                at_once_max=at_once,
            )
            for name, (low, high, at_once) in _DEFAULTS.items()
        }
        self._changing = threading.Lock()

    def change(self, changes: Mapping[str, Any], first: Callable[[], object]) -> None:
        """Replace the named fields of the named vendors, all or none.

        `first` runs once the changes are known to be good; what it raises stops them. Raises
        BadInput for a name or a bound.
        """
        with self._changing:
            changed = dict(self.now)
            for name, fields in changes.items():
                if name not in changed or not isinstance(fields, dict):
                    raise BadInput("a vendor's name and its fields", field=f"vendors.{name[:50]}")
                merged = msgspec.structs.asdict(changed[name]) | fields
                try:
                    changed[name] = shapes.convert(merged, VendorConduct)
                except msgspec.ValidationError as error:
                    raise BadInput(str(error), field=f"vendors.{name}") from None
            first()
            self.now = changed
