"""Hotels from a file of an operator: CSV with a header, or JSON. Bad rows cost only themselves.

    id              the hotel's id; for live rates, the one that suppliers' ids are made of
    name, city      its name; the slug of its city. A city that is not stored yet needs
    city_name, country, country_name         `Lisbon`, `PT`, `Portugal`
    type            an id such as `boutique`; `type_label` for one that is not stored yet
    stars           1 to 5
    slug            its address, no other hotel's; made of name and id when left out
    amenities       ids, in CSV with | between them
    latitude, longitude, description
    price           of each night of the next NIGHTS; or in JSON `nights`: {"2026-12-01": "93.00"}
    rating, rating_count                     out of ten with one decimal, and of how many guests
    images          names of pictures in static/art, in CSV with | between them
    active          yes or no (yes when left out)
    created_at      RFC 3339; the day of the run when left out

Empty is as good as left out.
"""

from __future__ import annotations

import csv
import datetime as dt
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

import shapes
from catalogue import documents as d
from catalogue.documents import Document
from errors import BadInput

NIGHTS = 62
_AT_ONCE = 500
_FILE_MAX_BYTES = 256 * 1_048_576
_LISTS = ("amenities", "images")
_YES, _NO = {"yes", "true", "1"}, {"no", "false", "0"}

Price = Annotated[str, Meta(pattern=d.PRICE)]


class HotelRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row, as it is checked."""

    id: d.Id
    name: d.Name
    city: d.Id
    type: d.Id
    stars: Annotated[int, Meta(ge=1, le=5)]
    slug: d.Id | None = None
    city_name: d.Name | None = None
    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}$")] | None = None
    country_name: d.Name | None = None
    type_label: d.Name | None = None
    amenities: Annotated[tuple[d.Id, ...], Meta(max_length=60)] = ()
    images: Annotated[tuple[d.Id, ...], Meta(max_length=d.IMAGES_MAX)] = ()
    latitude: Annotated[float, Meta(ge=-90, le=90)] = 0.0
    longitude: Annotated[float, Meta(ge=-180, le=180)] = 0.0
    description: Annotated[str, Meta(max_length=4_000)] = ""
    price: Price | None = None
    nights: dict[Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")], Price] = {}
    rating: Annotated[str, Meta(pattern=r"^(10(\.0)?|[0-9](\.[0-9])?)$")] | None = None
    rating_count: Annotated[int, Meta(ge=0)] = 0
    active: bool = True
    created_at: dt.datetime | None = None


class Good(NamedTuple):
    """A row that can be kept: where it stands, and its (collection, document)."""

    place: str
    hotel_id: str
    slug: str
    documents: list[tuple[str, Document]]


class Batch(NamedTuple):
    """Some rows: the good ones, and what is wrong with the others."""

    hotels: list[Good]
    refused: list[str]


class Reader:
    """One file, read row by row. The constructor raises BadInput for one that cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.suffix.lower() not in (".csv", ".json"):
            raise BadInput(f"{path} must be named .csv or .json. Nothing was changed.")
        try:
            if path.stat().st_size > _FILE_MAX_BYTES:
                raise BadInput(f"{path} is larger than {_FILE_MAX_BYTES:,} bytes.")
            self._rows = self._csv() if path.suffix.lower() == ".csv" else self._json()
            # The head of the file is read now, before any engine is touched.
            self._first = next(self._rows, None)
        except OSError as error:
            raise BadInput(
                f"{path} cannot be read: {error.strerror}. Nothing was changed."
            ) from None
        if self._first is None:
            raise BadInput(f"{path} holds no hotel. Nothing was changed.")

    def batches(
        self, *, today: dt.date, currency: str, known_cities: set[str], known_types: set[str]
    ) -> Iterator[Batch]:
        """All rows. What is known grows with the cities and types that the file brings."""
        hotels: list[Good] = []
        refused: list[str] = []
        seen: dict[str, str] = {}
        for place, raw in self._all():
            try:
                row = _checked(raw)
                if row.id in seen:
                    raise BadInput(f"the same id as in {seen[row.id]}", field="id")
                if row.city not in known_cities and not (
                    row.city_name and row.country and row.country_name
                ):
                    raise BadInput("a city that is not stored yet needs city_name, country and "
                                   "country_name", field="city")
                if row.type not in known_types and not row.type_label:
                    raise BadInput("a type that is not stored yet needs type_label", field="type")
            except BadInput as bad:
                refused.append(self.line(place, bad))
            else:
                seen[row.id] = place
                known_cities.add(row.city)
                known_types.add(row.type)
                slug = row.slug or _slug(row)
                hotels.append(Good(place, row.id, slug,
                                   list(_documents(row, slug, today, currency))))
            if len(hotels) + len(refused) >= _AT_ONCE:
                yield Batch(hotels, refused)
                hotels, refused = [], []
        if hotels or refused:
            yield Batch(hotels, refused)

    def line(self, place: str, reason: object) -> str:
        """What is told of a row that is refused."""
        return f"{self._path}, {place}: {reason}"

    def _all(self) -> Iterator[tuple[str, dict[str, Any]]]:
        assert self._first is not None
        yield self._first
        yield from self._rows

    def _csv(self) -> Iterator[tuple[str, dict[str, Any]]]:
        with self._path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.DictReader(file, strict=True)
            unknown = set(reader.fieldnames or ()) - set(HotelRow.__struct_fields__)
            if unknown or not reader.fieldnames:
                raise BadInput(
                    f"{self._path}: the first line must name the columns; unknown: "
                    f"{', '.join(sorted(unknown)) or 'all'}. Nothing was changed."
                )
            try:
                for row in reader:
                    yield f"line {reader.line_num}", _from_csv(row)
            except csv.Error as error:
                raise BadInput(f"{self._path}, line {reader.line_num}: {error}") from None

    def _json(self) -> Iterator[tuple[str, dict[str, Any]]]:
        raw = self._path.read_bytes()
        try:
            found = shapes.decode(raw, dict[str, list[msgspec.Raw]] | list[msgspec.Raw])
        except msgspec.MsgspecError as error:
            raise BadInput(f"{self._path} is not valid JSON: {error}. Nothing was changed."
                           ) from None
        rows = found.get("hotels", []) if isinstance(found, dict) else found
        at, line = 0, 1
        for number, row in enumerate(rows, start=1):
            # Where the row stands, for people: found by its own bytes, which come in order.
            start = raw.find(bytes(row), at)
            line += raw.count(b"\n", at, start)
            at = start
            one = msgspec.json.decode(row)
            yield f"line {line}, hotel {number}", one if isinstance(one, dict) else {"id": one}


