"""The simulated processes: production code, wired as its composition root wires it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, Protocol, cast

from pymongo.database import Database

from booking.documents import Document
from booking.intake import Intake, Refusal
from booking.store import BookingStore
from consumer.booking import BookingConsumer
from consumer.reservation import ReservationConsumer, Saga
from consumer.stays import Stays
from errors import EngineAway
from queues.fitness import check_valkey, memory_percent
from queues.keys import BOOKING
from queues.reliable import BookingQueue
from queues.shared_work import SharedWork
from tests.simulation.kernel import Event, Kernel, Pool, Process, TaskFuture
from tests.simulation.mongo_client import MongoDatabase
from tests.simulation.network import Network, ms
from tests.simulation.outside import OutsideClient, OutsideServer
from tests.simulation.servers import EPOCH_US, MongoServer, MongoWire, ValkeyServer, ValkeyWire
from tests.simulation.valkey_client import ValkeyClient
from tests.simulation.vendors import VendorClient, VendorServer
from tests.simulation.weather import Profile

EMAILS = ("ann@example.org", "Ann@Example.org", "bob@example.org", "cho@example.org",
          "dora@example.org", "eve@example.org", "Eve@example.org")  # fmt: skip
IDEMPOTENCY_TTL_S = 3_600
BACKLOG_MAX_BYTES = 1_000_000


class Consumer(Protocol):
    """A loop's body and its end, as in consumer/__main__.py."""

    def step(self) -> None: ...
    def leave(self) -> None: ...


class Surroundings:
    """What every process finds: the network and the servers on it."""

    def __init__(
        self, network: Network, valkey: ValkeyServer, mongo: MongoServer, outside: OutsideServer,
        vendors: dict[str, VendorServer], profile: Profile, order_prefix: str = "O",
    ) -> None:
        self.network = network
        self.valkey = valkey
        self.mongo = mongo
        self.outside = outside
        self.vendors = vendors
        self.profile = profile
        self._order_prefix = order_prefix
        self._orders = 0

    def new_order_id(self) -> str:
        """Ids in the order in which they were made."""
        self._orders += 1
        return f"{self._order_prefix}{self._orders:04d}"

    def client(self, process: Process) -> ValkeyClient:
        """A Valkey client of one process."""
        return ValkeyClient(ValkeyWire(self.network, process, self.valkey))

    def store(self, process: Process) -> BookingStore:
        """The store of one process."""
        wire = MongoWire(self.network, process, self.mongo)
        return BookingStore(
            cast(Database[Document], MongoDatabase(wire)),
            second=Pool(process, 1),
            parallel_from=self.profile.parallel_from,
        )


class Program:
    """A process that is started again when it ends, under another name: as supervisor does."""

    def __init__(
        self, kernel: Kernel, name: str, main: Callable[[Process], None], rng: random.Random
    ) -> None:
        self.name = name
        self._kernel = kernel
        self._main = main
        self._rng = rng
        self._starts = 0
        self._over = False
        self.process = self._start()

    def _start(self) -> Process:
        if self._over:
            return self.process
        self._starts += 1
        process = self.process = Process(self._kernel, f"{self.name}#{self._starts}")
        process.on_death.append(self._start_again)
        process.spawn(partial(self._run, process))
        return process

    def _run(self, process: Process) -> None:
        self._main(process)
        self._kernel.after(0, process.kill)

    def _start_again(self) -> None:
        if not self._over:
            pause_us = ms(self._rng.choice((5, 100, 1_500)) * self._rng.random())
            self._kernel.after(pause_us, self._start)

    def end(self) -> None:
        """In the hub: end it for good."""
        self._over = True
        self.process.kill()


def booking_main(around: Surroundings, process: Process) -> None:
    """python -m consumer booking"""
    client, store, profile = around.client(process), around.store(process), around.profile
    _until_fit(process, partial(check_valkey, client), store.check_indexes)
    queue = BookingQueue(
        client, BOOKING, lease_ms=profile.limits.lease_ms, status_ttl_s=profile.status_ttl_s
    )
    _loop(process, BookingConsumer(
        queue, store, profile.limits, name=process.name, stop=_event(process),
        memory_percent=partial(memory_percent, client), monotonic=process.monotonic,
        writer=Pool(process, 1), caller=Pool(process, 1),
    ))  # fmt: skip


