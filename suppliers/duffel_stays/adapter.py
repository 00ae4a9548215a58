"""Calls to Duffel Stays: two steps to rates, two steps to a booking."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Literal
from urllib.parse import quote

from errors import SupplierAway, SupplierDeclined
from settings import Settings
from suppliers.duffel_stays import mapping
from suppliers.http import Answer, Line, Terms, Tokens, reference
from suppliers.one_by_one import one_by_one
from suppliers.rates import FetchedChunk, Holder, Part, Rate, RateQuery, Recheck

_VERSION = "v2"
# Of 200 bookings each, the latest first.
_PAGES_MAX = 50
# Duffel's words for a rate or quote that can no longer be had, and for one at another price.
_GONE = frozenset({"rate_unavailable", "quote_unavailable"})
_BOOKING_REFUSALS = {**dict.fromkeys(_GONE, "sold_out"), "price_changed": "price_changed"}


class DuffelStays:
    """A RateSupplier; see suppliers/rates.py for what each method does and raises."""

    name = mapping.NAME
    scope: Literal["hotels"] = "hotels"
    # A part is one search and a call for each of its hotels, one after the other: a small part
    # is done soon, and many parts run at once.
    max_hotels_per_request = 10
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
        """One search, then a chunk per hotel; a chunk before them if the search had errors."""
        body = self._post("/stays/search", mapping.search_request(query, part)).expect(200)
        results, errors = mapping.search_results(body, part)
        if errors:
            yield FetchedChunk(f"{part.number}:search", (), errors)

        def fetch_hotel(hotel_id: str, name: str) -> FetchedChunk:
            path = f"/stays/search_results/{quote(results[hotel_id], safe='')}"
            body = self._post(f"{path}/actions/fetch_all_rates", None).expect(200)
            now = dt.datetime.fromtimestamp(self._line.terms.clock(), dt.UTC)
            return mapping.all_rates(body, hotel_id, name, query.guests, now)

        yield from one_by_one(self.name, ((hotel_id, hotel_id) for hotel_id in results),
                              fetch_hotel)

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
