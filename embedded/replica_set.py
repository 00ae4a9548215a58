"""The replica set of one. MongoDB keeps "majority" and change streams for replica sets.

    python -m embedded.replica_set HOST:PORT      makes the set of a server on another address

The embedded member knows itself by a socket in its own data folder, not by the port that clients
use. A set looks for itself at every start; behind a port that another program has taken since, it
waits 30 s for an answer and then takes itself for a stranger. With the socket, ports and the data
folder can move as they like. Clients have to ask for a direct connection: the address that the
set would send them to means something in the server's folder only.

In a container the address is known beforehand and stays. There the member bears its name, and
clients find it like any member of any set.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import pymongo
from pymongo.errors import ConnectionFailure, OperationFailure

from embedded.ports import LOOPBACK, why_not
from errors import BerthError, EngineAway, EngineUnfit

NAME = "berth"
MEMBER = "./self.sock"
MADE_WITHIN_S = 60.0
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
    pause = _bounded(within_s, still_running)
    # The client looks twice a second for a server that is not there yet; this looks more often.
    while not why_not(LOOPBACK, port):
        pause()
    _lead(LOOPBACK, port, MEMBER, pause)


def make_set(address: str, *, within_s: float) -> None:
    """Return when the server on this address (`host:port`) is the primary of its set of one.

    Doing it again changes nothing. Raises EngineAway when it takes longer, EngineUnfit when the
    server refuses, mostly because it does not know itself by this address.
    """
    host, _, port = address.rpartition(":")
    try:
        _lead(host, int(port), address, _bounded(within_s, lambda: True))
    except OperationFailure as error:
        raise EngineUnfit(f"MongoDB on {address} makes no replica set: {error}") from error


def _bounded(within_s: float, still_running: Callable[[], bool]) -> Callable[[], None]:
    deadline = time.monotonic() + within_s

    def pause() -> None:
        if not still_running():
            raise EngineAway("MongoDB ended")
        if time.monotonic() > deadline:
            raise EngineAway(f"MongoDB was not primary within {within_s:.0f} s")
        time.sleep(_POLL_S)

    return pause


def _lead(host: str, port: int, member: str, pause: Callable[[], None]) -> None:
    with pymongo.MongoClient[dict[str, Any]](
        host,
        port,
        directConnection=True,
        serverSelectionTimeoutMS=200,
        connectTimeoutMS=200,
        socketTimeoutMS=_ANSWER_WITHIN_MS,
    ) as client:
        while not _is_primary(client, member):
            pause()


def _is_primary(client: pymongo.MongoClient[dict[str, Any]], member: str) -> bool:
    """One step towards it. Killed after any line, the next call goes on from what is there."""
    try:
        hello = client.admin.command("hello")
        if hello.get("isreplicaset"):  # that is: of some set, but without a configuration
            client.admin.command("replSetInitiate", {
                "_id": NAME,
                "members": [{"_id": 0, "host": member}],
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


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m embedded.replica_set",
        description="Make a replica set of one, unless it is made, and wait for its primary.",
    )
    parser.add_argument("address", metavar="HOST:PORT", help="as all clients reach it")
    address = parser.parse_args().address
    if not address.rpartition(":")[2].isdigit():
        parser.error(f"{address} has no port")
    try:
        make_set(address, within_s=MADE_WITHIN_S)
    except BerthError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
