"""When did Valkey say what became of an order? Asked again and again, from outside.

    python -m bench.watch READY        sets the key READY once it is connected

Reads `<order> <moment of its 202 in monotonic ns>` lines; writes the wait of each order in
milliseconds as one JSON list when its input ends and all of them are decided. A wait is measured
to the answer of the poll that saw the decision, and so is too long by up to one poll.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import redis

import bootstrap
from bench.world import PATIENCE_S, BenchError
from booking.model import State
from queues.keys import BOOKING
from settings import load

POLL_S = 0.001


class Watcher:
    """Orders that are not decided yet, and how long the others waited."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._answered_ns: dict[str, int] = {}
        self._complete = threading.Event()
        self.waits_ms: list[float] = []

    def read(self) -> None:
        """Take orders from standard input until it ends."""
        for line in sys.stdin:
            order_id, answered_ns = line.split()
            self._answered_ns[order_id] = int(answered_ns)
        self._complete.set()

    def watch(self) -> None:
        """Poll until the input has ended and no order is open. Raises BenchError for patience."""
        last_ns = time.monotonic_ns()
        while not self._complete.is_set() or self._answered_ns:
            if self._poll():
                last_ns = time.monotonic_ns()
            elif time.monotonic_ns() - last_ns > PATIENCE_S * 1e9:
                raise BenchError(f"{len(self._answered_ns)} orders were never decided")
            time.sleep(POLL_S)

    def _poll(self) -> int:
        """Ask for all open orders at once; returns how many were decided."""
        asked = list(self._answered_ns)
        pipe = self._client.pipeline(transaction=False)
        for order_id in asked:
            pipe.hget(BOOKING.status(order_id), "state")
        states = pipe.execute()
        now_ns = time.monotonic_ns()
        decided = [order_id for order_id, state in zip(asked, states, strict=True)
                   if state is not None and state.decode() != State.QUEUED]
        for order_id in decided:
            self.waits_ms.append((now_ns - self._answered_ns.pop(order_id)) / 1e6)
        return len(decided)


def main(ready: str) -> int:
    """Watch what standard input names."""
    client = bootstrap.connect_valkey(load())
    watcher = Watcher(client)
    threading.Thread(target=watcher.read, daemon=True).start()
    client.set(ready, "1")
    watcher.watch()
    print(json.dumps(watcher.waits_ms))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
