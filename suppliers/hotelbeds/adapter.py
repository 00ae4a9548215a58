"""Calls to Hotelbeds: the signature of each request, and what its statuses mean."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from errors import SupplierAway, SupplierDeclined
from settings import Settings
from suppliers.hotelbeds import mapping
from suppliers.http import Answer, Line, Terms, Tokens, reference
from suppliers.rates import FetchedChunk, Holder, Part, Rate, RateQuery, Recheck, Scope

_ROOT = "/hotel-api/1.0"
# A list of bookings covers 31 days at most; one that is older has a number that we know.
_LISTED = dt.timedelta(days=29)


class Hotelbeds:
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
    def from_settings(cls, settings: Settings, terms: Terms, tokens: Tokens) -> Hotelbeds:
        """Its address and credentials as the settings say; it needs no tokens."""
        return cls(settings.rate_base_url(cls.name), settings.hotelbeds_api_key,
                   settings.hotelbeds_secret, terms)

    def fetch(self, query: RateQuery, part: Part) -> Iterator[FetchedChunk]:
        """One request, one chunk."""
        body = self._post("/hotels", mapping.availability_request(query, part)).expect(200)
        yield mapping.availability(body, query, part, self._now())

    def recheck(self, rate: Rate) -> Recheck:
        """Every rate is checked, also those that Hotelbeds would book without (BOOKABLE)."""
        request = {"rooms": [{"rateKey": mapping.key_of(rate).rate_key}]}
        answer = self._post("/checkrates", request)
        if answer.status == 400 and mapping.refusal(answer.body) == "sold_out":
            return Recheck("sold_out")
        return mapping.checked(answer.expect(200), rate, self._now())

    def book(self, rate: Rate, holder: Holder, key: str) -> str:
        """`key` travels as the client reference."""
        short = reference(key, mapping.REFERENCE_MAX)
        answer = self._post("/bookings", mapping.booking_request(rate, holder, short))
        if answer.status == 400 and (word := mapping.refusal(answer.body)):
            raise SupplierDeclined(word)
        return mapping.booked(answer.expect(200))

    def cancel(self, key: str, email: str, number: str = "") -> bool:
        """By Hotelbeds' own reference; the client reference only finds it."""
        if not number:
            today = self._now().date()
            listed = self._call("GET", "/bookings", query={
                "clientReference": reference(key, mapping.REFERENCE_MAX),
                "filterType": "CREATION", "start": (today - _LISTED).isoformat(),
                "end": (today + dt.timedelta(days=1)).isoformat(), "from": 1, "to": 25,
            })  # fmt: skip
            number, cancelled = mapping.listed(listed.expect(200), key)
            if cancelled or not number:
                return cancelled
        path = f"/bookings/{quote(number, safe='')}"
        answer = self._call("DELETE", path, query={"cancellationFlag": "CANCELLATION"})
        if answer.status >= 400 and mapping.cancelled(self._call("GET", path).expect(200)):
            return True  # refused because it was cancelled before
        if not mapping.cancelled(answer.expect(200)):
            raise SupplierAway("hotelbeds: a cancellation that did not cancel")
        return True

    def close(self) -> None:
        """Close the kept connections."""
        self._line.close()

    def _post(self, path: str, body: object) -> Answer:
        return self._call("POST", path, json=body)

    def _call(self, method: str, path: str, **what: Any) -> Answer:
        signed = f"{self._api_key}{self._secret}{int(self._line.terms.clock())}"
        answer = self._line.call(method, _ROOT + path, **what, headers={
            "Api-key": self._api_key,
            "X-Signature": hashlib.sha256(signed.encode()).hexdigest(),
        })
        if answer.status == 403:
            # Over the day's quota: no pause that a search could wait for would mend it.
            raise SupplierDeclined("quota_used_up")
        return answer

    def _now(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self._line.terms.clock(), dt.UTC)
