"""python -m audit: was anything lost, sold twice, or told wrong? One JSON line last on stdout.

Exit codes: 0 all is well; 1 something is wrong; 2 it could not be told: an engine does not
answer, a setting is wrong, or the system did not come to rest.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import msgspec
import redis
from pymongo.errors import PyMongoError

import bootstrap
from audit.auditor import Auditor, Verdict
from audit.documents import Documents
from audit.findings import WORDS_MAX, Kind
from audit.orders import STATES
from audit.pulse import Glance
from audit.statuses import Bar
from audit.supplier import SupplierBook
from errors import BerthError
from settings import Settings, load

EXIT_WELL, EXIT_WRONG, EXIT_UNKNOWN = 0, 1, 2
# By then an owed cancellation was asked for again three times.
OWED_WITHIN_SWEEPS = 4
# A standby may have to take over before a hold can be ended, and a batch may be long.
HOLD_GRACE_MS = 5_000
SHOWN_MAX = 20

_EPILOG = """\
The JSON line has: ok, orders (documents), accepted (documents and what is queued), confirmed,
failed, rejected, expired, cancelled, held; lost, duplicated, oversold, drifted, owed_overdue,
supplier_orphans, supplier_missing (how many things are wrong); findings (the first 20 in words);
supplier ("looked at", or why not), supplier_earlier (bookings older than every order here, as a
reset leaves them), dead_letters, under_way (what did not come to rest), looks, seconds, error.

Exit codes: 0 all is well, 1 something is wrong, 2 it could not be told.
"""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON line. A count is None when nothing could be looked at."""

    ok: bool
    orders: int | None = None
    accepted: int | None = None
    confirmed: int | None = None
    failed: int | None = None
    rejected: int | None = None
    expired: int | None = None
    cancelled: int | None = None
    held: int | None = None
    lost: int | None = None
    duplicated: int | None = None
    oversold: int | None = None
    drifted: int | None = None
    owed_overdue: int | None = None
    supplier_orphans: int | None = None
    supplier_missing: int | None = None
    findings: list[str] = []
    supplier: str = ""
    supplier_earlier: int = 0
    dead_letters: int | None = None
    under_way: list[str] = []
    looks: int = 0
    seconds: float = 0.0
    error: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    chosen = _parser().parse_args(arguments)

    def say(words: str) -> None:
        if not chosen.json:
            print(words, file=sys.stderr, flush=True)

    started_s = time.monotonic()
    try:
        if chosen.findings is not None:
            chosen.findings.write_text("")  # a path that cannot be written is said at once
        verdict = _audit(load(), chosen, say)
        answer = _answer(verdict, round(time.monotonic() - started_s, 2))
        code = EXIT_WELL if answer.ok else EXIT_WRONG if verdict.found else EXIT_UNKNOWN
        if chosen.findings is not None:
            chosen.findings.write_text("".join(f"{words}\n" for words in verdict.words))
    except (BerthError, PyMongoError, redis.RedisError, OSError) as error:
        answer, code = Answer(ok=False, error=f"{type(error).__name__}: {error}"), EXIT_UNKNOWN
    for line in _summary(answer, code):
        say(line)
    print(msgspec.json.encode(answer).decode(), flush=True)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m audit",
        description="Wait until the system is quiet, then recompute everything from the orders, "
        "the lists and the supplier's book, and say what does not fit. It changes nothing.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--json", action="store_true", help="only the JSON line; no summary and no bar on stderr"
    )
    parser.add_argument(
        "--quiet-within", metavar="SECONDS", type=_seconds, default=30.0,
        help="how long to wait for jobs, holds and owed cancellations to come to an end "
        "(default %(default)g)",
    )
    parser.add_argument(
        "--owed-within", metavar="SECONDS", type=_seconds,
        help="age from which an owed cancellation is overdue (default "
        f"{OWED_WITHIN_SWEEPS} times OWED_AFTER_S)",
    )
    parser.add_argument(
        "--no-supplier", action="store_true",
        help="do not compare with the supplier's book (it is only read where the supplier is the "
        "simulator)",
    )
    parser.add_argument(
        "--findings", metavar="FILE", type=Path,
        help=f"write the findings to FILE, a line each, up to {WORDS_MAX} of them",
    )
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError("from 0 to 86400")
    return seconds


