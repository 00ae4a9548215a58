"""Hotels that share an address. MongoDB refuses the second by an index; where another program made
some before there was one, the first of each address is shown, and it is told what to mend.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from catalogue import documents as d
from catalogue.documents import Document
from engine_errors import mongo_errors

_TOLD_MAX = 5


class Namesakes:
    """Who has whose address. All may raise EngineAway."""

    def __init__(self, database: Database[Document]) -> None:
        self._hotels = database[d.HOTELS]
        self._are_refused = False

    def refuse(self) -> str:
        """Have MongoDB refuse them from now on. Returns what has to be mended first, if anything.
        """
        with mongo_errors():
            try:
                self._hotels.create_index(**d.SLUG_INDEX)
                self._are_refused = True
                return ""
            except DuplicateKeyError:
                self._are_refused = False
        return _told(self._shared())

    def found(self) -> dict[str, str]:
        """Active hotel -> the active one that has its address and came first."""
        if self._are_refused:
            return {}
        shared = self._shared()
        if not shared:
            self.refuse()  # somebody mended them
        seconds: dict[str, str] = {}
        for owners in shared.values():
            # What cannot be shown anyway, by its id or its slug, is in nobody's way.
            fit = [str(one["_id"]) for one in owners
                   if one.get("active") is True and isinstance(one["_id"], str)
                   and isinstance(one["slug"], str)]
            seconds.update(dict.fromkeys(fit[1:], fit[0] if fit else ""))
        return seconds

    def _shared(self) -> dict[str, list[Document]]:
        """Address -> the hotels that have it, where they are several, in the order they came."""
        steps: list[dict[str, Any]] = [
            {"$match": {"slug": {"$type": "string"}}},
            {"$unwind": "$slug"},
            {"$group": {"_id": "$slug", "hotels": {"$sum": 1}}},
            {"$match": {"hotels": {"$gt": 1}}},
        ]
        shared: dict[str, list[Document]] = defaultdict(list)
        with mongo_errors():
            slugs = [one["_id"] for one in self._hotels.aggregate(steps, allowDiskUse=True)]
            owners = self._hotels.find({"slug": {"$in": slugs}}, {"slug": 1, "active": 1})
            for one in owners.sort([("created_at", 1), ("_id", 1)]):
                several = one["slug"] if isinstance(one["slug"], list) else [one["slug"]]
                for slug in {text for text in several if isinstance(text, str)}:
                    shared[slug].append(one)
        return {slug: found for slug, found in shared.items() if len(found) > 1}


def _told(shared: dict[str, list[Document]]) -> str:
    if not shared:
        return ""  # they went meanwhile; whoever asks next makes the index
    some = "; ".join(f"{slug} ({', '.join(str(one['_id']) for one in owners[:_TOLD_MAX])})"
                     for slug, owners in sorted(shared.items())[:_TOLD_MAX])
    others = f"; and {len(shared) - _TOLD_MAX} more" if len(shared) > _TOLD_MAX else ""
    return (f"Several hotels have one address: {some}{others}. Give every document of "
            f"`{d.HOTELS}` a slug of its own. Until then the hotel that came first is shown at "
            "each address, the others are not, and MongoDB cannot refuse further ones.")
