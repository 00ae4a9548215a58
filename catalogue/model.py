"""The words of the catalogue: a hotel with everything that its page shows, and what is built of it.

A `Hotel` is put together from the documents of one moment (assembly.py) and turned into a
`Payload` (payloads.py). Both steps are pure: the same documents on the same day give the same
bytes, so that the audit can compare what stands on the shelf with what ought to.
"""

from __future__ import annotations

import hashlib

import msgspec


class Amenity(msgspec.Struct, frozen=True):
    """One thing that a hotel offers: `wifi`, and how people call it."""

    amenity_id: str
    label: str


class Image(msgspec.Struct, frozen=True):
    """A picture by its name in static/art, with the words for those who do not see it."""

    art: str
    alt: str


class Night(msgspec.Struct, frozen=True):
    """What one night costs. `date` is ISO 8601, `price` a decimal string."""

    date: str
    price: str


class Hotel(msgspec.Struct, frozen=True, kw_only=True):
    """A hotel of the catalogue as of one moment.

    `slug` is its address, unique among all hotels and never made anew from the name. `nights` are
    in the order of their dates and none is past; `price_from` is the lowest of them, None
    where there is none. `rating` is out of ten with one decimal, None while nobody rated.
    `created_at` is RFC 3339, UTC.
    """

    hotel_id: str
    slug: str
    name: str
    city_slug: str
    city: str
    country_code: str
    country: str
    stars: int
    type_id: str
    type_label: str
    rating: str | None
    rating_count: int
    amenities: tuple[Amenity, ...]
    images: tuple[Image, ...]
    description: str
    latitude: float
    longitude: float
    currency: str
    nights: tuple[Night, ...]
    price_from: str | None
    created_at: str


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """All that is shown of one hotel, finished. Nothing in here is compressed yet.

    page    the whole HTML page
    json    the answer of GET /api/hotels/<id>
    card    its HTML in a listing
    brief   its JSON in the answer of GET /api/hotels
    row     what the listing's index in memory is made of
    """

    page: bytes
    json: bytes
    card: bytes
    brief: bytes
    row: bytes

    @property
    def etag(self) -> str:
        """A name for all that is shown of the hotel, in quotes; another one when any of it differs.
        """
        digest = hashlib.blake2b(digest_size=12)
        for part in msgspec.structs.astuple(self):
            digest.update(len(part).to_bytes(4))
            digest.update(part)
        return f'"{digest.hexdigest()}"'
