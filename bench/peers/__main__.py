"""Enqueue orders with a peer: python -m bench.peers NAME COUNT."""

from __future__ import annotations

import sys
from importlib import import_module

from bench.direct import some_orders
from bench.peers import PEERS


def main(name: str, count: int) -> int:
    """Enqueue `count` orders with the peer called `name`."""
    import_module(f"bench.peers.{PEERS[name].name}").enqueue(some_orders(count))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
