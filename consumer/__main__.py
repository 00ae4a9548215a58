"""python -m consumer <name>: one consumer, until SIGTERM; then it finishes its step and exits 0.

Exit codes: 0 stopped, 1 an engine or a setting is not fit, 3 a job of a newer version was met.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec
import redis

import bootstrap
import shapes
from errors import BerthError, EngineAway, NewerJob, SettingsError
from queues.fitness import check_valkey, memory_percent
from queues.keys import FEEDBACK, INTERACTIONS, SEARCH
from queues.reliable import ReliableQueue
from settings import Settings, load
from suppliers.precedence import step_back
from suppliers.registry import chosen

if TYPE_CHECKING:
    from consumer.fetch import FetchWorkers
    from consumer.stays import Stays

# Each builder imports what its consumer needs: one that books loads no arrays and no file systems.
# That saves a third of each process's memory (85 MB to 55 MB, measured).
log = logging.getLogger("consumer")

ENGINES_WITHIN_S = 60.0
ENGINES_PAUSE_S = 0.25
COLLECT_AFTER_OBJECTS = 200_000
EXIT_UNFIT = 1
EXIT_NEWER_JOB = 3


class Consumer(Protocol):
    """A loop's body and its end."""

    def step(self) -> None: ...
    def leave(self) -> None: ...