def _audit(settings: Settings, chosen: argparse.Namespace, say: Callable[[str], None]) -> Verdict:
    owed_within_s = chosen.owed_within
    if owed_within_s is None:
        owed_within_s = OWED_WITHIN_SWEEPS * settings.owed_after_s
    with (
        bootstrap.connect_valkey(settings, connections=2) as client,
        bootstrap.connect_mongo(settings) as mongo,
    ):
        documents = Documents(bootstrap.database(settings, mongo))
        glance = Glance(
            client,
            documents,
            hold_grace_ms=settings.sweep_every_ms + settings.lease_ms + HOLD_GRACE_MS,
            owed_within_ms=round(owed_within_s * 1_000),
        )
        auditor = Auditor(
            client,
            documents,
            glance,
            None if chosen.no_supplier else SupplierBook(settings.supplier_base_url),
            quiet_within_s=chosen.quiet_within,
            # Projections follow a change made by hand within two beats.
            recheck_after_s=0.5 + 2 * settings.beat_ms / 1_000,
            say=say,
            progress=partial(_bar, shown=not chosen.json),
        )
        return auditor.run()


def _bar(what: str, total: int, *, shown: bool) -> AbstractContextManager[Bar]:
    """A progress bar, on a terminal only."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    bar: AbstractContextManager[Bar] = tqdm(
        desc=what, total=total, unit=f" {what}", unit_scale=True, leave=False,
        disable=None if shown else True,
    )
    return bar


def _answer(verdict: Verdict, seconds: float) -> Answer:
    look = verdict.look
    counts = {str(kind): look.findings.counts[kind] for kind in Kind}
    return Answer(
        ok=verdict.settled and not verdict.found and not verdict.under_way,
        orders=look.orders,
        accepted=look.orders + look.undecided,
        findings=verdict.words[:SHOWN_MAX],
        supplier=look.supplier,
        supplier_earlier=look.supplier_earlier,
        dead_letters=verdict.dead_letters,
        under_way=verdict.under_way,
        looks=verdict.looks,
        seconds=seconds,
        error="" if verdict.settled else "the system did not stand still while it was looked at",
        **{state: look.states[state] for state in STATES},
        **counts,
    )


def _summary(answer: Answer, code: int) -> list[str]:
    """The same for people."""
    if answer.orders is None:
        return [f"Could not look: {answer.error}"]
    lines = [f"{answer.orders} orders: "
             + ", ".join(f"{getattr(answer, state)} {state}" for state in STATES) + "."]
    lines.append(f"The supplier's book: {answer.supplier}.")
    if answer.supplier_earlier:
        lines.append(f"{answer.supplier_earlier} bookings there are older than every order here.")
    if answer.dead_letters:
        lines.append(f"{answer.dead_letters} dead letters: see `python -m operate dead list`.")
    lines += [f"- {finding}" for finding in answer.findings]
    if answer.under_way:
        lines.append(f"Not at rest: {', '.join(answer.under_way)}.")
    if answer.error:
        lines.append(f"Not certain: {answer.error}.")
    words = {EXIT_WELL: "All is well.", EXIT_WRONG: "Something is wrong.",
             EXIT_UNKNOWN: "It cannot be told yet whether all is well; try again."}
    return [*lines, f"{words[code]} ({answer.seconds:g} s, {answer.looks} looks)"]


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    # All is written and closed; an ordinary exit would wait for a napping thread of pymongo.
    os._exit(exit_code)