def _from_csv(row: dict[str | None, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, text in row.items():
        if name is None:
            found["more values than columns"] = text
        elif text is None or not text.strip():
            continue  # a short row; what is needed is asked for below
        elif name in _LISTS:
            found[name] = [part.strip() for part in text.split("|") if part.strip()]
        elif name == "active":
            word = text.strip().lower()
            found[name] = word in _YES if word in _YES | _NO else text
        else:
            found[name] = text.strip()
    return found


def _checked(raw: dict[str, Any]) -> HotelRow:
    """Raises BadInput that names the field."""
    numbers = {name: str(raw[name]) for name in ("price", "rating")
               if isinstance(raw.get(name), int | float)}
    try:
        row = shapes.convert({**raw, **numbers}, HotelRow, strict=False)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$.")
        raise BadInput(text, field=path.rstrip("`")) from None
    for date in row.nights:
        try:
            dt.date.fromisoformat(date)
        except ValueError:
            raise BadInput(f"{date} is no day", field="nights") from None
    return row


def _documents(
    row: HotelRow, slug: str, today: dt.date, currency: str
) -> Iterator[tuple[str, Document]]:
    if row.city_name and row.country and row.country_name:
        yield d.CITIES, {"_id": row.city, "name": row.city_name, "country": row.country,
                         "country_name": row.country_name}
    if row.type_label:
        yield d.TYPES, {"_id": row.type, "label": row.type_label}
    for number, art in enumerate(row.images, start=1):
        yield d.IMAGES, {"_id": f"{row.id}:{number}", "hotel_id": row.id, "position": number,
                         "art": art, "alt": row.name}
    if row.rating is not None:
        yield d.RATINGS, {"_id": row.id, "average_tenths": int(Decimal(row.rating) * 10),
                          "count": row.rating_count}
    nights = dict(row.nights)
    if row.price is not None:
        for days in range(NIGHTS):
            nights.setdefault((today + dt.timedelta(days=days)).isoformat(), row.price)
    months: dict[str, dict[str, str]] = defaultdict(dict)
    for date, price in sorted(nights.items()):
        months[date[:7]][date] = price
    for month, prices in months.items():
        yield d.PRICES, {"_id": f"{row.id}:{month}", "hotel_id": row.id, "month": month,
                         "currency": currency, "nights": prices}
    yield d.HOTELS, {
        "_id": row.id, "slug": slug, "name": row.name, "city": row.city,
        "type": row.type, "stars": row.stars, "amenities": list(row.amenities),
        "latitude": row.latitude, "longitude": row.longitude, "description": row.description,
        "active": row.active,
        "created_at": row.created_at or dt.datetime.combine(today, dt.time(), dt.UTC),
    }


def _slug(row: HotelRow) -> str:
    plain = unicodedata.normalize("NFKD", row.name).encode("ascii", "ignore").decode().lower()
    words = "".join(c if c.isalnum() else " " for c in plain).split()
    return "-".join([*words, row.id])[-64:].lstrip("-")
