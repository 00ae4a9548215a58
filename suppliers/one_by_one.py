"""Suppliers whose rates come hotel by hotel: a fault of one hotel is not a fault of all."""

from __future__ import annotations

from collections.abc import Iterator

from errors import SupplierAway, SupplierDeclined, Throttled
from suppliers.rates import FetchedChunk, HotelByHotel, HotelError, Part, RateQuery, slices

# A supplier that fails this often within one part is down; going on would only take time.
FAULTS_MAX = 3


def rates_of(
    supplier: HotelByHotel, query: RateQuery, hotel_id: str, ticket: str
) -> FetchedChunk:
    """The hotel's rates. A decline is its own error, unless it is we who are not let in."""
    try:
        return supplier.fetch_hotel(query, hotel_id, ticket)
    except SupplierDeclined as declined:
        if declined.reason in ("unauthorized", "forbidden"):
            raise
        return FetchedChunk(hotel_id, (), (HotelError(
            hotel_id=hotel_id, supplier=supplier.name, reason="refused",
            detail=declined.reason),))


def one_by_one(supplier: HotelByHotel, query: RateQuery, part: Part) -> Iterator[FetchedChunk]:
    """The part's hotels in turn: a `fetch` for those who have no loaders.

    What `open` raises is raised at once, and so is a Throttled. Any other fault of a hotel is
    raised once the others were tried, or FAULTS_MAX is reached.
    """
    faults: list[SupplierAway] = []
    for hotel_ids in slices(part.hotel_ids, supplier.max_hotels_per_request):
        opened = supplier.open(query, hotel_ids)
        if opened.errors:
            yield FetchedChunk(f"open:{hotel_ids[0]}", (), opened.errors)
        for hotel_id, ticket in opened.tickets.items():
            try:
                chunk = rates_of(supplier, query, hotel_id, ticket)
            except Throttled:
                raise
            except SupplierAway as fault:
                faults.append(fault)
                if len(faults) == FAULTS_MAX:
                    raise faults[0] from None
                continue
            yield chunk
    if faults:
        raise faults[0]
