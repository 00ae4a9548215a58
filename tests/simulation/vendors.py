"""Vendors of hotel rates: what they sell, at prices that move, and the stays that they have booked.

Two of them, for the two sorts that there are. Both repeat their first answer to a reference. STONE
leaves a tombstone for what is cancelled and takes a booking only by the key of a check. SAND says
only what there is by now, and books an unchecked key at whatever the room costs by then: nothing
but the saga's own check keeps the pinned price.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from booking.model import RateFacts, RateOffer
from errors import SupplierAway, SupplierDeclined
from suppliers.rates import FetchedChunk, Holder, Part, Rate, RateQuery, Recheck, rechecked
from tests.simulation.kernel import Process
from tests.simulation.network import Network, Server, Steps

STONE, SAND = "stone", "sand"
VENDORS = (STONE, SAND)
RATES = ("r1", "r2", "r3")
PRICES = ("120.00", "120.50", "99.90")
CURRENCY = "EUR"


class Stay(msgspec.Struct):
    """What a vendor's book says of one reference; a tombstone has no number."""

    state: str
    rate: str = ""
    price: str = ""
    number: str = ""


class Refused(Exception):  # noqa: N818 (an answer of the vendor)
    """A clear no, with its word."""


class Market:
    """One vendor. `moves` of a rate are (since, price or None for sold out), oldest first."""

    def __init__(self, name: str, now_us: Callable[[], int]) -> None:
        self.name = name
        self.stays: dict[str, Stay] = {}
        self.moves: dict[str, list[tuple[int, str | None]]] = {
            rate: [(now_us(), PRICES[0])] for rate in RATES
        }
        self._now_us = now_us

    def price(self, rate: str) -> str | None:
        """What it costs now; None when it is sold out."""
        return self.moves[rate][-1][1]

    def move(self, rate: str, price: str | None) -> None:
        """From now on it costs this, or is sold out."""
        self.moves[rate].append((self._now_us(), price))

    def offered_since(self, rate: str, since_us: int) -> set[str | None]:
        """All that it cost from then on; None where it was sold out."""
        moves = self.moves[rate]
        first = max((n for n, move in enumerate(moves) if move[0] <= since_us), default=0)
        return {price for _, price in moves[first:]}

    def booked(self) -> dict[str, Stay]:
        """All that is booked now, by reference."""
        return {key: stay for key, stay in self.stays.items() if stay.state == "booked"}

    # --- what it is asked ---------------------------------------------------------------------

    def check(self, key: str) -> tuple[str, str] | None:
        """A key of now, and its price; None when it is sold out."""
        rate = key.partition("@")[0]
        price = self.price(rate)
        return None if price is None else (f"{rate}@{price}", price)

    def book(self, reference: str, key: str) -> str:
        """The number of the stay; the first one again when the reference is known."""
        rate, _, checked = key.partition("@")
        stay = self.stays.get(reference)
        if stay is not None:
            if stay.state == "cancelled":
                raise Refused("cancelled")
            if stay.rate != rate:
                raise Refused("duplicate_reference")
            return stay.number
        price = self.price(rate)
        if price is None:
            raise Refused("sold_out")
        if not checked and self.name == STONE:
            raise Refused("not_rechecked")
        if checked and checked != price:
            raise Refused("price_changed")
        number = f"{self.name}-{len(self.stays) + 1}"
        self.stays[reference] = Stay("booked", rate, price, number)
        return number

    def cancel(self, reference: str) -> bool:
        """Whether nothing is booked and nothing can be any more."""
        stay = self.stays.get(reference)
        if stay is not None:
            stay.state = "cancelled"
        elif self.name == STONE:
            self.stays[reference] = Stay("cancelled")
        return reference in self.stays


class VendorServer(Server):
    """A vendor on the network. `on_change` is told after each request that it handled."""

    def __init__(self, market: Market, on_change: Callable[[], None]) -> None:
        super().__init__()
        self.name = market.name
        self.market = market
        self._on_change = on_change

    def work(self, ask: Callable[[Market], Any]) -> Steps:
        """One request."""
        return ask(self.market)
        yield

    def settle(self) -> None:
        """Its book may have changed."""
        self._on_change()

    def away(self, why: str, label: str = "") -> Exception:
        """What an adapter makes of a call without an answer."""
        return SupplierAway(f"{label}: {why}")


class VendorClient:
    """One process's adapter: a RateSupplier, as far as orders ask it."""

    scope = "hotel"
    max_hotels_per_request = 1
    at_once_max = 50
    per_s_max = 0

    def __init__(self, network: Network, process: Process, server: VendorServer) -> None:
        self.name = server.name
        self._wire = (network, process, server)

    def fetch(self, query: RateQuery, part: Part) -> Iterator[FetchedChunk]:
        """Searches are not simulated."""
        raise NotImplementedError

    def recheck(self, rate: Rate) -> Recheck:
        """As RateSupplier.recheck."""
        found = self._ask(f"GET {rate.vendor_key}", lambda market: market.check(rate.vendor_key))
        if found is None:
            return Recheck("sold_out")
        key, price = found
        return rechecked(rate, msgspec.structs.replace(rate, price=price, vendor_key=key))

    def book(self, rate: Rate, holder: Holder, key: str) -> str:
        """As RateSupplier.book."""
        def ask(market: Market) -> str | Refused:
            try:
                return market.book(key, rate.vendor_key)
            except Refused as refused:
                return refused

        answer = self._ask(f"POST {rate.vendor_key} {key}", ask)
        if isinstance(answer, Refused):
            raise SupplierDeclined(str(answer))
        return str(answer)

    def cancel(self, key: str, email: str, number: str = "") -> bool:
        """As RateSupplier.cancel."""
        return bool(self._ask(f"DELETE {key}", lambda market: market.cancel(key)))

    def close(self) -> None:
        """Nothing is kept open."""

    def _ask(self, label: str, ask: Callable[[Market], Any]) -> Any:
        network, process, server = self._wire
        return network.call(process, server, label, lambda: server.work(ask))


def offer(vendor: str, rate: str, price: str) -> RateOffer:
    """A rate as a search has pinned it."""
    return RateOffer(RateFacts(
        id=f"{vendor}-{rate}-{price}", hotel_id="lisbon-1", hotel="Mill", city="Lisbon",
        room="Double", board="breakfast", check_in="2027-03-01", check_out="2027-03-04",
        guests=2, price=price, currency=CURRENCY, refundable=True, supplier=vendor,
    ), vendor_key=rate)  # fmt: skip


def draw_offer(markets: dict[str, Market], rng: random.Random) -> RateOffer:
    """What somebody has found: mostly at the price of now, at times at an older one."""
    market, rate = markets[rng.choice(VENDORS)], rng.choice(RATES)
    price = market.price(rate)
    if price is None or rng.random() < 0.1:
        price = rng.choice(PRICES)
    return offer(market.name, rate, price)


def draw_move(markets: dict[str, Market], rng: random.Random) -> str:
    """Move one price, or sell a rate out; says what."""
    market, rate = markets[rng.choice(VENDORS)], rng.choice(RATES)
    price = rng.choice((*PRICES, PRICES[0], None))
    market.move(rate, price)
    return f"{market.name}'s {rate} is {price or 'sold out'}"
