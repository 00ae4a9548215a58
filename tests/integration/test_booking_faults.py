"""The booking consumer among other writers, and with engines that are away or take long."""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

import bootstrap
import consumer.batches
from booking import store as store_module
from booking.commands import CancelOrder, ReservationCompensated, ReservationFailed
from booking.decisions import decide
from booking.model import COMPENSATION_ORDER, Order, Part, Reason, State
from booking.store import BookingStore
from consumer.booking import BookingConsumer
from embedded import RunningEngines
from errors import EngineAway, EngineUnfit, Surprise
from queues.fitness import check_valkey
from queues.keys import BOOKING
from queues.reliable import BookingQueue
from tests.booking_world import World, package, place
from tests.traps import Hurried
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
FAILED_A = ReservationFailed(order_id="A", reason=Reason.FLIGHT_DECLINED)


# --- the database itself refuses ------------------------------------------------------------------


def held(order_id: str, unit: int, email: str = "", slot: int | None = None) -> Order:
    ledger = consumer.batches.Ledger({1: consumer.batches.Allotment()})
    ledger.packages = {1: package(1, 9)}
    order = decide(ledger, place(order_id, email=email), 1_000, hold_ms=1_000).order
    assert order is not None
    return msgspec.structs.replace(order, unit=unit, slot=slot)


def test_a_unit_can_be_sold_once_whoever_writes(world: World) -> None:
    world.store.write([(None, held("A", 1))])
    with pytest.raises(Surprise):
        world.store.write([(None, held("B", 1))])
    with pytest.raises(Surprise):
        world.store.write([(None, held("C", 2)), (None, held("D", 1))])
    world.store.write([(None, held("E", 3))])
    assert "B" not in world.states()
    assert "D" not in world.states()


def test_a_slot_can_be_taken_once_whatever_the_case_of_the_address(world: World) -> None:
    world.store.write([(None, held("A", 1, "ann@example.org", slot=1))])
    with pytest.raises(Surprise):
        world.store.write([(None, held("B", 2, "ANN@example.org", slot=1))])


def test_an_order_is_written_once(world: World) -> None:
    world.store.write([(None, held("A", 1))])
    with pytest.raises(Surprise):
        world.store.write([(None, held("A", 2))])


@pytest.mark.parametrize("count", [1, 3, 250])
def test_an_update_of_a_state_that_was_left_does_nothing_and_is_a_surprise(
    world: World, count: int
) -> None:
    """Alone, as twins of one statement, and over two connections."""
    before = [held(f"O{n}", n + 1) for n in range(count)]
    world.store.write([(None, order) for order in before])
    ended = [msgspec.structs.replace(order, state=State.FAILED, unit=None) for order in before]
    expired = [msgspec.structs.replace(order, state=State.EXPIRED, unit=None) for order in before]
    world.store.write([(before[0], ended[0])])
    with pytest.raises(Surprise):
        world.store.write(list(zip(before, expired, strict=True)))
    assert world.order("O0").state is State.FAILED


@pytest.mark.parametrize("change", ["drop unit", "drop slot", "not unique"])
def test_without_its_indexes_a_consumer_does_not_start(world: World, change: str) -> None:
    world.store.check_indexes()
    orders = world.database.orders
    if change == "not unique":
        orders.drop_index("unit")
        orders.create_index("unit", name="unit", sparse=True)
    else:
        orders.drop_index(change.split()[1])
    with pytest.raises(EngineUnfit, match="db_init"):
        world.store.check_indexes()


@pytest.mark.parametrize(("name", "bad", "good"), [
    ("appendonly", "no", "yes"), ("appendfsync", "everysec", "always"),
    ("maxmemory-policy", "allkeys-lru", "noeviction"),
])  # fmt: skip
def test_a_valkey_that_forgets_is_unfit(
    valkey: redis.Redis, name: str, bad: str, good: str
) -> None:
    check_valkey(valkey)
    valkey.config_set(name, bad)
    try:
        with pytest.raises(EngineUnfit, match=name):
            check_valkey(valkey)
    finally:
        valkey.config_set(name, good)
        eventually(lambda: not valkey.info("persistence")["aof_rewrite_in_progress"])


