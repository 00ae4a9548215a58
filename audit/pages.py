"""What stands of the catalogue in Valkey, and where it differs from a fresh rebuild."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import redis

from audit.findings import Kind
from catalogue.finishing import Finished
from engine_errors import valkey_errors
from queues.keys import CATALOGUE

_GZIP = 16 + zlib.MAX_WBITS
_KEYS_AT_ONCE = 2_000


class Shown(msgspec.Struct, frozen=True):
    """The generation that is shown, and what the consumer has before it."""

    generation: str
    seq: str
    token: str
    version: str
    day: str
    building: str
    asked: bool
    holder: str
    active_max: int | None


class Shelved(NamedTuple):
    """All that stands there of one hotel; empty where nothing does."""

    page: Mapping[bytes, bytes]
    card: bytes | None
    brief: bytes | None
    row: bytes | None
    owner: bytes | None  # of its address


class Shelf:
    """The catalogue's Valkey, read only. All may raise EngineAway."""

    def __init__(self, client: redis.Redis) -> None:
        self._client: Any = client

    def shown(self) -> Shown | None:
        """None when no generation is shown."""
        with valkey_errors():
            pipe = self._client.pipeline(transaction=True)
            pipe.hgetall(CATALOGUE.state)
            pipe.get(CATALOGUE.lease)
            state, holder = pipe.execute()
        if b"generation" not in state:
            return None
        texts = {name: state.get(name.encode(), b"").decode(errors="replace")
                 for name in ("generation", "seq", "token", "version", "day", "building")}
        return Shown(**texts, asked=b"wanted" in state, holder=(holder or b"").decode(),
                     active_max=int(state[b"active_max"]) if b"active_max" in state else None)

    def some(self, generation: str, hotels: Mapping[str, str]) -> dict[str, Shelved]:
        """What stands there of these hotels (id -> address)."""
        ids = list(hotels)
        if not ids:
            return {}
        with valkey_errors():
            pipe = self._client.pipeline(transaction=False)
            for key in (CATALOGUE.cards, CATALOGUE.briefs, CATALOGUE.rows):
                pipe.hmget(key(generation), ids)
            pipe.hmget(CATALOGUE.slugs(generation), list(hotels.values()))
            for hotel_id in ids:
                pipe.hgetall(CATALOGUE.hotel(generation, hotel_id))
            cards, briefs, rows, owners, *pages = pipe.execute()
        parts = zip(pages, cards, briefs, rows, owners, strict=True)
        return {one: Shelved(*some) for one, some in zip(ids, parts, strict=True)}

    def names(self, generation: str) -> dict[str, set[str]]:
        """Which hotels have a card, a brief, a row."""
        keys = {"card": CATALOGUE.cards, "brief": CATALOGUE.briefs, "row": CATALOGUE.rows}
        with valkey_errors():
            return {name: {one.decode(errors="replace")
                           for one in self._client.hkeys(key(generation))}
                    for name, key in keys.items()}

    def texts(self, key: str) -> dict[str, str]:
        """A hash of texts."""
        with valkey_errors():
            found = self._client.hgetall(key)
        return {name.decode(errors="replace"): value.decode(errors="replace")
                for name, value in found.items()}

    def last_change(self) -> tuple[str, str]:
        """The name of the last change that was told, empty when there is none; and what it ought
        to be by the state.
        """
        with valkey_errors():
            pipe = self._client.pipeline(transaction=True)
            pipe.xrevrange(CATALOGUE.changes, count=1)
            pipe.hmget(CATALOGUE.state, "generation", "seq")
            changes, (generation, seq) = pipe.execute()
        ought = f"{(generation or b'').decode()}-{(seq or b'').decode()}"
        return changes[0][0].decode() if changes else "", ought

    def pages(self, generation: str) -> tuple[set[str], Counter[str]]:
        """Hotels that have a page; and how many keys there are of generations that nobody shows,
        builds or is to remove.
        """
        known = {generation, *self._others()}
        hotels: set[str] = set()
        astray: Counter[str] = Counter()
        with valkey_errors():
            for key in self._client.scan_iter(match=f"{CATALOGUE.prefix}*", count=_KEYS_AT_ONCE):
                of, hotel_id = _generation_of(key.decode(errors="replace"))
                if of == generation and hotel_id:
                    hotels.add(hotel_id)
                elif of and of not in known:
                    astray[of] += 1
        for of in self._others():  # what began or was put aside while we looked
            del astray[of]
        return hotels, astray

    def _others(self) -> set[str]:
        with valkey_errors():
            pipe = self._client.pipeline(transaction=True)
            pipe.lrange(CATALOGUE.old, 0, -1)
            pipe.hmget(CATALOGUE.state, "building", "generation")
            old, now = pipe.execute()
        return {one.decode() for one in (*old, *now) if one is not None}


