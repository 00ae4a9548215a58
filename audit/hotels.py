"""The hotels' documents, read and recounted by the audit itself, and what changes meanwhile.

What may be shown of a hotel at all, and the bytes of its page, are the builder's word: a page is
right when a fresh rebuild gives the same. What the listing counts and sorts by is recounted here
from the documents, with rules of the audit's own.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
from bson import json_util
from bson.codec_options import DatetimeConversion
from pymongo.database import Database
from pymongo.errors import InvalidOperation
from pymongo.read_concern import ReadConcern

from catalogue import documents as d
from catalogue.assembly import Facts, Vocabulary, vocabulary
from engine_errors import mongo_errors
from errors import BerthError, EngineUnfit

Document = dict[str, Any]
ByName = Mapping[str, Document]

AWAIT_MS = 100
# More changes than this at once are not told apart: then every page is in doubt.
EVENTS_MAX = 20_000
_NIGHTS_MAX = 92
_MONTH = re.compile(r"[0-9]{4}-[0-9]{2}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_PRICE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?")
# A hotel is ranked as if this many guests had rated it like that before.
_PRIOR_COUNT, _PRIOR_RATING = 40, 7.0


class Listed(msgspec.Struct, frozen=True):
    """What the listing must know of a hotel, by its documents. A None is unknown."""

    hotel_id: str
    slug: str
    city: str
    country: str
    type: str
    stars: int
    amenities: frozenset[str]
    rating_tenths: int | None
    price_cents: int | None
    created_s: int
    score: float


class Changes:
    """Which hotels' documents changed since a moment. `wide`: any page may show such a change."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.touched: set[str] = set()
        self.wide = False
        self.count = 0

    @property
    def some(self) -> bool:
        """Whether there was any."""
        return self.count > 0

    def drain(self) -> None:
        """Read what there is by now. Raises EngineAway."""
        for _ in range(EVENTS_MAX):
            try:
                with mongo_errors():
                    change = self._stream.try_next()
            except (EngineUnfit, StopIteration, InvalidOperation):
                # MongoDB's log does not reach back as far, or a collection went.
                change = {}
            if change is None:
                return
            self.count += 1
            collection = change.get("ns", {}).get("coll")
            if collection not in d.BELONGING or "documentKey" not in change:
                # A hotel that comes or goes may change which others are shown.
                self.wide = True
                if not change:
                    return
            else:
                self.touched.add(str(change["documentKey"]["_id"]).partition(":")[0])
        self.wide = True

    def close(self) -> None:
        """Forget it."""
        with suppress(BerthError), mongo_errors():
            self._stream.close()


