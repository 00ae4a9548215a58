"""python -m tests.simulation: many seeds, or one and its trace. Exit 1 for a broken promise."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from multiprocessing import get_context
from typing import Any

from tests.simulation import crash_points
from tests.simulation.world import Outcome, simulate

LINES_SHOWN = 40
AT_ONCE = 8  # seeds that one process is given in one go
POINTS_AT_ONCE = 50


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds to run")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    parser.add_argument("--processes", type=int, default=2, help="processes to run them in")
    parser.add_argument("--seed", type=int, help="run this one seed alone")
    parser.add_argument("--trace", action="store_true", help="with --seed: print every line")
    parser.add_argument("--every-point", action="store_true",
                        help="then every fault at every call of a few bookings, one by one")
    parser.add_argument("--point", help="one of these alone: STORY:CALL:FAULT:LATENESS_MS")
    args = parser.parse_args()
    if args.seed is not None:
        outcome = simulate(args.seed, print if args.trace else None)
        return report([outcome], [], outcome.digest)
    if args.point is not None:
        told = crash_points.tell(*crash_points.named(args.point), print if args.trace else None)
        return report([], [told])
    # Leaving it ends its processes: what a failure makes needless is not awaited.
    with get_context("spawn").Pool(args.processes) as pool:
        seeds = range(args.first, args.first + args.seeds)
        points = list(crash_points.every_point()) if args.every_point else []
        return report(
            pool.imap(simulate, seeds, chunksize=AT_ONCE),
            pool.imap(crash_points.tell_named, points, chunksize=POINTS_AT_ONCE),
        )


def report(
    outcomes: Iterable[Outcome], tellings: Iterable[crash_points.Told], digest: str | None = None
) -> int:
    """Print the first failure and what led to it, then one line of JSON; 1 when one failed."""
    started_s = time.monotonic()
    seen: list[Outcome] = []
    failed: Outcome | crash_points.Told | None = None
    for outcome in outcomes:
        seen.append(outcome)
        if outcome.rule:
            failed = outcome
            break
    took_s = time.monotonic() - started_s
    points = 0
    for told in () if failed else tellings:
        points += 1
        if told.rule:
            failed = told
            break
    if failed is not None:
        _show(failed)
    print(json.dumps({
        "seeds": len(seen),
        **_spread("orders", [outcome.orders for outcome in seen]),
        **_spread("faults", [outcome.faults for outcome in seen]),
        "steps": sum(outcome.steps for outcome in seen),
        "seeds_per_minute": round(60 * len(seen) / took_s) if len(seen) > 1 else None,
        "crash_points": points,
        "failed_seed": failed.seed if isinstance(failed, Outcome) else None,
        "failed_point": failed.point if isinstance(failed, crash_points.Told) else None,
        "rule": failed.rule if failed else None,
        "digest": digest,
    }))  # fmt: skip
    return int(failed is not None)


def _spread(name: str, counts: list[int]) -> dict[str, Any]:
    if not counts:
        return {name: 0}
    return {name: sum(counts), f"{name}_per_seed": round(sum(counts) / len(counts), 1),
            f"{name}_min": min(counts)}  # fmt: skip


def _show(failed: Outcome | crash_points.Told) -> None:
    print("\n".join(failed.last[-LINES_SHOWN:]))
    if isinstance(failed, Outcome):
        print(f"\nseed {failed.seed} breaks a promise: {failed.detail}")
        print(f"replay it: python -m tests.simulation --seed {failed.seed} --trace\n")
    else:
        print(f"\n{failed.point} breaks a promise: {failed.detail}")
        print(f"replay it: python -m tests.simulation --point '{failed.point}' --trace\n")


if __name__ == "__main__":
    sys.exit(main())
