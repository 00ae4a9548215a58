"""Orders over HTTP for as long as a soak lasts, through whatever happens to the system."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from urllib.parse import urlencode, urlsplit

import urllib3

ANSWER_WITHIN_S = 10.0
ASK_AGAIN_AFTER_S = 0.05
REFUSED_PAUSE_S = 0.1
CANCELLED_PART = 0.2


class Load:
    """Threads that order with a key each, ask again until an answer comes, and cancel some.

    urllib3 alone, because `requests` around it takes twice the time of the processor, and the
    system under test runs on the same ones.
    """

    def __init__(
        self, url: str, *, packages: int, threads: int, rate_per_s: float, seed: int
    ) -> None:
        address = urlsplit(url)
        self._pool = urllib3.HTTPConnectionPool(
            address.hostname or "", address.port, maxsize=threads, block=True, retries=False,
            timeout=ANSWER_WITHIN_S,
        )
        self._packages = packages
        self._pause_s = threads / rate_per_s
        self._stop = threading.Event()
        self.accepted: dict[str, str] = {}
        self.refused: Counter[str] = Counter()
        self.cancellations = 0
        self._threads = [
            threading.Thread(target=self._run, args=(n, random.Random(f"{seed}-{n}")))
            for n in range(threads)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(3 * ANSWER_WITHIN_S)
        self._pool.close()

    def _run(self, number: int, chance: random.Random) -> None:
        mine: list[tuple[str, str]] = []
        count = 0
        due_s = time.monotonic()
        while not self._stop.is_set():
            count += 1
            email = f"soak{number}-{count}@example.com"
            self._order(chance.randint(1, self._packages), email, mine)
            if mine and chance.random() < CANCELLED_PART:
                self._cancel(*mine.pop(chance.randrange(len(mine))))
            # What a fault held up is not made up for in a rush.
            due_s = max(due_s + self._pause_s, time.monotonic())
            self._stop.wait(due_s - time.monotonic())

    def _order(self, package_id: int, email: str, mine: list[tuple[str, str]]) -> None:
        body = json.dumps({"package_id": package_id, "email": email}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": email}
        while not self._stop.is_set():
            try:
                answer = self._pool.request("POST", "/api/orders", body=body, headers=headers)
            except urllib3.exceptions.HTTPError:
                # Not known whether it was taken: the same key asks again.
                self._stop.wait(ASK_AGAIN_AFTER_S)
                continue
            if answer.status == 202:
                order_id = answer.json()["order_id"]
                self.accepted[order_id] = email
                mine.append((order_id, email))
                return
            if answer.status != 503:
                self.refused[f"{answer.status} {answer.data[:300].decode(errors='replace')}"] += 1
                return
            self._stop.wait(REFUSED_PAUSE_S)

    def _cancel(self, order_id: str, email: str) -> None:
        try:
            answer = self._pool.request(
                "DELETE", f"/api/orders/{order_id}?{urlencode({'email': email})}"
            )
        except urllib3.exceptions.HTTPError:
            return
        if answer.status == 202:
            self.cancellations += 1
