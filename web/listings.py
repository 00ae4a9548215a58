"""Finished answers of this process: read from Valkey once, kept until a change is heard of.

A hotel's page is kept until that hotel changes, a page of the listing until any hotel does: what
many look at is asked for and put together once. Nothing of a visitor is in them. Copies are shown
only while the changes are followed closely; else each request asks Valkey.
"""

from __future__ import annotations

import gzip
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import msgspec

from catalogue.follower import Follower, Snapshot
from catalogue.recommender import Recommender, Scores
from catalogue.rows import Page, Value
from catalogue.shelf import CatalogueReader, Part
from errors import BadInput
from web.listing_query import Query, address
from web.listing_view import FACET_SHOWN, html

# What a process keeps: some 4,000 listings of the usual size.
KEPT_MAX_BYTES = 16 * 1024 * 1024
# Every active hotel, at some 3 kB each.
KEPT_HOTELS_MAX = 12_000
# Listings change with every change of a hotel, so they are compressed for speed: level 1 makes
# them a fifth larger than level 6 in a third of the time (measured).
GZIP_LEVEL = 1


class Kept(msgspec.Struct, frozen=True):
    """A finished answer."""

    body: bytes
    etag: str


class PageGone(BadInput):
    """A page past the last one."""

    def __init__(self, last: int) -> None:
        super().__init__(f"the last page is {last}", field="page_no", status=404)


class Listings:
    """The listing of this process. Safe to use from many threads."""

    def __init__(
        self, follower: Follower, reader: CatalogueReader, recommender: Recommender
    ) -> None:
        self._follower = follower
        self._reader = reader
        self._recommender = recommender
        self._lock = Lock()
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._kept_bytes = 0
        self._revision: tuple[tuple[int, int], str] = ((0, 0), "")
        self._hotels: OrderedDict[str, tuple[tuple[int, int], Part]] = OrderedDict()

    def start(self) -> None:
        """Load the listing before anybody asks for it."""
        self._follower.start()

    def stop(self) -> None:
        """Follow no changes any more."""
        self._follower.stop()

    def snapshot(self) -> Snapshot:
        """The listing as it is now. Raises CatalogueBuilding."""
        return self._follower.snapshot()

    def peek(self) -> Snapshot | None:
        """The listing if it is there, for views that only add a link."""
        return self._follower.peek()

    def hotel(self, hotel_id: str, snapshot: Snapshot) -> Part | None:
        """The page of a hotel; None when there is no such hotel."""
        revision = snapshot.revision_of(hotel_id)
        kept = self._hotel_copy(hotel_id, revision)
        if kept is not None:
            return kept
        part = self._reader.page(hotel_id)
        with self._lock:
            if part is None:
                self._hotels.pop(hotel_id, None)
            else:
                self._hotels[hotel_id] = (revision, part)
                if len(self._hotels) > KEPT_HOTELS_MAX:
                    self._hotels.popitem(last=False)
        return part

    def _hotel_copy(self, hotel_id: str, revision: tuple[int, int]) -> Part | None:
        kept = self._hotels.get(hotel_id)
        if kept is not None and kept[0] == revision and self._follower.is_trusted:
            return kept[1]
        return None

    def copy(self, slug: str, name: str) -> Part | Kept | None:
        """What is kept of a hotel or a listing, if it may be shown; nothing is asked or made."""
        snapshot = self._follower.peek()
        if snapshot is None:
            return None
        hotel_id = snapshot.index.hotel_id_of(slug)
        if hotel_id is None:
            return self.kept(name, snapshot)
        return self._hotel_copy(hotel_id, snapshot.revision_of(hotel_id))

    def kept(self, name: str, snapshot: Snapshot) -> Kept | None:
        """What was made for this address since the last change."""
        with self._lock:
            revision = self._revision_of(snapshot)
            if self._revision != revision:
                self._kept.clear()
                self._kept_bytes = 0
                self._revision = revision
                return None
            found = self._kept.get(name) if self._follower.is_trusted else None
            if found is not None:
                self._kept.move_to_end(name)
            return found

    def page(self, name: str, query: Query, snapshot: Snapshot) -> Kept:
        """The page of a query. Raises PageGone past the last."""
        page = _found(query, snapshot, self._recommender.general(snapshot), FACET_SHOWN)
        cards = self._reader.cards(page.hotel_ids)
        body = html(query, page, snapshot, [card for card in cards if card is not None])
        return self._keep(name, body, snapshot, whole=None not in cards)

    def personal(
        self, query: Query, snapshot: Snapshot, visitor: str, seen: Sequence[str]
    ) -> Kept | None:
        """The page in the order of one visitor's taste; kept for nobody. None when nothing is
        known of it. Raises PageGone.
        """
        scores = self._recommender.personal(snapshot, visitor, seen)
        if scores is None:
            return None
        page = _found(query, snapshot, scores, FACET_SHOWN)
        cards = self._reader.cards(page.hotel_ids)
        body = html(query, page, snapshot, [card for card in cards if card is not None])
        return _made(body)

    def document(self, name: str, query: Query, snapshot: Snapshot) -> Kept:
        """The same as JSON."""
        page = _found(query, snapshot, self._recommender.general(snapshot))
        briefs = self._reader.briefs(page.hotel_ids)
        body = msgspec.json.encode({
            "total": page.total, "page_no": page.page_no, "page_size": page.page_size,
            "page_count": page.page_count, "order_by": query.order,
            "url": address(query, snapshot.words),
            "title": snapshot.words.title(query.filters),
            "hotels": [msgspec.Raw(brief) for brief in briefs if brief is not None],
            "facets": {facet: [_value(value) for value in values]
                       for facet, values in page.facets.items()},
        })  # fmt: skip
        return self._keep(name, body, snapshot, whole=None not in briefs)

    def _keep(self, name: str, body: bytes, snapshot: Snapshot, *, whole: bool) -> Kept:
        made = _made(body)
        with self._lock:
            # A hotel that went away meanwhile left a gap: the next one to ask gets it right.
            if (whole and self._revision == self._revision_of(snapshot)
                    and name not in self._kept):
                self._kept[name] = made
                self._kept_bytes += len(name) + len(made.body)
                while self._kept_bytes > KEPT_MAX_BYTES:
                    gone, oldest = self._kept.popitem(last=False)
                    self._kept_bytes -= len(gone) + len(oldest.body)
        return made


    def _revision_of(self, snapshot: Snapshot) -> tuple[tuple[int, int], str]:
        """Of everything that a listing shows: the hotels, and the model that orders them."""
        return snapshot.revision, self._recommender.version


def _made(body: bytes) -> Kept:
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    return Kept(gzip.compress(body, GZIP_LEVEL, mtime=0), etag)


def _found(
    query: Query, snapshot: Snapshot, scores: Scores | None, values_max: int | None = None
) -> Page:
    page = snapshot.index.page(query.filters, query.order, query.page_no, query.page_size,
                               scores=scores, values_max=values_max)
    if query.page_no > page.page_count:
        raise PageGone(page.page_count)
    return page


def _value(value: Value) -> dict[str, object]:
    return {"value": value.value, "label": value.label, "count": value.count,
            "is_selected": value.selected}
