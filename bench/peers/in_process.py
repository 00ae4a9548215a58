"""Rates without a queue: suppliers asked one after the other, or by a thread each in the process
that answers the visitor. Both use the adapters that Berth uses.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from suppliers.planning import plan
from suppliers.rates import RateQuery, RateSupplier


class Waited(NamedTuple):
    """What a visitor waits for, in milliseconds, and how many rates came."""

    first_ms: float
    complete_ms: float
    rates: int


def one_after_the_other(query: RateQuery, suppliers: Mapping[str, RateSupplier]) -> Waited:
    """Nothing is shown before the first supplier has answered; all, when the last has."""
    begun_s, first_s, rates = time.perf_counter(), 0.0, 0
    for name, parts in plan(query, suppliers.values()).items():
        for part in parts:
            rates += sum(len(chunk.rates) for chunk in suppliers[name].fetch(query, part))
            first_s = first_s or time.perf_counter()
    return Waited(1e3 * (first_s - begun_s), 1e3 * (time.perf_counter() - begun_s), rates)


def a_thread_each(query: RateQuery, suppliers: Mapping[str, RateSupplier]) -> Waited:
    """The way of the first version: a thread per supplier, and a dictionary that they fill."""
    begun_s = time.perf_counter()
    came: list[tuple[float, int]] = []

    def ask(supplier: RateSupplier) -> None:
        for part in plan(query, [supplier])[supplier.name]:
            for chunk in supplier.fetch(query, part):
                came.append((time.perf_counter(), len(chunk.rates)))

    threads = [threading.Thread(target=ask, args=(one,)) for one in suppliers.values()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Waited(1e3 * (min(at for at, _ in came) - begun_s),
                  1e3 * (time.perf_counter() - begun_s), sum(rates for _, rates in came))


def worst(waits: Iterable[Waited]) -> Waited:
    """The longest of each."""
    found = list(waits)
    return Waited(max(one.first_ms for one in found), max(one.complete_ms for one in found),
                  min(one.rates for one in found))
