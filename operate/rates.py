"""Looking at live rates: searches that wait, who fetches, how each supplier may be called."""

from __future__ import annotations

from collections import Counter
from typing import Any

import redis
import rq
from rq.serializers import JSONSerializer

import bootstrap
from engine_errors import valkey_errors
from errors import EngineAway
from operate.output import Part, Refused, Result, age, moment, table
from queues.fitness import memory_percent
from queues.keys import INTERACTIONS, SEARCH, QueueKeys, fetch_queue
from settings import Settings

Data = dict[str, Any]


class RateWatch:
    """Reads the Valkey of searches. Orders go on without it, so its absence is told, not raised."""

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self._client: Any = client
        self._settings = settings

    # --- the whole road -----------------------------------------------------------------------

    def state(self) -> Part:
        """Searches, fetch workers, suppliers, tokens and the log of calls."""
        try:
            data = {
                "searches": self._list(SEARCH),
                "memory_percent": memory_percent(self._client),
                "fetch_workers": self._workers(),
                "suppliers": self._suppliers(),
                "tokens": {name: token and token._asdict() for name, token in
                           bootstrap.supplier_tokens(self._settings, self._client).items()},
                "interactions": self._list(INTERACTIONS),
            }
        except EngineAway as away:
            words = f"The Valkey of searches does not answer: {away}."
            return Part({"remarks": [words]}, [("searches", "not known")], [words])
        remarks = data["remarks"] = _remarks(data, self._settings)
        return Part(data, _rows(data), remarks, _tables(data))

    def _list(self, keys: QueueKeys) -> Data:
        with valkey_errors():
            pipe = self._client.pipeline(transaction=True)
            pipe.llen(keys.jobs)
            pipe.llen(keys.inflight)
            pipe.get(keys.lease)
            pipe.hmget(keys.counters, "bytes", "dropped")
            pipe.llen(keys.dead)
            jobs, inflight, holder, (size, dropped), dead = pipe.execute()
        return {"jobs": jobs, "inflight": inflight, "bytes": int(size or 0),
                "dropped": int(dropped or 0), "dead_letters": dead,
                "holder": holder.decode() if holder else None}

    def _workers(self) -> list[Data]:
        with valkey_errors():
            (seconds, micros) = self._client.time()
            found = self._client.zrange(SEARCH.workers, 0, -1, withscores=True)
        left = [(name.decode(), int(until_ms - seconds * 1_000 - micros / 1_000))
                for name, until_ms in found]
        return [{"worker": name, "alive": left_ms > 0, "runs_out_in_ms": left_ms}
                for name, left_ms in left]

    def _suppliers(self) -> dict[str, Data]:
        found = {}
        for name, gate in bootstrap.supplier_gates(self._settings, self._client).items():
            queue = rq.Queue(fetch_queue(name), connection=self._client,
                             serializer=JSONSerializer)
            with valkey_errors():
                waiting = queue.count
                begun = queue.started_job_registry.get_job_count(cleanup=False)
            found[name] = {"parts_waiting": waiting, "parts_begun": begun, **gate._asdict()}
        return found

    # --- one search ---------------------------------------------------------------------------

    def search(self, search_id: str) -> Result:
        """One search: what it asks for, and how far each supplier is with it."""
        entries = bootstrap.search_entries(self._settings, self._client)
        query, entry = entries.query(search_id), entries.read(search_id)
        if query is None or entry is None:
            raise Refused(f"There is no search {search_id}: searches live for "
                          f"{self._settings.search_life_s:g} s.")
        hotels = Counter(rate.supplier for rate in
                         {(rate.supplier, rate.hotel_id): rate for rate in entry.rates}.values())
        suppliers = {
            name: {"state": one.state.value, "parts": one.parts, "parts_done": one.parts_done,
                   "hotels": hotels[name], "rates": one.rates, "latency_ms": one.latency_ms,
                   "error": one.error}
            for name, one in entry.suppliers.items()
        }
        data = {
            "search_id": search_id, "destination": query.destination,
            "check_in": query.check_in.isoformat(), "check_out": query.check_out.isoformat(),
            "guests": query.guests, "hotel_ids": len(query.hotel_ids),
            "is_completed": entry.is_completed, "rates": entry.count,
            "began_at": moment(entry.created_ms), "deadline_at": moment(entry.deadline_ms),
            "expires_at": moment(entry.expires_ms), "suppliers": suppliers,
        }
        where = query.destination + (f", {len(query.hotel_ids)} hotels" if query.hotel_ids else "")
        rows = [
            ("stay", f"{where}, {data['check_in']} to {data['check_out']}, {query.guests} guests"),
            ("began", data["began_at"]), ("deadline", data["deadline_at"]),
            ("expires", data["expires_at"]), ("completed", "yes" if entry.is_completed else "no"),
            ("rates", entry.count),
        ]
        progress = [
            (name, one["state"], f"{one['parts_done']} of {one['parts']}", one["hotels"],
             one["rates"], "-" if one["latency_ms"] is None else f"{one['latency_ms']} ms",
             one["error"] or "-")
            for name, one in suppliers.items()
        ]
        return Result(data, [
            *table(("", ""), rows)[1:], "",
            *(table(("supplier", "is", "parts", "hotels", "rates", "after", "error"), progress)
              if progress else ["It is not planned yet."]),
        ])


