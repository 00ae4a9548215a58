"""The cities and hotels that are sold, and what each supplier calls them.

    cities.json      the cities, with each supplier's code of them; written by make_cities.py
    named.py         the few hotels that have a name of their own
    hotel_ids.py     our id of a hotel <-> each supplier's

A hotel's id is `<city>-<n>`, such as `lisbon-7`. Hotels are not listed in a file: a city says how
many it has, and all that is known of one follows from its id. The simulator reads the same
tables, as a supplier and its customer share a list of hotels.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import msgspec

import shapes
from suppliers.places.named import NAMED

CITIES_FILE = Path(__file__).with_name("cities.json")
# The room that a city's number leaves for its hotels in `Hotel.number`.
HOTELS_PER_CITY_MAX = 10_000

_FIRST = ["Amber", "Blue", "Cedar", "Copper", "Crane", "Garden", "Grand", "Harbour", "Ivory",
          "Juniper", "Little", "Mercer", "Moon", "Old", "Orchard", "Quiet", "Saffron", "Silver",
          "Stone", "Willow"]  # fmt: skip
_SECOND = ["Anchor", "Arcade", "Bridge", "Compass", "Court", "Gate", "Heron", "House", "Lantern",
           "Mill", "Palace", "Quay", "Rooms", "Square", "Star", "Terrace", "Tower", "Yard",
           "Mews", "Plaza"]  # fmt: skip
# Of hotels that would have one name in one city, those after the first bear one of these in it.
_QUARTERS = ["West", "East", "North", "South", "Central", "Riverside", "Hill", "Park", "Market",
             "Station"]  # fmt: skip


class City(msgspec.Struct, frozen=True, kw_only=True):
    """A destination. `currency` is its country's, `hotels` how many are sold there."""

    number: int
    slug: str
    name: str
    country: str
    country_name: str
    currency: str
    latitude: float
    longitude: float
    hotels: int
    hotelbeds_code: str
    ascenda_id: str

    def hotel_ids(self) -> tuple[str, ...]:
        """The ids of all hotels here."""
        return tuple(f"{self.slug}-{n}" for n in range(1, self.hotels + 1))


class Hotel(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a hotel's id. `number` is unique among all hotels, and stays."""

    hotel_id: str
    number: int
    city: City
    name: str
    stars: int
    latitude: float
    longitude: float


@cache
def cities() -> dict[str, City]:
    """Every city by its slug."""
    listed = shapes.decode(CITIES_FILE.read_bytes(), list[City])
    return {city.slug: city for city in listed}


@cache
def _by_number() -> dict[int, City]:
    return {city.number: city for city in cities().values()}


def _dice(hotel_id: str) -> bytes:
    return hashlib.blake2b(hotel_id.encode(), digest_size=8).digest()


@cache
def _names(slug: str) -> dict[str, str]:
    """Hotel -> name, for all of a city, no two alike as long as there are quarters enough."""
    city = cities()[slug]
    names: dict[str, str] = {}
    alike: dict[str, int] = {}
    for hotel_id in city.hotel_ids():
        dice = _dice(hotel_id)
        name = f"{_FIRST[dice[0] % len(_FIRST)]} {_SECOND[dice[1] % len(_SECOND)]}"
        before = alike.get(name, 0)
        alike[name] = before + 1
        quarter = f" {_QUARTERS[(before - 1) % len(_QUARTERS)]}" if before else ""
        names[hotel_id] = NAMED.get(hotel_id, f"{name}{quarter} {city.name}")
    return names


def number_of(hotel_id: str) -> int | None:
    """The number of a hotel; None for an id that is none of ours."""
    slug, _, n = hotel_id.rpartition("-")
    city = cities().get(slug)
    if city is None or not (n.isascii() and n.isdecimal() and len(n) <= 4) or n[0] == "0":
        return None
    return city.number * HOTELS_PER_CITY_MAX + int(n) if int(n) <= city.hotels else None


def hotel_id_of(number: int) -> str | None:
    """The id of the hotel with this number; None when there is no such hotel."""
    city_number, n = divmod(number, HOTELS_PER_CITY_MAX)
    city = _by_number().get(city_number)
    return f"{city.slug}-{n}" if city is not None and 1 <= n <= city.hotels else None


def hotel(hotel_id: str) -> Hotel | None:
    """The facts of a hotel; None for an id that is none of ours."""
    number = number_of(hotel_id)
    if number is None:
        return None
    city = cities()[hotel_id.rpartition("-")[0]]
    dice = _dice(hotel_id)
    return Hotel(
        hotel_id=hotel_id,
        number=number,
        city=city,
        name=_names(city.slug)[hotel_id],
        stars=2 + dice[2] % 4,
        # Within some five kilometres of the centre.
        latitude=round(city.latitude + (dice[3] - 128) / 2_800, 5),
        longitude=round(city.longitude + (dice[4] - 128) / 2_800, 5),
    )
