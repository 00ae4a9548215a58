"""Which suppliers a search asks, and in how many parts. Pure: the same search, the same plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from suppliers.places import cities
from suppliers.rates import Part, RateQuery, RateSupplier, slices

# A supplier whose rates come hotel by hotel is given so many in one part: its loaders share them,
# a search takes turns with others as a whole, and a very large one is spread over the workers.
HOTELS_PER_PART = 1_000


def plan(
    query: RateQuery, suppliers: Iterable[RateSupplier | type[RateSupplier]]
) -> Mapping[str, list[Part]]:
    """The parts of each supplier, by name."""
    return {supplier.name: parts_of(supplier, query) for supplier in suppliers}


def parts_of(supplier: RateSupplier | type[RateSupplier], query: RateQuery) -> list[Part]:
    """The query as the parts in which this supplier is asked; every time the same ones."""
    hotel_ids = query.hotel_ids or cities()[query.destination].hotel_ids()
    if supplier.scope == "destination":
        return [Part(0, hotel_ids)]
    size = HOTELS_PER_PART if supplier.scope == "hotel" else supplier.max_hotels_per_request
    return [Part(number, some) for number, some in enumerate(slices(hotel_ids, size))]
