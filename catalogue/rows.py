"""What the listing is asked and what it answers: rows, filters, pages, and words for values."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

# Pages past this many hotels are for nobody's eyes; whoever wants all hotels asks with filters.
DEPTH_MAX = 10_000
PAGE_SIZE = 24
PAGE_SIZE_MAX = 100
AMENITIES_MAX = 64
RATINGS = (9, 8, 7, 6)
STARS = (5, 4, 3, 2, 1)


class Order(StrEnum):
    """Orders of a listing."""

    RECO = "reco"
    NEWEST = "newest"
    PRICE_ASC = "price_asc"
    PRICE_DESC = "price_desc"


class Row(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What the listing knows of a hotel. `amenities` are (id, label); a None is unknown."""

    hotel_id: str
    slug: str
    city_slug: str
    city: str
    country_code: str
    country: str
    stars: int
    type_id: str
    type_label: str
    rating_tenths: int | None
    price_cents: int | None
    created_at: str
    amenities: tuple[tuple[str, str], ...]
    score: float
    currency: str


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """What a visitor asks for. Empty fields ask for nothing; prices are in cents, inclusive."""

    cities: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    stars: tuple[int, ...] = ()
    types: tuple[str, ...] = ()
    amenities: tuple[str, ...] = ()
    rating: int | None = None
    price_min: int | None = None
    price_max: int | None = None


class Value(msgspec.Struct, frozen=True):
    """A value of a facet: `value` as it stands in an address, and how many hotels have it."""

    value: str
    label: str
    count: int
    selected: bool


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a listing. `page_count` is bound by DEPTH_MAX, `total` is not."""

    hotel_ids: list[str]
    total: int
    page_no: int
    page_size: int
    page_count: int
    facets: dict[str, list[Value]]


class Facts(NamedTuple):
    """What is known of a hotel at a position, in the words of its filters."""

    city: str
    country: str
    stars: int
    type: str
    amenities: list[str]
    price_cents: int | None


class Vocabulary:
    """Codes of the values of one facet; they only grow."""

    def __init__(self) -> None:
        self.values: list[str] = []
        self.labels: list[str] = []
        # Moves with every new value and every new label.
        self.version = 0
        self._codes: dict[str, int] = {}
        self._order: tuple[int, npt.NDArray[np.intp]] = (0, np.zeros(0, np.intp))

    def code(self, value: str, label: str) -> int:
        """The code of a value, new or known; the latest label is the one that is shown."""
        found = self._codes.get(value)
        if found is None:
            found = self._codes[value] = len(self.values)
            self.values.append(value)
            self.labels.append(label)
            self.version += 1
        elif self.labels[found] != label:
            self.labels[found] = label
            self.version += 1
        return found

    def find(self, value: str) -> int | None:
        """The code of a value, if any hotel ever had it."""
        return self._codes.get(value)

    def order(self) -> npt.NDArray[np.intp]:
        """The place of each code among the labels, so that equal counts stand the same way in
        every process.
        """
        version, known = self._order
        if version != self.version:
            version = self.version
            known = np.argsort(np.argsort(np.array(self.labels), kind="stable"))
            self._order = (version, known)
        return known

    def label(self, value: str) -> str:
        """What people call it."""
        found = self._codes.get(value)
        return value if found is None else self.labels[found]
