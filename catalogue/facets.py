"""How many hotels each value of a filter would leave, for the positions of one index.

The count beside a value says how many hotels would be listed with it and without the facet's other
values. What is counted under one other filter at most is kept: few such sets exist, they are the
large ones, and nearly every listing needs some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from catalogue.bits import Bits, Positions, all_of, count, positions
from catalogue.rows import AMENITIES_MAX, RATINGS, STARS, Filters, Value, Vocabulary

# Facets of which a hotel has one value, and the field of Filters that selects among them.
SINGLE = {"city": "cities", "country": "countries", "stars": "stars", "type": "types"}
# A mask of the hotels that are there stands among those of the filters.
ALIVE = "alive"
_AMENITY = "amenity "
_COUNTED = frozenset({*SINGLE, "rating", "amenities", ALIVE})
# Some 5 kB each, by the number of cities.
_KEPT_MAX = 1_024


Bit = Callable[[str, int], Bits]


class _Counts(NamedTuple):
    """`by_code`: hotels with each value. `listed`: values that some have, as they are shown."""

    by_code: npt.NDArray[np.int64]
    listed: npt.NDArray[np.intp]


class _Key(NamedTuple):
    """A facet, the one filter beside it with what it asks for, and the version of the words."""

    facet: str
    mask: str
    asked: object
    version: int


def amenity_mask(value: str) -> str:
    """The name of the mask of an amenity: each is a facet of its own."""
    return _AMENITY + value


class Facets:
    """Of one index, whose `columns` and `vocabularies` are shared. It does not know the index: in
    a circle, both would take their memory until the collector comes by.
    """

    def __init__(
        self, columns: Mapping[str, npt.NDArray[Any]], vocabularies: Mapping[str, Vocabulary]
    ) -> None:
        self._columns = columns
        self._vocabularies = vocabularies
        self._kept: dict[_Key, _Counts] = {}
        self._having: Bits | None = None

    def remember(self, before: Facets, same: set[str]) -> None:
        """Take over what was counted in columns that are the same."""
        if same >= _COUNTED:
            self._kept = before._kept  # whatever either of them counts is true of both
        elif ALIVE in same:
            self._kept = {key: found for key, found in dict(before._kept).items()
                          if _column(key.facet) in same and _column(key.mask) in same}
        if "amenities" in same:
            self._having = before._having

    def of(
        self, filters: Filters, masks: Mapping[str, Bits], every: Bits, found: Positions,
        bit: Bit, values_max: int | None,
    ) -> dict[str, list[Value]]:
        """All facets. `masks` are the sets that filters ask for, `every` what is in all of them,
        `found` its positions; `bit` gives the set of a value.
        """
        def counts(facet: str) -> _Counts:
            return self._under(facet, filters, masks, every, found, bit)

        stars, ratings = counts("stars").by_code, counts("rating").by_code
        return {
            "city": self._named("city", counts("city"), filters.cities, values_max),
            "country": self._named("country", counts("country"), filters.countries, values_max),
            "stars": [Value(str(n), str(n), int(stars[n]), n in filters.stars)
                      for n in STARS if stars[n] or n in filters.stars],
            "type": self._named("type", counts("type"), filters.types, values_max),
            "rating": [Value(str(least), f"{least}+", int(ratings[n]), filters.rating == least)
                       for n, least in enumerate(RATINGS)],
            "amenity": self._amenities(filters, masks, counts("amenity"), bit),
        }

    def _named(
        self, facet: str, counts: _Counts, wanted: Sequence[str], values_max: int | None
    ) -> list[Value]:
        """The values of most hotels, and those that are asked for."""
        words = self._vocabularies[facet]
        frequent = counts.listed[:values_max].tolist()
        known = len(counts.by_code)  # words that came since then are no hotel's here
        chosen = [code for value in wanted
                  if (code := words.find(value)) is not None and code < known]
        codes: Iterable[int] = frequent
        if chosen:
            codes = dict.fromkeys([*chosen, *frequent] if values_max else [*frequent, *chosen])
        return [
            Value(words.values[code], words.labels[code], int(counts.by_code[code]),
                  words.values[code] in wanted)
            for code in list(codes)[:values_max]
        ]

    def _amenities(
        self, filters: Filters, masks: Mapping[str, Bits], counts: _Counts, bit: Bit
    ) -> list[Value]:
        """Each narrows the others: only what is asked for is counted without itself."""
        words, by_code = self._vocabularies["amenity"], counts.by_code
        found = [
            Value(words.values[code], words.labels[code], int(by_code[code]), False)
            for code in counts.listed.tolist() if words.values[code] not in filters.amenities
        ]
        for value in dict.fromkeys(filters.amenities):
            code = words.find(value)
            if code is not None and code < AMENITIES_MAX:
                rest = all_of(bits for name, bits in masks.items() if name != amenity_mask(value))
                found.append(Value(value, words.labels[code],
                                   count(rest & bit("amenity", code)), True))
        if filters.amenities:
            found.sort(key=lambda value: (-value.count, value.label))
        return found

    # --- counting ---------------------------------------------------------------------------------

    def _under(
        self, facet: str, filters: Filters, masks: Mapping[str, Bits], every: Bits,
        found: Positions, bit: Bit,
    ) -> _Counts:
        """Hotels with each value of a facet, among those that the other filters leave."""
        others = [name for name in masks if name not in (ALIVE, facet)]
        key = self._key(facet, filters, others)
        counts = self._kept.get(key) if key is not None else None
        if counts is None:
            if facet == "amenity":
                counts = self._count_amenities(every, bit)
            elif facet in masks:
                rest = all_of(bits for name, bits in masks.items() if name != facet)
                counts = self._count(facet, positions(rest))
            else:
                counts = self._count(facet, found)
            if key is not None:
                if len(self._kept) >= _KEPT_MAX:
                    self._kept.clear()
                self._kept[key] = counts
        return counts

    def _key(self, facet: str, filters: Filters, others: Sequence[str]) -> _Key | None:
        """Under which counts are kept; None for those that hardly anybody asks for again."""
        if len(others) > 1 or "price" in others:
            return None
        words = self._vocabularies.get(facet)
        version = words.version if words else 0
        if not others:
            return _Key(facet, ALIVE, None, version)
        mask = others[0]
        asked = getattr(filters, SINGLE[mask]) if mask in SINGLE else filters.rating
        return _Key(facet, mask, None if mask.startswith(_AMENITY) else asked, version)

    def _count(self, facet: str, where: Positions) -> _Counts:
        column = self._columns[facet][where]
        if facet == "rating":
            least = np.array(RATINGS, column.dtype) * 10
            return _Counts((column >= least[:, None]).sum(axis=1), np.arange(len(RATINGS)))
        if facet == "stars":
            return _Counts(np.bincount(column, minlength=max(STARS) + 1), np.array(STARS))
        words = self._vocabularies[facet]
        order = words.order()
        return _listed(np.bincount(column, minlength=len(order)), order)

    def _count_amenities(self, every: Bits, bit: Bit) -> _Counts:
        words = self._vocabularies["amenity"]
        order = words.order()[:AMENITIES_MAX]
        having = self._having
        if having is None or len(having) < len(order):
            having = np.array([bit("amenity", code) for code in range(len(order))],
                              np.uint64).reshape(len(order), len(every))
            self._having = having
        by_code = np.bitwise_count(having & every).sum(axis=1, dtype=np.int64)
        return _listed(by_code[:len(order)], order)


def _listed(by_code: npt.NDArray[np.int64], order: npt.NDArray[np.intp]) -> _Counts:
    """The most frequent values first, and those of equal counts by their labels."""
    listed = by_code.nonzero()[0]
    return _Counts(by_code, listed[np.lexsort((order[listed], -by_code[listed]))])


def _column(name: str) -> str:
    """The column of a facet or of a mask."""
    return "amenities" if name.startswith(_AMENITY.rstrip()) else name
