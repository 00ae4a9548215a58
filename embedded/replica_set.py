"""The replica set of one. MongoDB keeps "majority" and change streams for replica sets.

The member knows itself by a socket in its own data folder, not by the port that clients use. A
set looks for itself at every start; behind a port that another program has taken since, it waits
30 s for an answer and then takes itself for a stranger. With the socket, ports and the data
folder can move as they like. Clients have to ask for a direct connection: the address that the
set would send them to means something in the server's folder only.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pymongo
from pymongo.errors import ConnectionFailure, OperationFailure

from embedded.ports import LOOPBACK, why_not
from errors import EngineAway

NAME = "berth"
MEMBER = "./self.sock"
_POLL_S = 0.02
_ANSWER_WITHIN_MS = 5_000
# AlreadyInitialized: it was still reading its configuration when it said that it had none.
_ALREADY_INITIALIZED = 23


def wait_primary(
    port: int, *, within_s: float, still_running: Callable[[], bool] = lambda: True
) -> None:
    """Return when the server on this loopback port is the primary of its set of one.

    Raises EngineAway when that takes longer, or when `still_running` says no.
    """
    deadline = time.monotonic() + within_s

    def pause() -> None:
        if not still_running():
            raise EngineAway("MongoDB ended")
        if time.monotonic() > deadline:
            raise EngineAway(f"MongoDB was not primary within {within_s:.0f} s")
        time.sleep(_POLL_S)

    # The client looks twice a second for a server that is not there yet; this looks more often.
    while not why_not(LOOPBACK, port):
        pause()
    with pymongo.MongoClient[dict[str, Any]](
        LOOPBACK,
        port,
        directConnection=True,
        serverSelectionTimeoutMS=200,
        connectTimeoutMS=200,
        socketTimeoutMS=_ANSWER_WITHIN_MS,
    ) as client:
        while not _is_primary(client):
            pause()


def _is_primary(client: pymongo.MongoClient[dict[str, Any]]) -> bool:
    """One step towards it. Killed after any line, the next call goes on from what is there."""
    try:
        hello = client.admin.command("hello")
        if hello.get("isreplicaset"):  # that is: of some set, but without a configuration
            client.admin.command("replSetInitiate", {
                "_id": NAME,
                "members": [{"_id": 0, "host": MEMBER}],
                # Alone in its set, it has nobody to wait for before it leads again.
                "settings": {"electionTimeoutMillis": 500},
            })
    except ConnectionFailure:
        return False  # it is starting; the caller has the bound
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALIZED:
            raise
        return False
    return bool(hello.get("isWritablePrimary"))