def _rows(data: Data) -> list[tuple[str, object]]:
    searches, calls = data["searches"], data["interactions"]
    return [
        ("searches", f"{searches['jobs']} waiting, {searches['inflight']} in flight"),
        ("search lease", searches["holder"] or "nobody"),
        ("memory of searches", f"{data['memory_percent']} %"),
        ("log of calls", f"{calls['jobs']} waiting ({calls['bytes']} bytes), "
                         f"{calls['inflight']} in flight, {calls['dropped']} dropped"),
        ("log lease", calls["holder"] or "nobody"),
        *((f"token of {name}", "none" if token is None else
           f"{age(int(token['age_s'] * 1_000))} old, good for "
           f"{age(int(token['left_s'] * 1_000))}")
          for name, token in data["tokens"].items()),
    ]


def _tables(data: Data) -> list[str]:
    suppliers = [
        (name, one["parts_waiting"], one["parts_begun"], one["calls_now"], one["state"],
         one["failures"], _until(one))
        for name, one in data["suppliers"].items()
    ]
    workers = [
        (one["worker"], "alive" if one["alive"] else "dead", age(abs(one["runs_out_in_ms"])))
        for one in data["fetch_workers"]
    ]
    heads = ("supplier", "parts waiting", "begun", "calls now", "breaker", "failures",
             "left alone")
    lines = ["", *table(heads, suppliers)]
    return lines + (["", *table(("fetch worker", "is", "beat"), workers)] if workers else [])


def _until(gate: Data) -> str:
    if gate["paused"]:
        return f"a pause of {gate['left_s']} s, which it asked for"
    if gate["state"] == "open":
        return f"for {gate['left_s']} s"
    return "until one call has come through" if gate["state"] == "half_open" else "-"


def _remarks(data: Data, settings: Settings) -> list[str]:
    searches, calls = data["searches"], data["interactions"]
    checks = [
        (searches["holder"] is None, "No search consumer holds the lease."),
        (not any(one["alive"] for one in data["fetch_workers"]),
         "No fetch worker has a heartbeat."),
        (searches["jobs"] >= settings.searches_max_waiting,
         f"New searches are refused: {searches['jobs']} wait."),
        (searches["dead_letters"] > 0,
         f"{searches['dead_letters']} searches could not be planned; see the consumer's log."),
        (data["memory_percent"] >= settings.memory_max_percent,
         f"The Valkey of searches is {data['memory_percent']} % full."),
        (calls["holder"] is None, "Nobody writes the log of calls."),
        (calls["dropped"] > 0, f"{calls['dropped']} calls are missing from the log."),
    ]
    remarks = [words for wrong, words in checks if wrong]
    for name, gate in data["suppliers"].items():
        if gate["state"] != "closed" or gate["paused"]:
            remarks.append(f"{name} is left alone: {_until(gate)}.")
    return remarks
