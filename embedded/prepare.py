"""python -m embedded.prepare [--valkey PORT] [--mongo PORT] -- COMMAND...

Waits for the embedded engines, makes the replica set if it is not made yet, and becomes COMMAND.
A process of its own, because the starter itself must never wait for anybody.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import NoReturn

from embedded.replica_set import wait_primary
from embedded.servers import READY_WITHIN_S, wait_valkey
from errors import EngineAway


def main() -> NoReturn:
    """The command. Exits with 1 when an engine does not come."""
    parser = argparse.ArgumentParser(prog="python -m embedded.prepare", description=__doc__)
    parser.add_argument("--valkey", type=int, metavar="PORT")
    parser.add_argument("--mongo", type=int, metavar="PORT")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    try:
        if chosen.valkey:
            wait_valkey(chosen.valkey, within_s=READY_WITHIN_S)
        if chosen.mongo:
            wait_primary(chosen.mongo, within_s=READY_WITHIN_S)
    except EngineAway as error:
        sys.exit(str(error))
    os.execv(chosen.command[0], chosen.command)  # noqa: S606 (that is what this is for)


if __name__ == "__main__":
    main()
