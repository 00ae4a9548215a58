"""Seeds Berth: the indexes of MongoDB, and the packages of a campaign. Safe to run at any time.

    python db_init.py                     indexes; the default campaign where no package is yet,
                                          and the default hotels where no hotel is
    python db_init.py --packages FILE     indexes; the packages of FILE added or changed
    python db_init.py --hotels FILE       the hotels of FILE (CSV or JSON) added or changed; rows
                                          that are refused are told with their line, others kept
    python db_init.py --reset [...]       everything of Berth erased first, in both engines

Exits with 0 when all is done, 1 with the reason when it is not (some hotels of a file refused
counts as that), 2 for an unknown argument.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import redis
from pymongo.errors import PyMongoError

import bootstrap
import settings
from booking import campaign, campaigns
from booking.model import Package
from booking.seeding import Seeded, Seeding, wait_for_primary
from booking.store import BookingStore
from catalogue import hotels_file
from catalogue.default_hotels import Place
from catalogue.documents import CITIES, TYPES
from catalogue.seeding import HotelSeeding
from catalogue.shelf import active_max_of
from engine_errors import valkey_errors
from errors import BadInput, BerthError, EngineAway, EngineUnfit, SettingsError
from queues.clearing import Clearing, RoadBusy, erase
from queues.keys import BOOKING, CATALOGUE
from suppliers import places

WAIT_S = 30.0
FILE_MAX_BYTES = 16 * 1_048_576
_POLL_S = 0.1
_IDS_SHOWN = 12
_LONG_WORK_KEYS = 20_000


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="db_init.py",
        description="Creates the indexes of MongoDB and seeds the packages of a campaign. "
        "Running it again changes nothing that is there already.",
    )
    parser.add_argument(
        "--packages", metavar="FILE", type=Path,
        help="campaign file (JSON): its packages are added, or changed where they exist",
    )
    parser.add_argument(
        "--hotels", metavar="FILE", type=Path,
        help="hotels (.csv or .json), added, or changed where they exist",
    )
    parser.add_argument(
        "--reset", action="store_true",
        help="first erase all orders, packages, hotels and queues; refuses while a consumer runs",
    )
    chosen = parser.parse_args(arguments)
    try:
        # The file first: a bad one is refused before any engine is touched.
        packages = None if chosen.packages is None else _read(chosen.packages)
        hotels = None if chosen.hotels is None else hotels_file.Reader(chosen.hotels)
        with ExitStack() as stack:
            refused = _run(_settings(stack), packages, hotels, reset=chosen.reset)
        return int(refused > 0)
    except BerthError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. Run it again to finish.", file=sys.stderr)
        return 1


def _say(what: str) -> None:
    print(what, flush=True)


def _read(path: Path) -> list[Package]:
    """The packages of a file. Raises BadInput that names file, line and field."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}. Nothing was changed.") from None
    if len(raw) > FILE_MAX_BYTES:
        raise BadInput(f"{path} is larger than {FILE_MAX_BYTES:,} bytes. Nothing was changed.")
    try:
        return campaign.parse_bytes(raw)
    except campaign.CampaignRefused as error:
        lines = "\n".join(f"  {line}" for line in error.lines())
        raise BadInput(f"{path} is refused, and nothing was changed:\n{lines}") from None


def _settings(stack: ExitStack) -> settings.Settings:
    """The settings; where no engines run, the embedded ones are started until `stack` closes.

    A reset needs the consumers ended, and the starter ends the engines together with them.
    """
    declared = settings.load(find_engines=False)
    if declared.redis_url or declared.mongo_url:
        return settings.load()
    from embedded import Valkey, engines
    from embedded.data_dir import owned

    try:
        folder = stack.enter_context(owned(Path(declared.data_dir)))
    except SettingsError:
        # A starter owns them, and has left their addresses. Without its lock we would believe
        # addresses that a killed one left, or start the same engines twice.
        return settings.load()
    _say(f"No engines are running; starting those of {declared.data_dir} for this run.")
    running = stack.enter_context(engines(
        folder, maxmemory_mb=declared.valkey_maxmemory_mb, roles=tuple(Valkey)
    ))
    return msgspec.structs.replace(
        declared,
        redis_url=running.redis_url,
        search_redis_url=declared.search_redis_url or running.plan.valkey_url(Valkey.SEARCH),
        catalogue_redis_url=(
            declared.catalogue_redis_url or running.plan.valkey_url(Valkey.CATALOGUE)
        ),
        mongo_url=running.mongo_url,
    )


