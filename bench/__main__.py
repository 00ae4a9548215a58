"""python -m bench <scenario>: Berth beside what people would pick instead, in one run.

Each scenario starts engines of its own in a folder that goes away with them, says on standard
error how far it is, and ends with its report on standard output: a table, or with --json one line.
A figure is reported only if what was measured did its work: every order counted, none sold twice.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from bench import (
    accept,
    booking,
    freshness,
    growth,
    latency,
    overload,
    pages,
    plot,
    recommend,
    search,
    takeover,
)
from errors import BerthError

CONTENDERS = ("settled", *booking.OTHERS)
EXIT_ENDED = 128 + signal.SIGTERM


def main() -> int:
    """Run the scenario that the command line names."""
    parser = _parser()
    chosen = parser.parse_args()
    if chosen.scenario == "booking" and chosen.rate and chosen.plot:
        parser.error("--plot draws what is measured without --rate")
    folder = getattr(chosen, "plot", None)
    if folder and not folder.is_dir():
        parser.error(f"--plot: there is no folder {folder}")  # now, not after minutes of measuring
    # As Ctrl-C does: engines, workers and their folder go away with the bench.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_ENDED))
    try:
        report = _run(chosen)
        if folder:
            _tell(f"drawn: {plot.draw(report, chosen.scenario, folder)}")
    except BerthError as error:
        print(f"Nothing is reported: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report) if chosen.json else _table(report), flush=True)
    return 0


def _run(chosen: argparse.Namespace) -> dict[str, Any]:
    if chosen.scenario == "accept":
        return accept.run(chosen.rate, chosen.seconds, chosen.rounds, _tell)
    if chosen.scenario == "pages":
        return pages.run(chosen.hotels, chosen.rate, chosen.seconds, chosen.rounds, _tell)
    if chosen.scenario == "freshness":
        return freshness.run(chosen.hotels, chosen.rate, chosen.seconds, chosen.rounds, _tell)
    if chosen.scenario == "growth":
        return growth.run(chosen.few, chosen.many, chosen.rate, chosen.seconds, _tell)
    if chosen.scenario == "overload":
        return overload.run(chosen.seconds, _tell)
    if chosen.scenario == "takeover":
        return takeover.run(chosen.orders, chosen.rounds, _tell)
    if chosen.scenario == "search":
        return search.run(chosen.seconds, _tell)
    if chosen.scenario == "recommend":
        return recommend.run(hotels=chosen.hotels, cities=max(chosen.hotels // 20, 1),
                             visitors=chosen.visitors, seed=chosen.seed)
    if chosen.rate:
        return latency.run(chosen.rate, chosen.seconds, _tell)
    return booking.run(chosen.orders, chosen.rounds, chosen.contenders, _tell)


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _table(report: dict[str, Any]) -> str:
    lines = {**report, **report.get("machine", {})}
    lines.pop("machine", None)
    return "\n".join(f"{name:<24} {value:>14}" for name, value in lines.items())


def _parser() -> argparse.ArgumentParser:
    def scenario(name: str, about: str, doc: str | None) -> argparse.ArgumentParser:
        found = scenarios.add_parser(
            name, help=about, description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        found.add_argument("--json", action="store_true", help="the report as one JSON line")
        return found

    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    scenarios = parser.add_subparsers(dest="scenario", required=True, metavar="SCENARIO")
    _add_booking(scenario(
        "booking", "orders held per second, or their latency, beside the same booking done "
        "otherwise", booking.__doc__,
    ))
    _add_accept(scenario(
        "accept", "orders accepted per second over HTTP, beside web apps that do less",
        accept.__doc__,
    ))
    _add_pages(scenario(
        "pages", "the catalogue's pages beside a bare Flask route and a listing from MongoDB",
        pages.__doc__,
    ))
    _add_freshness(scenario(
        "freshness", "how soon a change in MongoDB is on the catalogue's pages, and what a "
        "change of everything costs", freshness.__doc__,
    ))
    larger = scenario("growth", "ten times as many hotels: the listing's latency, a rebuild's time "
                      "and memory", growth.__doc__)
    larger.add_argument("--few", type=_positive, default=10_000, metavar="N", help="(%(default)s)")
    larger.add_argument("--many", type=_positive, default=100_000, metavar="N",
                        help="hotels (%(default)s)")
    larger.add_argument("--rate", type=_positive, default=300, metavar="PER_S",
                        help="listings asked for per second (%(default)s)")
    larger.add_argument("--seconds", type=_positive, default=8, metavar="S",
                        help="of each of three rounds (%(default)s)")
    flood = scenario("overload", "many times more orders than are taken: what is refused, what is "
                     "left", overload.__doc__)
    flood.add_argument("--seconds", type=_positive, default=60, metavar="S", help="(%(default)s)")
    million = scenario("takeover", "kill -9 of the lease holder with a million live orders",
                       takeover.__doc__)
    million.add_argument("--orders", type=_positive, default=1_000_000, metavar="N",
                         help="live orders (%(default)s)")
    million.add_argument("--rounds", type=_positive, default=3, metavar="N", help="(%(default)s)")
    rates = scenario("search", "live rates: what Berth adds to its suppliers' own time, beside "
                     "doing it without a queue", search.__doc__)
    rates.add_argument("--seconds", type=_positive, default=20, metavar="S",
                       help="of new searches, and of orders beside a flood (%(default)s)")
    rates.add_argument("--plot", type=Path, metavar="FOLDER", help="also draw bench-search.svg")
    order = scenario("recommend", "the recommended order beside the most popular one, on visits "
                     "held out", recommend.__doc__)
    order.add_argument("--hotels", type=_positive, default=10_000, metavar="N",
                       help="(%(default)s)")
    order.add_argument("--visitors", type=_positive, default=8_000, metavar="N",
                       help="(%(default)s)")
    order.add_argument("--seed", type=_positive, default=7, metavar="N",
                       help="of the invented visits (%(default)s)")
    return parser


def _add_booking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--orders", type=_positive, default=20_000, metavar="N",
                        help="orders of a round; slower contenders get a part (%(default)s)")
    parser.add_argument("--rounds", type=_positive, default=3, metavar="N", help="(%(default)s)")
    parser.add_argument("--contenders", nargs="+", default=CONTENDERS, choices=CONTENDERS,
                        metavar="NAME",
                        help=f"only these besides held; of {', '.join(CONTENDERS)}")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="also draw bench-booking.svg")
    latencies = parser.add_argument_group(
        "latency instead", "at a steady rate, from accepted to decided and told; alone"
    )
    latencies.add_argument("--rate", type=_positive, metavar="PER_S", help="orders per second")
    latencies.add_argument("--seconds", type=_positive, default=20, metavar="S",
                           help="how long (%(default)s)")


def _add_accept(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=_positive, default=5, metavar="N", help="(%(default)s)")
    parser.add_argument("--seconds", type=_positive, default=4, metavar="S",
                        help="of each contender in a round (%(default)s)")
    parser.add_argument("--rate", type=_positive, default=500, metavar="PER_S",
                        help="orders per second at which answers are timed (%(default)s)")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="also draw bench-accept.svg")


def _add_pages(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hotels", type=_positive, default=10_000, metavar="N",
                        help="hotels seeded, at most 10,000 (%(default)s)")
    parser.add_argument("--rounds", type=_positive, default=5, metavar="N", help="(%(default)s)")
    parser.add_argument("--seconds", type=_positive, default=4, metavar="S",
                        help="of each contender in a round (%(default)s)")
    parser.add_argument("--rate", type=_positive, default=300, metavar="PER_S",
                        help="requests per second at which answers are timed (%(default)s)")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="also draw bench-pages.svg")


def _add_freshness(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--hotels", type=_positive, default=10_000, metavar="N",
                        help="hotels seeded, at most 10,000 (%(default)s)")
    parser.add_argument("--rounds", type=_positive, default=3, metavar="N",
                        help="bulk changes (%(default)s)")
    parser.add_argument("--seconds", type=_positive, default=20, metavar="S",
                        help="of single changes, and of pages before a bulk change (%(default)s)")
    parser.add_argument("--rate", type=_positive, default=300, metavar="PER_S",
                        help="pages asked for per second beside a bulk change (%(default)s)")
    parser.add_argument("--plot", type=Path, metavar="FOLDER",
                        help="also draw bench-freshness.svg")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("a whole number from 1")
    return number


if __name__ == "__main__":
    sys.exit(main())
