"""Calls to Expedia Rapid: the signature of each request, and what its statuses mean."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from typing import Any

from errors import SupplierDeclined
from settings import Settings
from suppliers.expedia_rapid import mapping
from suppliers.http import Answer, Line, Terms, Tokens, reference
from suppliers.rates import FetchedChunk, Holder, Part, Rate, RateQuery, Recheck, Scope

_BOOKING_REFUSALS = {"rooms_unavailable": "sold_out", "price_mismatch": "price_changed"}


class ExpediaRapid:
    """A RateSupplier; see suppliers/rates.py for what each method does and raises."""

    name = mapping.NAME
    scope: Scope = "hotels"
    max_hotels_per_request = 250
    at_once_max = 100
    per_s_max = 0
    many_calls = False

    def __init__(self, base_url: str, api_key: str, secret: str, terms: Terms) -> None:
        self._line = Line(self.name, base_url, terms)
        self._api_key = api_key
        self._secret = secret

    @classmethod
    def from_settings(cls, settings: Settings, terms: Terms, tokens: Tokens) -> ExpediaRapid:
        """Its address and credentials as the settings say; it needs no tokens."""
        return cls(settings.rate_base_url(cls.name), settings.expedia_rapid_api_key,
                   settings.expedia_rapid_secret, terms)

    def fetch(self, query: RateQuery, part: Part) -> Iterator[FetchedChunk]:
        """One request, one chunk."""
        answer = self._call("GET", "/v3/properties/availability",
                            query=mapping.availability_query(query, part))
        if answer.status == 404 and mapping.refusal(answer.body) == "no_availability":
            # Rapid's way to say that none of the properties has a room.
            yield FetchedChunk(str(part.number), ())
            return
        now = dt.datetime.fromtimestamp(self._line.terms.clock(), dt.UTC)
        yield mapping.availability(answer.expect(200), query, part, now)

    def recheck(self, rate: Rate) -> Recheck:
        """Follow the rate's link to its price check."""
        answer = self._call("GET", mapping.key_of(rate).price_check)
        return mapping.price_checked(answer.expect(200, 410), rate)

    def book(self, rate: Rate, holder: Holder, key: str) -> str:
        """Follow the link of the price check; `key` travels as the affiliate's reference."""
        link = mapping.key_of(rate).book
        if not link:
            raise SupplierDeclined("not_rechecked")
        short = reference(key, mapping.REFERENCE_MAX)
        answer = self._call("POST", link, json=mapping.booking_request(holder, short))
        if answer.status in (409, 410) and (
            word := _BOOKING_REFUSALS.get(mapping.refusal(answer.body))
        ):
            raise SupplierDeclined(word)
        return mapping.booked(answer.expect(201))

    def cancel(self, key: str, email: str, number: str = "") -> bool:
        """Find the itinerary by our reference, then follow the cancel link of each room."""
        short = reference(key, mapping.REFERENCE_MAX)
        answer = self._call("GET", "/v3/itineraries",
                            query={"affiliate_reference_id": short, "email": email})
        if answer.status == 404:
            return False
        found, links = mapping.cancel_links(answer.expect(200))
        for link in links:
            self._call("DELETE", link).expect(202, 204)
        return found

    def close(self) -> None:
        """Close the kept connections."""
        self._line.close()

    def _call(self, method: str, path: str, **what: Any) -> Answer:
        stamp = int(self._line.terms.clock())
        signature = hashlib.sha512(f"{self._api_key}{self._secret}{stamp}".encode()).hexdigest()
        return self._line.call(method, path, **what, headers={
            "Authorization": f"EAN APIKey={self._api_key},Signature={signature},timestamp={stamp}",
        })
