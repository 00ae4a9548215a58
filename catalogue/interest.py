"""How many people looked at a hotel today. Each is counted once, however often they look.

Counted in Valkey, where a flush takes it away; the looks are kept in MongoDB as feedback, and the
counts are made of these again. A look that is counted twice changes nothing.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import redis

from engine_errors import valkey_errors
from errors import EngineAway
from queues.keys import CATALOGUE, CatalogueKeys

KEPT_S = 86_400


class Interest:
    """Days are those of UTC. All may raise EngineAway."""

    def __init__(self, client: redis.Redis, keys: CatalogueKeys = CATALOGUE) -> None:
        self._client = client
        self._keys = keys

    def look(self, hotel_id: str, visitor: str, *, today: dt.date) -> int:
        """Count this visitor; how many there were today. Ask only for hotels there are."""
        key = self._keys.interest(today.isoformat(), hotel_id)
        try:
            with valkey_errors():
                pipe = self._client.pipeline(transaction=False)
                pipe.pfadd(key, visitor)
                pipe.expire(key, KEPT_S, nx=True)
                pipe.pfcount(key)
                return int(pipe.execute()[-1])
        except redis.OutOfMemoryError as error:
            raise EngineAway("the catalogue's Valkey has no room to count visitors") from error

    def is_whole(self) -> bool:
        """Whether nothing was lost since `restored`."""
        with valkey_errors():
            return bool(self._client.exists(self._keys.interest_whole))

    def put_back(self, looks: Iterable[tuple[str, str]], *, today: dt.date) -> None:
        """Count these (hotel, visitor) of today, whether they are counted already or not."""
        visitors: dict[str, list[str]] = defaultdict(list)
        for hotel_id, visitor in looks:
            visitors[hotel_id].append(visitor)
        pipe: Any = self._client.pipeline(transaction=False)
        for hotel_id, some in visitors.items():
            key = self._keys.interest(today.isoformat(), hotel_id)
            pipe.pfadd(key, *some)
            pipe.expire(key, KEPT_S, nx=True)
        with valkey_errors():
            pipe.execute()

    def restored(self) -> None:
        """All that is known was put back. Until this is said, a crash has it put back again."""
        with valkey_errors():
            self._client.set(self._keys.interest_whole, 1)