@pytest.mark.parametrize("spoilt", ["index", "unit", "shelf"])
def test_an_engine_that_is_spoilt_meanwhile_stops_the_consumer_and_buries_nobody(
    world: World, spoilt: str
) -> None:
    world.sell(package(1, 9, limit_per_customer=1))
    ids = world.through_the_door(3)
    if spoilt == "index":
        world.database.orders.drop_index("slot")
    elif spoilt == "unit":
        world.database.orders.insert_one({"_id": "X", "unit": "by hand"})
    else:
        world.valkey.rename(BOOKING.packages, BOOKING.packages + "-kept")
        world.valkey.set(BOOKING.packages, "by hand")
    for number in range(8):
        stopped = world.consumer(f"stopped-{number}", stop=Hurried())
        with pytest.raises(EngineUnfit):
            stopped.step()
        stopped.leave()
    assert world.letters() == []
    world.database.orders.delete_one({"_id": "X"})
    world.store.ensure_indexes()
    world.valkey.delete(BOOKING.packages)
    world.settle(world.consumer("mended", stop=Hurried()))
    assert world.reserve_ids() == ids


# --- two consumers alive --------------------------------------------------------------------------


class Paused:
    """Stops the first call that comes to it, until it is let go on."""

    def __init__(self) -> None:
        self.here = threading.Event()
        self.go_on = threading.Event()

    def __call__(self) -> None:
        if not self.here.is_set():
            self.here.set()
            assert self.go_on.wait(20), "nobody let it go on"


def pausing_store(world: World, pause: Paused, call: str) -> BookingStore:
    class Store(BookingStore):
        pass

    def paused(self: BookingStore, *args: Any) -> Any:
        pause()
        return getattr(BookingStore, call)(self, *args)

    setattr(Store, call, paused)
    return Store(world.database)


class Sleeper:
    """A consumer that stops in the middle of a batch, and whose lease runs out meanwhile."""

    def __init__(self, world: World, pause: Paused, **kwargs: Any) -> None:
        self.world = world
        self.pause = pause
        self.consumer = world.consumer("sleeper", stop=Hurried(), **kwargs)
        self.thread = threading.Thread(target=self.consumer.step)

    def fall_asleep(self) -> None:
        self.thread.start()
        assert self.pause.here.wait(10)
        self.world.lease_runs_out()

    def wake(self) -> None:
        self.pause.go_on.set()
        self.thread.join(10)
        assert not self.thread.is_alive()

    def holds_nothing(self) -> None:
        """It notices that another one writes, and stands by."""
        self.consumer.step()
        before = self.world.orders()
        self.consumer.step()
        assert self.world.orders() == before


@pytest.mark.parametrize("call", ["_insert", "_update"])
def test_a_paused_writer_that_wakes_late_changes_nothing(world: World, call: str) -> None:
    world.sell(package(1, 2))
    first = world.consumer("zero")
    world.push(place("A"), place("B"))
    world.settle(first)
    first.leave()
    world.push(FAILED_A, *(place(f"N{n}") for n in range(3)))
    pause = Paused()
    sleeper = Sleeper(world, pause, store=pausing_store(world, pause, call))
    sleeper.fall_asleep()
    successor = world.consumer("two", stop=Hurried())
    world.settle(successor)
    world.push(ReservationFailed(order_id="N0", reason=Reason.FLIGHT_DECLINED), place("LATER"))
    world.settle(successor)
    before = world.orders()
    assert before["LATER"].state is State.HELD, "it has the unit that the sleeper wants to give"
    sleeper.wake()
    sleeper.holds_nothing()
    assert world.orders() == before
    world.check({1: 2})


