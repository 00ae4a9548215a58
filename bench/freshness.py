"""How soon a change in MongoDB is on the catalogue's pages, and what many changes cost.

Real processes: the catalogue's consumer, gunicorn, and this program, which writes prices into
MongoDB as any other program may, and asks for pages as any visitor does. Prices are changed at a
steady rate, each timed from MongoDB's acknowledgement (majority, journaled) to the moment at which
a GET shows it: of the hotel's page, and for some of a listing of its city. Then the price of every
hotel is changed at once, while pages are asked for at a steady rate, until every hotel is shown
with its new price.
"""

from __future__ import annotations

import datetime as dt
import gzip
import http.client
import itertools
import queue
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import redis
import requests
from pymongo import UpdateOne
from pymongo.collection import Collection

from bench import hotels
from bench.hotels import OURS, PAGE_SIZE, Contender, Hotel, Target
from bench.load import check_installed
from bench.machine import machine
from bench.world import DURABLE, BenchError, Child, Tell, World, percentile, world
from booking.documents import Document
from catalogue import documents, words
from embedded.ports import LOOPBACK

CHANGES_PER_S = 50
# Of this many changes, one is looked for in a listing too.
LISTED_EVERY = 5
WATCHERS = 32
# A page that does not show its change yet is asked for again after this.
LOOK_EVERY_S = 0.02
SHOWN_WITHIN_S = 30.0
BULK_WITHIN_S = 110
BULK_LOOK_EVERY_S = 0.1
SAMPLE = 200
WARM_UP_S = 4
CALM_S = 1.0
SEED = 7
# Below what any hotel costs by default, so that it is the price that cards show.
LEAST_CENTS, DISTINCT_PRICES = 100, 1_400

Report = dict[str, Any]


class Change(NamedTuple):
    """A price that was written, where it is looked for, and when MongoDB acknowledged it."""

    hotel: Hotel | None
    path: str
    text: bytes
    at_s: float


def run(count: int, rate: int, seconds: int, rounds: int, tell: Tell) -> Report:
    """`count` hotels; changes for `seconds`; `rate` pages a second before and beside each of
    `rounds` bulk changes.

    Returns the fields of the JSON line. Raises BenchError when wrk is missing, a request was not
    answered with a page, or a change is not shown.
    """
    check_installed()
    with world(DEFAULT_HOTELS=str(min(count, hotels.HOTELS_MAX))) as place:
        seed_s = hotels.seed(place, tell)
        with hotels.building(place, tell) as consumer, hotels.client(place) as valkey, \
                tempfile.TemporaryDirectory(prefix="berth-bench-paths-") as folder, \
                _web(place, Path(folder)) as (found, target):
            built = _rebuilt(valkey, consumer, tell)
            writer = Writer(place)
            seen = _changed(writer, target, found, seconds, tell)
            target.load(min(WARM_UP_S, seconds))
            bulk = [_bulk(writer, target, found, rate, seconds, number, tell)
                    for number in range(1, rounds + 1)]
            report = machine(place)
    middle = {name: round(statistics.median(one[name] for one in bulk), 4) for name in bulk[0]}
    return {
        "hotels": len(found), "changes_per_s": CHANGES_PER_S, "seconds": seconds,
        "rate_per_s": rate, "rounds": rounds, "seed_s": round(seed_s, 1), **built, **seen,
        **middle,
        "page_p99_ratio": round(statistics.median(
            one["page_p99_bulk_ms"] / one["page_p99_ms"] for one in bulk), 2),
        "machine": report,
    }


@contextmanager
def _web(place: World, folder: Path) -> Iterator[tuple[list[Hotel], Target]]:
    """All hotels, and the pages of which half are hotels and half listings with two filters."""
    paths = folder / "pages"
    with hotels.target(place, Contender("pages", OURS, paths)) as target:
        with requests.Session() as http:
            found = hotels.listed(target.url, http)
        dice = random.Random(SEED)
        listings = hotels.listing_addresses(found)
        dice.shuffle(listings)
        dice.shuffle(found)
        mixed = [path for hotel, listing in zip(found, itertools.cycle(listings), strict=False)
                 for path in (hotel["url"], listing)]
        hotels.paths_file(folder, paths.name, mixed)
        yield found, target


def _rebuilt(valkey: redis.Redis, consumer: Child, tell: Tell) -> Report:
    rebuild_s = hotels.rebuild(valkey, consumer)
    tell(f"built anew in {rebuild_s:.1f} s")
    return {
        "rebuild_s": round(rebuild_s, 1), "valkey_mb": hotels.memory_mb(valkey),
        "valkey_peak_mb": hotels.memory_mb(valkey, "used_memory_peak"),
    }


