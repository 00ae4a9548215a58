"""How many people looked at a hotel lately: one small counter per hotel, gone after a day."""

from __future__ import annotations

import redis

from engine_errors import valkey_errors
from queues.keys import CATALOGUE, CatalogueKeys

KEPT_S = 86_400


class Interest:
    """Counts people, not looks: whoever asks says whether this one is new."""

    def __init__(self, client: redis.Redis, keys: CatalogueKeys = CATALOGUE) -> None:
        self._client = client
        self._keys = keys

    def look(self, hotel_id: str, *, count: bool) -> int:
        """People within a day of the first; `count` adds one. Ask only for hotels there are."""
        key = self._keys.interest(hotel_id)
        with valkey_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.incrby(key, 1 if count else 0)
            pipe.expire(key, KEPT_S, nx=True)
            interested, _ = pipe.execute()
        return int(interested)
