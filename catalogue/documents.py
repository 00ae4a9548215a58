"""The hotels as an operator keeps them in MongoDB: collections, indexes, documents.

    hotels          _id, slug (no two have the same), name, city, type, stars, amenities [ids],
                    latitude, longitude, description, created_at (date), active
    cities          _id (`lisbon`), name, country (`PT`), country_name
    hotel_types     _id (`boutique`), label
    amenities       _id (`wifi`), label
    hotel_images    _id `<hotel>:<position>`, hotel_id, position, art, alt
    hotel_prices    _id `<hotel>:<month>`, hotel_id, month (`2026-12`), currency,
                    nights {`2026-12-01`: decimal string}
    hotel_ratings   _id (the hotel's), average_tenths (0 to 100), count

A document that belongs to a hotel carries the hotel's id in front of its own, because the notice
of a deletion says nothing but the `_id`. Any program may write here; each document is checked
when a page is made of it.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

import msgspec
from msgspec import Meta

HOTELS = "hotels"
CITIES = "cities"
TYPES = "hotel_types"
AMENITIES = "amenities"
IMAGES = "hotel_images"
PRICES = "hotel_prices"
RATINGS = "hotel_ratings"
COLLECTIONS = (HOTELS, CITIES, TYPES, AMENITIES, IMAGES, PRICES, RATINGS)
# What a change of one of these documents touches: the hotels whose field says its id.
NAMED_BY = {CITIES: "city", TYPES: "type", AMENITIES: "amenities"}
# Those whose `_id` begins with a hotel's.
BELONGING = (IMAGES, PRICES, RATINGS)
# Collection -> the fields of an index. The first is the order in which hotels become active.
INDEXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (HOTELS, ("active", "created_at", "_id")),
    (HOTELS, ("city",)),
    (HOTELS, ("type",)),
    (HOTELS, ("amenities",)),
    (IMAGES, ("hotel_id", "position")),
    (PRICES, ("hotel_id", "month")),
)
# One address, one hotel: MongoDB refuses the second. What is no text makes no page anyway.
SLUG_INDEX: dict[str, Any] = {
    "keys": [("slug", 1)], "unique": True,
    "partialFilterExpression": {"slug": {"$type": "string"}},
}
IMAGES_MAX = 12
PRICE = r"^[0-9]{1,9}(\.[0-9]{1,3})?$"

Document = dict[str, Any]
Id = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Name = Annotated[str, Meta(min_length=1, max_length=120)]


class HotelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document of `hotels`."""

    id: Id = msgspec.field(name="_id")
    slug: Id
    name: Name
    city: Id
    type: Id
    stars: Annotated[int, Meta(ge=1, le=5)]
    created_at: dt.datetime
    amenities: Annotated[tuple[Id, ...], Meta(max_length=60)] = ()
    latitude: Annotated[float, Meta(ge=-90, le=90)] = 0.0
    longitude: Annotated[float, Meta(ge=-180, le=180)] = 0.0
    description: Annotated[str, Meta(max_length=4_000)] = ""
    active: bool = True


class CityDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document of `cities`."""

    id: Id = msgspec.field(name="_id")
    name: Name
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}$")]
    country_name: Name


class LabelDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document of `hotel_types` or `amenities`."""

    id: Id = msgspec.field(name="_id")
    label: Name


class ImageDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document of `hotel_images`. `art` is the name of a picture in static/art."""

    hotel_id: Id
    position: int
    art: Id
    alt: Annotated[str, Meta(max_length=200)] = ""


class PricesDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document of `hotel_prices`."""

    hotel_id: Id
    month: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}$")]
    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
    nights: dict[dt.date, Annotated[str, Meta(pattern=PRICE)]]


class RatingDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A document of `hotel_ratings`."""

    average_tenths: Annotated[int, Meta(ge=0, le=100)]
    count: Annotated[int, Meta(ge=0)]


def owner(document_id: object) -> str:
    """The hotel that a document of BELONGING is about, by its `_id`."""
    return str(document_id).partition(":")[0]
