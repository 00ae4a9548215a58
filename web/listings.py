"""Finished answers of this process: read from Valkey once, kept until a change is heard of.

A hotel's page is kept until that hotel changes, a page of the listing until a change touches it
(catalogue/touched.py): what many look at is asked for and put together once. Nothing of a visitor
is in them. Copies are shown only while the changes are followed closely; else each request asks
Valkey.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import msgspec
from isal import isal_zlib

from catalogue.follower import Follower, Snapshot
from catalogue.recommender import Recommender, Scores
from catalogue.rows import Page, Value
from catalogue.shelf import CatalogueReader, Cursor, Part
from errors import BadInput
from web.hotel_copies import HotelCopies, Revision
from web.listing_query import Query, address
from web.listing_view import FACET_SHOWN, html

# What a process keeps: some 4,000 listings of the usual size.
KEPT_MAX_BYTES = 16 * 1024 * 1024
# Every active hotel of the usual limit: pages of some 3 kB and cards of 1.2 kB.
KEPT_HOTELS_MAX = 12_000
# Listings change with every change of a hotel, so they are compressed for speed: they are an eighth
# larger than by zlib at level 6 in a quarter of the time, and as large as by its level 1 in half of
# it (measured).
GZIP_LEVEL = 1
_AS_GZIP = 16 + isal_zlib.MAX_WBITS


class Kept(msgspec.Struct, frozen=True):
    """A finished answer."""

    body: bytes
    etag: str


class _Copy(msgspec.Struct, frozen=True):
    """A finished page of the listing, what it shows, and what it was made of: the snapshot's
    cursor and the model's version.
    """

    made: Kept
    query: Query
    hotel_ids: list[str]
    cursor: Cursor
    model: str


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
        self._kept: OrderedDict[str, _Copy] = OrderedDict()
        self._kept_bytes = 0
        self._hotels: HotelCopies[Part] = HotelCopies(KEPT_HOTELS_MAX)
        self._cards: HotelCopies[bytes] = HotelCopies(KEPT_HOTELS_MAX)

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
        self._hotels.put(hotel_id, revision, part)
        return part

    def _hotel_copy(self, hotel_id: str, revision: Revision) -> Part | None:
        return self._hotels.get(hotel_id, revision) if self._follower.is_trusted else None

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
        """What was made for this address, if nothing has touched it since."""
        model = self._recommender.version
        with self._lock:
            found = self._kept.get(name)
            if found is None or not self._follower.is_trusted:
                return None
            if not _is_current(found, snapshot, model):
                self._drop(name)
                return None
            self._kept.move_to_end(name)
            return found.made

    def page(self, name: str, query: Query, snapshot: Snapshot) -> Kept:
        """The page of a query. Raises PageGone past the last."""
        model = self._recommender.version
        page = _found(query, snapshot, self._recommender.general(snapshot), FACET_SHOWN)
        cards = self._cards_of(page.hotel_ids, snapshot)
        body = html(query, page, snapshot, [card for card in cards if card is not None])
        made = _made(body)
        if None not in cards:
            self._keep(name, _Copy(made, query, page.hotel_ids, snapshot.cursor, model))
        return made

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
        cards = self._cards_of(page.hotel_ids, snapshot)
        body = html(query, page, snapshot, [card for card in cards if card is not None])
        return _made(body)

    def document(self, name: str, query: Query, snapshot: Snapshot) -> Kept:
        """The same as JSON."""
        model = self._recommender.version
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
        made = _made(body)
        if None not in briefs:
            self._keep(name, _Copy(made, query, page.hotel_ids, snapshot.cursor, model))
        return made

    def _cards_of(self, hotel_ids: Sequence[str], snapshot: Snapshot) -> list[bytes | None]:
        """Their cards in this order; None for a hotel that is gone."""
        revisions = [snapshot.revision_of(one) for one in hotel_ids]
        cards: list[bytes | None] = [None] * len(hotel_ids)
        if self._follower.is_trusted:
            cards = [self._cards.get(*one) for one in zip(hotel_ids, revisions, strict=True)]
        missing = [place for place, card in enumerate(cards) if card is None]
        read = self._reader.cards([hotel_ids[place] for place in missing])
        for place, card in zip(missing, read, strict=True):
            cards[place] = card
            self._cards.put(hotel_ids[place], revisions[place], card)
        return cards

    def _keep(self, name: str, copy: _Copy) -> None:
        """Keep it, though it may be out of date by now: `kept` sees that.

        Not for a page with a gap, of a hotel that went away meanwhile: the next one to ask gets
        it right.
        """
        with self._lock:
            self._drop(name)
            self._kept[name] = copy
            self._kept_bytes += _size(name, copy)
            while self._kept_bytes > KEPT_MAX_BYTES:
                self._drop(next(iter(self._kept)))

    def _drop(self, name: str) -> None:
        gone = self._kept.pop(name, None)
        if gone is not None:
            self._kept_bytes -= _size(name, gone)


def _is_current(copy: _Copy, snapshot: Snapshot, model: str) -> bool:
    """Whether the page would come out the same now. One made of a later snapshot is good too:
    who holds an earlier one was on the way when the change came.
    """
    return (copy.cursor.generation == snapshot.cursor.generation and copy.model == model
            and snapshot.touched.last(copy.query.filters, copy.query.order, copy.hotel_ids)
            <= copy.cursor.seq)


def _size(name: str, copy: _Copy) -> int:
    return len(name) + len(copy.made.body)


def _made(body: bytes) -> Kept:
    etag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    return Kept(isal_zlib.compress(body, GZIP_LEVEL, _AS_GZIP), etag)


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
