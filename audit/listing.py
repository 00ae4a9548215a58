"""The listing as web processes make it of the rows on the shelf, against a recount by documents."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from statistics import median_low

import msgspec

from audit.hotels import Listed
from catalogue.listing import Index
from catalogue.rows import AMENITIES_MAX, DEPTH_MAX, RATINGS, Filters, Order, Page, Row

_ROW = msgspec.json.Decoder(Row)


def listing_differences(
    rows: Mapping[str, bytes], listed: Sequence[Listed]
) -> Iterator[str]:
    """Counts, facets, orders and filters that are not what the documents say."""
    read = []
    for hotel_id, row in rows.items():
        try:
            found = _ROW.decode(row)
        except msgspec.MsgspecError as error:
            yield f"the row of hotel {hotel_id} cannot be read: {error}"
        else:
            read.append(found)
    index = Index(read)
    page = index.page(Filters())
    if page.total != len(listed):
        yield f"{page.total} hotels are listed; by the documents {len(listed)}"
    yield from _facets(page, listed)
    yield from _orders(index, listed)
    yield from _filters(index, listed)


def _facets(page: Page, listed: Sequence[Listed]) -> Iterator[str]:
    for facet, true in _counts(listed).items():
        told = {value.value: value.count for value in page.facets[facet]}
        if facet == "amenity" and len(true) > AMENITIES_MAX:
            true = {value: count for value, count in true.items() if value in told}
        for value in sorted(told.keys() | true.keys()):
            if told.get(value, 0) != true.get(value, 0):
                yield (f"{facet} {value} counts {told.get(value, 0)} hotels; by the documents "
                       f"{true.get(value, 0)}")


def _counts(listed: Iterable[Listed]) -> dict[str, Mapping[str, int]]:
    """The hotels of each value of each facet."""
    counts: dict[str, Counter[str]] = {
        name: Counter() for name in ("city", "country", "type", "stars", "amenity", "rating")
    }
    for one in listed:
        for name in ("city", "country", "type", "stars"):
            counts[name][str(getattr(one, name))] += 1
        counts["amenity"].update(one.amenities)
        counts["rating"].update(str(least) for least in RATINGS
                                if one.rating_tenths is not None
                                and one.rating_tenths >= 10 * least)
    return dict(counts)


def _orders(index: Index, listed: Sequence[Listed]) -> Iterator[str]:
    for order, key in _KEYS.items():
        told = index.page(Filters(), order, page_size=DEPTH_MAX).hotel_ids
        true = [one.hotel_id for one in sorted(listed, key=lambda one: (key(one), _tie(one)))]
        for place, (shown, ought) in enumerate(zip_longest(told, true[:DEPTH_MAX]), start=1):
            if shown != ought:
                yield (f"place {place} by {order} is hotel {shown or 'none'}; by the documents "
                       f"{ought or 'none'}")
                break


# A hotel without a price comes last, whichever way.
_KEYS: dict[Order, Callable[[Listed], tuple[float, ...]]] = {
    Order.RECO: lambda one: (-one.score,),
    Order.NEWEST: lambda one: (-one.created_s,),
    Order.PRICE_ASC: lambda one: (one.price_cents is None, one.price_cents or 0),
    Order.PRICE_DESC: lambda one: (one.price_cents is None, -(one.price_cents or 0)),
}


def _tie(one: Listed) -> bytes:
    """Hotels that are equal stand in the order of this, the same everywhere."""
    return hashlib.blake2b(one.hotel_id.encode(), digest_size=8).digest()


def _filters(index: Index, listed: Sequence[Listed]) -> Iterator[str]:
    """Each city with filters that narrow each other: three stars and more, to a middling price.
    """
    prices = [one.price_cents for one in listed if one.price_cents is not None]
    most = median_low(prices) if prices else 0
    true = Counter(one.city for one in listed
                   if one.stars >= 3 and one.price_cents is not None and one.price_cents <= most)
    for city in sorted({one.city for one in listed}):
        filters = Filters(cities=(city,), stars=(3, 4, 5), price_max=most)
        told = index.page(filters).total
        if told != true[city]:
            yield (f"{told} hotels of three stars and more up to {most} cents are listed in "
                   f"{city}; by the documents {true[city]}")
