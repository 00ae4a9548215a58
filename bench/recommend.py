"""bench recommend: does the recommended order beat the most popular one, on visits held out?

Three looks of each visitor are held out; the orders are made from the rest and judged by these.
precision@10: how many of an order's first ten (without hotels known to the visitor) were looked
at. AUC: the chance that a hotel that was looked at stands before one that was not. `new_auc` is
the same among hotels that the training never saw.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.visitors import invent
from catalogue.taste import SEEN_MAX, Seen
from catalogue.training import train

HELD_OUT = 3
FIRST = 10
NEW_SHARE = 0.05
JUDGED_MAX = 2_000

Scores = npt.NDArray[np.float32]


class Case(NamedTuple):
    """One visitor: rows of hotels that they are known for, and that were held out."""

    visitor: str
    known: list[int]
    held_out: list[int]
    new: list[int]


class Quality(NamedTuple):
    """How good an order is; medians would hide the visitors that it fails."""

    precision_at_10: float
    auc: float
    new_auc: float


def run(*, hotels: int, cities: int, visitors: int, seed: int) -> dict[str, object]:
    """The figures of one invented world."""
    world = invent(hotels=hotels, cities=cities, visitors=visitors, seed=seed)
    ids = list(world.hotels)
    row = {hotel_id: n for n, hotel_id in enumerate(ids)}
    dice = np.random.default_rng(seed + 1)
    new = dice.random(len(ids)) < NEW_SHARE
    learned, cases = _split(world.seen, row, new)
    known_hotels = {one: names for one, names in world.hotels.items() if not new[row[one]]}
    begun = time.perf_counter()
    found = train(learned, known_hotels, version="bench", threads=2)
    took_s = time.perf_counter() - begun
    aligned = found.model.aligned(world.hotels)
    popular = np.zeros(len(ids), np.float32)
    for one in learned:
        popular[row[one.hotel_id]] += 1
    # Ties in an order by popularity are broken by chance, not by the order of the ids.
    popular += dice.random(len(ids)).astype(np.float32) * np.float32(0.01)

    def seen_only(case: Case) -> Scores:
        return aligned.scores(found.model.taste_of_seen([ids[n] for n in case.known[-SEEN_MAX:]]))

    orders: dict[str, Callable[[Case], Scores]] = {
        "popular": lambda case: popular,
        "buyer": lambda case: aligned.scores(found.tastes[case.visitor]),
        "seen": seen_only,
    }
    qualities = {name: _judge(order, cases, new) for name, order in orders.items()}
    figures: dict[str, object] = {
        "hotels": len(ids), "visitors": visitors, "visits_learned_from": len(learned),
        "judged": len(cases), "train_s": round(took_s, 2),
        "model_bytes": len(found.model.to_bytes()),
    }
    for name, quality in qualities.items():
        for figure, value in quality._asdict().items():
            figures[f"{name}_{figure}"] = round(value, 4)
    base = qualities["popular"]
    figures["ratio_precision_buyer"] = round(
        qualities["buyer"].precision_at_10 / base.precision_at_10, 2)
    figures["ratio_precision_seen"] = round(
        qualities["seen"].precision_at_10 / base.precision_at_10, 2)
    return figures


def _split(
    seen: Sequence[Seen], row: dict[str, int], new: npt.NDArray[np.bool_]
) -> tuple[list[Seen], list[Case]]:
    """What is learned from, and the visitors to judge by."""
    by_visitor: dict[str, list[int]] = defaultdict(list)
    for one in seen:
        by_visitor[one.visitor].append(row[one.hotel_id])
    learned: list[Seen] = []
    cases: list[Case] = []
    for visitor, rows in by_visitor.items():
        held_out = [n for n in rows[-HELD_OUT:] if not new[n]]
        known = [n for n in rows[:-HELD_OUT] if not new[n]]
        ids = list(row)
        learned += [Seen(visitor, ids[n], 1.0) for n in known]
        if known and held_out:
            cases.append(Case(visitor, known, held_out, [n for n in rows if new[n]]))
    return learned, cases[:JUDGED_MAX]


def _judge(
    order: Callable[[Case], Scores], cases: Sequence[Case], new: npt.NDArray[np.bool_]
) -> Quality:
    hits, areas, new_areas = [], [], []
    for case in cases:
        scores = order(case)
        others = ~new
        others[case.known] = False
        candidates = np.flatnonzero(others)
        first = candidates[np.argsort(-scores[candidates], kind="stable")[:FIRST]]
        hits.append(len(set(first.tolist()) & set(case.held_out)) / FIRST)
        others[case.held_out] = False
        areas.append(_area(scores, case.held_out, np.flatnonzero(others)))
        if case.new:
            rest = new.copy()
            rest[case.new] = False
            new_areas.append(_area(scores, case.new, np.flatnonzero(rest)))
    return Quality(float(np.mean(hits)), float(np.mean(areas)), float(np.mean(new_areas)))


def _area(scores: Scores, wanted: Sequence[int], others: npt.NDArray[np.intp]) -> float:
    """Area under the ROC curve; a tie counts half."""
    ranked = np.sort(scores[others])
    below = np.searchsorted(ranked, scores[list(wanted)], "left")
    up_to = np.searchsorted(ranked, scores[list(wanted)], "right")
    return float(np.mean((below + up_to) / 2 / len(ranked)))
