"""Where can be searched: what exists is known before anything is queued."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Iterable, Mapping

import msgspec

from errors import BadInput
from search.query import SearchQuery

_SUGGESTED_MAX = 3
_NAMED_MAX = 5


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A destination. `country` is its ISO 3166 code."""

    slug: str
    name: str
    country: str


class HotelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a view says of a hotel besides its rates."""

    name: str
    stars: int


class Destinations:
    """All places, and the hotels at each.

    `hotel` answers (slug of its destination, facts) for a hotel's id, None for one that there is
    not.
    """

    def __init__(
        self, places: Iterable[Place], hotel: Callable[[str], tuple[str, HotelFacts] | None]
    ) -> None:
        self.places: Mapping[str, Place] = {place.slug: place for place in places}
        self._hotel = hotel
        self._by_name: dict[str, str] = {}
        for place in self.places.values():
            # Of two cities with one name the first is found by it; both by their slugs.
            self._by_name.setdefault(_plain(place.name), place.slug)
            self._by_name[_plain(place.slug)] = place.slug

    def find(self, text: str) -> Place | None:
        """The place that somebody means who types its name or its slug."""
        slug = self._by_name.get(_plain(text))
        return self.places[slug] if slug else None

    def like(self, text: str) -> list[Place]:
        """Places that may have been meant, the likeliest first."""
        near = difflib.get_close_matches(_plain(text[:60]), self._by_name, n=2 * _SUGGESTED_MAX)
        slugs = dict.fromkeys(self._by_name[name] for name in near)
        return [self.places[slug] for slug in slugs][:_SUGGESTED_MAX]

    def hotel(self, hotel_id: str) -> HotelFacts | None:
        """The facts of a hotel; None when there is no such hotel."""
        found = self._hotel(hotel_id)
        return found[1] if found else None

    def check(self, query: SearchQuery) -> None:
        """Raises BadInput unless the destination exists, and all hotels of the query are there."""
        if query.destination not in self.places:
            near = ", ".join(place.slug for place in self.like(query.destination))
            hint = f"; did you mean {near}?" if near else ""
            raise BadInput(f"no destination of that name{hint}", field="destination")
        unknown = [
            one for one in query.hotel_ids
            if (found := self._hotel(one)) is None or found[0] != query.destination
        ]
        if unknown:
            named = ", ".join(unknown[:_NAMED_MAX])
            more = f" and {len(unknown) - _NAMED_MAX} more" if len(unknown) > _NAMED_MAX else ""
            raise BadInput(f"not hotels of {query.destination}: {named}{more}", field="hotel_ids")


def _plain(text: str) -> str:
    """Letters and digits alone, without accents: São Paulo, sao-paulo and SAO PAULO are one."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return " ".join("".join(c if c.isalnum() else " " for c in plain).split())