def test_a_paused_writer_does_not_owe_again_what_is_cancelled_by_now(world: World) -> None:
    """The state of an order that has ended does not change any more; what it owes does."""
    world.sell(package(1, 2))
    first = world.consumer("zero")
    world.push(place("A"), FAILED_A)
    world.settle(first)
    first.leave()
    world.push(ReservationFailed(order_id="A", reason=Reason.SUPPLIER_UNREACHABLE,
                                 may_exist=(Part.FLIGHT,)))  # fmt: skip
    pause = Paused()
    sleeper = Sleeper(world, pause, store=pausing_store(world, pause, "_update"))
    sleeper.fall_asleep()
    successor = world.consumer("two", stop=Hurried())
    world.settle(successor)
    assert world.order("A").owed == COMPENSATION_ORDER
    world.push(ReservationCompensated(order_id="A"))
    world.settle(successor)
    before = world.order("A")
    assert (before.owed, before.compensated) == ((), True)
    sleeper.wake()
    assert world.order("A") == before


@pytest.mark.parametrize("call", ["read_packages", "read_orders", "all_live_units", "_update"])
def test_an_ending_that_lands_while_the_successor_looks_gives_its_unit_back_once(
    world: World, call: str
) -> None:
    """Wherever the successor stands: the unit is free in its memory, or it is surprised."""
    world.sell(package(1, 1))
    first = world.consumer("zero")
    world.push(place("A"))
    world.settle(first)
    first.leave()
    world.push(FAILED_A)
    asleep, looking = Paused(), Paused()
    sleeper = Sleeper(world, asleep, store=pausing_store(world, asleep, "_update"))
    sleeper.fall_asleep()
    successor = Sleeper(world, looking, store=pausing_store(world, looking, call))
    successor.thread.start()
    assert looking.here.wait(10)
    sleeper.wake()
    successor.wake()
    world.settle(successor.consumer)
    world.push(place("B"))
    world.settle(successor.consumer)
    assert world.states() == {"A": State.FAILED, "B": State.HELD}
    assert world.remaining() == 0
    world.check({1: 1})


def test_a_write_that_lands_between_reading_and_writing_is_a_surprise_and_decided_again(
    world: World,
) -> None:
    world.sell(package(1, 2))
    world.push(*(place(f"N{n}") for n in range(4)))
    asleep, half_way = Paused(), Paused()
    sleeper = Sleeper(world, asleep, store=pausing_store(world, asleep, "_insert"))
    sleeper.fall_asleep()
    successor = Sleeper(world, half_way, store=pausing_store(world, half_way, "_insert"))
    successor.thread.start()
    assert half_way.here.wait(10), "the successor has decided the same orders"
    sleeper.wake()
    successor.wake()
    world.settle(successor.consumer)
    world.check({1: 2})
    held_ids = [i for i, state in sorted(world.states().items()) if state is State.HELD]
    assert held_ids == ["N0", "N1"]
    assert sorted(set(world.reserve_ids())) == held_ids
    sleeper.holds_nothing()


def test_a_paused_teller_tells_nothing_of_a_batch_that_was_told(world: World) -> None:
    world.sell(package(1, 5))
    pause = Paused()

    queue = world.new_queue(pausing_queue(pause))
    world.push(place("A"))
    sleeper = Sleeper(world, pause, queue=queue)
    sleeper.fall_asleep()
    successor = world.consumer("two")
    world.settle(successor)
    world.push(CancelOrder(order_id="A"))
    world.settle(successor)
    jobs = world.reservation_jobs()
    sleeper.wake()
    sleeper.holds_nothing()
    assert world.reservation_jobs() == jobs
    assert world.order("A").state is State.CANCELLED


def pausing_queue(pause: Paused) -> type[BookingQueue]:
    class Queue(BookingQueue):
        def tell(self, *args: Any) -> int:
            pause()
            return super().tell(*args)

    return Queue


# --- engines that are away ------------------------------------------------------------------------


class Away(BookingStore):
    """A database that answers nothing until `back` is set."""

    back = False
    calls = 0

    def _orders_or_away(self) -> None:
        self.calls += 1
        if not self.back:
            raise EngineAway("MongoDB is away")

    def read_orders(self, ids: Any) -> list[Order]:
        self._orders_or_away()
        return super().read_orders(ids)


