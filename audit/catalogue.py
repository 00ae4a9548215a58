"""The catalogue's pages: does each equal what a fresh rebuild from MongoDB gives?

The shelf says up to which of MongoDB's changes it stands. The audit reads on from there: what
changed since, and while it looked, may rightly look different. A look that finds such hotels
different is repeated; what it finds of others is so, whatever moves. A shelf that stays behind
is said to be behind.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import msgspec

from audit.findings import Findings, Kind
from audit.hotels import Changes, HotelDocuments, Listed, recount
from audit.listing import listing_differences
from audit.pages import (
    Shelf,
    Shown,
    address_differences,
    broken_differences,
    differences,
    left_over,
)
from audit.statuses import Bar
from catalogue.assembly import Unfit, second
from catalogue.finishing import Finished, finish
from catalogue.payloads import version_in
from queues.keys import CATALOGUE

LOOKS_MAX = 4
POLL_S = 0.25
LOOKED_AT = "looked at"
_AT_ONCE = 200

Progress = Callable[[str, int], AbstractContextManager[Bar]]


class Difference(msgspec.Struct, frozen=True):
    """One finding. Without a hotel it is about all of them together."""

    kind: Kind
    words: str
    hotel_id: str = ""


class CatalogueVerdict(msgspec.Struct, kw_only=True):
    """What was found. `told` says whether it was looked at, or why not; then `hotels` is None."""

    told: str = LOOKED_AT
    findings: Findings = msgspec.field(default_factory=Findings)
    hotels: int | None = None
    broken: int = 0
    looks: int = 0
    under_way: list[str] = []
    settled: bool = True


class _Expected(msgspec.Struct):
    """What a fresh rebuild gives, but for its pages, which are compared as they are made."""

    listed: list[Listed] = []
    broken: dict[str, str] = {}
    rows: dict[str, bytes] = {}
    # Address -> all hotels that have it, in the order they came: only the first is shown.
    owners: dict[str, list[str]] = {}
    differences: list[Difference] = []

    def first_at(self, slug: object, hotel_id: str) -> str:
        """Note a hotel at its address; returns the one that came there first."""
        if not isinstance(slug, str):
            return hotel_id
        self.owners.setdefault(slug, []).append(hotel_id)
        return self.owners[slug][0]


class CatalogueAuditor:
    """One audit of the catalogue. All may raise EngineAway."""

    def __init__(
        self,
        shelf: Shelf,
        documents: HotelDocuments,
        *,
        currency: str,
        within_s: float,
        say: Callable[[str], object],
        progress: Progress,
        today: Callable[[], dt.date] = lambda: dt.datetime.now(dt.UTC).date(),
    ) -> None:
        self._shelf = shelf
        self._documents = documents
        self._currency = currency
        self._within_s = within_s
        self._say = say
        self._progress = progress
        self._today = today

    def run(self) -> CatalogueVerdict:
        """Wait until the shelf has caught up, look, and look again at what moved meanwhile."""
        verdict = CatalogueVerdict()
        within_s = self._within_s
        for verdict.looks in range(1, LOOKS_MAX + 1):
            shown, changes, verdict.under_way = self._caught_up(within_s)
            if shown is None and not verdict.under_way:
                verdict.told, verdict.hotels = "no hotels", 0
                return verdict
            if shown is None or changes is None or not self._comparable(shown, changes):
                if verdict.hotels is None:
                    verdict.told = "not looked at: it has not caught up"
                verdict.settled = False
                return verdict
            try:
                expected = self._look(shown)
                found, verdict.settled = self._certain(expected.differences, shown, changes)
            finally:
                changes.close()
            verdict.hotels, verdict.broken = len(expected.listed), len(expected.broken)
            verdict.findings = Findings()
            for one in found:
                verdict.findings.fact(one.kind, one.words)
            if verdict.settled or verdict.under_way:
                break
            within_s = min(1.0, self._within_s)
            self._say("Hotels changed while they were looked at; looking again.")
        return verdict

    # --- has it caught up? --------------------------------------------------------------------

    def _caught_up(self, within_s: float) -> tuple[Shown | None, Changes | None, list[str]]:
        """What is shown once nothing is under way, or when that takes too long."""
        give_up_s = time.monotonic() + within_s
        said = ""
        while True:
            shown = self._shelf.shown()
            changes = self._documents.changes(shown.token) if shown else None
            if changes is not None:
                changes.drain()
            under_way = list(self._under_way(shown, changes))
            if not under_way or time.monotonic() >= give_up_s:
                return shown, changes, under_way
            if changes is not None:
                changes.close()
            if (words := ", ".join(under_way)) != said:
                self._say(f"Waiting for the catalogue: {words}.")
                said = words
            time.sleep(POLL_S)

    def _under_way(self, shown: Shown | None, changes: Changes | None) -> Iterator[str]:
        if shown is None:
            if self._documents.shown_ids():
                yield "the catalogue is not built"
            return
        if shown.version != version_in(self._currency):
            yield "the catalogue's pages are those of another release or currency"
        if shown.day != self._today().isoformat():
            yield f"the catalogue's prices are those of {shown.day}"
        if shown.asked or shown.building:
            yield "a rebuild of the catalogue"
        if changes is None:
            yield "the catalogue stands where MongoDB's log of changes does not reach back to"
        elif changes.some:
            keeper = "its consumer is at it" if shown.holder else "no consumer of it runs"
            yield f"the catalogue is {changes.count} changes behind MongoDB, and {keeper}"

    def _comparable(self, shown: Shown, changes: Changes) -> bool:
        """Whether a look could find anything for certain."""
        return (shown.version == version_in(self._currency) and not changes.wide
                and shown.day == self._today().isoformat())

    def _certain(
        self, found: Sequence[Difference], shown: Shown, changes: Changes
    ) -> tuple[list[Difference], bool]:
        """What is so whatever moved since the look began, and whether that is all there is."""
        changes.drain()
        now = self._shelf.shown()
        if now is None or now.generation != shown.generation or changes.wide:
            return [], not found
        certain = [one for one in found
                   if not changes.some or (one.hotel_id and one.hotel_id not in changes.touched)]
        return certain, len(certain) == len(found)

    # --- one look -----------------------------------------------------------------------------

    def _look(self, shown: Shown) -> _Expected:
        expected = _Expected()
        ids = self._documents.shown_ids(shown.active_max)
        words, day = self._documents.words(), dt.date.fromisoformat(shown.day)
        with self._progress("hotels", len(ids)) as bar:
            for first in range(0, len(ids), _AT_ONCE):
                some = ids[first:first + _AT_ONCE]
                facts = self._documents.some(some, day)
                made: dict[str, Finished] = {}
                for hotel_id in (one for one in some if one in facts):
                    found = facts[hotel_id]
                    owner = expected.first_at(found.hotel.get("slug"), hotel_id)
                    one = second(owner) if owner != hotel_id else finish(
                        found, words, today=day, currency=self._currency)
                    if isinstance(one, Unfit):
                        expected.broken[hotel_id] = one.reason
                    else:
                        made[hotel_id] = one
                        expected.listed.append(
                            recount(found, words, day=day, currency=self._currency))
                self._compare(shown, made, expected)
                bar.update(len(some))
        self._compare_as_a_whole(shown, expected)
        return expected

    def _compare(
        self, shown: Shown, made: Mapping[str, Finished], expected: _Expected
    ) -> None:
        shelved = self._shelf.some(shown.generation, {key: one.slug for key, one in made.items()})
        for hotel_id, one in made.items():
            found = shelved[hotel_id]
            if found.row is not None:
                expected.rows[hotel_id] = found.row
            expected.differences += [Difference(kind, words, hotel_id)
                                     for kind, words in differences(hotel_id, one, found)]

    def _compare_as_a_whole(self, shown: Shown, expected: _Expected) -> None:
        def say(kind: Kind, found: Iterator[str]) -> None:
            expected.differences += [Difference(kind, words) for words in found]

        wanted = {one.hotel_id: one for one in expected.listed}
        pages, astray = self._shelf.pages(shown.generation)
        there = self._shelf.names(shown.generation)
        say(Kind.PAGES_LEFT, left_over({"page": pages, **there}, wanted))
        say(Kind.PAGES_LEFT, (f"{count} keys of generation {name}, which nobody shows or removes"
                              for name, count in astray.items()))
        say(Kind.LISTING_WRONG, (
            f"hotels {', '.join(found)} have the same address {slug}, and only the first is shown"
            for slug, found in expected.owners.items() if len(found) > 1))
        say(Kind.LISTING_WRONG, address_differences(
            self._shelf.texts(CATALOGUE.slugs(shown.generation)),
            {one.slug: one.hotel_id for one in expected.listed}))
        say(Kind.LISTING_WRONG, broken_differences(
            self._shelf.texts(CATALOGUE.broken(shown.generation)), expected.broken))
        say(Kind.LISTING_WRONG, listing_differences(expected.rows, expected.listed))
        last, ought = self._shelf.last_change()
        if last != ought:
            expected.differences.append(Difference(
                Kind.LISTING_WRONG, f"the last change that was told is {last or 'none'}; it ought "
                f"to be {ought}: web processes cannot follow"))
