"""What a simulated vendor sells: offers whose prices differ from call to call, as real ones do.

An offer's key holds the whole offer, sealed with the seed. So nothing is remembered between a
search and a booking, and a kill of the simulator takes no offer away.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import itertools
from binascii import Error as NotBase64
from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal

import msgspec

import shapes
from suppliers.places import hotel
from suppliers.simulator.vendors.answers import VendorRefusal
from suppliers.simulator.vendors.conduct import VendorSwitch

NIGHTS_MAX = 30
_SEAL_BYTES = 9
# Units of a currency for a euro: what a traveller would guess, and no more exact than that.
_PER_EURO = {
    "EUR": "1", "USD": "1.10", "GBP": "0.85", "CHF": "0.95", "SEK": "11.2", "NOK": "11.6",
    "DKK": "7.46", "PLN": "4.3", "CZK": "25", "HUF": "395", "TRY": "37", "JPY": "162",
    "SGD": "1.46", "HKD": "8.5", "AUD": "1.65", "CAD": "1.5", "INR": "92", "THB": "39",
    "KWD": "0.335", "AED": "4.05", "MXN": "20", "NZD": "1.8", "ISK": "150",
}  # fmt: skip
_DIGITS = {"JPY": 0, "ISK": 0, "KWD": 3}
# Room, board, refundable, and how much it costs beside the plainest.
_ROOMS = [
    ("Standard double", "RO", False, Decimal("1")),
    ("Standard double", "BB", True, Decimal("1.22")),
    ("Superior double with a view", "BB", True, Decimal("1.48")),
    ("Family suite", "HB", True, Decimal("2.05")),
]

Check = Literal["available", "price_changed", "sold_out"]


class Stay(msgspec.Struct, frozen=True, array_like=True):
    """Dates and guests of a request."""

    check_in: dt.date
    check_out: dt.date
    guests: int

    @property
    def nights(self) -> int:
        return (self.check_out - self.check_in).days


class Offer(msgspec.Struct, frozen=True, array_like=True):
    """A room at a price for the whole stay. A `settled` one has been checked: its price stays."""

    hotel_id: str
    stay: Stay
    room: str
    board: str
    refundable: bool
    price: Decimal
    currency: str
    draw: int
    settled: bool = False

    @property
    def as_text(self) -> bool:
        """Whether this offer's amounts are written as strings."""
        return self.draw % 2 == 0


def stay_of(check_in: str, check_out: str, guests: str | int) -> Stay:
    """Dates and guests as a request gives them. Raises VendorRefusal for nonsense."""
    try:
        stay = Stay(dt.date.fromisoformat(check_in), dt.date.fromisoformat(check_out), int(guests))
    except (ValueError, TypeError):
        raise VendorRefusal(400, "invalid_request", "dates or guests") from None
    if not 1 <= stay.nights <= NIGHTS_MAX or not 1 <= stay.guests <= 8:
        raise VendorRefusal(400, "invalid_request", "nights or guests out of bounds")
    return stay


class Market:
    """One vendor's offers. `seed` and the number of the call decide every price."""

    def __init__(self, vendor: str, seed: str, switch: VendorSwitch) -> None:
        self._vendor = vendor
        self._seed = seed
        self._switch = switch
        self._seal_key = hashlib.blake2b(f"{seed}/{vendor}".encode(), digest_size=32).digest()
        self._calls = itertools.count(1)

    @property
    def currency(self) -> str:
        """What is sold in where a request names no currency."""
        return self._switch.now[self._vendor].currency

    def draw(self) -> int:
        """A new number of a call: the same hotel costs something else under each."""
        return next(self._calls)

    def offers(self, hotel_id: str, stay: Stay, currency: str, draw: int) -> Iterator[Offer]:
        """What the hotel has left. Nothing for hotels that do not exist, and once in a while."""
        facts = hotel(hotel_id)
        if currency not in _PER_EURO:
            raise VendorRefusal(400, "invalid_currency", "a currency that is not sold here")
        if facts is None:
            return
        dice = self._dice(hotel_id, stay.check_in.isoformat(), str(draw))
        # The base belongs to hotel, night and vendor; the drift, up to 6 %, to this call.
        base = 38 + 22 * facts.stars + self._dice(hotel_id)[0] % 60
        weekend = 12 if stay.check_in.weekday() >= 4 else 0
        drift = Decimal(dice[0] * 256 + dice[1]) / Decimal(65_536) * Decimal("0.06")
        nightly = (base + weekend) * (1 + drift) * Decimal(_PER_EURO[currency])
        unit = Decimal(1).scaleb(-_DIGITS.get(currency, 2))
        gone = self._switch.now[self._vendor].sold_out_rate
        for number, (room, board, refundable, factor) in enumerate(_ROOMS):
            if dice[2 + number] < gone * 256:
                continue
            guests = 1 + Decimal(stay.guests - 1) * Decimal("0.35")
            price = (nightly * factor * guests * stay.nights).quantize(unit, ROUND_HALF_UP)
            yield Offer(hotel_id, stay, room, board, refundable, price, currency, dice[6])

    def is_broken(self, hotel_id: str, draw: int) -> bool:
        """Whether the hotel's part of this call's document is malformed."""
        dice = self._dice("broken", hotel_id, str(draw))
        return dice[0] * 256 + dice[1] < self._switch.now[self._vendor].malformed_rate * 65_536

    def seal(self, offer: Offer) -> str:
        """The offer's key."""
        text = msgspec.json.encode(offer)
        mac = hashlib.blake2b(text, key=self._seal_key, digest_size=_SEAL_BYTES).digest()
        return base64.urlsafe_b64encode(mac + text).decode().rstrip("=")

    def unseal(self, key: str) -> Offer:
        """The offer that was sealed. Raises VendorRefusal(404) for any other text."""
        try:
            sealed = base64.urlsafe_b64decode(key.encode() + b"=" * (-len(key) % 4))
            mac, text = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
            if hashlib.blake2b(text, key=self._seal_key, digest_size=_SEAL_BYTES).digest() == mac:
                return shapes.decode(text, Offer)
        except (NotBase64, ValueError):
            pass  # said below, the same way as for a key with another seal
        raise VendorRefusal(404, "unknown_rate", "no such rate was offered here")

    def check(self, offer: Offer) -> tuple[Check, Offer]:
        """The offer as it stands now. Whether it changed is a hash: every check says the same."""
        conduct = self._switch.now[self._vendor]
        dice = self._dice("check", self.seal(msgspec.structs.replace(offer, settled=False)))
        if int.from_bytes(dice[:4]) < conduct.sold_out_rate * 2**32:
            return "sold_out", offer
        if offer.settled:
            return "available", offer
        settled = msgspec.structs.replace(offer, settled=True)
        if int.from_bytes(dice[4:8]) < conduct.price_change_rate * 2**32:
            unit = Decimal(1).scaleb(-_DIGITS.get(offer.currency, 2))
            dearer = (offer.price * Decimal("1.07")).quantize(unit, ROUND_HALF_UP)
            return "price_changed", msgspec.structs.replace(settled, price=dearer)
        return "available", settled

    def _dice(self, *words: str) -> bytes:
        text = "\x1f".join((self._seed, self._vendor, *words))
        return hashlib.blake2b(text.encode(), digest_size=8).digest()
