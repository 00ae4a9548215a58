"""Calls to Ascenda: polling until an answer says that it is completed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import quote

from errors import SupplierAway, SupplierDeclined
from settings import Settings
from suppliers.ascenda import mapping
from suppliers.http import Line, Terms, Tokens, reference
from suppliers.rates import (
    FetchedChunk,
    Holder,
    Part,
    Rate,
    RateQuery,
    Recheck,
    Scope,
    together,
)

_BOOKING_REFUSALS = frozenset({"sold_out", "price_changed"})


class Ascenda:
    """A RateSupplier; see suppliers/rates.py for what each method does and raises."""

    name = mapping.NAME
    scope: Scope = "destination"
    max_hotels_per_request = 1_000
    at_once_max = 100
    per_s_max = 0
    many_calls = True

    def __init__(self, base_url: str, partner_id: str, terms: Terms) -> None:
        self._line = Line(self.name, base_url, terms)
        self._partner_id = partner_id

    @classmethod
    def from_settings(cls, settings: Settings, terms: Terms, tokens: Tokens) -> Ascenda:
        """Its address and our partner id as the settings say; there is no authentication."""
        return cls(settings.rate_base_url(cls.name), settings.ascenda_partner_id, terms)

    def fetch(self, query: RateQuery, part: Part) -> Iterator[FetchedChunk]:
        """A chunk per hotel, as soon as a poll has its price: a price that was seen stays."""
        asked = mapping.prices_query(query, self._partner_id)
        known: set[str] = set()
        for body in self._polls("/api/hotels/prices", asked):
            completed, chunks = mapping.hotel_prices(body, part, asked, known)
            yield from together(chunks)
            if completed:
                return

    def recheck(self, rate: Rate) -> Recheck:
        """The hotel's own prices: its best room now, at the pinned price or at another."""
        key = mapping.key_of(rate)
        for body in self._polls(f"/api/hotels/{quote(key.hotel, safe='')}/price", key.query):
            completed, recheck = mapping.room_prices(body, rate)
            if completed:
                return recheck
        raise AssertionError("polling ends with an answer or an error")

    def book(self, rate: Rate, holder: Holder, key: str) -> str:
        """Book the room of the recheck; `key` travels as the client reference."""
        if not mapping.key_of(rate).room:
            raise SupplierDeclined("not_rechecked")
        short = reference(key, mapping.REFERENCE_MAX)
        answer = self._line.call("POST", "/api/bookings",
                                 json=mapping.booking_request(rate, holder, short))
        if answer.status == 409 and (word := mapping.refusal(answer.body)) in _BOOKING_REFUSALS:
            raise SupplierDeclined(word)
        return mapping.booked(answer.expect(200, 201))

    def cancel(self, key: str, email: str, number: str = "") -> bool:
        """By our own reference, under which a tombstone stands from then on."""
        short = reference(key, mapping.REFERENCE_MAX)
        self._line.call("DELETE", f"/api/bookings/{short}").expect(204)
        return True

    def close(self) -> None:
        """Close the kept connections."""
        self._line.close()

    def _polls(self, path: str, query: dict[str, str]) -> Iterator[bytes]:
        """Answers until the caller has enough. Raises SupplierAway at the deadline of the terms,
        which is one for all polls together, and when stopped."""
        terms = self._line.terms
        deadline = time.monotonic() + terms.timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            yield self._line.call("GET", path, query=query, timeout_s=left_s).expect(200)
            if terms.stop.wait(min(terms.poll_s, max(deadline - time.monotonic(), 0))):
                raise SupplierAway("ascenda: stopped between two polls")
        raise SupplierAway("ascenda: not completed at the deadline")
