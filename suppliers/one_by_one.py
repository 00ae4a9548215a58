"""Suppliers that answer for one hotel at a time: a fault of one hotel is not a fault of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from errors import SupplierAway, SupplierDeclined, Throttled
from suppliers.rates import FetchedChunk, HotelError

# A supplier that fails this often within one part is down; going on would only take time.
FAULTS_MAX = 3


def one_by_one(
    supplier: str,
    chunk_names: Iterable[tuple[str, str]],
    fetch: Callable[[str, str], FetchedChunk],
) -> Iterator[FetchedChunk]:
    """`fetch(hotel_id, name)` of each hotel and the name of its chunk, in turn.

    A decline becomes the hotel's error. The first SupplierAway is raised once the others were
    tried or FAULTS_MAX is reached; a Throttled at once.
    """
    faults: list[SupplierAway] = []
    for hotel_id, name in chunk_names:
        try:
            chunk = fetch(hotel_id, name)
        except Throttled:
            raise
        except SupplierAway as fault:
            faults.append(fault)
            if len(faults) == FAULTS_MAX:
                break
            continue
        except SupplierDeclined as declined:
            if declined.reason in ("unauthorized", "forbidden"):
                raise
            chunk = FetchedChunk(name, (), (HotelError(
                hotel_id=hotel_id, supplier=supplier, reason="refused", detail=declined.reason),))
        yield chunk
    if faults:
        raise faults[0]
