"""A hotel as it is shown, finished: page, JSON, card, brief, row. One hotel, one set of bytes.

Nothing in here knows a visitor. What differs for each is asked for by the page's script, after
everybody's page stands.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Any

import msgspec
from jinja2 import Template

from catalogue import shell, words
from catalogue.facade import facade
from catalogue.model import Hotel, Payload
from catalogue.rows import Row
from catalogue.slugs import slug_of_text

# Nights on the page: two weeks are what people compare.
NIGHTS_SHOWN = 14
# A new hotel is ranked as if this many guests had given it this rating before.
_PRIOR_RATINGS = 40
_PRIOR = 7.0

VERSION = shell.version()


def version_in(currency: str) -> str:
    """Marks a generation: pages made in another way, or in another currency, are other pages."""
    return f"{VERSION} {currency}"


def build(hotel: Hotel) -> Payload:
    """Everything that is shown of a hotel. Pictures that are not in static/art are left out."""
    known = tuple(image for image in hotel.images if image.art in shell.pictures())
    hotel = msgspec.structs.replace(hotel, images=known)
    document = _document(hotel)
    return Payload(
        page=_page(hotel),
        json=msgspec.json.encode(document),
        card=_card(hotel),
        brief=msgspec.json.encode(_brief(hotel)),
        row=msgspec.json.encode(_row(hotel)),
    )


def _page(hotel: Hotel) -> bytes:
    first = hotel.nights[0].date if hotel.nights else ""
    shown = hotel.nights[:NIGHTS_SHOWN]
    least = min((Decimal(night.price) for night in shown), default=None)
    nights = [
        {"date": night.date, "day": words.date_text(night.date),
         "price": words.price_text(night.price, hotel.currency),
         "lowest": Decimal(night.price) == least}
        for night in shown
    ]
    return _template("hotel.html").render(
        hotel=hotel, words=words, nights=nights, images=hotel.images or (_NO_IMAGE,),
        facade=facade, check_in=first, check_out=words.day_after(first) if first else "",
        place=place_of(hotel), structured=_structured(hotel), slug_of=slug_of_text,
    ).encode()


def _card(hotel: Hotel) -> bytes:
    images = hotel.images or (_NO_IMAGE,)
    return _template("_hotel_card.html").render(
        hotel=hotel, words=words, image=images[0], facade=facade
    ).encode()


_NO_IMAGE = {"art": "dawn", "alt": ""}


@cache
def _template(name: str) -> Template:
    return shell.environment().get_template(name)


def place_of(hotel: Hotel) -> dict[str, str]:
    """Where the breadcrumbs of the page lead."""
    return {
        "city": f"/hotels/hotels-in-{hotel.city_slug}",
        "country": f"/hotels/hotels-in-{slug_of_text(hotel.country)}",
    }


def _brief(hotel: Hotel) -> dict[str, Any]:
    return {
        "id": hotel.hotel_id, "slug": hotel.slug, "name": hotel.name,
        "city": {"slug": hotel.city_slug, "name": hotel.city},
        "country": {"code": hotel.country_code, "name": hotel.country},
        "stars": hotel.stars, "type": hotel.type_id,
        "rating": hotel.rating, "rating_count": hotel.rating_count,
        "price_from": hotel.price_from, "currency": hotel.currency,
        "amenities": [amenity.amenity_id for amenity in hotel.amenities],
        "url": f"/hotels/{hotel.slug}",
    }


def _document(hotel: Hotel) -> dict[str, Any]:
    return {
        **_brief(hotel),
        "amenities": [{"id": a.amenity_id, "label": a.label} for a in hotel.amenities],
        "images": [{"url": _picture(image.art), "alt": image.alt} for image in hotel.images],
        "description": hotel.description,
        "location": {"latitude": hotel.latitude, "longitude": hotel.longitude},
        "nights": [{"date": night.date, "price": night.price} for night in hotel.nights],
        "created_at": hotel.created_at,
    }


def _picture(art: str) -> str:
    found: str = shell.environment().globals["asset"](f"art/{art}.svg")  # type: ignore[operator]
    return found


def _structured(hotel: Hotel) -> dict[str, Any]:
    """JSON-LD for search engines; the template turns it into a script that cannot be ended early.
    """
    found: dict[str, Any] = {
        "@context": "https://schema.org", "@type": "Hotel", "name": hotel.name,
        "description": hotel.description, "url": f"/hotels/{hotel.slug}",
        "starRating": {"@type": "Rating", "ratingValue": hotel.stars},
        "address": {"@type": "PostalAddress", "addressLocality": hotel.city,
                    "addressCountry": hotel.country_code},
        "geo": {"@type": "GeoCoordinates", "latitude": hotel.latitude,
                "longitude": hotel.longitude},
        "amenityFeature": [
            {"@type": "LocationFeatureSpecification", "name": amenity.label, "value": True}
            for amenity in hotel.amenities
        ],
    }
    if hotel.rating is not None:
        found["aggregateRating"] = {
            "@type": "AggregateRating", "ratingValue": hotel.rating, "bestRating": 10,
            "reviewCount": hotel.rating_count,
        }
    if hotel.price_from is not None:
        found["priceRange"] = f"from {words.price_text(hotel.price_from, hotel.currency)}"
    return found


def _row(hotel: Hotel) -> Row:
    tenths = None if hotel.rating is None else int(Decimal(hotel.rating) * 10)
    return Row(
        hotel_id=hotel.hotel_id, slug=hotel.slug, city_slug=hotel.city_slug, city=hotel.city,
        country_code=hotel.country_code, country=hotel.country, stars=hotel.stars,
        type_id=hotel.type_id, type_label=hotel.type_label, rating_tenths=tenths,
        price_cents=None if hotel.price_from is None else int(Decimal(hotel.price_from) * 100),
        created_at=hotel.created_at,
        amenities=tuple((a.amenity_id, a.label) for a in hotel.amenities),
        score=general_score(hotel), currency=hotel.currency,
    )


def general_score(hotel: Hotel) -> float:
    """Where a hotel stands for somebody of whom nothing is known: its rating, doubted while few
    guests gave one.
    """
    given = float(hotel.rating or 0) * hotel.rating_count
    return round((given + _PRIOR * _PRIOR_RATINGS) / (hotel.rating_count + _PRIOR_RATINGS), 4)
