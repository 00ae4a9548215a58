"""python -m operate <command>: what an operator does to a running system.

Exit codes: 0 done; 1 refused, with the reason (an unknown package, no such letter, a retry that
would change nothing); 2 not possible: wrong arguments or settings, or an engine does not answer.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import redis
from pymongo.errors import PyMongoError

import bootstrap
from booking.model import PACKAGE_ID_MAX, QUOTA_MAX
from booking.store import BookingStore
from catalogue.source import HotelSource
from engine_errors import valkey_errors
from errors import BerthError
from operate.catalogue import CatalogueDesk
from operate.dead import Letters
from operate.output import EXIT_DONE, EXIT_REFUSED, EXIT_UNABLE, Refused, Result
from operate.rates import RateWatch
from operate.retell import Retelling
from operate.sales import Sales
from operate.watch import Watch
from settings import load

_EPILOG = "Exit codes: 0 done; 1 refused, with the reason; 2 wrong arguments, or an engine is away."


class Tools(msgspec.Struct, frozen=True):
    """What the commands work with."""

    letters: Letters
    sales: Sales
    watch: Watch
    catalogue: CatalogueDesk
    rates: RateWatch
    retelling: Retelling


Command = Callable[[Tools, argparse.Namespace], Result]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    chosen = _parser().parse_args(arguments)
    try:
        result = _run(chosen)
    except Refused as refused:
        return _fail(str(refused), EXIT_REFUSED, as_json=chosen.json)
    except (BerthError, PyMongoError, redis.RedisError) as error:
        return _fail(f"{type(error).__name__}: {error}", EXIT_UNABLE, as_json=chosen.json)
    if chosen.json:
        print(msgspec.json.encode(result.data).decode())
    else:
        print("\n".join(result.lines))
    return EXIT_DONE


def _fail(words: str, code: int, *, as_json: bool) -> int:
    print(words, file=sys.stderr)
    if as_json:
        print(msgspec.json.encode({"error": words}).decode())
    return code


def _run(chosen: argparse.Namespace) -> Result:
    settings = load()
    with (
        bootstrap.connect_valkey(settings, connections=2) as client,
        bootstrap.connect_catalogue_valkey(settings, connections=2) as pages,
        bootstrap.connect_search_valkey(settings, connections=2) as searches,
        bootstrap.connect_mongo(settings) as mongo,
    ):
        with valkey_errors():
            seconds, micros = client.time()
        now_ms = seconds * 1_000 + micros // 1_000
        database = bootstrap.database(settings, mongo)
        store = BookingStore(database)
        tools = Tools(
            Letters(client, store, now_ms),
            Sales(client, database, store),
            Watch(client, database, settings, now_ms),
            CatalogueDesk(pages, HotelSource(database), now_ms),
            RateWatch(searches, settings),
            Retelling(client, store, bootstrap.booking_queue(settings, client),
                      backlog_max_jobs=settings.backlog_max_jobs),
        )
        command: Command = chosen.command
        return command(tools, chosen)


# --- the command line -------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m operate", epilog=_EPILOG,
        description="Watch and steer a running system. docs/operations.md says when.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add(commands, "queues",
         lambda tools, _: tools.watch.queues(catalogue=tools.catalogue.state(),
                                             rates=tools.rates.state()),
         "how much waits, how old it is, who works on it",
         "Waiting jobs, the batch in flight, the age of the oldest order, the holder of the lease, "
         "the backlog against its bounds, memory, dead letters, reservation workers; what the "
         "catalogue shows and how far it is behind; searches, fetch workers, each supplier of "
         "rates and its circuit breaker; and remarks on what is not as it should be.")
    search = _add(commands, "search", lambda tools, chosen: tools.rates.search(chosen.search),
                  "one search, and how far each supplier is with it",
                  "What a search asks for, when it ends, and each supplier's parts, rates and "
                  "error. Searches are forgotten after SEARCH_LIFE_S.")
    search.add_argument("search", help="its search_id, as GET /api/search tells it")
    _add(commands, "orders", lambda tools, _: tools.watch.orders(),
         "how many orders are in each state, and why",
         "Counts the orders in MongoDB by state and reason.")
    _add(commands, "owed", lambda tools, _: tools.watch.owed(),
         "orders that owe a cancellation at the supplier",
         "Orders whose flight or room is still to be cancelled, the longest owed first. They are "
         "asked for again every OWED_AFTER_S by themselves.")
    _add_sales(commands)
    _add_dead(commands)
    _add(commands, "rebuild", lambda tools, _: tools.catalogue.rebuild(),
         "build all pages of the catalogue anew",
         "Has the catalogue consumer build every page anew. The pages that are there stay until "
         "all new ones are, so nobody misses one. Harmless at any time.")
    _add(commands, "retell", lambda tools, _: tools.retelling.retell(),
         "tell statuses again that are behind MongoDB",
         "For use after an older copy of Valkey was restored: statuses that differ from their "
         "orders in MongoDB are told again by the booking consumer. Harmless at any time.")
    return parser


def _add_sales(commands: Any) -> None:
    pause = _add(commands, "pause", lambda tools, chosen: tools.sales.pause(chosen.package),
                 "stop the sale of a package",
                 "Orders for it are refused at the door, and those still queued are rejected "
                 "(sales_paused). Live orders keep their units and go on.")
    resume = _add(commands, "resume", lambda tools, chosen: tools.sales.resume(chosen.package),
                  "sell a paused package again", "Undoes `pause`.")
    quota = _add(commands, "quota",
                 lambda tools, chosen: tools.sales.quota(chosen.package, chosen.quota),
                 "change the quota of a package",
                 "A raised quota is sold within about a second. A lowered one stops sales until "
                 "fewer orders are live than it allows; it takes nothing back.")
    for parser in (pause, resume, quota):
        parser.add_argument("package", type=_package_id, help="id of the package")
    quota.add_argument("quota", type=_whole, metavar="n", help=f"from 0 to {QUOTA_MAX}")


def _add_dead(commands: Any) -> None:
    dead = commands.add_parser(
        "dead", help="jobs that could not be applied: list, show, retry, drop",
        description="Dead letters: jobs that could not be applied, kept whole until a person has "
        "looked at them.", epilog=_EPILOG,
    ).add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add(dead, "list", lambda tools, _: tools.letters.listing(),
         "all letters, and whether a retry is of use", "All dead letters, the oldest first.")
    show = _add(dead, "show", lambda tools, chosen: tools.letters.show(chosen.letter),
                "one letter, its job, and what a retry would do",
                "One letter with its job; e-mails are masked.")
    retry = _add(dead, "retry", _retry,
                 "put a job back on its list",
                 "Puts a job back on the list that it came from. Refused where it would change "
                 "nothing: an order that was buried is rejected for good and its customer was told "
                 "so; a retry does not bring it back.")
    drop = _add(dead, "drop", lambda tools, chosen: tools.letters.drop(chosen.letter),
                "take a letter away for good",
                "Takes a letter away, once a person has seen to what it is about.")
    what = "its number in `dead list`, its id (or the beginning of it), or the order's id"
    for parser in (show, drop):
        parser.add_argument("letter", help=what)
    which = retry.add_mutually_exclusive_group(required=True)
    which.add_argument("letter", nargs="?", help=what)
    which.add_argument("--all", action="store_true",
                       help="every letter that a retry is of use for")


def _retry(tools: Tools, chosen: argparse.Namespace) -> Result:
    return tools.letters.retry_all() if chosen.all else tools.letters.retry(chosen.letter)


def _add(commands: Any, name: str, command: Command, brief: str, whole: str
         ) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=brief, description=whole, epilog=_EPILOG
    )
    parser.add_argument("--json", action="store_true", help="JSON, for programs")
    parser.set_defaults(command=command)
    return parser


def _whole(text: str) -> int:
    if not text.isascii() or not text.lstrip("-").isdecimal() or len(text) > 20:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _package_id(text: str) -> int:
    number = _whole(text)
    if not 1 <= number <= PACKAGE_ID_MAX:
        raise argparse.ArgumentTypeError(f"{text} cannot be the id of a package")
    return number


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    # All is said and closed; an ordinary exit would wait for a napping thread of pymongo.
    os._exit(exit_code)