def _run(
    found: settings.Settings,
    packages: list[Package] | None,
    hotels: hotels_file.Reader | None,
    *,
    reset: bool,
) -> int:
    """How many hotels of the file were refused."""
    try:
        # A client of its own: a connection that was made before the set was is believed to know
        # no sessions for as long as it lives.
        with bootstrap.connect_mongo(found) as early:
            wait_for_primary(early, within_s=WAIT_S, say=_say)
        with bootstrap.connect_mongo(found) as client:
            database = bootstrap.database(found, client)
            store, seeding = BookingStore(database), Seeding(database)
            catalogue = HotelSeeding(database)
            if not reset:
                _seed(store, seeding, packages)
            else:
                _refuse_while_pages_are_built(found)
                with bootstrap.connect_valkey(found) as valkey:
                    _wait_for_valkey(valkey)
                    _reset(valkey, store, seeding, packages)
                _reset_catalogue(found, catalogue)
            return _seed_hotels(found, catalogue, hotels)
    except (PyMongoError, redis.RedisError) as error:
        # What no time mends: a wrong password, an index that cannot stand over what is there.
        raise EngineUnfit(f"{type(error).__name__}: {error}") from error


def _seed(store: BookingStore, seeding: Seeding, packages: list[Package] | None) -> None:
    store.ensure_indexes()
    if packages is not None:
        _tell(seeding.put(packages))
        return
    there = seeding.count()
    if not there:
        default = _read(campaigns.DEFAULT)
        if seeding.fill(default):
            _say(f"The default campaign is seeded: {len(default)} packages.")
            return
        there = seeding.count()  # another run was first
    _say(f"{there} packages are there already and stay as they are; --packages changes them.")


def _seed_hotels(
    found: settings.Settings, seeding: HotelSeeding, hotels: hotels_file.Reader | None
) -> int:
    """The hotels of the file, or the default ones where there is none."""
    seeding.ensure_indexes()
    today = dt.datetime.now(dt.UTC).date()
    if not seeding.count():
        # Without any default hotel too: own ones name the same cities, types and amenities.
        seeding.fill_words(_places())
    if hotels is None:
        refused = 0
        _seed_default_hotels(found, seeding, today)
    else:
        refused = _put_hotels(seeding, hotels, today, found.catalogue_currency)
        _tell_room(found, seeding.active())
    # Once more: the file may have mended what it could not stand over.
    if to_mend := seeding.ensure_indexes():
        print(to_mend, file=sys.stderr)
    return refused


def _seed_default_hotels(
    found: settings.Settings, seeding: HotelSeeding, today: dt.date
) -> None:
    there, currency = seeding.count(), found.catalogue_currency
    places = list(itertools.islice(_places(), found.default_hotels))
    if there:
        added = seeding.top_up_prices(places, today=today, currency=currency)
        told = f", {added} of the default ones with prices of a new month" if added else ""
        _say(f"{there} hotels are there already and stay as they are{told}.")
    elif places:
        with _bar("seeding hotels", len(places)) as progress:
            seeding.fill(places, today=today, currency=currency, progress=progress)
        _say(f"The default hotels are seeded: {len(places)}.")


def _tell_room(found: settings.Settings, active: int) -> None:
    """Say when more hotels are active than are shown, by the limit of the system that runs."""
    try:
        with bootstrap.connect_catalogue_valkey(found) as valkey:
            running = active_max_of(valkey)
    except BerthError:
        running = None  # it is not needed for what was done
    if active <= (running or found.catalogue_active_max):
        return
    if running is not None:
        _say(f"{active} hotels are active, and the system that runs shows the {running} that came "
             "first: start it with a higher CATALOGUE_ACTIVE_MAX, or make others inactive.")
    else:
        _say(f"{active} hotels are active. No system runs that would say how many it shows; with "
             f"the CATALOGUE_ACTIVE_MAX of this shell it is the {found.catalogue_active_max} that "
             "came first. Start it with a higher one, or make others inactive.")


def _put_hotels(
    seeding: HotelSeeding, hotels: hotels_file.Reader, today: dt.date, currency: str
) -> int:
    kept = refused = 0
    cities, types = seeding.known(CITIES), seeding.known(TYPES)
    with _bar("seeding hotels", None) as progress:
        for some in hotels.batches(today=today, currency=currency, known_cities=cities,
                                   known_types=types):
            taken = seeding.put(some.hotels)
            lines = [*some.refused, *(hotels.line(one.place, taken[one.hotel_id])
                                      for one in some.hotels if one.hotel_id in taken)]
            for line in lines:
                print(line, file=sys.stderr)
            kept += len(some.hotels) - len(taken)
            refused += len(lines)
            progress(len(some.hotels) + len(some.refused))
    _say(f"{kept} hotels added or changed, {refused} refused.")
    return refused


