"""The same listing as most would write it: MongoDB asked and a template rendered per request.

One document per hotel with all that a card shows, an index for each filter that is used here, and
one aggregation for the page, the total and the counts of the facets.

    gunicorn -c embedded/gunicorn_conf.py 'bench.catalogue_peer:listing()'
"""

from __future__ import annotations

from typing import Any

from flask import Flask, request
from markupsafe import Markup
from pymongo.database import Database

import bootstrap
import shapes
from booking.documents import Document
from catalogue import shell, words
from catalogue.facade import facade
from catalogue.model import Hotel, Image
from settings import load

COLLECTION = "bench_hotels"
PATH = "/peer"
PAGE_SIZE = 24
COUNTED = ("stars", "type_id", "city_slug", "country_code")
# What this page of the listing has none of.
NOT_THERE = dict.fromkeys((
    "later", "prev", "next", "unlisted", "page_no", "page_count", "numbers", "chips", "chip_count",
    "where", "price_min", "price_max",
), "")
FACETS = ("type_id", "amenities", "city_slug", "country_code")


def fill(database: Database[Document], hotels: list[dict[str, Any]]) -> None:
    """The documents, as GET /api/hotels/<id> tells the hotels, and their indexes."""
    database.drop_collection(COLLECTION)
    found = database[COLLECTION]
    found.insert_many([_document(hotel) for hotel in hotels])
    found.create_index([("city_slug", 1), ("stars", 1), ("score", -1)])
    for name in ("stars", "type_id", "country_code", "score"):
        found.create_index(name)


def listing() -> Flask:
    """`/peer?city=..&stars=..`, in the recommended order."""
    app = Flask("catalogue_peer")
    settings = load()
    found = bootstrap.database(settings, bootstrap.connect_mongo(settings))[COLLECTION]
    page = shell.environment().get_template("hotels.html")
    card = shell.environment().get_template("_hotel_card.html")
    parts: Any = shell.environment().get_template("_listing_parts.html").module

    @app.get(PATH)
    def hotels() -> str:
        city, stars = request.args["city"], int(request.args["stars"])
        answer = next(iter(found.aggregate(_pipeline(city, stars))))
        total = answer["total"][0]["n"] if answer["total"] else 0
        cards = "".join(
            card.render(hotel=shapes.convert(one["hotel"], Hotel), words=words, facade=facade,
                        image=Image("dawn", ""))
            for one in answer["page"]
        )
        return page.render(
            NOT_THERE, title="Hotels", places=words.count_text(total, "place", "places"),
            canonical=PATH, currency="EUR", cards=_own(cards),
            orders=parts.order("reco", "Recommended", "yes"),
            facets_first=_own(_facet(parts, answer, "stars")),
            facets_then=_own("".join(_facet(parts, answer, name) for name in FACETS)),
        )

    return app


def _own(text: str) -> Markup:
    return Markup(text)  # noqa: S704 (our own templates' text)


def _facet(parts: Any, answer: dict[str, Any], name: str) -> str:
    """The ten most frequent values of a filter."""
    values = sorted(answer[name], key=lambda one: -one["n"])[:10]
    options = "".join(
        parts.option("checkbox", name, one["_id"], "", one["_id"], f"{one['n']:,}")
        for one in values
    )
    return str(parts.facet(name, name, _own(options), "", ""))


def _pipeline(city: str, stars: int) -> list[dict[str, Any]]:
    both: dict[str, Any] = {"city_slug": city, "stars": stars}

    def counts(name: str) -> list[dict[str, Any]]:
        """How many each value would leave: without the facet's own selection."""
        others = {key: value for key, value in both.items() if key != name}
        return [{"$match": others}, {"$group": {"_id": f"${name}", "n": {"$sum": 1}}}]

    amenities = [{"$match": both}, {"$unwind": "$amenities"},
                 {"$group": {"_id": "$amenities", "n": {"$sum": 1}}}]
    return [
        {"$match": {"$or": [{"city_slug": city}, {"stars": stars}]}},
        {"$facet": {
            "page": [{"$match": both}, {"$sort": {"score": -1}}, {"$limit": PAGE_SIZE}],
            "total": [{"$match": both}, {"$count": "n"}],
            "amenities": amenities,
            **{name: counts(name) for name in COUNTED},
        }},
    ]


def _document(hotel: dict[str, Any]) -> dict[str, Any]:
    flat = {
        **hotel, "hotel_id": hotel["id"], "city_slug": hotel["city"]["slug"],
        "city": hotel["city"]["name"], "country_code": hotel["country"]["code"],
        "country": hotel["country"]["name"], "type_id": hotel["type"],
        "type_label": hotel["type"].title(), "images": [], "nights": [],
        "amenities": [{"amenity_id": a["id"], "label": a["label"]} for a in hotel["amenities"]],
        "latitude": hotel["location"]["latitude"], "longitude": hotel["location"]["longitude"],
    }
    shown = {name: flat[name] for name in Hotel.__struct_fields__}
    return {
        "_id": hotel["id"], "city_slug": flat["city_slug"], "stars": hotel["stars"],
        "type_id": hotel["type"], "country_code": flat["country_code"],
        "score": float(hotel["rating"] or 0), "hotel": shown,
        "amenities": [amenity["id"] for amenity in hotel["amenities"]],
    }
