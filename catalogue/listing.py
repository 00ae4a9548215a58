"""The listing: which hotels match, how many each filter value has, and which stand on a page.

An `Index` holds the rows of all hotels as columns and answers from memory; nothing in it changes
once it is built. `applied()` makes the next one. The bits of a filter value, one per hotel, are
worked out when somebody first asks for that value, and kept as long as the index is.

Values of one facet widen (Lisbon or Porto), facets narrow each other, and each amenity is a facet
of its own: a hotel has all that are asked for. The count beside a value says how many hotels
would be listed with it and without the facet's other values.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from catalogue.bits import Bits, Positions, all_of, packed, positions
from catalogue.facets import ALIVE, SINGLE, Facets, amenity_mask
from catalogue.rows import (
    AMENITIES_MAX,
    DEPTH_MAX,
    PAGE_SIZE,
    Facts,
    Filters,
    Order,
    Page,
    Row,
    Vocabulary,
)

_COLUMNS = {
    "city": np.int64, "country": np.int64, "type": np.int64, "stars": np.int64,
    "rating": np.int64, "price": np.int64, "amenities": np.uint64, "score": np.float64,
    "tie": np.uint64, "alive": np.bool_,
}  # fmt: skip
# Names of filters and orders that are not those of their columns. Age is no column: it stays.
_COLUMN_OF = {"amenity": "amenities"}
_ORDERED_BY = {Order.RECO: "score", Order.PRICE_ASC: "price", Order.PRICE_DESC: "price"}
_NONE = -1


class Difference(NamedTuple):
    """A hotel, which stays where it is, has other values in these columns."""

    city: str
    country: str
    columns: frozenset[str]


class Index:
    """All hotels of one moment. Safe to read from many threads."""

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.vocabularies = {name: Vocabulary() for name in ("city", "country", "type", "amenity")}
        self.ids: list[str] = []
        self.slugs: dict[str, str] = {}
        self.currency = ""
        self._slug_of: dict[str, str] = {}
        self._positions: dict[str, int] = {}
        self._created: list[str] = []
        self._columns: dict[str, npt.NDArray[Any]] = {
            name: np.zeros(0, kind) for name, kind in _COLUMNS.items()
        }
        self._forget()
        self._put(rows)

    def __len__(self) -> int:
        return int(self._columns["alive"].sum())

    def applied(self, changes: Mapping[str, Row | None]) -> Index:
        """The index after these changes; None: that hotel is gone. This one stays as it is."""
        new = Index.__new__(Index)
        # Vocabularies only grow, so both may share them.
        new.vocabularies, new.currency = self.vocabularies, self.currency
        new._columns = {name: column.copy() for name, column in self._columns.items()}
        # What most changes leave alone is shared as well: copies of it take longer than the rest.
        stays = all(row is not None and self._is_at(row) for row in changes.values())
        new.ids = self.ids if stays else list(self.ids)
        new.slugs = self.slugs if stays else dict(self.slugs)
        new._slug_of = self._slug_of if stays else dict(self._slug_of)
        new._positions = self._positions if stays else dict(self._positions)
        new._created = self._created if stays else list(self._created)
        new._forget()
        for hotel_id, row in changes.items():
            position = new._positions.get(hotel_id)
            if row is None and position is not None:
                new._columns["alive"][position] = False
                slug = new._slug_of.pop(hotel_id, "")
                if new.slugs.get(slug) == hotel_id:  # it may be another hotel's by now
                    del new.slugs[slug]
        new._put(row for row in changes.values() if row is not None)
        if stays:
            new._remember(self)
        return new

    def differences(self, before: Index, hotel_ids: Sequence[str]) -> list[Difference] | None:
        """In what these hotels differ from an index that came before; None when more than their
        columns does: some came or went or moved, or words or the currency are other ones.
        """
        if (self.ids is not before.ids or self.currency != before.currency
                or self._words != before._words):
            return None
        where = self.positions(hotel_ids)
        differ = {name: before._columns[name][where] != column[where]
                  for name, column in self._columns.items()}
        cities, countries = (self.vocabularies[name].values for name in ("city", "country"))
        return [
            Difference(cities[self._columns["city"][position]],
                       countries[self._columns["country"][position]],
                       frozenset(name for name, each in differ.items() if each[number]))
            for number, position in enumerate(where)
        ]

    def hotel_id_of(self, slug: str) -> str | None:
        """The hotel at this address."""
        return self.slugs.get(slug)

    def slug_of(self, hotel_id: str) -> str | None:
        """The address of a hotel."""
        return self._slug_of.get(hotel_id)

    def general_scores(self) -> npt.NDArray[np.float64]:
        """The general score of each position."""
        found: npt.NDArray[np.float64] = self._columns["score"]
        return found

    def facts(self, position: int) -> Facts:
        """The hotel at a position."""
        def word(facet: str) -> str:
            return self.vocabularies[facet].values[int(self._columns[facet][position])]

        price = int(self._columns["price"][position])
        bits = int(self._columns["amenities"][position])
        names = self.vocabularies["amenity"].values
        return Facts(
            word("city"), word("country"), int(self._columns["stars"][position]), word("type"),
            [name for code, name in enumerate(names[:AMENITIES_MAX]) if bits >> code & 1],
            None if price < 0 else price,
        )

    def positions(self, hotel_ids: Sequence[str]) -> Positions:
        """Where hotels stand in an array of scores; unknown ones are left out."""
        found = [self._positions[one] for one in hotel_ids if one in self._positions]
        return np.array(found, np.intp)

    def page(
        self, filters: Filters, order: Order = Order.RECO, page_no: int = 1,
        page_size: int = PAGE_SIZE, scores: npt.NDArray[np.float64] | None = None,
        values_max: int | None = None,
    ) -> Page:
        """A page of what matches. `scores` (one for each of `ids`) replace the general ones. Each
        facet has at most `values_max` values, the selected and the most frequent ones.
        """
        masks = self._masks(filters)
        every = all_of(masks.values())
        found = positions(every)
        total = len(found)
        reachable = min(total, DEPTH_MAX)
        page_count = max(1, -(-reachable // page_size))
        first = (page_no - 1) * page_size
        shown = self._sorted(found, order, scores)[first:min(first + page_size, reachable)]
        return Page(
            hotel_ids=[self.ids[position] for position in shown], total=total, page_no=page_no,
            page_size=page_size, page_count=page_count,
            facets=self._facets.of(filters, masks, every, found, self._bit,
                                    values_max),
        )

    # --- putting together -------------------------------------------------------------------------

    def _forget(self) -> None:
        """Drop what was worked out of the columns."""
        self._bits: dict[tuple[str, int], Bits] = {}
        self._ranks: dict[Order, tuple[Positions, Positions]] = {}
        self._facets = Facets(self._columns, self.vocabularies)

    def _remember(self, before: Index) -> None:
        """Take over what was worked out of columns that are the same."""
        same = {name for name, column in self._columns.items()
                if np.array_equal(column, before._columns[name])}
        self._bits = {key: bits for key, bits in dict(before._bits).items()
                      if _COLUMN_OF.get(key[0], key[0]) in same}
        self._ranks = {order: found for order, found in dict(before._ranks).items()
                       if _ORDERED_BY.get(order, "tie") in same}
        self._facets.remember(before._facets, same)

    def _is_at(self, row: Row) -> bool:
        """Whether this hotel is here, as old and at the same address."""
        position = self._positions.get(row.hotel_id)
        return (position is not None and self._created[position] == row.created_at
                and self._slug_of.get(row.hotel_id) == row.slug
                and self.slugs.get(row.slug) == row.hotel_id)

    def _put(self, rows: Iterable[Row]) -> None:
        fresh: dict[str, Row] = {row.hotel_id: row for row in rows}
        for hotel_id in fresh:
            if hotel_id not in self._positions:
                self._positions[hotel_id] = len(self.ids)
                self.ids.append(hotel_id)
                self._created.append("")
        missing = len(self.ids) - len(self._columns["alive"])
        if missing:
            for name, column in self._columns.items():
                self._columns[name] = np.concatenate([column, np.zeros(missing, column.dtype)])
        where = np.array([self._positions[hotel_id] for hotel_id in fresh], np.intp)
        values = [self._values(row) for row in fresh.values()]
        if values:
            for name, cells in zip(_COLUMNS, zip(*values, strict=True), strict=True):
                self._columns[name][where] = cells
        self._words = tuple(words.version for words in self.vocabularies.values())
        for hotel_id, row in fresh.items():
            self.currency = row.currency
            if self._is_at(row):
                continue  # these may be another index's too
            before = self._slug_of.get(hotel_id)
            if before is not None and self.slugs.get(before) == hotel_id:
                del self.slugs[before]
            self.slugs[row.slug] = hotel_id
            self._slug_of[hotel_id] = row.slug
            self._created[self._positions[hotel_id]] = row.created_at

    def _values(self, row: Row) -> tuple[Any, ...]:
        """A row in the order of _COLUMNS."""
        amenities = 0
        for value, label in row.amenities:
            bit = self.vocabularies["amenity"].code(value, label)
            amenities |= 1 << bit if bit < AMENITIES_MAX else 0
        return (
            self.vocabularies["city"].code(row.city_slug, row.city),
            self.vocabularies["country"].code(row.country_code, row.country),
            self.vocabularies["type"].code(row.type_id, row.type_label),
            row.stars,
            _NONE if row.rating_tenths is None else row.rating_tenths,
            _NONE if row.price_cents is None else row.price_cents,
            amenities,
            row.score,
            # The same in every process, wherever the hotel stands in its columns.
            int.from_bytes(hashlib.blake2b(row.hotel_id.encode(), digest_size=8).digest()),
            True,
        )

    # --- what matches -----------------------------------------------------------------------------

    def _masks(self, filters: Filters) -> dict[str, Bits]:
        """The bits of each facet that is asked for; `alive` is always there."""
        masks = {ALIVE: self._bit("alive", 1)}
        for name, field in SINGLE.items():
            wanted = getattr(filters, field)
            if wanted:
                masks[name] = self._any(name, [self._code(name, value) for value in wanted])
        for value in filters.amenities:
            masks[amenity_mask(value)] = self._any("amenity", [self._code("amenity", value)])
        if filters.rating is not None:
            masks["rating"] = self._bit("rating", filters.rating)
        if filters.price_min is not None or filters.price_max is not None:
            price = self._columns["price"]
            known = price >= max(0, filters.price_min or 0)
            if filters.price_max is not None:
                known &= price <= filters.price_max
            masks["price"] = packed(known)
        return masks

    def _code(self, facet: str, value: str | int) -> int | None:
        return value if isinstance(value, int) else self.vocabularies[facet].find(value)

    def _any(self, facet: str, codes: Iterable[int | None]) -> Bits:
        sets = [self._bit(facet, code) for code in codes if code is not None]
        # Nobody has what is unknown: of those that are there, none is gone.
        return functools.reduce(np.bitwise_or, sets) if sets else self._bit(ALIVE, 0)

    def _bit(self, facet: str, code: int) -> Bits:
        """One bit per hotel: whether it has this value."""
        found = self._bits.get((facet, code))
        if found is None:
            if facet == "amenity":
                have = (self._columns["amenities"] >> np.uint64(code)) & np.uint64(1) == 1
            elif facet == "rating":
                have = self._columns["rating"] >= code * 10
            else:
                have = self._columns[facet] == code
            found = self._bits[facet, code] = packed(have)
        return found

    def _sorted(
        self, found: Positions, order: Order, scores: npt.NDArray[np.float64] | None
    ) -> Positions:
        if scores is not None and order is Order.RECO:
            ties = self._columns["tie"][found]
            personal: Positions = found[np.lexsort((ties, -scores[found]))]
            return personal
        sequence, rank = self._rank(order)
        if len(found) * 4 < len(sequence):
            return sequence[np.sort(rank[found])]
        matching = np.zeros(len(sequence), np.bool_)
        matching[found] = True
        ordered: Positions = sequence[matching[sequence]]
        return ordered

    def _rank(self, order: Order) -> tuple[Positions, Positions]:
        """All positions in this order, and the place of each position in it."""
        found = self._ranks.get(order)
        if found is None:
            tie, price = self._columns["tie"], self._columns["price"]
            unknown = price < 0  # a hotel without a price comes last, whichever way
            keys: tuple[npt.NDArray[Any], ...]
            match order:
                case Order.RECO:
                    keys = (tie, -self._columns["score"])
                case Order.NEWEST:
                    _, age = np.unique(np.array(self._created), return_inverse=True)
                    keys = (tie, -age)
                case Order.PRICE_ASC:
                    keys = (tie, price, unknown)
                case Order.PRICE_DESC:
                    keys = (tie, -price, unknown)
            sequence = np.lexsort(keys)
            rank = np.empty_like(sequence)
            rank[sequence] = np.arange(len(sequence))
            found = self._ranks[order] = (sequence, rank)
        return found
