"""Searches as this process has shown them: their rates as JSON, and what was made of them.

A big city has 16,000 rates and more. They come from Valkey once: later only those that came since,
and nothing at all when nothing did. What is made of them, an answer or a list of hotels, is made
once for each version of the search, whoever asks; a version that is over is never shown again.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sized
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from search.entries import SearchEntries
from search.model import Entry, OfferedRate, without_vendor_key

S = TypeVar("S", bound=Sized)

# What the searches of one process may take; those that were not looked at for longest go first.
VIEWS_MAX_BYTES = 67_108_864
# Of that, what was made of one search: answers and lists in two orders, of several lengths.
MADE_MAX_BYTES = 16_777_216
# What a rate and its place in lists take beside its text.
_RATE_BYTES = 100


class _Facts(msgspec.Struct, frozen=True):
    """What grouping and sorting need of a stored rate."""

    hotel_id: str
    price: str
    currency: str


class HotelRates:
    """The places of a hotel's rates in the list of all, and the lowest amount in each currency."""

    __slots__ = ("lowest", "places")

    def __init__(self) -> None:
        self.places: list[int] = []
        self.lowest: dict[str, Decimal] = {}


_facts = msgspec.json.Decoder(_Facts)
_rate = msgspec.json.Decoder(OfferedRate)


class SearchView:
    """One search, up to `entry`: that one has no rates of its own, they are all here.

    Whoever reads holds `reading`, so that rates, version and what is made of them belong together.
    """

    def __init__(self, entry: Entry) -> None:
        self.reading = threading.RLock()
        self.entry = entry
        self.shown: list[bytes] = []
        self.amounts: list[tuple[str, Decimal]] = []
        self.hotels: dict[str, HotelRates] = {}
        self._made: dict[Hashable, Any] = {}
        self._stored_bytes = 0
        self._made_bytes = 0
        self._take(entry)

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return self._stored_bytes + self._made_bytes

    def grow(self, newer: Entry) -> None:
        """Take in what came since. An answer that was overtaken by a later one says nothing new."""
        with self.reading:
            if newer.unchanged or newer.revision <= self.entry.revision:
                return
            # Two readers may have asked from the same point; what is known already is passed over.
            known = len(self.shown) - (newer.count - len(newer.stored))
            self._take(msgspec.structs.replace(newer, stored=newer.stored[known:]))

    def made(self, name: Hashable, make: Callable[[], S]) -> S:
        """What is called so of this version; made by whoever asks first, and kept."""
        with self.reading:
            kept: S | None = self._made.get(name)
            if kept is None:
                kept = make()
                if self._made_bytes + len(kept) > MADE_MAX_BYTES:
                    self._forget()
                self._made[name] = kept
                self._made_bytes += len(kept)
            return kept

    def rates(self, hotel_id: str) -> list[OfferedRate]:
        """All rates of a hotel, in the order of their arrival."""
        return [_rate.decode(self.shown[place]) for place in self.hotels[hotel_id].places]

    def _take(self, entry: Entry) -> None:
        for stored in entry.stored:
            shown = without_vendor_key(stored)
            facts = _facts.decode(shown)
            amount = Decimal(facts.price)
            hotel = self.hotels.get(facts.hotel_id)
            if hotel is None:
                hotel = self.hotels[facts.hotel_id] = HotelRates()
            hotel.places.append(len(self.shown))
            if amount < hotel.lowest.get(facts.currency, Decimal("Infinity")):
                hotel.lowest[facts.currency] = amount
            self.shown.append(shown)
            self.amounts.append((facts.currency, amount))
            self._stored_bytes += len(shown) + _RATE_BYTES
        self.entry = msgspec.structs.replace(entry, stored=[])
        self._forget()

    def _forget(self) -> None:
        self._made.clear()
        self._made_bytes = 0


class SearchViews:
    """The views of one process. `read` may raise EngineAway."""

    def __init__(self, entries: SearchEntries, *, max_bytes: int = VIEWS_MAX_BYTES) -> None:
        self._entries = entries
        self._max_bytes = max_bytes
        self._keeping = threading.Lock()
        self._views: OrderedDict[str, SearchView] = OrderedDict()

    def read(self, search_id: str) -> tuple[SearchView, Entry] | None:
        """The search as it stands, and what of it is new to this process; None when there is none
        (any more). One call to Valkey.
        """
        with self._keeping:
            view = self._views.get(search_id)
        if view is not None:
            with view.reading:
                since, known = view.entry.cursor, view.entry.version
            newer = self._entries.read(search_id, since=since, known=known)
            if newer is not None:
                view.grow(newer)
                self._keep(search_id, view)
                return view, newer
        # None was there, or another one began after it had expired.
        entry = self._entries.read(search_id)
        return None if entry is None else (self.add(entry), entry)

    def add(self, entry: Entry) -> SearchView:
        """A view of a search that was read whole."""
        view = SearchView(entry)
        self._keep(entry.search_id, view)
        return view

    def _keep(self, search_id: str, view: SearchView) -> None:
        with self._keeping:
            self._views[search_id] = view
            self._views.move_to_end(search_id)
            total = sum(one.size for one in self._views.values())
            while total > self._max_bytes:
                _, gone = self._views.popitem(last=False)
                total -= gone.size