def main() -> int:
    """Run the consumer that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m consumer",
        description="Run one consumer. SIGTERM finishes the step under way and exits 0.",
    )
    parser.add_argument("name", choices=sorted(_BUILDERS), help="which one")
    name = parser.parse_args().name
    logging.basicConfig(level=logging.INFO, stream=sys.stderr,
                        format=f"%(asctime)s %(levelname)s {name} %(message)s")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load()
        beat = _beat_of(settings.beat_file)
        return _run(_BUILDERS[name](settings, stop), stop, beat)
    except BerthError as error:
        log.error("%s", error)
        return EXIT_UNFIT


def _run(consumer: Consumer, stop: threading.Event, beat: Callable[[], None]) -> int:
    code = 0
    log.info("started")
    try:
        while not stop.is_set():
            consumer.step()
            beat()
    except NewerJob as newer:
        # The job stays where it is, for a consumer that knows it: see docs/operations.md.
        log.error("stopping: %s", newer)
        stop.set()
        code = EXIT_NEWER_JOB
    finally:
        stop.set()
        consumer.leave()
    log.info("stopped")
    return code


def _beat_of(path: str) -> Callable[[], None]:
    """Tells a container's health check that the loop turns. Raises SettingsError.

    Steps go on while an engine is away and while another consumer holds the lease: neither is
    mended by starting this process again, so neither may look like a dead one.
    """
    if not path:
        return lambda: None
    file = Path(path)
    try:
        # One that a previous start left would say that this one lives before it does.
        file.unlink(missing_ok=True)
        file.touch()
    except OSError as error:
        raise SettingsError(f"BEAT_FILE {path} cannot be written: {error.strerror}.") from None
    file.unlink()
    return file.touch


def _booking(settings: Settings, stop: threading.Event) -> Consumer:
    from consumer.batches import Limits
    from consumer.booking import BookingConsumer

    _collect_seldom()
    client = bootstrap.connect_valkey(settings, connections=2)
    store = bootstrap.booking_store(settings)
    _when_engines_answer(partial(check_valkey, client), stop)
    _when_engines_answer(store.check_indexes, stop)
    limits = shapes.convert(settings, Limits, from_attributes=True)
    return BookingConsumer(
        bootstrap.booking_queue(settings, client),
        store,
        limits,
        name=_own_name(),
        memory_percent=partial(memory_percent, client),
        stop=stop,
    )


def _reservation(settings: Settings, stop: threading.Event) -> Consumer:
    from consumer.reservation import ReservationConsumer, Saga
    from suppliers.reservations import ReservationSupplier

    threads = settings.reservation_threads
    client = bootstrap.connect_valkey(settings, connections=threads + 2)
    store = bootstrap.booking_store(settings)
    _when_engines_answer(partial(check_valkey, client), stop)
    supplier = ReservationSupplier(
        settings.supplier_base_url,
        timeout_s=settings.supplier_timeout_s,
        attempts=settings.supplier_attempts,
        backoff_max_s=settings.supplier_backoff_max_s,
        pool_size=threads,
        stop=stop,
    )
    return ReservationConsumer(
        bootstrap.reservation_work(settings, client, _own_name()),
        Saga(store, supplier, _stays(settings, client, threads, stop)),
        threads=threads,
        bury_after_deliveries=settings.bury_after_deliveries,
        dead_letters_max=settings.dead_letters_max,
        heartbeat_ms=settings.heartbeat_ms,
        stop=stop,
    )


def _catalogue(settings: Settings, stop: threading.Event) -> Consumer:
    from catalogue.shelf_writer import ShelfWriter
    from catalogue.source import HotelSource
    from consumer.catalogue import CatalogueConsumer

    source = HotelSource(bootstrap.database(settings, bootstrap.connect_mongo(settings)))
    _when_engines_answer(source.ensure_indexes, stop)
    return CatalogueConsumer(
        source,
        ShelfWriter(
            bootstrap.connect_catalogue_valkey(settings, connections=2),
            consumer=_own_name(), lease_ms=settings.lease_ms,
        ),
        active_max=settings.catalogue_active_max,
        currency=settings.catalogue_currency,
        stop=stop,
    )


def _feedback(settings: Settings, stop: threading.Event) -> Consumer:
    from catalogue.feedback import FeedbackStore, TasteShelf
    from catalogue.interest import Interest
    from consumer.feedback import FeedbackConsumer, Trainer

    client = bootstrap.connect_catalogue_valkey(settings, connections=4)
    search = bootstrap.connect_search_valkey(settings, connections=4)
    store = FeedbackStore(bootstrap.database(settings, bootstrap.connect_mongo(settings)))
    _when_engines_answer(store.ensure_indexes, stop)
    name = _own_name()
    return FeedbackConsumer(
        ReliableQueue(client, FEEDBACK, lease_ms=settings.lease_ms),
        store,
        TasteShelf(client),
        Interest(client),
        Trainer(search, name=name, timeout_s=settings.training_timeout_s, stop=stop),
        name=name,
        train_every_s=settings.training_every_s,
        stop=stop,
    )


def _search(settings: Settings, stop: threading.Event) -> Consumer:
    from consumer.fetch_queue import FetchQueue
    from consumer.fetch_workers import FetchWorkersAlive
    from consumer.search import SearchConsumer

    step_back(settings.search_niceness)
    client = bootstrap.connect_search_valkey(settings, connections=4)
    suppliers = chosen(settings)
    _collect_seldom()
    return SearchConsumer(
        ReliableQueue(client, SEARCH, lease_ms=settings.lease_ms),
        bootstrap.search_entries(settings, client),
        FetchQueue(client, suppliers),
        FetchWorkersAlive(client, heartbeat_ms=settings.heartbeat_ms),
        list(suppliers.values()),
        name=_own_name(),
        currency=settings.search_currency,
        deadline_s=settings.search_deadline_s,
        stop=stop,
    )


def _fetch(settings: Settings, stop: threading.Event) -> Consumer:
    from consumer.beside import Beside

    step_back(settings.search_niceness)
    few = [name for name, one in chosen(settings).items() if not one.many_calls]
    many = [name for name, one in chosen(settings).items() if one.many_calls]
    if not few or not many:
        return _fetchers(settings, stop, few or many)
    # Python runs one thread of a process at a time: an answer with all rates of a supplier would
    # wait for hundreds of small calls to others.
    beside = Beside(lambda: _run(_fetchers(settings, stop, many), stop, lambda: None))
    fetchers: FetchWorkers = _fetchers(settings, stop, few)
    fetchers.beside = beside
    return fetchers


def _fetchers(settings: Settings, stop: threading.Event, suppliers: Sequence[str]) -> FetchWorkers:
    from consumer.fetch import FetchWorkers
    from consumer.fetch_queue import FetchQueue, part_timeout_s
    from consumer.fetch_workers import FetchWorkersAlive

    name = _own_name()
    threads = dict.fromkeys(suppliers, settings.fetch_threads)
    client = bootstrap.connect_search_valkey(
        settings,
        connections=len(suppliers) * (settings.fetch_threads + settings.loader_threads_max) + 8,
    )
    # RQ lengthens the patience of its connections to that of a wait for a job.
    for_rq = bootstrap.connect_search_valkey(settings, connections=2 * sum(threads.values()) + 8)
    _collect_seldom()
    return FetchWorkers(
        for_rq,
        bootstrap.fetcher(settings, client, stop, suppliers, owner=name),
        FetchWorkersAlive(client, heartbeat_ms=settings.heartbeat_ms),
        FetchQueue(client, threads),
        name=name,
        timeout_s=part_timeout_s(settings.search_deadline_s),
        suppliers=threads,
        heartbeat_ms=settings.heartbeat_ms,
        stop=stop,
    )


def _interactions(settings: Settings, stop: threading.Event) -> Consumer:
    from consumer.interactions import InteractionsConsumer
    from suppliers.interaction_store import InteractionStore

    client = bootstrap.connect_search_valkey(settings, connections=2)
    return InteractionsConsumer(
        ReliableQueue(client, INTERACTIONS, lease_ms=settings.lease_ms),
        InteractionStore(settings.interactions_where),
        name=_own_name(),
        kept_days=settings.interactions_kept_days,
        stop=stop,
    )


def _stays(
    settings: Settings, orders: redis.Redis, threads: int, stop: threading.Event
) -> Stays:
    """Every supplier of rates, with waits of its own: a hold must outlast them. The time is that of
    the Valkey of orders, by which is written down since when something is owed.
    """
    from consumer.stays import Stays

    timeout_s = settings.rate_book_timeout_s
    patient = msgspec.structs.replace(settings, rate_timeout_s=timeout_s)
    client = bootstrap.connect_search_valkey(settings, connections=threads + 2)
    gate = bootstrap.vendor_gate(settings, client, stop)
    kept = bootstrap.interaction_log(settings, client)
    return Stays(
        bootstrap.rate_suppliers(patient, client, stop, pool_size=threads, gate=gate,
                                 observe=kept.observe),
        place=lambda supplier: gate.call(supplier, until_s=time.monotonic() + timeout_s),
        timeout_s=timeout_s,
        settled_after_s=settings.saga_worst_case_s,
        attempts=settings.supplier_attempts,
        backoff_max_s=settings.supplier_backoff_max_s,
        stop=stop,
        now_ms=bootstrap.valkey_clock(orders),
    )


def _collect_seldom() -> None:
    """Look for cycles of garbage once in hundreds of batches. A batch makes thousands of objects
    and frees them all by their counts; looking through them took half of the time of deciding. In
    a fetch worker it stops all threads at once.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS)


def _own_name() -> str:
    """Unique for each start: a process that comes back is another consumer."""
    return f"{socket.gethostname()}-{os.getpid()}-{time.time_ns() // 1_000_000:x}"


def _when_engines_answer(check: Callable[[], object], stop: threading.Event) -> None:
    """Engines may start together with us. Raises EngineAway after a minute, EngineUnfit at once."""
    give_up_at_s = time.monotonic() + ENGINES_WITHIN_S
    while True:
        try:
            check()
            return
        except EngineAway:
            if stop.is_set() or time.monotonic() > give_up_at_s:
                raise
            stop.wait(ENGINES_PAUSE_S)


_BUILDERS: dict[str, Callable[[Settings, threading.Event], Consumer]] = {
    "booking": _booking,
    "catalogue": _catalogue,
    "feedback": _feedback,
    "fetch": _fetch,
    "interactions": _interactions,
    "reservation": _reservation,
    "search": _search,
}

if __name__ == "__main__":
    sys.exit(main())
