"""The one place where errors of redis-py and pymongo become errors of Berth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pymongo.errors as mongo
import redis.exceptions as valkey

from errors import EngineAway, EngineUnfit, Surprise

# A server that is loading its file, was made a replica, or lost its primary answers soon again.
_VALKEY_AWAY = (
    valkey.ConnectionError,
    valkey.TimeoutError,
    valkey.BusyLoadingError,
    valkey.ReadOnlyError,
    valkey.TryAgainError,
    valkey.ClusterDownError,
    # It started again between the two calls that give it a script it had forgotten, and run it.
    valkey.NoScriptError,
)
_MONGO_AWAY = (
    mongo.ConnectionFailure,
    mongo.WTimeoutError,
    mongo.ExecutionTimeout,
    mongo.CursorNotFound,
    mongo.WriteConcernError,
)
# Codes of a server that is stepping down, starting, interrupted, behind or out of disk: no fault
# of what was asked, so no job may be buried for it.
_MONGO_AWAY_CODES = frozenset({
    6, 7, 64, 89, 91, 100, 112, 134, 175, 189, 202, 237, 246, 262, 9001, 10107, 11600, 11601,
    11602, 13435, 13436, 14031,
})  # fmt: skip


# The same for answers that redis-py has no class for: a disk that is full, too few replicas, a
# script that runs for too long, a wait that was ended because the server changed its role.
_VALKEY_AWAY_CODES = ("MISCONF ", "NOREPLICAS ", "BUSY ", "UNBLOCKED ")


@contextmanager
def valkey_errors() -> Iterator[None]:
    """Raise EngineAway for what time can mend, EngineUnfit for what somebody has to mend.

    A script that may not run at the memory limit is for its caller to understand.
    """
    try:
        yield
    except _VALKEY_AWAY as error:
        raise EngineAway(f"Valkey: {error}") from error
    except valkey.OutOfMemoryError:
        raise
    except valkey.ResponseError as error:
        if str(error).startswith(_VALKEY_AWAY_CODES):
            raise EngineAway(f"Valkey: {error}") from error
        raise EngineUnfit(f"Valkey refuses what it is asked: {error}") from error


@contextmanager
def mongo_errors() -> Iterator[None]:
    """Raise EngineAway for what time can mend, Surprise for a write that met another writer's,
    EngineUnfit for what somebody has to mend: an index that is gone, a user without rights.
    """
    try:
        yield
    except mongo.BulkWriteError as error:
        details = error.details or {}
        if details.get("writeErrors"):
            codes = sorted({item.get("code") for item in details["writeErrors"]})
            if any(code in _MONGO_AWAY_CODES for code in codes):
                raise EngineAway(f"MongoDB: write interrupted, codes {codes}") from error
            raise Surprise(f"bulk write refused, codes {codes}") from error
        raise EngineAway("MongoDB: the write concern was not confirmed") from error
    except _MONGO_AWAY as error:
        raise EngineAway(f"MongoDB: {error}") from error
    except mongo.OperationFailure as error:
        if error.code in _MONGO_AWAY_CODES:
            raise EngineAway(f"MongoDB: {_said(error)}") from error
        raise EngineUnfit(f"MongoDB refuses what it is asked: {_said(error)}") from error


def _said(error: mongo.OperationFailure) -> str:
    """What the server said, up to the command that it may quote: it names customers' addresses."""
    words = str((error.details or {}).get("errmsg") or error)
    return f"{words.partition('{')[0].rstrip()} (code {error.code})"
