"""A search whose suppliers are played by the test, through the search entries themselves."""

from __future__ import annotations

import datetime as dt

from search.entries import SearchEntries
from search.model import OfferedRate
from search.query import SearchQuery, parse
from tests.visitor import stay


def query(destination: str = "lisbon", guests: int = 2) -> SearchQuery:
    """The search of `stay`."""
    today = dt.datetime.now(dt.UTC).date()
    return parse(**stay(destination, guests), hotel_ids="", today=today)


class Play:
    """One search, and the suppliers that answer it when the test says so."""

    def __init__(self, entries: SearchEntries, *suppliers: str) -> None:
        self.entries = entries
        self.query = query()
        self.search_id = self.query.search_id
        self._rates = 0
        self._chunks = 0
        entries.begin(self.query)
        entries.plan(self.search_id, dict.fromkeys(suppliers, 1))

    def rate(self, hotel: int, price: str, *, supplier: str = "hotelbeds", currency: str = "EUR",
             room: str = "Double", refundable: bool = True) -> OfferedRate:
        """A rate of `lisbon-<hotel>`."""
        self._rates += 1
        return OfferedRate(
            rate_id=f"{self.search_id}-{self._rates:016x}", hotel_id=f"lisbon-{hotel}",
            supplier=supplier, room=room, price=price, currency=currency, refundable=refundable,
            board="breakfast", vendor_key="only-for-the-supplier",
        )

    def answer(self, supplier: str, *rates: OfferedRate, finished: bool = True, error: str = ""
               ) -> None:
        """The supplier brings rates, the last of its only part unless it is not `finished`."""
        self._chunks += 1
        assert self.entries.append(self.search_id, supplier, f"chunk-{self._chunks}", rates,
                                   finished=finished, error=error)
