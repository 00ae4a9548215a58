"""python -m embedded.prepare [--valkey PORT ...] [--mongo PORT]

Waits for the embedded engines, makes the replica set if it is not made yet, and runs db_init.py.
A process of its own, because the starter itself must never wait for anybody.
"""

from __future__ import annotations

import argparse
import sys

import db_init
from embedded.replica_set import wait_primary
from embedded.servers import READY_WITHIN_S, wait_valkey
from errors import EngineAway


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m embedded.prepare", description=__doc__)
    parser.add_argument("--valkey", type=int, metavar="PORT", action="append", default=[])
    parser.add_argument("--mongo", type=int, metavar="PORT")
    chosen = parser.parse_args()
    try:
        for port in chosen.valkey:
            wait_valkey(port, within_s=READY_WITHIN_S)
        if chosen.mongo:
            wait_primary(chosen.mongo, within_s=READY_WITHIN_S)
    except EngineAway as error:
        print(error, file=sys.stderr)
        return 1
    return db_init.main([])


if __name__ == "__main__":
    sys.exit(main())
