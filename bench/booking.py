"""The same booking, durable in the same way, on the same engines, in the same run.

Every contender turns orders into held orders with a unit of their own: majority and journaled in
MongoDB, and for those with a queue, appendfsync always in Valkey. They take turns, round by round;
the medians of the rounds are reported, and ratios are medians of each round's ratio. What a
contender left behind is checked before its figure counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterator
from typing import Any

from bench import others, ours
from bench.machine import machine
from bench.others import share
from bench.peers import PEERS
from bench.world import Tell, World, world

# Ours. Every other figure is compared with what we hold.
OWN = ("held", "settled")
OTHERS = ("raw", "direct", "lock", *PEERS)

Report = dict[str, Any]


def run(orders: int, rounds: int, contenders: Collection[str], tell: Tell) -> Report:
    """Held orders and these contenders, `rounds` times. Returns the fields of the JSON line.

    Raises BenchError when a contender cannot run, or did not do what it is measured for.
    """
    others.check_installed([name for name in PEERS if name in contenders])
    figures: dict[str, list[float]] = {}
    # Room for every order that waits: the door must refuse none.
    bounds = {"BACKLOG_MAX_JOBS": "10000000", "BACKLOG_MAX_BYTES": "4000000000"}
    with world(**bounds) as place:
        for number in range(1, rounds + 1):
            for name, rate in _round(place, orders, contenders):
                figures.setdefault(name, []).append(rate)
                tell(f"round {number} of {rounds}   {name:>8} {rate:9,.0f} orders/s")
        found = machine(place)
    report: Report = {"orders": orders, "rounds": rounds, "machine": found}
    for name, rates in figures.items():
        report[f"{name}_per_s"] = round(statistics.median(rates), 1)
    for name in OTHERS:
        if name in figures:
            report[f"ratio_{name}"] = round(median_ratio(figures["held"], figures[name]), 3)
    return report


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of each round's ratio: a slow moment of the machine slows both of its sides."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def _round(
    place: World, orders: int, contenders: Collection[str]
) -> Iterator[tuple[str, float]]:
    rate, documents = ours.held(place, orders)
    yield "held", rate
    if "raw" in contenders:
        yield "raw", others.raw(place, documents)
    if "settled" in contenders:
        yield "settled", ours.settled(place, orders)
    if "direct" in contenders:
        yield "direct", others.direct_booking(place, share("direct", orders))
    if "lock" in contenders:
        yield "lock", others.lock(place, share("lock", orders))
    for name, peer in PEERS.items():
        if name in contenders:
            yield name, others.peer(place, peer, share(name, orders))