@pytest.mark.parametrize("count", [1, 5])
def test_an_engine_that_is_away_for_long_buries_nothing(world: World, count: int) -> None:
    world.sell(package(1, 9))
    ids = world.through_the_door(count)
    store = Away(world.database)
    patient = world.consumer(store=store, stop=Hurried())
    for _ in range(40):
        patient.step()
    assert store.calls == 40
    assert world.letters() == []
    for _ in range(7):  # and it is stopped and started again meanwhile, as people do
        patient.leave()
        patient = world.consumer(store=store, stop=Hurried())
        patient.step()
    store.back = True
    world.settle(patient)
    assert world.letters() == []
    assert world.reserve_ids() == ids, "still one batch, in its order"


def test_behind_recovered_work_nothing_more_is_taken(world: World) -> None:
    """Else each try during an outage would make the batch longer by one."""
    world.sell(package(1, 50))
    store = WriteAway(world.database)
    running = world.consumer(store=store, stop=Hurried(), batch_max=3)
    running.step()
    world.push(*(place(f"O{n:02}") for n in range(30)))
    store.back = False
    lengths = []
    for _ in range(12):
        running.step()
        lengths.append(world.valkey.llen(BOOKING.inflight))
    assert max(lengths) <= 9, "three batches at most"
    store.back = True
    world.settle(running)
    assert world.reserve_ids() == [f"O{n:02}" for n in range(30)]


class WriteAway(BookingStore):
    """A database that reads, and writes only while `back` is set."""

    back = True

    def write(self, changed: Any) -> None:
        if not self.back:
            raise EngineAway("MongoDB is away")
        super().write(changed)


def all_decided(world: World, runner: BookingConsumer) -> bool:
    runner.step()
    return len(world.states()) == 6 and world.backlog() == 0


def test_real_engines_that_go_away_and_come_back_lose_nothing(
    own_engines: RunningEngines, settings: Any
) -> None:
    """Killed like `kill -9` with orders in the list, and started again."""
    own = msgspec.structs.replace(
        settings, redis_url=own_engines.redis_url, mongo_url=own_engines.mongo_url
    )
    with bootstrap.connect_mongo(own) as client, bootstrap.connect_valkey(own) as valkey:
        world = World(valkey, client[own.mongo_database], own)
        world.sell(package(1, 3))
        ids = world.through_the_door(6)
        runner = world.consumer(beat_ms=50, lease_ms=500)
        own_engines.valkey.kill()
        runner.step()
        own_engines.valkey.start()
        own_engines.mongo.kill()
        runner.step()
        own_engines.mongo.start()
        own_engines.wait_ready()
        eventually(lambda: all_decided(world, runner), 20)
        world.check({1: 3})
        world.check_told(ids)
        assert world.letters() == []


# --- a memory that takes long to load -------------------------------------------------------------


def test_the_lease_is_kept_while_the_memory_loads(world: World) -> None:
    """A million live orders take longer than a lease lasts."""
    lease_ms = 150

    class Long(BookingStore):
        def all_live_units(self, keep: Callable[[], None]) -> dict[int, array[int]]:
            until = time.monotonic() + 3 * lease_ms / 1_000
            while time.monotonic() < until:
                keep()
                assert rival.acquire("rival") is None, "the lease ran out under the load"
            return super().all_live_units(keep)

    rival = world.new_queue()
    world.sell(package(1, 5))
    world.push(place("A"))
    loading = world.consumer(queue=world.new_queue(lease_ms=lease_ms), store=Long(world.database))
    loading.step()
    assert world.states() == {"A": State.HELD}


def test_loading_reports_its_progress_all_along(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.sell(package(1, 50), package(2, 50))
    world.push(*(place(f"O{n}", 1 + n % 2) for n in range(40)))
    world.settle(world.consumer())
    monkeypatch.setattr(store_module, "UNITS_AT_ONCE", 10)
    kept: list[int] = []
    units = world.store.all_live_units(lambda: kept.append(1))
    assert {package_id: sorted(found) for package_id, found in units.items()} == {
        1: list(range(1, 21)), 2: list(range(1, 21)),
    }
    assert len(kept) >= 4
    assert sorted(world.store.live_units(1)) == list(range(1, 21))
    assert world.store.live_units(3) == []