def _places() -> Iterator[Place]:
    """The hotels that suppliers know, as the catalogue's defaults."""
    for city in places.cities().values():
        for hotel_id in city.hotel_ids():
            one = places.hotel(hotel_id)
            assert one is not None  # its city has just listed it
            yield Place(hotel_id, one.name, one.stars, one.latitude, one.longitude,
                        city.slug, city.name, city.country, city.country_name)


def _refuse_while_pages_are_built(found: settings.Settings) -> None:
    with bootstrap.connect_catalogue_valkey(found) as valkey:
        _wait_for_valkey(valkey)
        with valkey_errors():
            holder = valkey.get(CATALOGUE.lease)
    if holder:
        raise EngineUnfit(
            f"Not reset: {holder.decode()} builds the catalogue's pages. Stop the consumers first, "
            "then run this again. One that was killed lets go by itself within seconds."
        )


def _reset_catalogue(found: settings.Settings, seeding: HotelSeeding) -> None:
    """Hotels first, pages after: a consumer that starts between finds nothing to show."""
    seeding.drop()
    with bootstrap.connect_catalogue_valkey(found) as valkey:
        _wait_for_valkey(valkey)
        erased = erase(valkey, CATALOGUE.prefix, but=[CATALOGUE.epoch])
    _say(f"Erased: all hotels, and {erased} keys of their pages.")


def _tell(seeded: Seeded) -> None:
    _say(
        f"{_ids(seeded.added)} added, {_ids(seeded.changed)} changed, {_ids(seeded.same)} as they "
        f"were; {seeded.others} other packages stay."
    )
    if seeded.paused:
        _say(f"The sale of {_ids(seeded.paused)} is paused and stays so.")


def _ids(ids: list[int]) -> str:
    """How many, and which where they are few."""
    if not ids:
        return "0"
    shown = ", ".join(str(i) for i in ids[:_IDS_SHOWN])
    return f"{len(ids)} ({shown}{', ...' if len(ids) > _IDS_SHOWN else ''})"


def _wait_for_valkey(valkey: redis.Redis) -> None:
    """It may still be reading its file. Raises EngineAway after WAIT_S."""
    deadline = time.monotonic() + WAIT_S
    told = False
    while True:
        try:
            with valkey_errors():
                valkey.ping()
            return
        except EngineAway:
            if time.monotonic() > deadline:
                raise
        if not told:
            _say(f"Waiting for Valkey, up to {WAIT_S:.0f} s.")
            told = True
        time.sleep(_POLL_S)


def _reset(
    valkey: redis.Redis, store: BookingStore, seeding: Seeding, packages: list[Package] | None
) -> None:
    """Erase and seed again, while nobody works. Killed anywhere, it can be run again.

    Valkey goes first: orders that are left without jobs move no more, and none is let in. The
    packages go last: a run without --reset seeds the default only where none is left.
    """
    try:
        with Clearing(valkey, BOOKING, who=f"db_init-{os.getpid()}") as clearing:
            with _progress(valkey) as progress:
                erased = clearing.sweep(progress)
            seeding.drop_orders()
            clearing.renew()
            seeding.delete_packages()
            clearing.renew()
            _say(f"Erased: {erased} keys in Valkey, all orders and packages in MongoDB.")
            _seed(store, seeding, packages)
    except RoadBusy as busy:
        raise EngineUnfit(
            f"Not reset: {', '.join(busy.holders)} is at work here. Stop the consumers first (end "
            "`python app_queue.py`, or `docker compose stop booking reservation`), then run this "
            "again. A consumer that was killed lets go by itself within seconds."
        ) from None


@contextmanager
def _bar(what: str, total: int | None) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal."""
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from tqdm import tqdm

    with tqdm(desc=what, total=total, unit=" hotels", unit_scale=True) as bar:
        yield bar.update


@contextmanager
def _progress(valkey: redis.Redis) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal, when there is much to erase."""
    if not sys.stderr.isatty() or valkey.dbsize() < _LONG_WORK_KEYS:
        yield lambda erased: None
        return
    from tqdm import tqdm  # type: ignore[import-untyped]

    with tqdm(desc="erasing", unit=" keys", unit_scale=True) as bar:
        yield bar.update


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    # All is written and closed. An ordinary exit would wait half a second, at every start of the
    # system, for a thread of the MongoDB client that naps.
    os._exit(exit_code)
