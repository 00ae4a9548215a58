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
from audit.answer import EXIT_UNKNOWN, Answer, Verdicts, answer_of, exit_code, summary
from audit.auditor import Auditor, Verdict
from audit.catalogue import CatalogueAuditor, CatalogueVerdict
from audit.documents import Documents
from audit.findings import WORDS_MAX
from audit.hotels import HotelDocuments
from audit.pages import Shelf
from audit.pulse import Glance
from audit.statuses import Bar
from audit.supplier import SupplierBook
from errors import BerthError, EngineAway
from settings import Settings, load

# By then an owed cancellation was asked for again three times.
OWED_WITHIN_SWEEPS = 4
# A standby may have to take over before a hold can be ended, and a batch may be long.
HOLD_GRACE_MS = 5_000
BOOKINGS, CATALOGUE = "bookings", "catalogue"

Say = Callable[[str], None]

_EPILOG = """\
The JSON line has: ok, orders (documents), accepted (documents and what is queued), confirmed,
failed, rejected, expired, cancelled, held; lost, duplicated, oversold, drifted, owed_overdue,
supplier_orphans, supplier_missing (how many things are wrong); hotels (shown), hotels_broken
(active, but their documents make no page); pages_missing, pages_stale (not what a fresh rebuild
gives), pages_left (of hotels that are not to be shown), listing_wrong (rows, addresses, counts,
orders); findings (the first 20 in words); supplier and catalogue ("looked at", or why not),
supplier_earlier (bookings older than every order here, as a reset leaves them), dead_letters,
under_way (what did not come to rest), looks, catalogue_looks, seconds, error.

Exit codes: 0 all is well, 1 something is wrong, 2 it could not be told.
"""


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
        verdicts = _audit(load(), chosen, say)
        answer = answer_of(verdicts, round(time.monotonic() - started_s, 2))
        code = exit_code(answer, verdicts)
        if chosen.findings is not None:
            chosen.findings.write_text("".join(f"{words}\n" for words in verdicts.words))
    except (BerthError, PyMongoError, redis.RedisError, OSError) as error:
        answer, code = Answer(ok=False, error=f"{type(error).__name__}: {error}"), EXIT_UNKNOWN
    for line in summary(answer, code):
        say(line)
    print(msgspec.json.encode(answer).decode(), flush=True)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m audit",
        description="Wait until the system is quiet, then recompute everything from the orders, "
        "the lists, the supplier's book and the hotels, and say what does not fit. It changes "
        "nothing.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--json", action="store_true", help="only the JSON line; no summary and no bar on stderr"
    )
    parser.add_argument(
        "--only", choices=(BOOKINGS, CATALOGUE),
        help="look at the orders and all that belongs to them, or at the pages of hotels, alone",
    )
    parser.add_argument(
        "--quiet-within", metavar="SECONDS", type=_seconds, default=30.0,
        help="how long to wait for jobs, holds and owed cancellations to come to an end, and for "
        "the catalogue to catch up (default %(default)g)",
    )
    parser.add_argument(
        "--owed-within", metavar="SECONDS", type=_seconds,
        help="age from which an owed cancellation is overdue (default "
        f"the longest reservation and {OWED_WITHIN_SWEEPS} times OWED_AFTER_S)",
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


def _audit(settings: Settings, chosen: argparse.Namespace, say: Say) -> Verdicts:
    return Verdicts(
        None if chosen.only == CATALOGUE else _audit_bookings(settings, chosen, say),
        None if chosen.only == BOOKINGS else _audit_catalogue(settings, chosen, say),
    )


def _audit_bookings(settings: Settings, chosen: argparse.Namespace, say: Say) -> Verdict:
    owed_within_s = chosen.owed_within
    if owed_within_s is None:
        # A supplier that keeps no tombstone is asked until no request can be on its way any more.
        owed_within_s = settings.saga_worst_case_s + OWED_WITHIN_SWEEPS * settings.owed_after_s
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


def _audit_catalogue(
    settings: Settings, chosen: argparse.Namespace, say: Say
) -> CatalogueVerdict:
    """An engine that is away hides nothing that was found of the orders."""
    with (
        bootstrap.connect_catalogue_valkey(settings, connections=2) as client,
        bootstrap.connect_mongo(settings) as mongo,
    ):
        auditor = CatalogueAuditor(
            Shelf(client),
            HotelDocuments(bootstrap.database(settings, mongo),
                           active_max=settings.catalogue_active_max),
            currency=settings.catalogue_currency,
            within_s=chosen.quiet_within,
            say=say,
            progress=partial(_bar, shown=not chosen.json),
        )
        try:
            return auditor.run()
        except EngineAway as away:
            if chosen.only == CATALOGUE:
                raise
            return CatalogueVerdict(told=f"not looked at: {away}", settled=False)


def _bar(what: str, total: int, *, shown: bool) -> AbstractContextManager[Bar]:
    """A progress bar, on a terminal only."""
    from tqdm import tqdm  # type: ignore[import-untyped]

    bar: AbstractContextManager[Bar] = tqdm(
        desc=what, total=total, unit=f" {what}", unit_scale=True, leave=False,
        disable=None if shown else True,
    )
    return bar


if __name__ == "__main__":
    ended_with = main()
    sys.stdout.flush()
    # All is written and closed; an ordinary exit would wait for a napping thread of pymongo.
    os._exit(ended_with)