def second_door_main(around: Surroundings, rng: random.Random, process: Process) -> None:
    """Orders for a second road: another Valkey, the same MongoDB. Nobody cares for the answers."""
    intake = Intake(around.client(process), backlog_max_jobs=100,
                    backlog_max_bytes=BACKLOG_MAX_BYTES, idempotency_ttl_s=IDEMPOTENCY_TTL_S,
                    new_id=around.new_order_id)  # fmt: skip
    while not process.stop.is_set():
        process.sleep(ms(300 * rng.random()))
        with suppress(Refusal, EngineAway):
            intake.accept(rng.randint(1, around.profile.packages), rng.choice(EMAILS), None)


def reservation_main(around: Surroundings, process: Process) -> None:
    """python -m consumer reservation"""
    client, profile = around.client(process), around.profile
    _until_fit(process, partial(check_valkey, client))
    work = SharedWork(client, BOOKING.reservations, BOOKING, worker=process.name,
                      heartbeat_ms=profile.heartbeat_ms,
                      alone_after_deaths=profile.limits.singles_after_deliveries - 1)
    supplier = OutsideClient(around.network, process, around.outside,
                             attempts=profile.supplier_attempts)  # fmt: skip
    _loop(process, ReservationConsumer(
        work, Saga(around.store(process), supplier, Stays(
            {name: VendorClient(around.network, process, server)
             for name, server in around.vendors.items()},
            place=lambda _: nullcontext(), timeout_s=profile.vendor_timeout_s,
            settled_after_s=3 * profile.vendor_timeout_s,
            attempts=min(2, profile.supplier_attempts), backoff_max_s=0.3, stop=_event(process),
            now_ms=lambda: (EPOCH_US + around.network.kernel.now_us) // 1_000,
        )), threads=profile.threads,
        bury_after_deliveries=profile.limits.bury_after_deliveries,
        dead_letters_max=profile.limits.dead_letters_max,
        heartbeat_ms=profile.heartbeat_ms, stop=_event(process),
        pool=Pool(process, profile.threads), event=lambda: cast(threading.Event, Event(process)),
    ))  # fmt: skip


def _until_fit(process: Process, *checks: Callable[[], None]) -> None:
    for check in checks:
        while not process.stop.is_set():
            try:
                check()
                break
            except EngineAway:
                process.stop.wait(0.25)


def _loop(process: Process, consumer: Consumer) -> None:
    """As consumer/__main__.py runs it; an error that ends it is a finding."""
    try:
        while not process.stop.is_set():
            consumer.step()
    finally:
        process.stop.set()
        consumer.leave()


def _event(process: Process) -> threading.Event:
    return cast(threading.Event, process.stop)


class Gone(Exception):  # noqa: N818 (a customer's view: the connection broke)
    """The web process died, or is not there: nobody knows what it did."""


class Web:
    """The web: each request is a thread of a process that may die under it."""

    def __init__(self, kernel: Kernel, around: Surroundings, rng: random.Random) -> None:
        self._around = around
        self._serving: tuple[Process, Intake] | None = None
        self.program = Program(kernel, "web", self._main, rng)

    def _main(self, process: Process) -> None:
        intake = Intake(
            self._around.client(process),
            backlog_max_jobs=self._around.profile.backlog_max_jobs,
            backlog_max_bytes=BACKLOG_MAX_BYTES,
            idempotency_ttl_s=IDEMPOTENCY_TTL_S,
            new_id=self._around.new_order_id,
        )
        self._serving = process, intake
        process.stop.wait()

    def ask(self, customer: Process, request: Callable[[Intake], Any]) -> Any:
        """From a customer's thread: what the request brings. Raises Gone, or what Intake raises."""
        if self._serving is None or not self._serving[0].alive:
            raise Gone
        process, intake = self._serving
        answer = TaskFuture(waits=customer)

        def serve() -> None:
            try:
                value = request(intake)
            except Exception as error:  # noqa: BLE001 - it is the customer's answer
                answer.set_exception(error)
            else:
                answer.set_result(value)

        def hang_up() -> None:
            if not answer.done():
                answer.set_exception(Gone())

        process.on_death.append(hang_up)
        process.spawn(serve)
        return answer.result()