class HotelDocuments:
    """The hotels' collections, read only. All may raise EngineAway."""

    def __init__(self, database: Database[Document], *, active_max: int) -> None:
        options = database.codec_options.with_options(
            datetime_conversion=DatetimeConversion.DATETIME_AUTO)
        self._database = database.with_options(options, read_concern=ReadConcern("majority"))
        self._active_max = active_max

    def changes(self, token: str) -> Changes | None:
        """What changed after `token`; None when MongoDB cannot tell any more."""
        wanted: list[Document] = [{"$match": {"$or": [{"ns.coll": {"$in": list(d.COLLECTIONS)}},
                                      {"operationType": {"$in": ["dropDatabase", "invalidate"]}}]}},
                  {"$project": {"ns": 1, "documentKey": 1}}]  # fmt: skip
        try:
            with mongo_errors():
                return Changes(self._database.watch(
                    wanted, resume_after=json_util.loads(token), max_await_time_ms=AWAIT_MS,
                ))
        except (EngineUnfit, ValueError, TypeError):
            return None

    def shown_ids(self, active_max: int | None = None) -> list[str]:
        """Of the active hotels those that came first, as many as may be shown: by the limit of
        the consumer that builds, since a shell may have another; else by ours.
        """
        with mongo_errors():
            found = self._database[d.HOTELS].find({"active": True}, {"_id": 1})
            first = found.sort([("created_at", 1), ("_id", 1)]).limit(
                self._active_max if active_max is None else active_max)
            return [one["_id"] for one in first if isinstance(one["_id"], str)]

    def words(self) -> Vocabulary:
        """What hotels name by id."""
        with mongo_errors():
            return vocabulary(*(list(self._database[name].find())
                                for name in (d.CITIES, d.TYPES, d.AMENITIES)))

    def some(self, ids: Sequence[str], day: dt.date) -> dict[str, Facts]:
        """All documents of these hotels, from the month of `day` on."""
        wanted = {"$in": list(ids)}
        database = self._database
        with mongo_errors():
            found = {one["_id"]: Facts(one)
                     for one in database[d.HOTELS].find({"_id": wanted, "active": True})}
            images = database[d.IMAGES].find({"hotel_id": wanted})
            for one in images.sort([("hotel_id", 1), ("position", 1)]):
                if isinstance(one["hotel_id"], str) and one["hotel_id"] in found:
                    found[one["hotel_id"]].images.append(one)
            prices = database[d.PRICES].find(
                {"hotel_id": wanted, "month": {"$gte": f"{day:%Y-%m}"}})
            for one in prices.sort([("hotel_id", 1), ("month", 1)]):
                if isinstance(one["hotel_id"], str) and one["hotel_id"] in found:
                    found[one["hotel_id"]].prices.append(one)
            for one in database[d.RATINGS].find({"_id": wanted}):
                if one["_id"] in found:
                    found[one["_id"]].rating = one
        return found


def recount(facts: Facts, words: Vocabulary, *, day: dt.date, currency: str) -> Listed:
    """What the listing must know of a hotel that can be shown."""
    hotel = facts.hotel
    tenths, count = _rating(facts.rating)
    prices = _prices(facts.prices, day, currency)
    given = (tenths or 0) / 10 * count
    return Listed(
        hotel_id=hotel["_id"], slug=hotel["slug"], city=hotel["city"],
        country=words.cities[hotel["city"]].country, type=hotel["type"], stars=hotel["stars"],
        amenities=frozenset(hotel.get("amenities", ())) & words.amenities.keys(),
        rating_tenths=tenths,
        price_cents=int(min(prices) * 100) if prices else None,
        created_s=_seconds(hotel["created_at"]),
        score=round((given + _PRIOR_RATING * _PRIOR_COUNT) / (count + _PRIOR_COUNT), 4),
    )  # fmt: skip


def _seconds(moment: dt.datetime | str) -> int:
    at = dt.datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return int((at if at.tzinfo else at.replace(tzinfo=dt.UTC)).timestamp() // 1)


def _rating(document: Document | None) -> tuple[int | None, int]:
    told = document or {}
    tenths, count = _whole(told.get("average_tenths")), _whole(told.get("count"))
    return (tenths, count) if 0 <= tenths <= 100 and count > 0 else (None, 0)


def _whole(value: Any) -> int:
    """-1 for what is no whole number."""
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else -1


def _prices(documents: Sequence[Document], day: dt.date, currency: str) -> list[Decimal]:
    """The prices of the nights that are shown: the first ones from `day` on."""
    nights: dict[str, Decimal] = {}
    for one in documents:
        told = one.get("nights")
        if one.get("currency") == currency and _MONTH.fullmatch(str(one.get("month"))) and (
            isinstance(told, dict) and all(_fits(date, price) for date, price in told.items())
        ):
            nights.update({date: Decimal(price) for date, price in told.items()})
    dates = sorted(date for date, price in nights.items()
                   if day.isoformat() <= date < f"{dt.MAXYEAR}" and price > 0)
    return [nights[date] for date in dates[:_NIGHTS_MAX]]


def _fits(date: str, price: Any) -> bool:
    if not _DAY.fullmatch(date) or not isinstance(price, str) or not _PRICE.fullmatch(price):
        return False
    try:
        dt.date.fromisoformat(date)
    except ValueError:
        return False
    return True
