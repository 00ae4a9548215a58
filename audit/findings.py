"""What a look found: facts, and doubts that only a second look makes facts."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

# In words; what is beyond is counted only.
WORDS_MAX = 10_000


class Kind(StrEnum):
    """The sorts of findings; each is a count in the audit's answer."""

    LOST = "lost"
    DUPLICATED = "duplicated"
    OVERSOLD = "oversold"
    DRIFTED = "drifted"
    OWED_OVERDUE = "owed_overdue"
    SUPPLIER_ORPHANS = "supplier_orphans"
    SUPPLIER_MISSING = "supplier_missing"
    PAGES_MISSING = "pages_missing"
    PAGES_STALE = "pages_stale"
    PAGES_LEFT = "pages_left"
    LISTING_WRONG = "listing_wrong"


OF_CATALOGUE = (Kind.PAGES_MISSING, Kind.PAGES_STALE, Kind.PAGES_LEFT, Kind.LISTING_WRONG)
OF_BOOKINGS = tuple(kind for kind in Kind if kind not in OF_CATALOGUE)


class Findings:
    """The findings of one look.

    A fact stands in one document, or in documents read as of one moment: whatever moves, it was
    so. A doubt compares two places that were read one after the other; it may be a step of the
    system seen in the middle. Words name order ids, never e-mails.
    """

    def __init__(self) -> None:
        self.counts: Counter[Kind] = Counter()
        self.words: list[str] = []
        self._doubts: dict[tuple[Kind, str], int] = {}
        self._further: Counter[Kind] = Counter()

    @property
    def doubtful(self) -> bool:
        """Whether there is anything that another look has to confirm."""
        return bool(self._doubts)

    def fact(self, kind: Kind, words: str, count: int = 1) -> None:
        """Something is wrong, whatever else moves. `count` is how many things are."""
        self.counts[kind] += count
        if len(self.words) < WORDS_MAX:
            self.words.append(f"{kind}: {words}")

    def doubt(self, kind: Kind, words: str, count: int = 1) -> None:
        """Something looks wrong. What is beyond WORDS_MAX is counted without its words."""
        if len(self._doubts) < WORDS_MAX:
            self._doubts[kind, words] = count
        else:
            self._further[kind] += count

    def include(self, doubts: Findings) -> None:
        """Add the doubts of another part of the same look."""
        for (kind, words), count in doubts._doubts.items():
            self.doubt(kind, words, count)
        self._further.update(doubts._further)

    def confirmed_by(self, later: Findings) -> Findings:
        """The facts of the later look, and the doubts that both looks had in the same words."""
        agreed = Findings()
        agreed.counts.update(later.counts)
        agreed.words.extend(later.words)
        for (kind, words), count in later._doubts.items():
            if (kind, words) in self._doubts:
                agreed.fact(kind, words, count)
        agreed.counts.update(self._further & later._further)
        return agreed
