"""The catalogue as an operator sees it: what is shown, how far behind it is, and a rebuild."""

from __future__ import annotations

import time
from typing import Any

import redis

from catalogue.shelf import Standing, read_standing
from catalogue.shelf_writer import ask_for_rebuild
from catalogue.source import HistoryLost, HotelSource
from engine_errors import valkey_errors
from errors import EngineAway
from operate.output import Part, Result, age, moment
from queues.fitness import memory_percent
from queues.keys import CATALOGUE, FEEDBACK

SEEN_WITHIN_S = 3.0
_POLL_S = 0.05
# Changes that wait are counted up to here.
CHANGES_COUNTED_MAX = 1_000
# A change is on its page within half a second; MongoDB dates it to the second only.
OLD_CHANGE_MS = 3_000
MEMORY_HIGH_PERCENT = 90

Data = dict[str, Any]


class CatalogueDesk:
    """Reads the catalogue's Valkey and MongoDB's changes. `now_ms` is Valkey's clock."""

    def __init__(self, client: redis.Redis, source: HotelSource, now_ms: int) -> None:
        self._client = client
        self._source = source
        self._now_ms = now_ms

    def state(self) -> Part:
        """What is shown and what waits. An engine that is away is a remark: orders need it not."""
        try:
            data = self._read()
        except EngineAway as away:
            words = f"The catalogue's Valkey does not answer: {away}."
            return Part({"remarks": [words]}, [("catalogue", "not known")], [words])
        remarks = data["remarks"] = _remarks(data)
        return Part(data, _rows(data), remarks)

    def rebuild(self) -> Result:
        """Have everything built anew; pages that are there stay until the swap."""
        ask_for_rebuild(self._client)
        seen = self._taken_up()
        return Result(
            {"asked": True, "seen": seen},
            ["Everything is asked to be built anew. The pages that are there stay until all new "
             "ones are.",
             "The catalogue consumer has begun; `queues` says how far it is." if seen else
             "No catalogue consumer has begun yet; it will when one is at work."],
        )

    def _taken_up(self) -> bool:
        give_up_s = time.monotonic() + SEEN_WITHIN_S
        while True:
            with valkey_errors():
                # The beginning of a generation takes the wish away.
                if not self._client.hexists(CATALOGUE.state, "wanted"):
                    return True
                at_work = self._client.exists(CATALOGUE.lease)
            if not at_work or time.monotonic() > give_up_s:
                return False
            time.sleep(_POLL_S)

    # --- reading ------------------------------------------------------------------------------

    def _read(self) -> Data:
        client: Any = self._client
        with valkey_errors():
            pipe = client.pipeline(transaction=True)
            pipe.hgetall(CATALOGUE.state)
            for keys in (CATALOGUE, FEEDBACK):
                pipe.get(keys.lease)
            pipe.llen(FEEDBACK.jobs)
            pipe.llen(FEEDBACK.inflight)
            state, holder, keeper, waiting, taken = pipe.execute()
        standing = read_standing(state)
        shown = standing.generation if standing else None
        building = int(state[b"building"]) if b"building" in state else None
        return {
            "generation": shown,
            "built_at": moment(standing.built_ms) if standing else None,
            "built_ago_ms": self._now_ms - standing.built_ms if standing else None,
            "hotels": self._count(CATALOGUE.rows(shown)) if shown else 0,
            "broken": self._count(CATALOGUE.broken(shown)) if shown else 0,
            "changes": self._waiting_changes(standing),
            "rebuild": {
                "asked": b"wanted" in state, "under_way": building is not None,
                "hotels_built": self._count(CATALOGUE.rows(building)) if building else 0,
            },
            "lease": holder.decode() if holder else None,
            "memory_percent": memory_percent(self._client),
            "feedback": {"waiting": waiting + taken, "lease": keeper.decode() if keeper else None},
        }

    def _count(self, key: str) -> int:
        client: Any = self._client
        with valkey_errors():
            return int(client.hlen(key))

    def _waiting_changes(self, standing: Standing | None) -> Data | None:
        """Changes in MongoDB that no page shows yet; None when there is no telling."""
        if standing is None:
            return None
        try:
            feed = self._source.changes(standing.token)
            try:
                count, first_ms = feed.waiting(CHANGES_COUNTED_MAX)
            finally:
                feed.close()
        except (HistoryLost, EngineAway):
            return None
        return {"waiting": count,
                "oldest_ms": None if first_ms is None else max(0, self._now_ms - first_ms)}


def _rows(data: Data) -> list[tuple[str, object]]:
    rebuild, changes = data["rebuild"], data["changes"]
    if data["generation"] is None:
        shown = "nothing is shown"
    else:
        shown = (f"{data['hotels']} hotels, {data['broken']} cannot be shown; generation "
                 f"{data['generation']}, built {age(data['built_ago_ms'])} ago")
    if changes is None:
        behind = "not known"
    elif not changes["waiting"]:
        behind = "none waits"
    else:
        most = "+" * (changes["waiting"] >= CHANGES_COUNTED_MAX)
        behind = f"{changes['waiting']}{most} wait, the oldest for {age(changes['oldest_ms'])}"
    under_way = f"under way, {rebuild['hotels_built']} hotels so far"
    return [
        ("catalogue", shown),
        ("its changes", behind),
        ("its rebuild", under_way if rebuild["under_way"] else
         "asked for" if rebuild["asked"] else "none"),
        ("its lease", data["lease"] or "nobody"),
        ("its memory", f"{data['memory_percent']} %"),
        ("feedback", f"{data['feedback']['waiting']} waiting"),
    ]


def _remarks(data: Data) -> list[str]:
    changes = data["changes"] or {}
    checks = [
        (data["lease"] is None, "No catalogue consumer holds the lease."),
        (data["generation"] is None, "No page of the catalogue is shown."),
        (data["broken"] > 0,
         "There are hotels whose documents make no page: see docs/operations.md, Hotels."),
        ((changes.get("oldest_ms") or 0) >= OLD_CHANGE_MS,
         "The catalogue is behind MongoDB."),
        (data["memory_percent"] >= MEMORY_HIGH_PERCENT,
         f"The catalogue's Valkey is {data['memory_percent']} % full: raise "
         "CATALOGUE_MAXMEMORY_MB, or lower CATALOGUE_ACTIVE_MAX."),
    ]
    return [words for wrong, words in checks if wrong]
