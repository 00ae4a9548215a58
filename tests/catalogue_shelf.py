"""Puts hotels on the catalogue's shelf as its consumer does, for tests that only read it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import redis

from catalogue import payloads
from catalogue.model import Hotel
from catalogue.shelf import entry_of
from queues.keys import CATALOGUE


def shelve(client: redis.Redis, hotels: Iterable[Hotel], generation: int = 1) -> None:
    """A whole generation, shown at once."""
    pipe = client.pipeline(transaction=False)
    for n, hotel in enumerate(hotels):
        _put(pipe, hotel, generation)
        if n % 500 == 499:
            pipe.execute()
    pipe.execute()
    client.hset(CATALOGUE.state, mapping={"generation": generation, "seq": 0})
    client.xadd(CATALOGUE.changes, {"id": "", "row": ""}, id=f"{generation}-0") \
        if generation > 1 else None


def change(client: redis.Redis, hotel: Hotel, generation: int = 1, *, gone: bool = False) -> None:
    """A hotel that is new, other, or gone."""
    pipe = client.pipeline(transaction=True)
    row = b""
    if gone:
        pipe.delete(CATALOGUE.hotel(generation, hotel.hotel_id))
        for key in (CATALOGUE.rows, CATALOGUE.cards, CATALOGUE.briefs):
            pipe.hdel(key(generation), hotel.hotel_id)
        pipe.hdel(CATALOGUE.slugs(generation), hotel.slug)
    else:
        row = _put(pipe, hotel, generation)
    seq = int(client.hget(CATALOGUE.state, "seq") or 0) + 1
    pipe.hset(CATALOGUE.state, "seq", seq)
    pipe.xadd(CATALOGUE.changes, {"id": hotel.hotel_id, "row": row}, id=f"{generation}-{seq}")
    pipe.execute()


def _put(pipe: redis.client.Pipeline, hotel: Hotel, generation: int) -> bytes:
    entry = entry_of(payloads.build(hotel))
    fields = {name: value for name, value in msgspec.structs.asdict(entry).items()
              if name in ("etag", "page", "page_size", "json", "json_size")}
    pipe.hset(CATALOGUE.hotel(generation, hotel.hotel_id), mapping=fields)
    pipe.hset(CATALOGUE.rows(generation), hotel.hotel_id, entry.row)
    pipe.hset(CATALOGUE.cards(generation), hotel.hotel_id, entry.card)
    pipe.hset(CATALOGUE.briefs(generation), hotel.hotel_id, entry.brief)
    pipe.hset(CATALOGUE.slugs(generation), hotel.slug, hotel.hotel_id)
    return entry.row
