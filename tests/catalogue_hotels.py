"""Hotels and rows for tests of the catalogue."""

from __future__ import annotations

from typing import Any

from catalogue.model import Amenity, Hotel, Image, Night
from catalogue.rows import Row

AMENITIES = {"wifi": "Wi-Fi", "pool": "Pool", "spa": "Spa", "pets": "Pets welcome"}
CITIES = {"lisbon": ("Lisbon", "PT", "Portugal"), "porto": ("Porto", "PT", "Portugal"),
          "singapore": ("Singapore", "SG", "Singapore"), "paris": ("Paris", "FR", "France")}
TYPES = {"hotel": "Hotel", "guesthouse": "Guesthouse", "hostel": "Hostel"}


def hotel(n: int = 7, where: str = "lisbon", **changes: Any) -> Hotel:
    """A hotel with something in every field."""
    name, code, country = CITIES[where]
    fields: dict[str, Any] = {
        "hotel_id": f"{where}-{n}", "slug": f"quiet-heron-{where}-{n}", "name": f"Quiet Heron {n}",
        "city_slug": where, "city": name, "country_code": code, "country": country, "stars": 4,
        "type_id": "hotel", "type_label": "Hotel", "rating": "8.7", "rating_count": 212,
        "amenities": tuple(Amenity(key, label) for key, label in AMENITIES.items()),
        "images": (Image("dusk", "The house at dusk"), Image("golden", "Evening")),
        "description": "A calm house a few steps from the river.",
        "latitude": 38.7, "longitude": -9.1, "currency": "EUR",
        "nights": (Night("2026-12-30", "120.00"), Night("2026-12-31", "101.50")),
        "price_from": "101.50", "created_at": "2026-01-01T00:00:00Z", **changes,
    }
    return Hotel(**fields)


def row(n: int = 7, where: str = "lisbon", **changes: Any) -> Row:
    """A row with something in every field."""
    name, code, country = CITIES[where]
    fields: dict[str, Any] = {
        "hotel_id": f"{where}-{n}", "slug": f"quiet-heron-{where}-{n}", "city_slug": where,
        "city": name, "country_code": code, "country": country, "stars": 4, "type_id": "hotel",
        "type_label": "Hotel", "rating_tenths": 87, "price_cents": 10_150,
        "created_at": "2026-01-01T00:00:00Z", "amenities": tuple(AMENITIES.items()),
        "score": 8.1, "currency": "EUR", **changes,
    }
    return Row(**fields)