def _generation_of(key: str) -> tuple[str, str]:
    """The generation that a key belongs to, and its hotel; empty where there is none."""
    pages = CATALOGUE.hotel("", "").rstrip(":") + ":"
    if key.startswith(pages):
        generation, _, hotel_id = key.removeprefix(pages).partition(":")
        return generation, hotel_id
    families: tuple[Callable[[str], str], ...] = (
        CATALOGUE.rows, CATALOGUE.cards, CATALOGUE.briefs, CATALOGUE.slugs, CATALOGUE.broken,
        CATALOGUE.gone)
    for family in families:
        if key.startswith(family("")):
            return key.removeprefix(family("")), ""
    return "", ""


def differences(hotel_id: str, made: Finished, found: Shelved) -> Iterator[tuple[Kind, str]]:
    """Where a hotel on the shelf is not what it would be if it were built now."""
    payload = made.payload
    missing = [name for name, part in (("page", found.page), ("card", found.card),
                                       ("brief", found.brief)) if not part]
    if missing:
        yield Kind.PAGES_MISSING, f"hotel {hotel_id} has no {', no '.join(missing)}"
    other = [name for name, part, ought in (("card", found.card, payload.card),
                                            ("brief", found.brief, payload.brief))
             if part and part != ought]
    if found.page:
        other += _page_differences(found.page, made)
    if other:
        yield Kind.PAGES_STALE, (f"hotel {hotel_id} is not shown as its documents say: "
                                 f"{', '.join(other)}")
    if found.row is None:
        yield Kind.LISTING_WRONG, f"hotel {hotel_id} is not in the listing"
    elif found.row != payload.row:
        yield Kind.LISTING_WRONG, f"hotel {hotel_id} is not listed as its documents say"


def _page_differences(page: Mapping[bytes, bytes], made: Finished) -> Iterator[str]:
    texts = {"slug": made.slug, "etag": made.payload.etag,
             "page_size": str(len(made.payload.page)), "json_size": str(len(made.payload.json))}
    for name, body in (("page", made.payload.page), ("json", made.payload.json)):
        if _unpacked(page.get(name.encode(), b"")) != body:
            yield name
    for name, text in texts.items():
        if page.get(name.encode()) != text.encode():
            yield name


def _unpacked(body: bytes) -> bytes | None:
    try:
        return zlib.decompress(body, _GZIP)
    except zlib.error:
        return None


def left_over(there: Mapping[str, set[str]], wanted: Mapping[str, object]) -> Iterator[str]:
    """What stands there of hotels that are not to be shown. `there` says of each part whose."""
    parts: dict[str, list[str]] = defaultdict(list)
    for part, hotels in there.items():
        for hotel_id in hotels - wanted.keys():
            parts[hotel_id].append(part)
    for hotel_id, found in sorted(parts.items()):
        yield f"hotel {hotel_id} is not to be shown, and has a {', a '.join(found)}"


def address_differences(told: Mapping[str, str], owners: Mapping[str, str]) -> Iterator[str]:
    """`told` is address -> hotel as it is shown; `owners` the same by the documents."""
    for slug in sorted(told.keys() | owners.keys()):
        if slug not in told:
            yield f"the address {slug} of hotel {owners[slug]} leads nowhere"
        elif told[slug] != owners.get(slug):
            yield (f"the address {slug} leads to hotel {told[slug]}; by the documents to "
                   f"{owners.get(slug, 'none')}")


def broken_differences(told: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    """Hotels that cannot be shown, and why: as it is kept, and by the documents."""
    for hotel_id in sorted(told.keys() | found.keys()):
        if told.get(hotel_id) != found.get(hotel_id):
            yield (f"hotel {hotel_id}: kept as not to be shown because of "
                   f"{told.get(hotel_id, 'nothing')!r}; by the documents because of "
                   f"{found.get(hotel_id, 'nothing')!r}")
