"""Calls to Duffel Stays: two steps to rates, two steps to a booking."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from urllib.parse import quote

from errors import SupplierAway, SupplierDeclined
from settings import Settings
from suppliers.duffel_stays import mapping
from suppliers.http import Answer, Line, Terms, Tokens, reference
from suppliers.one_by_one import one_by_one
from suppliers.rates import FetchedChunk, Holder, Opened, Part, Rate, RateQuery, Recheck, Scope

_VERSION = "v2"
# Of 200 bookings each, the latest first.
_PAGES_MAX = 50
# Duffel's words for a rate or quote that can no longer be had, and for one at another price.
_GONE = frozenset({"rate_unavailable", "quote_unavailable"})
_BOOKING_REFUSALS = {**dict.fromkeys(_GONE, "sold_out"), "price_changed": "price_changed"}


class DuffelStays:
    """A HotelByHotel; see suppliers/rates.py for what each method does and raises."""

    name = mapping.NAME
    scope: Scope = "hotel"
    # Of one search. Rates can be asked for when it is answered, so a large one would delay them.
    max_hotels_per_request = 50
    at_once_max = 60
    per_s_max = 0
    many_calls = True

    def __init__(self, base_url: str, access_token: str, terms: Terms) -> None:
        self._line = Line(self.name, base_url, terms, {
            "Authorization": f"Bearer {access_token}", "Duffel-Version": _VERSION,
        })

    @classmethod
    def from_settings(cls, settings: Settings, terms: Terms, tokens: Tokens) -> DuffelStays:
        """Its address and access token as the settings say; that token does not expire."""
        return cls(settings.rate_base_url(cls.name), settings.duffel_stays_access_token, terms)

    def fetch(self, query: RateQuery, part: Part) -> Iterator[FetchedChunk]:
        """Searches, and a chunk per hotel; a chunk before them if a search had errors."""
        return one_by_one(self, query, part)

    def open(self, query: RateQuery, hotel_ids: tuple[str, ...]) -> Opened:
        """One search. A ticket is the id of its result."""
        body = self._post("/stays/search", mapping.search_request(query, hotel_ids)).expect(200)
        return mapping.search_results(body, hotel_ids)

    def fetch_hotel(self, query: RateQuery, hotel_id: str, ticket: str) -> FetchedChunk:
        """One request."""
        path = f"/stays/search_results/{quote(ticket, safe='')}/actions/fetch_all_rates"
        body = self._post(path, None).expect(200)
        now = dt.datetime.fromtimestamp(self._line.terms.clock(), dt.UTC)
        return mapping.all_rates(body, hotel_id, query.guests, now)

    def recheck(self, rate: Rate) -> Recheck:
        """Ask for a quote, which is what can be booked."""
        answer = self._post("/stays/quotes", {"data": {"rate_id": mapping.key_of(rate).rate_id}})
        if 400 <= answer.status < 500 and mapping.refusal(answer.body) in _GONE:
            return Recheck("sold_out")
        return mapping.quoted(answer.expect(200, 201), rate)

    def book(self, rate: Rate, holder: Holder, key: str) -> str:
        """Book the quote; `key` travels in its metadata."""
        if not mapping.key_of(rate).quote_id:
            raise SupplierDeclined("not_rechecked")
        short = reference(key, mapping.REFERENCE_MAX)
        answer = self._post("/stays/bookings", mapping.booking_request(rate, holder, short))
        if 400 <= answer.status < 500 and (
            word := _BOOKING_REFUSALS.get(mapping.refusal(answer.body))
        ):
            raise SupplierDeclined(word)
        return mapping.booked(answer.expect(200, 201))

    def cancel(self, key: str, email: str, number: str = "") -> bool:
        """Find the booking among the latest by our reference, then cancel it by its id."""
        short, after = reference(key, mapping.REFERENCE_MAX), ""
        for _ in range(_PAGES_MAX):
            query = {"limit": "200"} | ({"after": after} if after else {})
            body = self._line.call("GET", "/stays/bookings", query=query).expect(200)
            found, after = mapping.booked_under(body, short)
            if found is not None:
                if found.status != mapping.CANCELLED:
                    path = f"/stays/bookings/{quote(found.id, safe='')}/actions/cancel"
                    if not mapping.cancelled(self._post(path, None).expect(200)):
                        raise SupplierAway("duffel_stays: a cancellation that did not cancel")
                return True
            if not after:
                return False
        raise SupplierAway("duffel_stays: too many bookings to find one among them")

    def close(self) -> None:
        """Close the kept connections."""
        self._line.close()

    def _post(self, path: str, body: object) -> Answer:
        return self._line.call("POST", path, json=body)
