"""Calls to the per-hotel vendor: an access token on each, and a new one after a 401, once."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from errors import SupplierDeclined, TokenExpired
from settings import Settings
from suppliers.http import Answer, IssuedToken, Line, Terms, Tokens, reference
from suppliers.one_by_one import one_by_one
from suppliers.perhotel import mapping
from suppliers.places.hotel_ids import PERHOTEL
from suppliers.rates import FetchedChunk, Holder, Opened, Part, Rate, RateQuery, Recheck, Scope

_BOOKING_REFUSALS = frozenset({"sold_out", "price_changed"})


class TokenDesk:
    """Where tokens of one account are issued. A token manager calls it, adapters do not."""

    def __init__(self, base_url: str, client_id: str, secret: str, terms: Terms) -> None:
        self._line = Line(mapping.NAME, base_url, terms)
        basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
        self._headers = {"Authorization": f"Basic {basic}"}
        self.account = f"{mapping.NAME}:{client_id}"

    @classmethod
    def from_settings(cls, settings: Settings, terms: Terms) -> TokenDesk:
        """Its address and account as the settings say."""
        return cls(settings.rate_base_url(mapping.NAME), settings.perhotel_client_id,
                   settings.perhotel_client_secret, terms)

    def issue(self) -> IssuedToken:
        """A new token. Raises SupplierAway, and SupplierDeclined for a wrong account."""
        answer = self._line.call("POST", "/oauth/token", form={"grant_type": "client_credentials"},
                                 headers=self._headers)
        return mapping.token(answer.expect(200))

    def close(self) -> None:
        """Close the kept connections."""
        self._line.close()


class PerHotel:
    """A HotelByHotel; see suppliers/rates.py for what each method does and raises."""

    name = mapping.NAME
    scope: Scope = "hotel"
    # No request names several; `open` takes any number.
    max_hotels_per_request = 1_000
    at_once_max = 50
    per_s_max = 0
    many_calls = True

    def __init__(self, base_url: str, client_id: str, tokens: Tokens, terms: Terms) -> None:
        self._line = Line(self.name, base_url, terms)
        self._tokens = tokens
        self._account = f"{self.name}:{client_id}"

    @classmethod
    def from_settings(cls, settings: Settings, terms: Terms, tokens: Tokens) -> PerHotel:
        """Its address and account as the settings say."""
        return cls(settings.rate_base_url(cls.name), settings.perhotel_client_id, tokens, terms)

    def fetch(self, query: RateQuery, part: Part) -> Iterator[FetchedChunk]:
        """A request and a chunk per hotel."""
        return one_by_one(self, query, part)

    def open(self, query: RateQuery, hotel_ids: tuple[str, ...]) -> Opened:
        """Asks nobody: a ticket is the vendor's own id."""
        return Opened(hotel_ids, {hotel_id: theirs for hotel_id in hotel_ids
                                  if (theirs := PERHOTEL.theirs(hotel_id))})

    def fetch_hotel(self, query: RateQuery, hotel_id: str, ticket: str) -> FetchedChunk:
        """One request."""
        answer = self._call("GET", f"/rates/{quote(ticket, safe='')}",
                            query=mapping.rates_query(query))
        return mapping.rates(answer.expect(200), hotel_id)

    def recheck(self, rate: Rate) -> Recheck:
        """Ask for this rate alone."""
        answer = self._call("POST", "/rates/check", json={"rate_id": mapping.key_of(rate).rate_id})
        return mapping.checked(answer.expect(200), rate)

    def book(self, rate: Rate, holder: Holder, key: str) -> str:
        """`key` travels as the reference."""
        short = reference(key, mapping.REFERENCE_MAX)
        answer = self._call("POST", "/bookings",
                            json=mapping.booking_request(rate, holder, short))
        if answer.status == 409 and (word := mapping.refusal(answer.body)) in _BOOKING_REFUSALS:
            raise SupplierDeclined(word)
        return mapping.booked(answer.expect(200, 201))

    def cancel(self, key: str, email: str, number: str = "") -> bool:
        """By our own reference, under which a tombstone stands from then on."""
        short = reference(key, mapping.REFERENCE_MAX)
        self._call("DELETE", f"/bookings/{short}").expect(204)
        return True

    def close(self) -> None:
        """Close the kept connections."""
        self._line.close()

    def _call(self, method: str, path: str, **what: Any) -> Answer:
        for _ in range(2):
            token = self._tokens.get(self._account)
            answer = self._line.call(method, path, **what,
                                     headers={"Authorization": f"Bearer {token}"})
            if answer.status != 401:
                return answer
            # It may have run out on its way here; the next one is new.
            self._tokens.refused(token)
        raise TokenExpired(f"{answer.call}: a new token was refused as well")
