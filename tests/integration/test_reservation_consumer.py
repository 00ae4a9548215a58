"""The reservation saga on the real simulator: every way it ends, and what is left there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ulid import ULID

from booking import commands
from booking.commands import (
    CancelOrder,
    Compensate,
    ExpireHold,
    ReservationCompensated,
    Reserve,
)
from booking.model import COMPENSATION_ORDER, Order, Reason, State
from consumer.reservation import ReservationConsumer, Saga
from errors import EngineAway, EngineUnfit, NewerJob
from queues.keys import BOOKING
from queues.shared_work import Beat, SharedWork
from suppliers.reservations import ReservationSupplier
from tests.booking_world import World, package, place
from tests.rate_orders import no_stays
from tests.simulator_fixtures import SimulatorProcess, free_port, running_simulator
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
HEARTBEAT_MS = 800


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    with running_simulator(tmp_path_factory.mktemp("simulator")) as process:
        yield process


@pytest.fixture
def simulator(running: SimulatorProcess) -> SimulatorProcess:
    """The simulator, declining nothing and losing nothing until a test says otherwise."""
    running.switch(flight_failure_rate=0, room_failure_rate=0, fault_rate=0, lost_answer_rate=0,
                   latency_ms_min=0, latency_ms_max=0)  # fmt: skip
    return running


def supplier(simulator: SimulatorProcess, **changes: Any) -> ReservationSupplier:
    options = {"timeout_s": 5.0, "attempts": 4, "backoff_max_s": 0.02, "pool_size": 8, **changes}
    return ReservationSupplier(simulator.url, **options)


class Worker:
    """A reservation consumer in a thread."""

    def __init__(
        self,
        world: World,
        supplier: Any,
        *,
        name: str = "worker",
        threads: int = 4,
        work: SharedWork | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.stop = stop or threading.Event()
        self.work = work or shared_work(world, name)
        self.consumer = ReservationConsumer(
            self.work, Saga(world.store, supplier, no_stays()), threads=threads,
            heartbeat_ms=HEARTBEAT_MS, stop=self.stop, bury_after_deliveries=3,
            dead_letters_max=3,
        )
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            while not self.stop.is_set():
                self.consumer.step()
        except Exception as error:  # noqa: BLE001 (the test asks what it was)
            self.error = error
        finally:
            self.stop.set()
            self.consumer.leave()

    def __enter__(self) -> Worker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self.stop.set()
        self.ended()

    def ended(self) -> None:
        self._thread.join(15)
        assert not self._thread.is_alive()


def shared_work(world: World, name: str, kind: type[SharedWork] = SharedWork) -> SharedWork:
    return kind(world.valkey, BOOKING.reservations, BOOKING, worker=name,
                heartbeat_ms=HEARTBEAT_MS, alone_after_deaths=2)  # fmt: skip


class Booker:
    """The booking consumer, stepped while a test waits for an order."""

    def __init__(self, world: World, **limits: int) -> None:
        self.world = world
        self.consumer = world.consumer("booker", **limits)

    def order(self) -> str:
        """A held order; its key was never seen by the simulator before."""
        order_id = str(ULID())
        self.world.push(place(order_id))
        self.until(lambda: order_id in self.world.states())
        return order_id

    def until(self, condition: Callable[[], Any], within_s: float = 10) -> Any:
        def stepped() -> Any:
            self.consumer.step()
            return condition()

        return eventually(stepped, within_s)

    def until_state(self, order_id: str, state: State) -> Order:
        self.until(lambda: self.world.states()[order_id] is state)
        return self.world.order(order_id)

    def until_compensated(self, order_id: str) -> Order:
        self.until(lambda: self.world.order(order_id).compensated)
        return self.world.order(order_id)


@pytest.fixture
def booker(world: World) -> Booker:
    world.sell(package(1, 20))
    return Booker(world)


def found(simulator: SimulatorProcess, word: str, order_id: str) -> dict[str, Any]:
    """What the simulator's book says of an order: {} when it never heard of it."""
    entries = simulator.book(word, limit=5_000)["reservations"]
    return next((entry for entry in entries if entry["key"] == order_id), {})


def states(simulator: SimulatorProcess, order_id: str) -> tuple[Any, Any]:
    """(flight, room) as the simulator has them."""
    return (found(simulator, "flights", order_id).get("state"),
            found(simulator, "hotels", order_id).get("state"))  # fmt: skip


# --- how a reservation ends -----------------------------------------------------------------------


