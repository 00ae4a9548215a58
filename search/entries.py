"""The search entry in Valkey: begun once, appended to by many, read by all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import msgspec
import redis

from engine_errors import valkey_errors
from errors import BerthError, EngineAway
from queues.keys import SearchKeys
from queues.scripts import Argument, Script
from search.model import (
    Cursor,
    Entry,
    OfferedRate,
    PinnedRate,
    SupplierProgress,
    Version,
    name_of_rate,
    parts_of_rate_id,
)
from search.query import SearchQuery


class TooManySearches(BerthError):
    """The searches that wait fill their list; nothing was begun."""

    retryable = True


class RunSearch(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="run_search"):
    """The job of a new search."""

    query: SearchQuery
    v: int = 1


class SearchEntries:
    """Begin, plan, append and read, each in one call. All may raise EngineAway.

    Who begins a search reads it too: that is a second call.
    """

    def __init__(
        self,
        client: redis.Redis,
        keys: SearchKeys,
        *,
        deadline_s: float,
        life_s: float,
        max_waiting: int,
    ) -> None:
        self._client = client
        self._keys = keys
        self._deadline_ms = int(deadline_s * 1_000)
        self._life_ms = int(life_s * 1_000)
        self._max_waiting = max_waiting
        self._begin = Script(client, "search_begin")
        self._read = Script(client, "search_read")
        self._plan = Script(client, "search_plan")
        self._append = Script(client, "search_append")
        self._find_rate = Script(client, "search_rate")
        self._job = msgspec.json.Decoder(RunSearch)
        self._rate = msgspec.json.Decoder(OfferedRate)
        self._progress = msgspec.json.Decoder(SupplierProgress)

    def begin(self, query: SearchQuery) -> Entry:
        """The entry of this search, begun if nobody has. Raises TooManySearches."""
        keys, search_id = self._keys, query.search_id
        try:
            answer = self._begin(
                [keys.entry(search_id), keys.rates(search_id), keys.suppliers(search_id),
                 keys.chunks(search_id), keys.jobs, keys.bell, keys.counters,
                 keys.places(search_id)],
                [msgspec.json.encode(RunSearch(query=query)), self._deadline_ms, self._life_ms,
                 self._max_waiting],
            )
        except redis.exceptions.OutOfMemoryError as error:
            raise TooManySearches("the searches of the last minutes fill the memory") from error
        if answer == b"backlog":
            raise TooManySearches("too many searches wait")
        entry = self.read(search_id)
        if entry is None:
            raise EngineAway("a search was begun, and is gone already")
        return entry

    def read(
        self, search_id: str, *, since: Cursor | None = None, known: Version | None = None
    ) -> Entry | None:
        """The entry as it stands, with the rates after `since`. None when there is none (any
        more), or when `since` belongs to another one, that was there before it.
        """
        keys = self._keys
        answer = self._read(
            [keys.entry(search_id), keys.rates(search_id), keys.suppliers(search_id)],
            [since.seen if since else 0, since.created_ms if since else "",
             f"{known.created_ms} {known.revision}" if known else ""],
        )
        if not answer:
            return None
        entry = {name: int(value) for name, value in _pairs(answer[0]) if name != "job"}
        suppliers, stored = answer[1:] or ((), [])
        return Entry(
            search_id=search_id,
            is_completed=bool(entry["is_completed"]),
            created_ms=entry["created_ms"],
            deadline_ms=entry["deadline_ms"],
            expires_ms=entry["expires_ms"],
            revision=entry["revision"],
            count=(since.seen if since else 0) + len(stored),
            suppliers={name: self._progress.decode(line) for name, line in
                       sorted(_pairs(suppliers))},
            stored=stored,
            unchanged=len(answer) == 1,
        )

    def plan(self, search_id: str, parts: Mapping[str, int]) -> bool:
        """Note how many parts each supplier is asked in. False: the search is over already.

        A second plan changes nothing and is True: its jobs may have been lost, so they are
        enqueued again, under the same ids.
        """
        keys = self._keys
        pairs = [value for pair in parts.items() for value in pair]
        planned = self._plan([keys.entry(search_id), keys.suppliers(search_id)], pairs)
        return bool(planned >= 0)

    def append(
        self,
        search_id: str,
        supplier: str,
        chunk: str,
        rates: Sequence[OfferedRate],
        *,
        finished: bool = False,
        error: str = "",
        created_ms: int | None = None,
    ) -> bool:
        """Append one chunk; `finished` with the last of a part. False when it changed nothing.

        `chunk` names it within the search, so that an answer that was lost can be repeated.
        """
        return self.append_many(search_id, supplier, [(chunk, rates)], finished=finished,
                                error=error, created_ms=created_ms)

    def append_many(
        self,
        search_id: str,
        supplier: str,
        chunks: Sequence[tuple[str, Sequence[OfferedRate]]],
        *,
        finished: bool = False,
        error: str = "",
        created_ms: int | None = None,
    ) -> bool:
        """Append several chunks in one call, `finished` when the last one ends its part; those that
        came before add nothing. False when nothing was new.

        `created_ms`: when the search began that the rates are for; another one takes none.
        """
        keys = self._keys
        arguments: list[Argument] = [supplier, "1" if finished else "0", error,
                                     "" if created_ms is None else created_ms]
        for chunk, rates in chunks:
            arguments += [chunk, len(rates)]
            for rate in rates:
                arguments += [name_of_rate(rate.rate_id), msgspec.json.encode(rate)]
        with _room():
            answer = self._append(
                [keys.entry(search_id), keys.rates(search_id), keys.suppliers(search_id),
                 keys.chunks(search_id), keys.places(search_id)], arguments,
            )
        return bool(answer[0] == b"appended")

    def query(self, search_id: str) -> SearchQuery | None:
        """What this search asks for; None when there is none (any more)."""
        with valkey_errors():
            job = self._client.hget(self._keys.entry(search_id), "job")
        return None if job is None else self._job.decode(job).query

    def find_rate(self, rate_id: str) -> PinnedRate | None:
        """The rate of a search that still lives, in one call; None for any other id."""
        parts = parts_of_rate_id(rate_id)
        if parts is None:
            return None
        search_id, name = parts
        keys = self._keys
        answer = self._find_rate(
            [keys.entry(search_id), keys.rates(search_id), keys.places(search_id)], [name]
        )
        if answer[0] != b"rate":
            return None
        return PinnedRate(query=self._job.decode(answer[2]).query,
                          rate=self._rate.decode(answer[3]), expires_ms=int(answer[1]))


@contextmanager
def _room() -> Iterator[None]:
    """At the memory limit nothing is appended; expired searches make room again."""
    try:
        yield
    except redis.exceptions.OutOfMemoryError as error:
        raise EngineAway("the searches of the last minutes fill their Valkey") from error


def _pairs(flat: Sequence[bytes]) -> Iterable[tuple[str, bytes]]:
    return ((flat[i].decode(), flat[i + 1]) for i in range(0, len(flat), 2))
