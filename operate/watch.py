"""Looking without touching: the queues and their ages, owed work, orders by state."""

from __future__ import annotations

from typing import Any

import msgspec
import redis
from pymongo import ASCENDING, ReadPreference
from pymongo.database import Database
from pymongo.read_concern import ReadConcern

from booking.documents import Document
from booking.model import State
from engine_errors import mongo_errors, valkey_errors
from operate.output import Part, Result, age, moment, table
from queues.fitness import memory_percent
from queues.keys import BOOKING
from settings import Settings

OWED_SHOWN_MAX = 1_000
# How many of the oldest jobs are asked for their age: reports carry none.
_OLDEST_ASKED = 200
# A waiting order that is older than this is worth a look; see docs/operations.md.
OLD_JOB_MS = 2_000


class _Dated(msgspec.Struct):
    accepted_ms: int | None = None


_dated = msgspec.json.Decoder(_Dated)


class Watch:
    """Reads both engines; changes nothing. `now_ms` is Valkey's clock."""

    def __init__(
        self,
        client: redis.Redis,
        database: Database[Document],
        settings: Settings,
        now_ms: int,
    ) -> None:
        self._client = client
        self._settings = settings
        self._now_ms = now_ms
        self._orders = database.get_collection(
            "orders", read_preference=ReadPreference.PRIMARY, read_concern=ReadConcern("majority")
        )

    # --- queues -------------------------------------------------------------------------------

    def queues(self, **parts: Part) -> Result:
        """How much waits, how old it is, and who works on it; with the `parts` of other roads."""
        data = self._booking() | {"reservations": self._reservations()}
        data["remarks"] = self._remarks(data)
        data |= {name: part.data for name, part in parts.items()}
        remarks = data["remarks"] + [words for part in parts.values() for words in part.remarks]
        work, lease, backlog = data["reservations"], data["lease"], data["backlog"]
        rows = [
            ("waiting jobs", data["waiting"]),
            ("in flight", f"{data['inflight']} (delivered {data['deliveries']} times)"),
            ("oldest order", "-" if data["oldest_ms"] is None else age(data["oldest_ms"])),
            ("lease", f"{lease['holder']} (for {age(lease['runs_out_in_ms'])})" if lease["holder"]
             else "nobody"),
            ("backlog", f"{backlog['jobs']} of {backlog['max_jobs']} jobs, "
                        f"{backlog['bytes']} of {backlog['max_bytes']} bytes"),
            ("intake", f"closed: {data['pressure']}" if data["pressure"] else "open"),
            ("memory", f"{data['memory_percent']} % (orders are refused from "
                       f"{self._settings.memory_max_percent} %)"),
            ("dead letters", data["dead_letters"]),
            ("reservation jobs", f"{work['waiting']} waiting, {work['taken']} taken"),
            *(row for part in parts.values() for row in part.rows),
        ]
        workers = [(one["worker"], "alive" if one["alive"] else "dead",
                    age(abs(one["runs_out_in_ms"])), one["taken"]) for one in work["workers"]]
        lines = table(("", ""), rows)[1:]
        if workers:
            lines += ["", *table(("reservation worker", "is", "beat", "taken"), workers)]
        lines += [line for part in parts.values() for line in part.lines]
        return Result(data, lines + [""] * bool(remarks) + remarks)

    def _booking(self) -> dict[str, Any]:
        with valkey_errors():
            pipe = self._client.pipeline(transaction=True)
            pipe.llen(BOOKING.jobs)
            pipe.llen(BOOKING.inflight)
            pipe.lrange(BOOKING.inflight, 0, _OLDEST_ASKED - 1)
            pipe.lrange(BOOKING.jobs, -_OLDEST_ASKED, -1)
            pipe.get(BOOKING.lease)
            pipe.pttl(BOOKING.lease)
            pipe.hget(BOOKING.batch, "deliveries")
            pipe.hmget(BOOKING.counters, "pushed", "applied", "bytes")
            pipe.get(BOOKING.pressure)
            pipe.llen(BOOKING.dead)
            (waiting, inflight, taken, oldest, holder, ttl_ms, deliveries, counters, pressure,
             dead) = pipe.execute()
        pushed, applied, size = (int(counter or 0) for counter in counters)
        return {
            "waiting": waiting,
            "inflight": inflight,
            "deliveries": int(deliveries or 0) if inflight else 0,
            "oldest_ms": self._oldest_ms([*taken, *reversed(oldest)]),
            "lease": {"holder": holder.decode() if holder else None,
                      "runs_out_in_ms": max(0, ttl_ms)},
            "backlog": {"jobs": pushed - applied, "max_jobs": self._settings.backlog_max_jobs,
                        "bytes": size, "max_bytes": self._settings.backlog_max_bytes},
            "pressure": pressure.decode() if pressure else None,
            "memory_percent": memory_percent(self._client),
            "dead_letters": dead,
        }

    def _oldest_ms(self, jobs: list[bytes]) -> int | None:
        """Age of the first order among the oldest jobs; None when there is none."""
        for raw in jobs:
            try:
                accepted_ms = _dated.decode(raw).accepted_ms
            except msgspec.MsgspecError:
                continue  # the consumer says what is wrong with it, and buries it
            if accepted_ms is not None:
                return self._now_ms - accepted_ms
        return None

    def _reservations(self) -> dict[str, Any]:
        work = BOOKING.reservations
        with valkey_errors():
            pipe = self._client.pipeline(transaction=True)
            pipe.llen(work.waiting)
            pipe.zrange(work.workers, 0, -1, withscores=True)
            waiting, workers = pipe.execute()
            pipe = self._client.pipeline(transaction=True)
            for worker, _ in workers:
                pipe.llen(work.inflight(worker.decode()))
            taken = pipe.execute()
        return {
            "waiting": waiting,
            "taken": sum(taken),
            "workers": [
                {"worker": worker.decode(), "alive": until_ms > self._now_ms, "taken": count,
                 "runs_out_in_ms": int(until_ms) - self._now_ms}
                for (worker, until_ms), count in zip(workers, taken, strict=True)
            ],
        }

    def _remarks(self, data: dict[str, Any]) -> list[str]:
        """What an operator should look at; empty on a healthy system."""
        work = data["reservations"]
        oldest_ms = data["oldest_ms"] or 0
        checks = [
            (data["lease"]["holder"] is None, "No booking consumer holds the lease."),
            (not any(worker["alive"] for worker in work["workers"]),
             "No reservation worker has a heartbeat."),
            (oldest_ms >= OLD_JOB_MS, f"The oldest order has waited for {age(oldest_ms)}."),
            (data["deliveries"] > 1,
             f"The batch in flight was delivered {data['deliveries']} times."),
            (data["pressure"] is not None, f"Orders are refused: {data['pressure']}."),
            (data["memory_percent"] >= self._settings.memory_max_percent,
             f"Valkey is {data['memory_percent']} % full."),
            (data["dead_letters"] > 0, "There are dead letters: see `dead list`."),
        ]
        return [words for wrong, words in checks if wrong]

    # --- owed work ----------------------------------------------------------------------------

    def owed(self) -> Result:
        """Orders that owe a cancellation at the supplier, the longest owed first."""
        # By the sparse index on owed_since, so that this is quick among a million orders.
        wanted: Document = {"owed_since": {"$exists": True}}
        fields = {"owed": 1, "owed_since": 1, "state": 1, "reason": 1}
        with mongo_errors():
            count = self._orders.count_documents(wanted)
            found = list(
                self._orders.find(wanted, fields)
                .sort("owed_since", ASCENDING).limit(OWED_SHOWN_MAX)
            )
        owed = [self._owed(document) for document in found]
        rows = [(one["order_id"], one["state"], one["reason"] or "-", ", ".join(one["owed"]),
                 age(int(one["age_s"] * 1_000)), "overdue" if one["overdue"] else "in time")
                for one in owed]
        lines = table(("order", "state", "reason", "owes", "for", "is"), rows)
        if count > len(owed):
            lines.append(f"... and {count - len(owed)} more.")
        return Result({"count": count, "owed": owed},
                      lines if rows else ["Nothing is owed to a supplier."])

    def _owed(self, document: Document) -> dict[str, Any]:
        since_ms = int(document["owed_since"].timestamp() * 1_000)
        age_ms = self._now_ms - since_ms
        return {
            "order_id": str(document["_id"]), "state": document["state"],
            "reason": document.get("reason"), "owed": list(document.get("owed", ())),
            "since": moment(since_ms), "age_s": round(age_ms / 1_000, 1),
            "overdue": age_ms > self._settings.owed_after_s * 1_000,
        }

    # --- orders -------------------------------------------------------------------------------

    def orders(self) -> Result:
        """How many orders are in each state, and for which reasons."""
        group: Document = {"_id": {"state": "$state", "reason": "$reason"}, "count": {"$sum": 1}}
        with mongo_errors():
            found = list(self._orders.aggregate([{"$group": group}]))
        states = {str(state): 0 for state in State if state is not State.QUEUED}
        reasons: dict[str, dict[str, int]] = {}
        for row in found:
            state, reason = str(row["_id"].get("state")), row["_id"].get("reason")
            states[state] = states.get(state, 0) + row["count"]
            if reason is not None:
                reasons.setdefault(state, {})[str(reason)] = row["count"]
        rows: list[tuple[str, int, str]] = []
        for state, count in states.items():
            why = sorted(reasons.get(state, {}).items(), key=lambda item: -item[1])
            rows.append((state, count, ", ".join(f"{number} {reason}" for reason, number in why)))
        total = sum(states.values())
        return Result({"orders": total, "states": states, "reasons": reasons},
                      table(("state", "orders", "of them"), [*rows, ("all", total, "")]))
