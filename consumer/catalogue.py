"""The catalogue consumer: builds every page once, and again whenever its documents change.

MongoDB's change stream says which documents changed, whoever wrote them. The hotels that they
touch are read again, one query per collection, and their pages written in calls that check the
lease. The resume token moves with the last of them: a crash anywhere brings the batch again, and
pages that come out the same are told to nobody.
"""

from __future__ import annotations

import datetime as dt
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from catalogue import documents as d
from catalogue import payloads
from catalogue.assembly import Facts, Unfit, Vocabulary, second
from catalogue.finishing import finish
from catalogue.shelf import Standing, entry_of
from catalogue.shelf_writer import OlderThanShown, Put, ShelfWriter
from catalogue.source import ChangeFeed, HistoryLost, HotelSource
from errors import EngineAway, LeaseLost, Surprise

log = logging.getLogger(__name__)

T = TypeVar("T")

STANDBY_PAUSE_S = 0.5
ENGINE_PAUSE_S = 0.5
# A batch is closed this long after its first change, or when it touches this many documents.
GATHER_S = 0.05
BATCH_MAX = 4_000
# Hotels that are read at once: a query per collection, however many.
READ_AT_ONCE = 200
# Valkey answers nobody while it writes: a script with 200 pages kept visitors waiting for 40 ms,
# one with 25 for 2 ms, and all of them took as long (measured).
PUT_AT_ONCE = 25
# A batch that touches more hotels than are read at once is built gently: after each of them the
# consumer rests for half of the time that it took. Processes that answer requests are not kept
# waiting by a neighbour that computes for seconds: while all of 10,000 prices change on two cores,
# pages take 8 to 10 ms (p99) instead of 14, and the change takes 16 s instead of 11 (measured).
REST_FACTOR = 0.5
# Changes that touch no hotel move the token too, this often: MongoDB forgets old ones.
TOKEN_EVERY_S = 10.0


