"""What a process keeps of single hotels: copies of what stands in Valkey, until they change."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

Revision = tuple[int, int]
T = TypeVar("T")


class HotelCopies(Generic[T]):
    """A copy of each of at most `most` hotels. Safe to use from many threads.

    A copy is put under the revision that was known before it was read, so it is never taken for
    newer than it is.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = Lock()
        self._copies: OrderedDict[str, tuple[Revision, T]] = OrderedDict()

    def get(self, hotel_id: str, revision: Revision) -> T | None:
        """The copy, unless the hotel has changed since."""
        found = self._copies.get(hotel_id)
        return found[1] if found is not None and found[0] == revision else None

    def put(self, hotel_id: str, revision: Revision, copy: T | None) -> None:
        """Keep what was read; None: there is no such hotel any more."""
        with self._lock:
            if copy is None:
                self._copies.pop(hotel_id, None)
                return
            self._copies[hotel_id] = (revision, copy)
            if len(self._copies) > self._most:
                self._copies.popitem(last=False)
