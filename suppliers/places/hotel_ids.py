"""Our id of a hotel <-> each supplier's, as pure functions of the hotel's number.

| supplier | lisbon-7 is | how |
|---|---|---|
| Hotelbeds | `10007` | the number |
| Expedia Rapid | `20010007` | the number above 20,000,000 |
| Duffel Stays | `acc_0000HB0000010007` | a prefix and the number in ten digits |
| Ascenda | `02bP` | the number in base 62, four letters |
| the per-hotel vendor | `lisbon-7` | our own id |

A supplier with a list of its own gets a pair that reads a table instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from suppliers.places import hotel_id_of, number_of

_DUFFEL_PREFIX = "acc_0000HB"
_EXPEDIA_BASE = 20_000_000
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class HotelIds(NamedTuple):
    """Both directions; each answers None for a hotel that one of the two sides does not know."""

    theirs: Callable[[str], str | None]
    ours: Callable[[str], str | None]


def _numbered(write: Callable[[int], str], read: Callable[[str], int | None]) -> HotelIds:
    def theirs(hotel_id: str) -> str | None:
        number = number_of(hotel_id)
        return None if number is None else write(number)

    def ours(vendor_id: str) -> str | None:
        number = read(vendor_id)
        # Only the spelling that we write is an id: `+10007` and `010007` are none.
        if number is None or write(number) != vendor_id:
            return None
        return hotel_id_of(number)

    return HotelIds(theirs, ours)


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 12 else None


def _above(text: str) -> int | None:
    number = _whole(text)
    return None if number is None else number - _EXPEDIA_BASE


def _behind_prefix(text: str) -> int | None:
    return _whole(text.removeprefix(_DUFFEL_PREFIX))


def _to_base62(number: int) -> str:
    letters = ""
    for _ in range(4):
        number, rest = divmod(number, 62)
        letters = _BASE62[rest] + letters
    return letters


def _from_base62(text: str) -> int | None:
    if len(text) != 4 or not text.isascii() or not text.isalnum():
        return None
    number = 0
    for letter in text:
        number = number * 62 + _BASE62.index(letter)
    return number


def _own(hotel_id: str) -> str | None:
    return None if number_of(hotel_id) is None else hotel_id


HOTELBEDS = _numbered(str, _whole)
EXPEDIA_RAPID = _numbered(lambda number: str(number + _EXPEDIA_BASE), _above)
DUFFEL_STAYS = _numbered(lambda number: f"{_DUFFEL_PREFIX}{number:010d}", _behind_prefix)
ASCENDA = _numbered(_to_base62, _from_base62)
PERHOTEL = HotelIds(_own, _own)
