"""Documents -> Hotel. Pure: the same documents on the same day give the same hotel."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

import shapes
from catalogue.documents import (
    IMAGES_MAX,
    CityDocument,
    Document,
    HotelDocument,
    ImageDocument,
    LabelDocument,
    PricesDocument,
    RatingDocument,
)
from catalogue.model import Amenity, Hotel, Image, Night

T = TypeVar("T")
NIGHTS_MAX = 92


class Unfit(msgspec.Struct, frozen=True):
    """Why a hotel cannot be shown, in words for the operator."""

    reason: str


class Vocabulary(msgspec.Struct, frozen=True):
    """What hotels name by id. A document of these that is not fit is as if it were not there."""

    cities: dict[str, CityDocument]
    types: dict[str, LabelDocument]
    amenities: dict[str, LabelDocument]


class Facts(msgspec.Struct):
    """All documents of one hotel, as they came."""

    hotel: Document
    images: list[Document] = []
    prices: list[Document] = []
    rating: Document | None = None


def vocabulary(
    cities: Iterable[Document], types: Iterable[Document], amenities: Iterable[Document]
) -> Vocabulary:
    """What hotels name by id, from the documents."""
    def fit(found: Iterable[Document], kind: type[T]) -> dict[str, T]:
        read = {str(one.get("_id")): _read(one, kind) for one in found}
        return {key: one for key, one in read.items() if not isinstance(one, Unfit)}

    return Vocabulary(fit(cities, CityDocument), fit(types, LabelDocument),
                      fit(amenities, LabelDocument))


def assemble(
    facts: Facts, words: Vocabulary, *, today: dt.date, currency: str
) -> Hotel | Unfit:
    """The hotel as it is shown, or why it is not.

    A picture, price or rating that is not fit costs only itself; so do amenities that nobody
    describes, and prices in another currency than the catalogue's.
    """
    found = _read(facts.hotel, HotelDocument)
    if isinstance(found, Unfit):
        return found
    city, kind = words.cities.get(found.city), words.types.get(found.type)
    if city is None:
        return Unfit(f"city {found.city!r} is not in the collection cities")
    if kind is None:
        return Unfit(f"type {found.type!r} is not in the collection hotel_types")
    nights = _nights(facts.prices, today, currency)
    rating = _read(facts.rating, RatingDocument) if facts.rating is not None else None
    rated = rating if isinstance(rating, RatingDocument) and rating.count > 0 else None
    return Hotel(
        hotel_id=found.id, slug=found.slug, name=found.name,
        city_slug=found.city, city=city.name,
        country_code=city.country, country=city.country_name,
        stars=found.stars, type_id=found.type, type_label=kind.label,
        rating=f"{Decimal(rated.average_tenths) / 10:.1f}" if rated else None,
        rating_count=rated.count if rated else 0,
        amenities=tuple(
            Amenity(one, words.amenities[one].label)
            for one in dict.fromkeys(found.amenities) if one in words.amenities
        ),
        images=_images(facts.images),
        description=found.description, latitude=found.latitude, longitude=found.longitude,
        currency=currency, nights=nights,
        price_from=min((night.price for night in nights), key=Decimal, default=None),
        created_at=_utc(found.created_at),
    )  # fmt: skip


def second(first: str) -> Unfit:
    """What becomes of a hotel whose address another one has."""
    return Unfit(f"hotel {first}, which came first, has the same address; give one of them another")


def _images(documents: Iterable[Document]) -> tuple[Image, ...]:
    read = [one for one in (_read(found, ImageDocument) for found in documents)
            if isinstance(one, ImageDocument)]
    read.sort(key=lambda one: (one.position, one.art))
    return tuple(Image(one.art, one.alt) for one in read[:IMAGES_MAX])


def _nights(
    documents: Iterable[Document], today: dt.date, currency: str
) -> tuple[Night, ...]:
    prices: dict[dt.date, str] = {}
    for found in documents:
        read = _read(found, PricesDocument)
        if isinstance(read, PricesDocument) and read.currency == currency:
            prices.update(read.nights)
    # A night of the last year that can be written would end on a day that cannot.
    dates = sorted(date for date, price in prices.items()
                   if date >= today and date.year < dt.MAXYEAR and Decimal(price) > 0)
    return tuple(Night(date.isoformat(), prices[date]) for date in dates[:NIGHTS_MAX])


def _read(document: Mapping[str, Any], kind: type[T]) -> T | Unfit:
    try:
        return shapes.convert(document, kind)
    except msgspec.ValidationError as error:
        return Unfit(str(error))


def _utc(moment: dt.datetime) -> str:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return aware.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
