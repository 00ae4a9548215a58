"""Which suppliers a search asks, and in how many parts. Pure: the same search, the same plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from suppliers.rates import Part, RateQuery, RateSupplier, parts_of

# A supplier that answers hotel by hotel is given so many in one part: the loaders of one worker
# share them, and a large search is spread over the workers.
HOTELS_PER_PART = 1_000


def plan(
    query: RateQuery, suppliers: Iterable[RateSupplier | type[RateSupplier]]
) -> Mapping[str, list[Part]]:
    """The parts of each supplier, by name."""
    return {supplier.name: _parts(query, supplier) for supplier in suppliers}


def _parts(query: RateQuery, supplier: RateSupplier | type[RateSupplier]) -> list[Part]:
    parts = parts_of(supplier, query)
    if supplier.scope != "hotel":
        return parts
    hotel_ids = [hotel_id for part in parts for hotel_id in part.hotel_ids]
    return [
        Part(number, tuple(hotel_ids[start:start + HOTELS_PER_PART]))
        for number, start in enumerate(range(0, len(hotel_ids), HOTELS_PER_PART))
    ]