class CatalogueConsumer:
    """One step: what is asked for, or the next batch of changes; at most a second when idle."""

    def __init__(
        self,
        source: HotelSource,
        shelf: ShelfWriter,
        *,
        active_max: int,
        currency: str,
        stop: threading.Event,
        today: Callable[[], dt.date] = lambda: dt.datetime.now(dt.UTC).date(),
    ) -> None:
        self._source = source
        self._shelf = shelf
        self._active_max = active_max
        self._currency = currency
        self._stop = stop
        self._today = today
        self._feed: ChangeFeed | None = None
        self._active: frozenset[str] = frozenset()
        self._namesakes: dict[str, str] = {}
        self._to_mend = ""
        self._words = Vocabulary({}, {}, {})
        self._token_moved_s = 0.0

    @property
    def _version(self) -> str:
        return payloads.version_in(self._currency)

    def step(self) -> None:
        """One beat."""
        try:
            if not self._shelf.acquire():
                self._forget()
                self._stop.wait(STANDBY_PAUSE_S)
                return
            standing, wanted = self._shelf.standing()
            why = self._why_rebuild(standing, wanted)
            if standing is None or why:
                self._rebuild(why)
                return
            self._follow(standing)
            self._shelf.tidy()
        except (HistoryLost, OlderThanShown) as lost:
            log.warning("%s", lost)
            self._rebuild_after_loss()
        except (LeaseLost, Surprise) as surprise:
            log.warning("%s", surprise)
            self._forget()
        except EngineAway as away:
            log.warning("%s; trying again", away)
            self._forget()
            self._stop.wait(ENGINE_PAUSE_S)

    def leave(self) -> None:
        """Close the stream, and let another one go on at once."""
        self._forget()
        try:
            self._shelf.release()
        except EngineAway:
            log.warning("the lease could not be returned; it runs out by itself")

    # --- everything ---------------------------------------------------------------------------

    def _why_rebuild(self, standing: Standing | None, wanted: bool) -> str:
        """Why everything must be built anew; empty when nothing speaks for it."""
        if standing is None:
            return "there is none in Valkey"
        if standing.version != self._version:
            return "pages are made in another way now"
        if standing.day != self._today().isoformat():
            return "a day has passed"
        return "somebody asked for it, or one was cut short" if wanted else ""

    def _rebuild_after_loss(self) -> None:
        try:
            self._rebuild("changes were missed")
        except (LeaseLost, Surprise, EngineAway) as error:
            log.warning("%s; trying again", error)
            self._forget()
            self._stop.wait(ENGINE_PAUSE_S)

    def _rebuild(self, why: str) -> None:
        """Build a generation beside the one that is shown, and swap it in."""
        self._forget()
        begun = time.monotonic()
        log.info("building everything: %s", why)
        # The token before the first document: what changes while we read comes again.
        feed = self._source.changes()
        token = feed.token
        feed.close()
        moment = self._source.moment()
        day = self._today()
        generation = self._shelf.begin()
        self._prepare()
        self._words = self._source.vocabulary()
        self._namesakes = self._source.namesakes()
        ids = self._source.active_ids(self._active_max)
        self._active = frozenset(ids)
        for some in _chunks(ids, READ_AT_ONCE):
            for puts in _chunks(self._built(some, day), PUT_AT_ONCE):
                if self._stop.is_set():
                    return  # unfinished generations are removed by the next one
                self._shelf.put(generation, puts, version=moment, seq=None)
        self._shelf.swap(generation, token=token, version=self._version, day=day.isoformat())
        log.info("%d hotels built in %.1f s", len(ids), time.monotonic() - begun)

    # --- changes ------------------------------------------------------------------------------

    def _follow(self, standing: Standing) -> None:
        """Gather the changes of a moment, build what they touch, and move the token."""
        opened = self._feed is None
        if self._feed is None:
            self._prepare()
            self._words = self._source.vocabulary()
            # What is shown, not what ought to be: hotels may have come and gone meanwhile.
            shown, broken = self._shelf.known(standing.generation)
            self._active = shown | broken
            # Some of these may have waited for an address that is free by now.
            self._namesakes = dict.fromkeys(broken, "")
            self._feed = self._source.changes(standing.token)
        touched = self._gathered(self._feed)
        token = self._feed.token
        if not touched and not opened:
            self._move_token(standing, token)
            return
        moment = self._source.moment()
        if touched.keys() & d.NAMED_BY.keys():
            self._words = self._source.vocabulary()
        ids = self._hotels_of(touched, look_for_others=opened or d.HOTELS in touched)
        seq, left = standing.seq, len(ids)
        for some in _chunks(sorted(ids), READ_AT_ONCE):
            built = self._built(some, self._today(), gently=len(ids) > READ_AT_ONCE)
            for puts in _chunks(built, PUT_AT_ONCE):
                left -= len(puts)
                seq = self._shelf.put(standing.generation, puts, version=moment, seq=seq,
                                      token="" if left else token)
        if not ids:  # changes that no hotel shows move the token all the same
            self._shelf.put(standing.generation, [], version=moment, seq=seq, token=token)
        self._token_moved_s = time.monotonic()

    def _move_token(self, standing: Standing, token: str) -> None:
        """Orders fill MongoDB's log of changes as well; one that moves on without us is lost."""
        if token != standing.token and time.monotonic() - self._token_moved_s >= TOKEN_EVERY_S:
            self._shelf.put(standing.generation, [], version="", seq=standing.seq, token=token)
            self._token_moved_s = time.monotonic()

    def _gathered(self, feed: ChangeFeed) -> dict[str, set[str]]:
        """The ids of changed documents by collection. Raises HistoryLost."""
        touched: dict[str, set[str]] = defaultdict(set)
        close_at_s = float("inf")
        count = 0
        while count < BATCH_MAX and time.monotonic() < close_at_s:
            change = feed.next()
            if change is None:
                break
            touched[change[0]].add(change[1])
            count += 1
            if count == 1:
                close_at_s = time.monotonic() + GATHER_S
        return touched

    def _hotels_of(
        self, touched: Mapping[str, set[str]], *, look_for_others: bool
    ) -> set[str]:
        """The hotels whose pages show one of these documents."""
        ids = set(touched.get(d.HOTELS, ()))
        for collection in d.BELONGING:
            ids |= {d.owner(one) for one in touched.get(collection, ())}
        for collection in d.NAMED_BY:
            if touched.get(collection):
                ids.update(self._source.ids_naming(collection, sorted(touched[collection])))
        if look_for_others:
            # One that comes may push another one over the limit, one that goes lets it in.
            active = frozenset(self._source.active_ids(self._active_max))
            ids |= active ^ self._active
            self._active = active
            # The same goes for those that wait for another one's address.
            seconds = self._source.namesakes()
            ids |= {hotel_id for hotel_id, _ in seconds.items() ^ self._namesakes.items()}
            self._namesakes = seconds
        return ids

    def _built(
        self, hotel_ids: Sequence[str], day: dt.date, *, gently: bool = False
    ) -> list[Put]:
        """The finished pages of these hotels."""
        shown = [one for one in hotel_ids if one in self._active]
        facts = self._source.facts(shown, today=day)
        puts = []
        for hotel_id in hotel_ids:
            began_s = time.monotonic()
            puts.append(self._finished(hotel_id, facts.get(hotel_id), day))
            if gently:
                self._stop.wait(REST_FACTOR * (time.monotonic() - began_s))
        return puts

    def _finished(self, hotel_id: str, facts: Facts | None, day: dt.date) -> Put:
        if facts is None:
            return Put(hotel_id, "", None)
        first = self._namesakes.get(hotel_id)
        made = second(first) if first else finish(
            facts, self._words, today=day, currency=self._currency)
        if isinstance(made, Unfit):
            log.warning("hotel %s cannot be shown: %s", hotel_id, made.reason)
            return Put(hotel_id, "", None, made.reason)
        return Put(hotel_id, made.slug, entry_of(made.payload))

    def _prepare(self) -> None:
        """What a rebuild and a feed begin with. A collection may have been dropped meanwhile, or
        hold what an index cannot stand over.
        """
        self._shelf.note_active_max(self._active_max)
        to_mend = self._source.ensure_indexes()
        if to_mend and to_mend != self._to_mend:
            log.error("%s", to_mend)
        self._to_mend = to_mend

    def _forget(self) -> None:
        if self._feed is not None:
            self._feed.close()
            self._feed = None


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[first:first + size] for first in range(0, len(items), size))
