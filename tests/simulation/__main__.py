"""python -m tests.simulation: many seeds, or one and its trace. Exit 1 for a broken promise."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.simulation.world import Outcome, simulate

LINES_SHOWN = 40
AT_ONCE = 8  # seeds that one process is given in one go


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds to run")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    parser.add_argument("--processes", type=int, default=2, help="processes to run them in")
    parser.add_argument("--seed", type=int, help="run this one seed alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: print every line")
    args = parser.parse_args()
    if args.seed is not None:
        outcome = simulate(args.seed, print if args.trace else None)
        return report([outcome], time.monotonic())
    return report(outcomes(args.first, args.seeds, args.processes), time.monotonic())


def outcomes(first: int, seeds: int, processes: int) -> Iterator[Outcome]:
    """The outcomes of many seeds, in their order."""
    wanted = range(first, first + seeds)
    if processes == 1:
        yield from map(simulate, wanted)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(simulate, wanted, chunksize=AT_ONCE)


def report(found: Iterable[Outcome], started_s: float) -> int:
    """Print the first failure and what led to it, then one line of JSON; 1 when one failed."""
    totals = {"seeds": 0, "orders": 0, "faults": 0, "steps": 0}
    failed: Outcome | None = None
    for outcome in found:
        totals["seeds"] += 1
        totals["orders"] += outcome.orders
        totals["faults"] += outcome.faults
        totals["steps"] += outcome.steps
        if outcome.rule:
            failed = outcome
            break
    if failed is not None:
        print("\n".join(failed.last[-LINES_SHOWN:]))
        print(f"\nseed {failed.seed} breaks a promise: {failed.detail}")
        print(f"replay it: python -m tests.simulation --seed {failed.seed} --trace\n")
    took_s = time.monotonic() - started_s
    print(json.dumps({
        **totals,
        "seeds_per_minute": round(60 * totals["seeds"] / took_s),
        "failed_seed": failed.seed if failed else None,
        "rule": failed.rule if failed else None,
    }))  # fmt: skip
    return int(failed is not None)


if __name__ == "__main__":
    sys.exit(main())
