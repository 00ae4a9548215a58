"""python -m bench <scenario> [--json]: one JSON line last on standard output."""

from __future__ import annotations

import argparse
import json
import sys

from bench import booking, latency
from errors import BerthError


def main() -> int:
    """Run the scenario that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    scenarios = parser.add_subparsers(dest="scenario", required=True)
    book = scenarios.add_parser(
        "booking", help="held and settled orders per second beside the same booking done otherwise"
    )
    book.add_argument("--orders", type=int, default=20_000, help="orders per round")
    book.add_argument("--rounds", type=int, default=3)
    book.add_argument("--rate", type=int, help="instead: latency at this many orders per second")
    book.add_argument("--seconds", type=int, default=20, help="how long, with --rate")
    for scenario in (book,):
        scenario.add_argument("--json", action="store_true", help="only the JSON line")
    chosen = parser.parse_args()

    def tell(line: str) -> None:
        if not chosen.json:
            print(line, file=sys.stderr, flush=True)

    try:
        if chosen.rate:
            report = latency.run(chosen.rate, chosen.seconds, tell)
        else:
            report = booking.run(chosen.orders, chosen.rounds, tell)
    except BerthError as error:
        print(f"The bench could not be run: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
