"""The lowest rate that live searches have found for a hotel, for the hotel's own page.

A hint, not an offer: it is shown while the search that found it lives, and following it begins or
joins that search. Written whenever rates are shown to somebody, once per process for each
revision of a search, for a bounded number of hotels.
"""

from __future__ import annotations

from collections import OrderedDict
from decimal import Decimal
from threading import Lock
from typing import Any

import msgspec
import redis

import shapes
from engine_errors import valkey_errors
from queues.keys import SEARCH, SearchKeys
from search.model import Entry
from search.query import SearchQuery

HOTELS_MAX = 100
# Stays remembered of one hotel; the dearest are forgotten.
STAYS_MAX = 20
_NOTED_MAX = 512


class Lowest(msgspec.Struct, frozen=True, array_like=True):
    """What a night costs in a stay that a search found, until that search expires."""

    expires_ms: int
    price: str
    currency: str
    check_in: str
    check_out: str
    guests: int


class LowestRates:
    """Notes and tells the lowest rates. Safe to use from many threads."""

    def __init__(self, client: redis.Redis, keys: SearchKeys = SEARCH) -> None:
        self._client = client
        self._keys = keys
        self._lock = Lock()
        self._noted: OrderedDict[tuple[str, int], None] = OrderedDict()

    def note(self, query: SearchQuery, entry: Entry) -> None:
        """Remember the lowest of the rates that this answer shows."""
        if not entry.stored or not self._is_new(entry):
            return
        nights = (query.check_out - query.check_in).days
        best: dict[str, Lowest] = {}
        for rate in entry.rates:
            known = best.get(rate.hotel_id)
            if known is None or Decimal(rate.price) < Decimal(known.price):
                if known is None and len(best) == HOTELS_MAX:
                    continue
                best[rate.hotel_id] = Lowest(
                    entry.expires_ms, rate.price, rate.currency, query.check_in.isoformat(),
                    query.check_out.isoformat(), query.guests,
                )
        with valkey_errors():
            pipe = self._client.pipeline(transaction=False)
            for hotel_id, found in best.items():
                key = self._keys.lowest(hotel_id)
                per_night = float(Decimal(found.price) / nights)
                pipe.zadd(key, {msgspec.json.encode(found): per_night})
                pipe.zremrangebyrank(key, STAYS_MAX, -1)
                pipe.pexpireat(key, found.expires_ms)
            pipe.execute()

    def of(self, hotel_id: str, now_ms: int) -> Lowest | None:
        """The lowest that is still live, by the price of a night."""
        with valkey_errors():
            found: Any = self._client.zrange(self._keys.lowest(hotel_id), 0, -1)
        for raw in found:
            rate = shapes.decode(raw, Lowest)
            if rate.expires_ms > now_ms:
                return rate
        return None

    def _is_new(self, entry: Entry) -> bool:
        name = (entry.search_id, entry.revision)
        with self._lock:
            if name in self._noted:
                return False
            self._noted[name] = None
            if len(self._noted) > _NOTED_MAX:
                self._noted.popitem(last=False)
            return True
