"""Look-ups that find nothing are bounded per client address; look-ups that find are free."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis
import redis.exceptions
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter
from werkzeug.exceptions import TooManyRequests

from engine_errors import valkey_errors
from errors import EngineAway


@contextmanager
def _counting() -> Iterator[None]:
    """At its memory limit Valkey counts nothing. What is not counted would be free, so it is
    refused: it can be asked for again once there is room.
    """
    try:
        with valkey_errors():
            yield
    except redis.exceptions.OutOfMemoryError as error:
        raise EngineAway("Valkey is at its memory limit and counts nothing") from error


class MissThrottle:
    """Counts misses in Valkey, so that all web processes count together."""

    def __init__(self, client: redis.Redis, *, misses_per_minute: int) -> None:
        # Our own connections: those that the library would open wait without a bound.
        storage = RedisStorage("redis://", connection_pool=client.connection_pool,
                               key_prefix="berth-misses")
        self._limiter = FixedWindowRateLimiter(storage)
        self._limit = RateLimitItemPerMinute(misses_per_minute)

    def check(self, address: str) -> None:
        """Raises TooManyRequests while the address has used up its misses."""
        with valkey_errors():
            if self._limiter.test(self._limit, address):
                return
            reset_s = self._limiter.get_window_stats(self._limit, address).reset_time
        raise TooManyRequests(
            "Too many look-ups found nothing. Please check id and e-mail, and try again later.",
            retry_after=max(1, int(reset_s - time.time()) + 1),
        )

    def missed(self, address: str) -> None:
        """Count one miss."""
        with _counting():
            self._limiter.hit(self._limit, address)


class SearchThrottle:
    """Bounds the new searches of a client address. Counted where searches are."""

    def __init__(self, client: redis.Redis, *, searches_per_minute: int) -> None:
        storage = RedisStorage("redis://", connection_pool=client.connection_pool,
                               key_prefix="berth-searches")
        self._limiter = FixedWindowRateLimiter(storage)
        self._limit = RateLimitItemPerMinute(searches_per_minute)

    def count(self, address: str) -> None:
        """Count one. Raises TooManyRequests above the limit."""
        with _counting():
            if self._limiter.hit(self._limit, address):
                return
            reset_s = self._limiter.get_window_stats(self._limit, address).reset_time
        raise TooManyRequests(
            "You have begun very many searches within a minute. Searches that exist can still be "
            "looked at; please begin a new one a little later.",
            retry_after=max(1, int(reset_s - time.time()) + 1),
        )
