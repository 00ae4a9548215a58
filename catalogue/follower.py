"""Keeps a process's listing current: loads all rows once per generation, then follows changes.

One thread of its own, started by whoever first asks. Readers take a `Snapshot`, which never
changes under them. While Valkey is away the last snapshot stays, and says how old it is; when
Valkey says that there is no catalogue, nothing is shown until there is one again.
"""

from __future__ import annotations

import logging
import time
from threading import Condition, Event, Thread
from typing import Protocol

import msgspec

from catalogue.listing import Index
from catalogue.rows import Row
from catalogue.shelf import Change, Cursor, Standing
from catalogue.slugs import Words
from catalogue.touched import Touched
from errors import BerthError, CatalogueBuilding

log = logging.getLogger(__name__)

BLOCK_MS = 250
# Copies that were made of this listing are good while it was heard of the changes this lately.
TRUSTED_S = 0.75
FIRST_LOAD_WITHIN_S = 5.0
RETRY_AFTER_S = 0.5
# After each step the thread rests this many times as long as the step took: applying changes
# takes at most a fifth of a process, however many come.
REST_FACTOR = 4
REST_MIN_S = 0.02
STOP_WITHIN_S = 5.0

_ROW = msgspec.json.Decoder(Row)


class Source(Protocol):
    """What is followed; see catalogue.shelf.CatalogueReader."""

    def standing(self) -> Standing: ...
    def rows(self, generation: int) -> object: ...
    def changes(
        self, after: Cursor, *, block_ms: int
    ) -> tuple[Cursor, list[Change]] | None: ...


class Snapshot(msgspec.Struct, frozen=True):
    """The listing as of one change. `revision` names it, the same in every process."""

    index: Index
    words: Words
    cursor: Cursor
    # One for all snapshots of a generation: a reader that holds an old snapshot must not take an
    # old copy for a new one.
    touched: Touched

    def revision_of(self, hotel_id: str) -> tuple[int, int]:
        """Of one hotel. Ask for it before the hotel is read: then a copy is never taken for newer
        than it is.
        """
        return self.cursor.generation, self.touched.hotels.get(hotel_id, 0)


class Follower:
    """The listing of this process."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._changed = Condition()
        self._stopping = Event()
        self._snapshot: Snapshot | None = None
        self._thread: Thread | None = None
        self._current_at_s = 0.0

    def start(self) -> None:
        """Begin to follow, unless it is done already. A web process does so before it serves."""
        with self._changed:
            if self._thread is None:
                self._thread = Thread(target=self._run, name="catalogue-follower", daemon=True)
                self._thread.start()

    def peek(self) -> Snapshot | None:
        """The listing if there is one already; nobody waits."""
        return self._snapshot

    def snapshot(self) -> Snapshot:
        """The listing as it is known now. Raises CatalogueBuilding while there is none.

        Who comes before it was first looked for waits for that, but not long.
        """
        found = self._snapshot
        if found is not None:
            return found
        self.start()
        with self._changed:
            self._changed.wait_for(lambda: self._current_at_s > 0, FIRST_LOAD_WITHIN_S)
            found = self._snapshot
        if found is None:
            raise CatalogueBuilding("the listing is not loaded yet")
        return found

    @property
    def is_trusted(self) -> bool:
        """Whether a copy of what did not change, as far as is known here, may be shown."""
        return self.behind_s < TRUSTED_S

    @property
    def behind_s(self) -> float:
        """How long ago this listing was known to be all there is."""
        return time.monotonic() - self._current_at_s

    def stop(self) -> None:
        """End the thread; it may wait for changes for a moment longer."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_WITHIN_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow(self._load())
            except CatalogueBuilding:
                self._show(None)
            except BerthError as error:
                log.warning("the listing cannot be followed: %s", error)
            self._stopping.wait(RETRY_AFTER_S)

    def _load(self) -> Snapshot:
        standing = self._source.standing()
        rows: dict[str, Row] = {}
        for some in self._source.rows(standing.generation):  # type: ignore[attr-defined]
            rows.update((hotel_id, _ROW.decode(row)) for hotel_id, row in some.items())
        index = Index(rows.values())
        found = Snapshot(index, Words(index), Cursor(standing.generation, standing.seq),
                         Touched())
        self._show(found)
        return found

    def _follow(self, known: Snapshot) -> None:
        """Until the changes cannot be followed any further: then all is to be loaded anew."""
        while not self._stopping.is_set():
            found = self._source.changes(known.cursor, block_ms=BLOCK_MS)
            if found is None:
                return
            began_s = time.monotonic()
            cursor, changes = found
            if changes:
                known = self._applied(known, cursor, changes)
            self._show(known)
            if changes:
                took_s = time.monotonic() - began_s
                self._stopping.wait(max(REST_MIN_S, REST_FACTOR * took_s))

    def _applied(self, known: Snapshot, cursor: Cursor, changes: list[Change]) -> Snapshot:
        latest = {change.hotel_id: change.row for change in changes}
        index = known.index.applied({
            hotel_id: _ROW.decode(row) if row else None for hotel_id, row in latest.items()
        })
        # Before anybody sees the new listing: no copy of the old one is good from now on.
        ids = list(latest)
        known.touched.note(ids, index.differences(known.index, ids), cursor.seq)
        return Snapshot(index, Words(index), cursor, known.touched)

    def _show(self, snapshot: Snapshot | None) -> None:
        with self._changed:
            self._snapshot = snapshot
            self._current_at_s = time.monotonic()
            self._changed.notify_all()
