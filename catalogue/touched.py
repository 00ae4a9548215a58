"""Which pages of the listing a change touches, so that all others need not be made again.

A page of the listing shows cards, an order and counts. A hotel's change touches the pages that
its card stands on. Its price moves it where prices order or filter, its rating where ratings do,
which is in every listing of its city or country: by default they order, and they are counted.
Whatever else changes, a hotel that comes or goes, its stars, the name of a city, may touch any.
"""

from __future__ import annotations

from collections.abc import Sequence

from catalogue.listing import Difference
from catalogue.rows import Filters, Order

# What moves a hotel in listings of its own place only.
_RATING = frozenset({"rating", "score"})
_PRICE = frozenset({"price"})
_ANYWHERE = ("",)


class Touched:
    """The number of the last change that touched something; one for all that follow one
    generation. Numbers only grow, so a reader may come at any moment.
    """

    def __init__(self) -> None:
        self.hotels: dict[str, int] = {}
        self._everything = 0
        # By city, country (in capitals), and "" for the whole world.
        self._ratings: dict[str, int] = {}
        self._prices: dict[str, int] = {}

    def note(
        self, hotel_ids: Sequence[str], differences: Sequence[Difference] | None, seq: int
    ) -> None:
        """These hotels changed with `seq`; without `differences` it may be anything."""
        if differences is None:
            self._everything = seq
        for one in differences or ():
            if one.columns - _RATING - _PRICE:
                self._everything = seq
            for columns, last in ((_RATING, self._ratings), (_PRICE, self._prices)):
                if one.columns & columns:
                    last.update(dict.fromkeys((one.city, one.country, *_ANYWHERE), seq))
        self.hotels.update(dict.fromkeys(hotel_ids, seq))

    def last(self, filters: Filters, order: Order, hotel_ids: Sequence[str]) -> int:
        """The last change that touched the page of this query that lists these hotels."""
        here = filters.cities or filters.countries or _ANYWHERE
        seqs = [self._everything, *(self.hotels.get(one, 0) for one in hotel_ids)]
        # A filter that a hotel begins or ceases to meet changes counts of other places too.
        rated = here if filters.rating is None else _ANYWHERE
        seqs += [self._ratings.get(place, 0) for place in rated]
        if filters.price_min is not None or filters.price_max is not None:
            seqs += [self._prices.get(place, 0) for place in _ANYWHERE]
        elif order in (Order.PRICE_ASC, Order.PRICE_DESC):
            seqs += [self._prices.get(place, 0) for place in here]
        return max(seqs)