class Writer:
    """Another program: it writes prices into MongoDB and tells Berth nothing."""

    def __init__(self, place: World) -> None:
        self._prices: Collection[Document] = place.database.get_collection(
            documents.PRICES, write_concern=DURABLE)
        # A night that pages show today and, should midnight pass meanwhile, tomorrow.
        night = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)
        self._month, self._field = night.isoformat()[:7], f"nights.{night.isoformat()}"
        self._number = 0

    def change(self, hotel: Hotel) -> str:
        """Give a hotel a lowest price that it did not have; returns it when it is written."""
        self._number += 1
        price = _price(2 * self._number + 1)
        done = self._prices.update_one(*self._update(hotel, price))
        if done.modified_count != 1:
            raise BenchError(f"{hotel['id']} has no prices to change")
        return price

    def change_all(self, found: Sequence[Hotel], number: int) -> dict[str, str]:
        """The same for all at once; returns the prices by hotel when all are written."""
        prices = {hotel["id"]: _price(2 * (place + number))
                  for place, hotel in enumerate(found)}
        done = self._prices.bulk_write(
            [UpdateOne(*self._update(hotel, prices[hotel["id"]])) for hotel in found],
            ordered=False)
        if done.modified_count != len(found):
            raise BenchError(f"{done.modified_count} prices of {len(found)} were changed")
        return prices

    def _update(self, hotel: Hotel, price: str) -> tuple[Document, Document]:
        return {"_id": f"{hotel['id']}:{self._month}"}, {"$set": {self._field: price}}


def _price(number: int) -> str:
    return str(Decimal(LEAST_CENTS + number % (2 * DISTINCT_PRICES)) / 100)


# --- change by change -------------------------------------------------------------------------


def _changed(
    writer: Writer, target: Target, found: Sequence[Hotel], seconds: int, tell: Tell
) -> Report:
    """Changes at a steady rate, each looked for until it is shown."""
    watch = Watch(target)
    free: queue.SimpleQueue[Hotel] = queue.SimpleQueue()
    for hotel in found:
        free.put(hotel)
    watch.start(free)
    began_s = time.monotonic()
    for number in range(CHANGES_PER_S * seconds):
        time.sleep(max(0.0, began_s + number / CHANGES_PER_S - time.monotonic()))
        hotel = free.get(timeout=SHOWN_WITHIN_S)
        price = writer.change(hotel)
        now_s = time.monotonic()
        text = words.price_text(price, hotel["currency"]).encode()
        watch.look(Change(hotel, hotel["url"], text, now_s))
        if number % LISTED_EVERY == 0:
            listing = f"/hotels/hotels-in-{hotel['city']['slug']}?order_by=price_asc"
            watch.look(Change(None, f"{listing}&page_size={PAGE_SIZE}", text, now_s))
    took_s = time.monotonic() - began_s
    pages, listings = watch.end()
    told: Report = {"changes": len(pages),
                    "changed_per_s": round(CHANGES_PER_S * seconds / took_s, 1)}
    for name, values in (("page", pages), ("listing", listings)):
        told |= {f"change_to_{name}_ms_p50": round(percentile(values, 0.5), 1),
                 f"change_to_{name}_ms_p99": round(percentile(values, 0.99), 1),
                 f"change_to_{name}_ms_max": round(max(values), 1)}
    tell(f"{len(pages)} changes: on the hotel's page after {told['change_to_page_ms_p50']:.0f} ms "
         f"(p50), {told['change_to_page_ms_p99']:.0f} ms (p99)")
    return told


