"""The catalogue as JSON."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from flask import Blueprint, request
from msgspec import Meta
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as BaseResponse

from catalogue.rows import PAGE_SIZE, PAGE_SIZE_MAX, RATINGS, STARS, Order
from web.finished import JSON, finished
from web.listing_query import query_of, refuse_unknown
from web.openapi import Answer, Operation, Parameter, documented
from web.services import services

hotels_api = Blueprint("hotels_api", __name__, url_prefix="/api")


class Named(msgspec.Struct, frozen=True):
    """A city, by the word of its addresses."""

    slug: str
    name: str


class Country(msgspec.Struct, frozen=True):
    """A country by its ISO 3166 code."""

    code: str
    name: str


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """A hotel in a listing. `rating` is out of ten; a price is a night's lowest to come."""

    id: str
    slug: str
    name: str
    city: Named
    country: Country
    stars: int
    type: str
    rating: str | None
    rating_count: int
    price_from: str | None
    currency: str
    amenities: list[str]
    url: str


class FacetValue(msgspec.Struct, frozen=True):
    """A value of a filter. `count`: hotels with it, whatever else of its facet is selected."""

    value: str
    label: str
    count: int
    is_selected: bool


class ListingAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the listing. `total` hotels match; `page_count` pages of them can be asked for."""

    total: int
    page_no: int
    page_size: int
    page_count: int
    order_by: Order
    url: str
    title: str
    hotels: list[Brief]
    facets: dict[str, list[FacetValue]]


class NamedAmenity(msgspec.Struct, frozen=True):
    """What a hotel offers, and how people call it."""

    id: str
    label: str


class Picture(msgspec.Struct, frozen=True):
    """A picture and the words for it."""

    url: str
    alt: str


class Location(msgspec.Struct, frozen=True):
    """Degrees, WGS 84."""

    latitude: float
    longitude: float


class NightPrice(msgspec.Struct, frozen=True):
    """What the night that begins on this date costs."""

    date: str
    price: str


class HotelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All of one hotel."""

    id: str
    slug: str
    name: str
    city: Named
    country: Country
    stars: int
    type: str
    rating: str | None
    rating_count: int
    price_from: str | None
    currency: str
    amenities: list[NamedAmenity]
    url: str
    images: list[Picture]
    description: str
    location: Location
    nights: list[NightPrice]
    created_at: str


def _many(kind: Any) -> Any:
    return Annotated[kind, Meta(description="Several with commas: any of them will do")]


_BUILDING = Answer(503, "The catalogue is being built", headers=("Retry-After",))
_UNCHANGED = Answer(304, "Nothing changed since the ETag of If-None-Match", headers=("ETag",),
                    empty=True)
_PRICE = Annotated[str, Meta(pattern=r"^[0-9]{1,6}(\.[0-9]{1,2})?$")]
_PARAMETERS = (
    Parameter("city", "query", _many(str), "Cities by their slug, such as lisbon", required=False),
    Parameter("country", "query", _many(str), "Countries by code or name", required=False),
    Parameter("stars", "query", Annotated[int, Meta(ge=min(STARS), le=max(STARS))],
              "Stars; several with commas", required=False),
    Parameter("type", "query", _many(str), "Kinds of hotels", required=False),
    Parameter("amenity", "query", str, "What it offers; several with commas: all of them",
              required=False),
    Parameter("rating", "query", Annotated[int, Meta(ge=min(RATINGS), le=max(RATINGS))],
              "Rated at least this, out of ten", required=False),
    Parameter("price_min", "query", _PRICE, "A night costs at least", required=False),
    Parameter("price_max", "query", _PRICE, "A night costs at most", required=False),
    Parameter("order_by", "query", Order, "reco is the default", required=False),
    Parameter("page_no", "query", Annotated[int, Meta(ge=1)], "From 1", required=False),
    Parameter("page_size", "query", Annotated[int, Meta(ge=1, le=PAGE_SIZE_MAX)],
              f"Hotels on a page; {PAGE_SIZE} by default", required=False),
)


@hotels_api.get("/hotels")
@documented(Operation(
    "Hotels that match, a page at a time, and how many each filter would leave",
    (Answer(200, "A page of the listing", ListingAnswer, headers=("ETag", "Cache-Control")),
     _UNCHANGED, Answer(404, "There are fewer pages"),
     Answer(422, "A parameter is wrong or unknown"), _BUILDING),
    parameters=_PARAMETERS,
))
def listing() -> BaseResponse:
    listings = services().listings
    snapshot = listings.snapshot()
    name = request.full_path
    made = listings.kept(name, snapshot)
    if made is None:
        refuse_unknown(request.args)
        made = listings.document(name, query_of(request.args, snapshot.words), snapshot)
    return finished(made.body, made.etag, JSON)


@hotels_api.get("/hotels/<hotel_id>")
@documented(Operation(
    "A hotel, by its id",
    (Answer(200, "All of it", HotelAnswer, headers=("ETag", "Cache-Control")), _UNCHANGED,
     Answer(404, "There is no such hotel"), _BUILDING),
    parameters=(Parameter("hotel_id", "path",
                          Annotated[str, Meta(min_length=1, max_length=200)],
                          "Id of the hotel, such as lisbon-7"),),
))
def hotel(hotel_id: str) -> BaseResponse:
    part = services().catalogue.json(hotel_id[:200])
    if part is None:
        raise NotFound("There is no hotel with this id.")
    return finished(part.body, part.etag, JSON)
