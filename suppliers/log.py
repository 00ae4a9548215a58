"""python -m suppliers.log: reads the log of vendor calls back, by supplier and time."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Iterator, Sequence

import msgspec

from errors import BerthError
from settings import load
from suppliers.interaction_store import InteractionStore
from suppliers.redaction import Interaction


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        store = InteractionStore(load().interactions_where)
        if not chosen.supplier:
            print("\n".join(sorted(store.suppliers())) or "nothing is kept yet")
            return 0
        one = None
        for one in _wanted(store, chosen):
            print(msgspec.json.encode(one).decode() if chosen.json else _line(one, chosen.bodies))
        if one is None:
            print("No such call in this time; without --supplier: whose calls there are.",
                  file=sys.stderr)
    except BerthError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever reads has seen enough.
        sys.stderr.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m suppliers.log",
        description="Show calls to suppliers of rates: request, answer, how long it took. Secrets "
        "and what says who a customer is were removed before they were kept. Without --supplier: "
        "whose calls there are.",
        epilog="Times are RFC 3339 (2026-12-01T09:00:00Z), or so far back: 90s, 15m, 2h, 1d.",
    )
    parser.add_argument("--supplier", help="such as hotelbeds")
    parser.add_argument("--from", dest="since", type=_moment, default="1h", metavar="T",
                        help="calls that began then or later (an hour back)")
    parser.add_argument("--to", dest="until", type=_moment, default="0s", metavar="T",
                        help="and before then (now)")
    parser.add_argument("--failed", action="store_true",
                        help="only those without an answer, or with one from 400 on")
    parser.add_argument("--bodies", action="store_true", help="with what was sent and answered")
    parser.add_argument("--json", action="store_true", help="a JSON line each, with everything")
    return parser


def _moment(text: str) -> dt.datetime:
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    if text[-1:] in units and text[:-1].isdecimal() and len(text) < 9:
        return dt.datetime.now(dt.UTC) - dt.timedelta(**{units[text[-1]]: int(text[:-1])})
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a time nor so far back") from None
    return found if found.tzinfo else found.replace(tzinfo=dt.UTC)


def _wanted(store: InteractionStore, chosen: argparse.Namespace) -> Iterator[Interaction]:
    found = store.read(supplier=chosen.supplier, since=chosen.since, until=chosen.until)
    return (one for one in found
            if not chosen.failed or one.status is None or one.status >= 400)


def _line(one: Interaction, bodies: bool) -> str:
    told = str(one.status) if one.status is not None else one.error or "no answer"
    line = f"{one.at}  {told:>7}  {one.latency_ms:>8.1f} ms  {one.method} {one.url}"
    if bodies:
        for name, body in (("sent", one.request_body), ("answered", one.response_body)):
            if body:
                line += f"\n    {name}: {body}"
    return line


if __name__ == "__main__":
    sys.exit(main())
