"""What stands of the catalogue in Valkey, for those who read it: web processes above all.

A reader asks nobody else. Each answer is of the generation that is shown at that moment: the
reader remembers its number, asks for it in the same round trip, and asks once more when a rebuild
was swapped in meanwhile.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec
import redis

from catalogue.model import Payload
from engine_errors import valkey_errors
from errors import CatalogueBuilding
from queues.keys import CATALOGUE, CatalogueKeys

# A page is compressed once per change and sent many times.
GZIP_LEVEL = 6
_ROWS_AT_ONCE = 1_000
# A thousand took a follower 20 ms, for which no request of its process was served; these take 1.
_CHANGES_AT_ONCE = 100
# A rebuild takes seconds, so two within one answer mean that something else is wrong.
_SWAPS_MAX = 5

T = TypeVar("T")


class Standing(msgspec.Struct, frozen=True):
    """The generation that is shown, and how many changes were told in it.

    `version` is that of payloads, `day` the date from which nights are shown.
    """

    generation: int
    seq: int
    token: str
    version: str
    day: str
    built_ms: int


class Part(msgspec.Struct, frozen=True):
    """A finished answer: `body` is gzip and `size` what it is unpacked. `etag` is in quotes."""

    etag: str
    body: bytes
    size: int


class Cursor(msgspec.Struct, frozen=True):
    """How far somebody has followed the changes."""

    generation: int
    seq: int


class Change(msgspec.Struct, frozen=True):
    """A hotel has another row, or with an empty one, is gone."""

    hotel_id: str
    row: bytes


class Entry(msgspec.Struct, frozen=True):
    """A payload as it is put on the shelf."""

    etag: str
    page: bytes
    page_size: int
    json: bytes
    json_size: int
    card: bytes
    brief: bytes
    row: bytes


def entry_of(payload: Payload, level: int = GZIP_LEVEL) -> Entry:
    """Compress and seal a payload. The same payload gives the same entry."""
    return Entry(
        etag=payload.etag,
        page=gzip.compress(payload.page, level, mtime=0),
        page_size=len(payload.page),
        json=gzip.compress(payload.json, level, mtime=0),
        json_size=len(payload.json),
        card=payload.card,
        brief=payload.brief,
        row=payload.row,
    )


def active_max_of(client: redis.Redis, keys: CatalogueKeys = CATALOGUE) -> int | None:
    """How many hotels the consumer that holds the lease shows at most; None while nobody does.
    Raises EngineAway.
    """
    with valkey_errors():
        pipe: Any = client.pipeline(transaction=False)
        pipe.exists(keys.lease)
        pipe.hget(keys.state, "active_max")
        is_held, said = pipe.execute()
    return int(said) if is_held and said else None


def read_standing(found: dict[bytes, bytes]) -> Standing | None:
    """The state hash as it was read; None when no generation is shown."""
    if b"generation" not in found:
        return None
    return Standing(
        generation=int(found[b"generation"]),
        seq=int(found.get(b"seq", b"0")),
        token=found.get(b"token", b"").decode(),
        version=found.get(b"version", b"").decode(),
        day=found.get(b"day", b"").decode(),
        built_ms=int(found.get(b"built_ms", b"0")),
    )


class CatalogueReader:
    """The catalogue as it is shown. One may be shared by threads.

    Every method raises CatalogueBuilding while nothing is there, EngineAway when Valkey does not
    answer.
    """

    def __init__(self, client: redis.Redis, keys: CatalogueKeys = CATALOGUE) -> None:
        self._client = client
        self._keys = keys
        self._generation = 0  # as it was last seen; a wrong one costs a round trip

    def standing(self) -> Standing:
        """What is shown now."""
        with valkey_errors():
            state: Any = self._client.hgetall(self._keys.state)
        found = read_standing(state)
        if found is None:
            raise CatalogueBuilding("the catalogue is being built")
        self._generation = found.generation
        return found

    def page(self, hotel_id: str) -> Part | None:
        """The HTML page of a hotel; None when there is no such hotel."""
        return self._part(hotel_id, "page")

    def json(self, hotel_id: str) -> Part | None:
        """The JSON of a hotel; None when there is no such hotel."""
        return self._part(hotel_id, "json")

    def hotel_id_of(self, slug: str) -> str | None:
        """The hotel at this address."""
        found = self._of_generation(
            lambda pipe, generation: pipe.hget(self._keys.slugs(generation), slug)
        )
        return None if found is None else found.decode()

    def cards(self, hotel_ids: Sequence[str]) -> list[bytes | None]:
        """Their cards in this order; None for a hotel that is gone."""
        return self._several(self._keys.cards, hotel_ids)

    def briefs(self, hotel_ids: Sequence[str]) -> list[bytes | None]:
        """Their JSON in a listing, in this order; None for a hotel that is gone."""
        return self._several(self._keys.briefs, hotel_ids)

    # --- the whole listing, and how it changes ------------------------------------------------

    def rows(self, generation: int) -> Iterator[dict[str, bytes]]:
        """All rows of a generation, some at a time; one may come twice.

        To load a whole index: `standing()` first, then the rows, then follow the changes from
        that standing's generation and seq. Rows that change meanwhile come again as changes.
        """
        at = 0
        client: Any = self._client
        while True:
            with valkey_errors():
                at, found = client.hscan(self._keys.rows(generation), at, count=_ROWS_AT_ONCE)
            yield {key.decode(): row for key, row in found.items()}
            if at == 0:
                return

    def changes(self, after: Cursor, *, block_ms: int) -> tuple[Cursor, list[Change]] | None:
        """Wait for changes after `after`, at most `block_ms`, and return them in their order.

        None says that they cannot be followed from there: another generation is shown, or some
        changes are no longer kept. Load the index anew.
        """
        name, last = self._keys.changes, f"{after.generation}-{after.seq}"
        with valkey_errors():
            found = self._client.xread({name: last}, count=_CHANGES_AT_ONCE, block=block_ms)
        entries = _entries(found)
        if not entries:
            # Silence is trusted only when the state says the same: a stream may be flushed.
            now = self.standing()
            same = (now.generation, now.seq) == (after.generation, after.seq)
            moved_meanwhile = now.generation == after.generation and now.seq > after.seq
            if same or (moved_meanwhile and self._still_has(after)):
                return after, []
            return None
        changes: list[Change] = []
        for generation, seq, change in entries:
            if generation != after.generation or seq != after.seq + 1:
                return None
            after = Cursor(generation, seq)
            changes.append(change)
        return after, changes

    def _still_has(self, after: Cursor) -> bool:
        """Whether the change right after this one is there: it came between two questions."""
        following = f"{after.generation}-{after.seq + 1}"
        with valkey_errors():
            return bool(self._client.xrange(self._keys.changes, following, following, count=1))

    # --- one round trip -----------------------------------------------------------------------

    def _part(self, hotel_id: str, name: str) -> Part | None:
        found = self._of_generation(lambda pipe, generation: pipe.hmget(
            self._keys.hotel(generation, hotel_id), "etag", name, f"{name}_size"
        ))  # fmt: skip
        etag, body, size = found
        return None if etag is None else Part(etag.decode(), body, int(size))

    def _several(self, key: Any, hotel_ids: Sequence[str]) -> list[bytes | None]:
        if not hotel_ids:
            return []
        found: list[bytes | None] = self._of_generation(
            lambda pipe, generation: pipe.hmget(key(generation), list(hotel_ids))
        )
        return found

    def _of_generation(self, ask: Any) -> Any:
        """What `ask` finds in the generation that is shown at that moment."""
        for _ in range(_SWAPS_MAX):
            generation = self._generation
            with valkey_errors():
                pipe = self._client.pipeline(transaction=False)
                ask(pipe, generation)
                # Asked last: had it been removed before, this would be another one.
                pipe.hget(self._keys.state, "generation")
                found, shown = pipe.execute()
            if shown is None:
                raise CatalogueBuilding("the catalogue is being built")
            if int(shown) == generation:
                return found
            self._generation = int(shown)
        raise CatalogueBuilding("the catalogue is built again and again")


def _entries(found: Any) -> list[tuple[int, int, Change]]:
    """What XREAD brought of our one stream: generation, seq and the change."""
    entries = []
    for name, fields in found[0][1] if found else []:
        generation, seq = name.decode().split("-")
        entries.append(
            (int(generation), int(seq), Change(fields[b"id"].decode(), fields[b"row"]))
        )
    return entries
