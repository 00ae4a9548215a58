"""Pausing and resuming a sale, and changing a quota: in MongoDB, where the consumer looks.

The booking consumer reads all packages once a beat, so a change shows within about a second. The
commands wait for that, bounded, and say whether it was seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

import redis
from pymongo import ReturnDocument, WriteConcern
from pymongo.database import Database

from booking import documents
from booking.model import QUOTA_MAX
from booking.projection import PAUSED_DOOR, Shelf
from booking.store import WRITE_TIMEOUT_MS, BookingStore
from engine_errors import mongo_errors, valkey_errors
from operate.output import Refused, Result
from queues.keys import BOOKING

SEEN_WITHIN_S = 3.0
_POLL_S = 0.05
_IDS_SHOWN = 12


class Sales:
    """The packages as the operator changes them."""

    def __init__(
        self, client: redis.Redis, database: Database[documents.Document], store: BookingStore
    ) -> None:
        self._client = client
        self._store = store
        self._shelf = Shelf(client)
        self._packages = database.get_collection(
            "packages",
            write_concern=WriteConcern(w="majority", j=True, wtimeout=WRITE_TIMEOUT_MS),
        )

    def pause(self, package_id: int) -> Result:
        """Close the sale of a package until `resume`. Live orders keep their units."""
        before = self._change(package_id, {"$set": {"paused": True}})
        seen = self._seen(lambda: self._door(package_id) == PAUSED_DOOR)
        was = bool(before.get("paused", False))
        return Result(
            {"package": package_id, "paused": True, "was_paused": was, "seen": seen},
            [f"Package {package_id} {'was paused already' if was else 'is paused'}. Orders that "
             "are still queued for it will be rejected (sales_paused); live orders go on.",
             _seen_words(seen)],
        )

    def resume(self, package_id: int) -> Result:
        """Open the sale again, within its own sale window."""
        before = self._change(package_id, {"$unset": {"paused": ""}})
        seen = self._seen(lambda: self._door(package_id) not in ("", PAUSED_DOOR))
        was = bool(before.get("paused", False))
        return Result(
            {"package": package_id, "paused": False, "was_paused": was, "seen": seen},
            [f"Package {package_id} {'is on sale again' if was else 'was not paused'}.",
             _seen_words(seen)],
        )

    def quota(self, package_id: int, quota: int) -> Result:
        """Change a quota. A lowered one stops sales; it takes nothing back."""
        if not 0 <= quota <= QUOTA_MAX:
            raise Refused(f"A quota is a whole number from 0 to {QUOTA_MAX}; {quota} is none.")
        before = self._change(package_id, {"$set": {"quota": quota}})
        seen = self._seen(lambda: self._shown_quota(package_id) == quota)
        live = len(self._store.live_units(package_id))
        remaining = max(0, quota - live)
        lines = [f"Package {package_id}: quota {before.get('quota')} before, {quota} now; "
                 f"{live} live orders, {remaining} left to sell."]
        if live > quota:
            lines.append(f"{live - quota} live orders are above it and stay. Sales go on when "
                         f"fewer than {quota} are live." if quota else
                         f"The {live} live orders stay. Nothing more is sold.")
        return Result(
            {"package": package_id, "old": before.get("quota"), "new": quota, "live": live,
             "remaining": remaining, "seen": seen},
            [*lines, _seen_words(seen)],
        )

    def _change(self, package_id: int, update: dict[str, Any]) -> documents.Document:
        """The document before the change. Raises Refused for an unknown package."""
        with mongo_errors():
            before = self._packages.find_one_and_update(
                {"_id": package_id}, update, return_document=ReturnDocument.BEFORE
            )
            if before is not None:
                return before
            known = [str(d["_id"]) for d in
                     self._packages.find({}, {"_id": 1}).sort("_id").limit(_IDS_SHOWN + 1)]
        if not known:
            raise Refused("There are no packages at all; run `python db_init.py`.")
        shown = ", ".join(known[:_IDS_SHOWN]) + (", ..." if len(known) > _IDS_SHOWN else "")
        raise Refused(f"There is no package {package_id}; there are {shown}.")

    def _door(self, package_id: int) -> str:
        with valkey_errors():
            door = cast("bytes | None", self._client.hget(BOOKING.doors, str(package_id)))
        return door.decode() if door else ""

    def _shown_quota(self, package_id: int) -> int | None:
        view = self._shelf.package(package_id)
        return view.quota if view else None

    def _seen(self, shown: Callable[[], bool]) -> bool:
        """Whether the consumer has taken it up; at once False when none is at work."""
        give_up_s = time.monotonic() + SEEN_WITHIN_S
        while not shown():
            with valkey_errors():
                at_work = self._client.exists(BOOKING.lease)
            if not at_work or time.monotonic() > give_up_s:
                return False
            time.sleep(_POLL_S)
        return True


def _seen_words(seen: bool) -> str:
    return ("The booking consumer has taken it up." if seen else
            "No booking consumer has taken it up yet; it will when one is at work.")
