"""What tests of the suppliers of rates share."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterable
from typing import Any

from settings import load
from suppliers.http import IssuedToken, Tokens
from suppliers.rates import FetchedChunk, HotelError, Part, Rate, RateQuery, RateSupplier
from suppliers.registry import build, terms_of, token_desks

NOW = dt.datetime(2027, 1, 10, 12, tzinfo=dt.UTC)
QUERY = RateQuery(destination="lisbon", check_in=dt.date(2027, 3, 1),
                  check_out=dt.date(2027, 3, 4), guests=2)
PART = Part(0, ("lisbon-1", "lisbon-2", "lisbon-3", "lisbon-4"))


class LocalTokens:
    """Tokens of one process, without a thought for their age: a refusal brings the next one."""

    def __init__(self, issuers: dict[str, Callable[[], IssuedToken]]) -> None:
        self._issuers = issuers
        self._held: dict[str, str] = {}
        self._changing = threading.Lock()
        self.refusals = 0

    def get(self, vendor_account: str) -> str:
        with self._changing:
            if vendor_account not in self._held:
                self._held[vendor_account] = self._issuers[vendor_account]().value
            return self._held[vendor_account]

    def refused(self, token: str) -> None:
        with self._changing:
            self.refusals += 1
            self._held = {account: held for account, held in self._held.items() if held != token}


def suppliers_at(url: str, *, stop: threading.Event | None = None, tokens: Tokens | None = None,
                 environ: dict[str, str] | None = None, **terms: Any
                 ) -> tuple[dict[str, RateSupplier], Tokens]:
    """Every adapter as production builds it, on the simulator at `url`."""
    settings = load({"SIMULATOR_URL": url, **(environ or {})}, find_engines=False)
    production = terms_of(settings, stop or threading.Event(), pool_size=16)
    chosen = production._replace(**{"timeout_s": 10.0, "poll_s": 0.02, **terms})
    if tokens is None:
        desks = token_desks(settings, chosen)
        tokens = LocalTokens({account: desk.issue for account, desk in desks.items()})
    return build(settings, chosen, tokens), tokens


def gathered(chunks: Iterable[FetchedChunk]) -> tuple[list[Rate], list[HotelError]]:
    """All rates and errors; two chunks of one name would be a mistake."""
    rates: list[Rate] = []
    errors: list[HotelError] = []
    names: set[str] = set()
    for chunk in chunks:
        assert chunk.name not in names
        names.add(chunk.name)
        rates += chunk.rates
        errors += chunk.errors
    return rates, errors


def told(errors: Iterable[HotelError]) -> list[tuple[str | None, str]]:
    return [(error.hotel_id, error.reason) for error in errors]