class Watch:
    """Visitors who look for changes, each on a connection of their own."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._due: queue.SimpleQueue[Change | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._pages: list[float] = []
        self._listings: list[float] = []
        self._failures: list[str] = []
        self._threads: list[threading.Thread] = []

    def start(self, free: queue.SimpleQueue[Hotel]) -> None:
        """Begin. A hotel whose change is shown is put into `free`."""
        for _ in range(WATCHERS):
            thread = threading.Thread(target=self._run, args=(free,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def look(self, change: Change) -> None:
        """Look for this one until it is shown."""
        self._due.put(change)

    def end(self) -> tuple[list[float], list[float]]:
        """How many ms it took, for pages and for listings. Raises BenchError for what is not
        shown.
        """
        for _ in self._threads:
            self._due.put(None)
        for thread in self._threads:
            thread.join(2 * SHOWN_WITHIN_S)
        if self._failures:
            raise BenchError(f"{len(self._failures)} changes were not shown: {self._failures[0]}")
        return self._pages, self._listings

    def _run(self, free: queue.SimpleQueue[Hotel]) -> None:
        visitor = Visitor(self._target.url)
        while (change := self._due.get()) is not None:
            try:
                took_ms = visitor.wait_for(change)
            except (OSError, http.client.HTTPException, BenchError) as error:
                with self._lock:
                    self._failures.append(f"{change.path}: {error}")
                continue
            finally:
                if change.hotel is not None:
                    free.put(change.hotel)
            with self._lock:
                (self._listings if change.hotel is None else self._pages).append(took_ms)
        visitor.close()


class Visitor:
    """One connection."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(
            LOOPBACK, int(url.rpartition(":")[2]), timeout=SHOWN_WITHIN_S)

    def wait_for(self, change: Change) -> float:
        """Ask until the page shows it; how many ms after the acknowledgement it did. Raises
        BenchError when it does not.
        """
        while change.text not in self.read(change.path):
            if time.monotonic() - change.at_s > SHOWN_WITHIN_S:
                raise BenchError(f"not shown within {SHOWN_WITHIN_S:.0f} s")
            time.sleep(LOOK_EVERY_S)
        return 1_000 * (time.monotonic() - change.at_s)

    def read(self, path: str) -> bytes:
        """The page, unpacked. Raises BenchError for any other answer."""
        self._connection.request("GET", path, headers={"Accept-Encoding": "gzip"})
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != http.client.OK:
            raise BenchError(f"{path} was answered {answer.status}")
        return gzip.decompress(body)

    def close(self) -> None:
        """Leave."""
        self._connection.close()


# --- all at once ------------------------------------------------------------------------------


def _bulk(
    writer: Writer, target: Target, found: Sequence[Hotel], rate: int, seconds: int, number: int,
    tell: Tell,
) -> dict[str, float]:
    """All prices at once, beside a steady load of pages."""
    time.sleep(CALM_S)
    calm = target.load(seconds, rate=rate)
    with target.loading(BULK_WITHIN_S, rate=rate) as load:
        began_s = time.monotonic()
        prices = writer.change_all(found, number)
        written_s = time.monotonic() - began_s
        _wait_until_shown(target, found, prices, began_s)
        bulk_s = time.monotonic() - began_s
        seen = target.checked(load.end())
    if seen.took_s >= BULK_WITHIN_S or seen.per_s < rate * 0.9:
        raise BenchError(f"{seen.per_s:.0f} pages a second were answered beside the bulk change "
                         f"where {rate} were asked for")
    tell(f"round {number}: {len(found)} prices written in {written_s:.1f} s and shown after "
         f"{bulk_s:.1f} s; pages p99 {calm.p99_ms:.1f} ms before, {seen.p99_ms:.1f} ms meanwhile")
    return {
        "bulk_written_s": written_s, "bulk_change_s": bulk_s,
        "page_p50_ms": calm.p50_ms, "page_p99_ms": calm.p99_ms,
        "page_p50_bulk_ms": seen.p50_ms, "page_p99_bulk_ms": seen.p99_ms,
    }


def _wait_until_shown(
    target: Target, found: Sequence[Hotel], prices: dict[str, str], began_s: float
) -> None:
    """Until every hotel is listed with its new price, and pages of some of them show it."""
    with requests.Session() as http_session:
        for page_no in range(1, -(-len(found) // PAGE_SIZE) + 1):
            while not _page_is_new(target, http_session, page_no, prices):
                if time.monotonic() - began_s > BULK_WITHIN_S:
                    raise BenchError(f"the bulk change was not shown within {BULK_WITHIN_S} s")
                time.sleep(BULK_LOOK_EVERY_S)
    for hotel in random.Random(SEED).sample(list(found), min(SAMPLE, len(found))):
        visitor = Visitor(target.url)  # on new connections, so that every process is asked
        text = words.price_text(prices[hotel["id"]], hotel["currency"]).encode()
        visitor.wait_for(Change(hotel, hotel["url"], text, time.monotonic()))
        visitor.close()


def _page_is_new(
    target: Target, http_session: requests.Session, page_no: int, prices: dict[str, str]
) -> bool:
    listed = hotels.get(http_session, f"{target.url}/api/hotels?order_by=newest"
                                      f"&page_size={PAGE_SIZE}&page_no={page_no}")["hotels"]
    return all(Decimal(one["price_from"]) == Decimal(prices[one["id"]]) for one in listed)
