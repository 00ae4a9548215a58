"""The default hotels: invented houses in real cities, the same ones at every run.

Their ids, names, stars and places are those that the simulated suppliers know, so that each of
them has live rates too; all else follows from the id.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from catalogue import documents as d
from catalogue.documents import Document

MONTHS = 2
_FIRST_DAY = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_ARTS = ("aurora", "dawn", "desert", "dusk", "ember", "fjord", "golden", "harbour", "mist",
         "morning", "night", "noon", "tropic")  # fmt: skip
TYPES = {"hotel": "Hotel", "boutique": "Boutique hotel", "hostel": "Hostel", "resort": "Resort",
         "apartment": "Apartment", "guesthouse": "Guest house"}  # fmt: skip
AMENITIES = {
    "wifi": "Free Wi-Fi", "breakfast": "Breakfast", "pool": "Pool", "spa": "Spa", "gym": "Gym",
    "bar": "Bar", "restaurant": "Restaurant", "parking": "Parking", "pets": "Pets welcome",
    "air-conditioning": "Air conditioning", "family-rooms": "Family rooms",
    "accessible": "Step-free access", "beach": "Near the beach", "terrace": "Roof terrace",
    "garden": "Garden", "workspace": "Desk in the room", "ev-charging": "Car charging",
    "laundry": "Laundry", "shuttle": "Airport shuttle", "late-checkout": "Late check-out",
}  # fmt: skip
_KINDS_OF_STARS = {
    2: ("hostel", "guesthouse", "apartment", "hotel"), 3: ("hotel", "guesthouse", "apartment"),
    4: ("hotel", "boutique", "resort", "apartment"), 5: ("hotel", "boutique", "resort"),
}  # fmt: skip
_SETTINGS = (
    "stands on a quiet street ten minutes from the middle of {city}",
    "looks over the roofs of {city}", "fills an old merchant's house in {city}",
    "is a short tram ride from the sights of {city}", "hides behind a green courtyard in {city}",
    "faces one of the liveliest squares of {city}", "was a printing works before {city} grew up",
    "is where locals of {city} send their guests",
)  # fmt: skip
_ENDINGS = (
    "The rooms are plain, light and quiet.", "Windows open, and the coffee is good.",
    "Ask for a room at the back: it gets the morning sun.",
    "The desk is staffed day and night, and knows the neighbourhood.",
    "Bicycles can be borrowed downstairs.", "Bathrooms are new, floors creak a little.",
)  # fmt: skip


class Place(NamedTuple):
    """What suppliers know of a hotel, and of its city."""

    hotel_id: str
    name: str
    stars: int
    latitude: float
    longitude: float
    city_slug: str
    city: str
    country: str
    country_name: str


def vocabulary(places: Iterable[Place]) -> dict[str, list[Document]]:
    """Cities, types and amenities by collection."""
    cities = {
        place.city_slug: {"_id": place.city_slug, "name": place.city, "country": place.country,
                          "country_name": place.country_name}
        for place in places
    }
    return {
        d.CITIES: list(cities.values()),
        d.TYPES: [{"_id": key, "label": label} for key, label in TYPES.items()],
        d.AMENITIES: [{"_id": key, "label": label} for key, label in AMENITIES.items()],
    }


def documents(place: Place, *, today: dt.date, currency: str) -> Iterator[tuple[str, Document]]:
    """(collection, document) of one hotel."""
    dice = hashlib.blake2b(place.hotel_id.encode(), digest_size=48).digest()
    kinds = _KINDS_OF_STARS[place.stars]
    kind = kinds[dice[10] % len(kinds)]
    likely = 40 + 28 * place.stars
    offers = [one for n, one in enumerate(AMENITIES) if dice[11 + n] < likely - 4 * (n % 7)]
    yield d.HOTELS, {
        "_id": place.hotel_id, "slug": _slug(place), "name": place.name,
        "city": place.city_slug, "type": kind, "stars": place.stars, "amenities": offers,
        "latitude": place.latitude, "longitude": place.longitude,
        "description": _description(place, dice), "active": True,
        "created_at": _FIRST_DAY + dt.timedelta(hours=int.from_bytes(dice[31:33]) % 16_000),
    }
    art = dice[33] % len(_ARTS)
    for position in (1, 2, 3):
        yield d.IMAGES, {
            "_id": f"{place.hotel_id}:{position}", "hotel_id": place.hotel_id,
            "position": position, "art": _ARTS[(art + 4 * position) % len(_ARTS)],
            "alt": f"{place.name}, drawn {('in front', 'from the side', 'at night')[position - 1]}",
        }
    count = int(2 ** (dice[34] / 24)) + dice[35] % 12
    yield d.RATINGS, {
        "_id": place.hotel_id, "count": count,
        "average_tenths": min(98, 55 + 5 * place.stars + dice[36] % 28 - dice[37] % 12),
    }
    for month in months(today):
        yield d.PRICES, prices(place.hotel_id, place.stars, month, currency)


def months(today: dt.date) -> list[dt.date]:
    """First days of the months for which default hotels have prices."""
    found = [today.replace(day=1)]
    while len(found) < MONTHS:
        found.append((found[-1] + dt.timedelta(days=32)).replace(day=1))
    return found


def prices(hotel_id: str, stars: int, month: dt.date, currency: str) -> Document:
    """One month's nights: dearer at weekends, and a little different every night."""
    label = month.isoformat()[:7]
    base = 3_400 + 2_300 * stars + hashlib.blake2b(hotel_id.encode()).digest()[0] * 14
    dice = hashlib.blake2b(f"{hotel_id}:{label}".encode(), digest_size=31).digest()
    nights, day = {}, month
    while day.month == month.month:
        cents = base + dice[day.day - 1] * 9 + (1_200 if day.weekday() in (4, 5) else 0)
        nights[day.isoformat()] = f"{cents // 100}.00"
        day += dt.timedelta(days=1)
    return {"_id": f"{hotel_id}:{label}", "hotel_id": hotel_id, "month": label,
            "currency": currency, "nights": nights}


def _slug(place: Place) -> str:
    """`grand-mill-lisbon-7`: its name, and the number that tells it from its namesakes."""
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in place.name.lower()).split()
    city = place.city_slug.split("-")
    named = words[: -len(city)] if words[-len(city):] == city else words[:2]
    return "-".join([*named, place.hotel_id])


def _description(place: Place, dice: bytes) -> str:
    setting = _SETTINGS[dice[38] % len(_SETTINGS)].format(city=place.city)
    first, second = dice[39] % len(_ENDINGS), dice[40] % (len(_ENDINGS) - 1)
    endings = [_ENDINGS[first], _ENDINGS[(first + 1 + second) % len(_ENDINGS)]]
    return f"{place.name} {setting}. {' '.join(endings)}"