def test_flight_and_room_confirm_the_order(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    order_id = booker.order()
    with Worker(world, supplier(simulator)):
        order = booker.until_state(order_id, State.CONFIRMED)
    assert states(simulator, order_id) == ("booked", "booked")
    assert order.flight_ticket_number == found(simulator, "flights", order_id)["number"]
    assert order.hotel_reservation_number == found(simulator, "hotels", order_id)["number"]


def test_many_orders_are_under_way_at_once(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    simulator.switch(latency_ms_min=200, latency_ms_max=200)
    ids = [booker.order() for _ in range(6)]
    with Worker(world, supplier(simulator), threads=6):
        waiting = eventually(lambda: len(world.valkey.lrange(
            BOOKING.reservations.inflight("worker"), 0, -1)) == 6)  # fmt: skip
        booker.until(lambda: all(world.states()[i] is State.CONFIRMED for i in ids))
    assert waiting


def test_a_declined_flight_fails_the_order_and_gives_its_unit_back(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    simulator.switch(flight_failure_rate=1)
    order_id = booker.order()
    with Worker(world, supplier(simulator)):
        order = booker.until_state(order_id, State.FAILED)
    assert (order.reason, order.unit, order.owed) == (Reason.FLIGHT_DECLINED, None, ())
    assert states(simulator, order_id) == ("declined", None)
    booker.until(lambda: world.remaining() == 20)


def test_a_declined_room_has_the_flight_cancelled(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    simulator.switch(room_failure_rate=1)
    order_id = booker.order()
    with Worker(world, supplier(simulator)):
        order = booker.until_compensated(order_id)
    assert (order.state, order.reason) == (State.FAILED, Reason.ROOM_DECLINED)
    assert states(simulator, order_id) == ("cancelled", "cancelled")
    assert world.compensate_ids() == []


def test_a_supplier_that_is_away_fails_the_order_and_is_asked_again_for_what_is_owed(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    order_id = booker.order()
    nobody = ReservationSupplier(f"http://127.0.0.1:{free_port()}", timeout_s=0.2, attempts=2,
                                 backoff_max_s=0.01, pool_size=4)  # fmt: skip
    with Worker(world, nobody):
        order = booker.until_state(order_id, State.FAILED)
        eventually(lambda: world.compensate_ids() == [])
        assert order.reason is Reason.SUPPLIER_UNREACHABLE
    assert world.order(order_id).owed == COMPENSATION_ORDER
    booker.consumer.leave()
    later = Booker(world, owed_after_s=0)
    with Worker(world, supplier(simulator), name="later"):
        later.until_compensated(order_id)
    assert states(simulator, order_id) == ("cancelled", "cancelled"), "tombstones, for what is late"


def test_lost_answers_book_nothing_twice_and_leave_nothing_behind(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    """Half of all calls are done and then answered by 504, cancellations among them."""
    booker.consumer.leave()
    patient = Booker(world, owed_after_s=0)
    ids = [patient.order() for _ in range(12)]
    simulator.switch(lost_answer_rate=0.5)

    def all_ended() -> bool:
        orders = world.orders()
        return all(orders[i].state in (State.CONFIRMED, State.FAILED) and not orders[i].owed
                   for i in ids)  # fmt: skip

    with Worker(world, supplier(simulator, attempts=2), threads=8):
        patient.until(all_ended, 20)
    assert not world.letters()
    seen = {order.state for order in world.orders().values()}
    assert seen == {State.CONFIRMED, State.FAILED}, "two tries are enough for some of them"
    for order_id in ids:
        wanted = "booked" if world.order(order_id).state is State.CONFIRMED else "cancelled"
        assert states(simulator, order_id) == (wanted, wanted)


def test_an_order_that_is_no_longer_held_is_not_reserved(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    order_id = booker.order()
    world.push(CancelOrder(order_id=order_id))
    booker.until_state(order_id, State.CANCELLED)
    with Worker(world, supplier(simulator)):
        booker.until_compensated(order_id)
    assert found(simulator, "flights", order_id)["number"] is None, "it was never booked"


def test_a_duplicate_of_a_job_books_nothing_more(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    order_id = booker.order()
    world.valkey.lpush(BOOKING.reservations.waiting,
                       *world.valkey.lrange(BOOKING.reservations.waiting, 0, -1))  # fmt: skip
    assert world.reserve_ids() == [order_id, order_id]
    with Worker(world, supplier(simulator)):
        order = booker.until_state(order_id, State.CONFIRMED)
        booker.until(lambda: world.valkey.llen(BOOKING.reservations.inflight("worker")) == 0)
    assert states(simulator, order_id) == ("booked", "booked")
    assert order.flight_ticket_number == found(simulator, "flights", order_id)["number"]


# --- workers that die, sleep or stop --------------------------------------------------------------


class Gate:
    """A supplier that stops before one of its calls until it is opened."""

    def __init__(self, real: ReservationSupplier, call: str) -> None:
        self._real = real
        self._call = call
        self.here = threading.Event()
        self.open = threading.Event()

    def __getattr__(self, name: str) -> Any:
        def call(*args: str) -> Any:
            if name == self._call and not self.here.is_set():
                self.here.set()
                assert self.open.wait(20), "nobody opened the gate"
            return getattr(self._real, name)(*args)

        return call


def heartbeat_runs_out(world: World, name: str) -> None:
    world.valkey.zadd(BOOKING.reservations.workers, {name: 1})


def test_a_worker_killed_in_the_middle_leaves_its_job_to_another_and_one_flight(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    order_id = booker.order()
    simulator.switch(latency_ms_min=3_000, latency_ms_max=3_000)
    mortal = process(world, simulator)
    try:
        prefix = BOOKING.reservations.inflight_prefix
        [inflight] = eventually(lambda: world.valkey.keys(prefix + "*"), 15)
        mortal.send_signal(signal.SIGKILL)
        mortal.wait(5)
        assert world.valkey.llen(inflight) == 1
        simulator.switch(latency_ms_min=0, latency_ms_max=0)
        with Worker(world, supplier(simulator), name="heir"):
            order = booker.until_state(order_id, State.CONFIRMED)
    finally:
        mortal.kill()
        mortal.communicate()
    assert not world.valkey.exists(inflight)
    assert states(simulator, order_id) == ("booked", "booked")
    assert order.flight_ticket_number == found(simulator, "flights", order_id)["number"]
    assert [event.state for event in order.history].count(State.CONFIRMED) == 1


def process(world: World, simulator: SimulatorProcess) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "consumer", "reservation"], cwd=ROOT, stderr=subprocess.PIPE,
        env={
            **{key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ},
            "REDIS_URL": world.settings.redis_url, "MONGO_URL": world.settings.mongo_url,
            "MONGO_DATABASE": world.settings.mongo_database,
            "SUPPLIER_URL": simulator.url, "HEARTBEAT_MS": str(HEARTBEAT_MS),
        },
    )  # fmt: skip


def test_the_process_ends_with_0_at_sigterm_and_returns_its_jobs(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    booker.order()
    simulator.switch(fault_rate=1)
    leaving = process(world, simulator)
    try:
        eventually(lambda: world.valkey.keys(BOOKING.reservations.inflight_prefix + "*"), 15)
        leaving.terminate()
        _, said = leaving.communicate(timeout=10)
    finally:
        leaving.kill()
    assert leaving.returncode == 0, said.decode()
    assert len(world.reserve_ids()) == 1
    assert world.backlog() == 0, "its stopping is no failure of the order"
    assert world.valkey.zcard(BOOKING.reservations.workers) == 0


def test_a_worker_that_slept_reports_nothing(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    order_id = booker.order()
    gate = Gate(supplier(simulator), "reserve_room")
    work = shared_work(world, "sleeper")
    [job] = work.beat(1).jobs
    reported: list[bool] = []

    def sleep_in_the_middle() -> None:
        report = Saga(world.store, gate, no_stays()).run(commands.decode_reservation_job(job))
        assert report is not None
        reported.append(work.report(job, commands.encode(report)))

    sleeper = threading.Thread(target=sleep_in_the_middle)
    sleeper.start()
    assert gate.here.wait(10)
    heartbeat_runs_out(world, "sleeper")
    with Worker(world, supplier(simulator), name="awake"):
        booker.until_state(order_id, State.CONFIRMED)
    gate.open.set()
    sleeper.join(10)
    assert reported == [False]
    assert world.backlog() == 0
    assert states(simulator, order_id) == ("booked", "booked")


def test_a_worker_that_slept_before_the_room_leaves_no_room_behind(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    """Its heir only knows that the flight may exist; the room comes after the order's end."""
    order_id = booker.order()
    gate = Gate(supplier(simulator), "reserve_room")
    work = shared_work(world, "sleeper")
    [job] = work.beat(1).jobs
    sleeper = threading.Thread(
        target=lambda: Saga(world.store, gate, no_stays()).run(commands.decode_reservation_job(job))
    )
    sleeper.start()
    assert gate.here.wait(10), "the flight is booked"
    heartbeat_runs_out(world, "sleeper")
    nobody = ReservationSupplier(f"http://127.0.0.1:{free_port()}", timeout_s=0.2, attempts=1,
                                 backoff_max_s=0.01, pool_size=4)  # fmt: skip
    with Worker(world, nobody, name="heir"):
        booker.until_state(order_id, State.FAILED)
        eventually(lambda: world.compensate_ids() == [])
    booker.consumer.leave()
    later = Booker(world, owed_after_s=0)
    with Worker(world, supplier(simulator), name="later"):
        later.until_compensated(order_id)
    gate.open.set()
    sleeper.join(10)
    assert states(simulator, order_id) == ("cancelled", "cancelled")


def test_a_stopping_worker_returns_its_jobs_and_reports_no_failure(
    world: World, booker: Booker, simulator: SimulatorProcess, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [booker.order() for _ in range(3)]
    simulator.switch(fault_rate=1)
    caplog.set_level("INFO", logger="suppliers")
    stop = threading.Event()
    patient = supplier(simulator, attempts=10, backoff_max_s=20, stop=stop)
    with Worker(world, patient, threads=2, stop=stop):
        eventually(lambda: caplog.text.count("the next follows") >= 2, message="both were asked")
    assert world.reserve_ids() == ids, "in front again, in their order"
    assert world.backlog() == 0


def test_a_stopping_worker_returns_what_it_has_not_yet_undone(
    world: World, booker: Booker, simulator: SimulatorProcess, caplog: pytest.LogCaptureFixture
) -> None:
    order_id = booker.order()
    world.valkey.delete(BOOKING.reservations.waiting)
    world.push(CancelOrder(order_id=order_id))
    booker.until_state(order_id, State.CANCELLED)
    simulator.switch(fault_rate=1)
    caplog.set_level("INFO", logger="suppliers")
    stop = threading.Event()
    patient = supplier(simulator, attempts=10, backoff_max_s=20, stop=stop)
    with Worker(world, patient, stop=stop):
        eventually(lambda: "the next follows" in caplog.text)
    assert world.compensate_ids() == [order_id], "nobody has to wait for the sweep"


def test_a_beat_whose_answer_is_lost_loses_no_job(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    """The jobs are in the worker's own list, and nobody else brings back what a living one has."""

    class Deaf(SharedWork):
        lost = 0

        def beat(self, most: int) -> Beat:
            answer = super().beat(most)
            if answer.jobs and self.lost < 2:
                self.lost += 1
                raise EngineAway("the answer was lost")
            return answer

    ids = [booker.order() for _ in range(2)]
    deaf = shared_work(world, "deaf", Deaf)
    with Worker(world, supplier(simulator), work=deaf, threads=4):
        booker.until(lambda: all(world.states()[i] is State.CONFIRMED for i in ids))
    assert deaf.lost == 2  # type: ignore[attr-defined]


def test_a_job_that_kills_each_of_its_workers_is_buried_and_what_it_booked_is_undone(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    poison, other = booker.order(), booker.order()
    deaths = 0
    for number in range(9):
        work = shared_work(world, f"mortal-{number}")
        beat = work.beat(4)
        jobs = [commands.decode_reservation_job(job) for job in beat.jobs]
        if [job.order_id for job in jobs] == [other]:
            report = Saga(world.store, supplier(simulator), no_stays()).run(jobs[0])
            assert report is not None
            assert work.report(beat.jobs[0], commands.encode(report))
            continue
        supplier(simulator).reserve_flight(poison, "Flight-1", "2022-08-09")
        heartbeat_runs_out(world, f"mortal-{number}")
        deaths += 1
        if deaths == 3:
            break
    with Worker(world, supplier(simulator)):
        order = booker.until_compensated(poison)
        booker.until_state(other, State.CONFIRMED)
    assert (order.state, order.reason) == (State.FAILED, Reason.INTERNAL_ERROR)
    assert states(simulator, poison) == ("cancelled", "cancelled")
    [letter] = world.letters()
    assert (letter.source, letter.deliveries) == ("reservations", 4)
    assert commands.decode_reservation_job(letter.job).order_id == poison
    assert not world.valkey.exists(BOOKING.reservations.deaths)


# --- reports that come late -----------------------------------------------------------------------


@pytest.mark.parametrize("end", [State.CANCELLED, State.EXPIRED])
@pytest.mark.parametrize("call", ["reserve_flight", "reserve_room"])
def test_what_is_reserved_for_an_order_that_ended_meanwhile_is_undone_once(
    world: World, booker: Booker, simulator: SimulatorProcess, call: str, end: State
) -> None:
    order_id = booker.order()
    gate = Gate(supplier(simulator), call)
    with Worker(world, gate, threads=2):
        assert gate.here.wait(10)
        world.push(CancelOrder(order_id=order_id) if end is State.CANCELLED
                   else ExpireHold(order_id=order_id, at_ms=10**13))  # fmt: skip
        booker.until_state(order_id, end)
        booker.until_compensated(order_id)
        gate.open.set()
        booker.until(lambda: world.valkey.llen(BOOKING.reservations.inflight("worker")) == 0)
        booker.until(lambda: world.backlog() == 0)
    order = world.order(order_id)
    assert (order.state, order.owed, order.compensated) == (end, (), True)
    assert world.compensate_ids() == []
    assert set(states(simulator, order_id)) == {"cancelled"}


# --- jobs that cannot be done ---------------------------------------------------------------------


class Faulty:
    """A supplier whose client has a fault of ours."""

    def __getattr__(self, name: str) -> Any:
        def call(*_: str) -> str:
            raise KeyError(name)

        return call


def test_a_fault_of_ours_fails_the_order_and_keeps_the_job(world: World, booker: Booker) -> None:
    order_id = booker.order()
    with Worker(world, Faulty()):
        order = booker.until_state(order_id, State.FAILED)
    assert order.reason is Reason.INTERNAL_ERROR
    assert order.owed == COMPENSATION_ORDER, "nobody knows what was asked of the supplier"
    letter = world.letters()[-1]
    assert letter.source == "reservations"
    assert commands.decode_reservation_job(letter.job) == Reserve(
        order_id=order_id, flight="Flight-1", stay="2022-08-09"
    )


@pytest.mark.parametrize("raw", [b"nonsense", b"\xff", b'{"type":"reserve","order_id":"\xff"}'])
def test_what_is_no_job_becomes_a_dead_letter(world: World, booker: Booker, raw: bytes) -> None:
    world.valkey.lpush(BOOKING.reservations.waiting, raw)
    with Worker(world, Faulty()):
        eventually(lambda: [letter.job for letter in world.letters()] == [raw])
    assert world.backlog() == 0


def test_what_is_compensated_already_is_not_asked_of_the_supplier(
    world: World, booker: Booker
) -> None:
    """Jobs that a sweep has asked for twice cost a slow supplier nothing."""
    world.push(place("A"), CancelOrder(order_id="A"))
    world.push(ReservationCompensated(order_id="A"))
    world.settle(world.consumer("decides"))
    assert world.order("A").compensated
    saga = Saga(world.store, Faulty(), no_stays())
    assert saga.run(Compensate(order_id="A", parts=COMPENSATION_ORDER)) is None
    with pytest.raises(KeyError):  # of an order that nobody knows, it is asked
        saga.run(Compensate(order_id="B", parts=COMPENSATION_ORDER))


def test_a_later_version_stops_the_worker_and_stays_on_the_list(
    world: World, booker: Booker
) -> None:
    job = commands.encode(Compensate(order_id="A", parts=COMPENSATION_ORDER))
    newer = job.replace(f'"v":{commands.VERSION}'.encode(), b'"v":99')
    world.valkey.lpush(BOOKING.reservations.waiting, newer)
    worker = Worker(world, Faulty())
    with worker:
        worker.ended()
    assert isinstance(worker.error, NewerJob)
    assert world.valkey.lrange(BOOKING.reservations.waiting, 0, -1) == [newer]
    assert world.letters() == []


def test_what_a_thread_cannot_handle_ends_the_worker_and_its_jobs_go_back(
    world: World, booker: Booker, simulator: SimulatorProcess
) -> None:
    class Broken(SharedWork):
        def report(self, *args: Any, **kwargs: Any) -> bool:
            raise ValueError("a fault of ours")

    order_id = booker.order()
    worker = Worker(world, supplier(simulator), work=shared_work(world, "broken", Broken))
    with worker:
        worker.ended()
    assert isinstance(worker.error, ValueError)
    assert world.reserve_ids() == [order_id]


def test_an_engine_that_refuses_buries_nobody_and_the_jobs_go_back(
    world: World, booker: Booker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a changed password: it is no fault of the orders, and no retry mends it."""
    def refuse(order_id: str) -> Order:
        raise EngineUnfit("MongoDB refuses what it is asked")

    order_id = booker.order()
    worker = Worker(world, Faulty())
    with monkeypatch.context() as patch, worker:
        patch.setattr(world.store, "find_order", refuse)
        worker.ended()
    assert isinstance(worker.error, EngineUnfit)
    assert world.reserve_ids() == [order_id]
    assert world.letters() == []
    assert world.backlog() == 0
