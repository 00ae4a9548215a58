"""The booking consumer on real engines: what it sells, to whom, and what everybody sees of it."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable

import msgspec
import pytest
from bson.datetime_ms import DatetimeMS

from booking import commands
from booking.commands import (
    CancelOrder,
    Command,
    Compensate,
    ReservationCompensated,
    ReservationConfirmed,
    ReservationFailed,
)
from booking.intake import Overloaded, SaleClosed, UnknownPackage
from booking.model import COMPENSATION_ORDER, Reason, State
from consumer.batches import SWEEP_MOST
from consumer.booking import STREAM_MOST_BATCHES, BookingConsumer
from queues.keys import BOOKING
from queues.reliable import BookingQueue
from tests.booking_world import World, package, place
from tests.traps import Hurried
from tests.waiting import eventually

DECLINED = Reason.FLIGHT_DECLINED


def confirmed(order_id: str) -> ReservationConfirmed:
    return ReservationConfirmed(order_id=order_id, flight_ticket_number="F",
                                hotel_reservation_number="R")


def steps_until(consumer: BookingConsumer, condition: Callable[[], bool], within_s: float = 5
                ) -> None:
    """Let an idle consumer go on until its world is as wanted."""
    def stepped() -> bool:
        consumer.step()
        return condition()

    eventually(stepped, within_s)


def serve(world: World, consumer: BookingConsumer) -> None:
    """Step once, so that the doors are open."""
    consumer.step()
    assert world.valkey.exists(BOOKING.doors)


# --- the road from door to state ------------------------------------------------------------------


def test_an_order_goes_from_the_door_to_confirmed(world: World) -> None:
    world.sell(package(1, 2))
    consumer = world.consumer()
    serve(world, consumer)
    order_id = world.intake.accept(1, "ann@example.org", None).order_id
    world.settle(consumer)
    assert world.order(order_id).state is State.HELD
    assert world.reserve_ids() == [order_id]
    world.check_told([order_id])
    assert world.remaining() == 1

    world.push(confirmed(order_id))
    world.settle(consumer)
    order = world.order(order_id)
    assert (order.state, order.flight_ticket_number, order.hotel_reservation_number) == (
        State.CONFIRMED, "F", "R",
    )
    assert [event.state for event in order.history] == [
        State.QUEUED, State.HELD, State.CONFIRMED,
    ]
    assert order.accepted_ms == int(world.status(order_id)["accepted_ms"])
    world.check_told([order_id])


def test_first_come_first_served_and_no_more_than_the_quota(world: World) -> None:
    world.sell(package(1, 3), package(2, 1))
    world.push(*(place(f"O{n:02}", 1 + n % 2) for n in range(20)))
    world.settle(world.consumer(batch_max=6))
    held = [i for i, order in sorted(world.orders().items()) if order.state is State.HELD]
    assert held == ["O00", "O01", "O02", "O04"]
    assert world.reserve_ids() == held
    assert all(o.reason is Reason.SOLD_OUT for o in world.orders().values() if o.unit is None)
    world.check({1: 3, 2: 1})


def test_a_declined_order_gives_its_unit_to_the_next(world: World) -> None:
    world.sell(package(1, 1))
    consumer = world.consumer()
    world.push(place("A"), place("B"))
    world.settle(consumer)
    assert world.remaining() == 0
    world.push(ReservationFailed(order_id="A", reason=DECLINED), place("C"), place("D"))
    world.settle(consumer)
    assert world.states() == {
        "A": State.FAILED, "B": State.REJECTED, "C": State.HELD, "D": State.REJECTED,
    }
    assert world.compensate_ids() == [], "a decline says that nothing is there"
    world.check({1: 1})


def test_the_same_job_twice_changes_nothing_the_second_time(world: World) -> None:
    world.sell(package(1, 5))
    consumer = world.consumer()
    jobs = [place("A"), place("B"), confirmed("A"), CancelOrder(order_id="B"),
            ReservationFailed(order_id="B", reason=DECLINED),
            ReservationCompensated(order_id="B")]  # fmt: skip
    for job in jobs:
        world.push(job, job)
        world.settle(consumer)
    before = world.orders()
    world.push(*jobs, *jobs)
    world.settle(consumer)
    assert world.orders() == before
    world.check({1: 5})


def test_an_unknown_package_is_refused_at_the_door_and_by_the_consumer(world: World) -> None:
    world.sell(package(1, 5))
    consumer = world.consumer()
    serve(world, consumer)
    with pytest.raises(UnknownPackage):
        world.intake.accept(7, "ann@example.org", None)
    world.push(place("A", 7))
    world.settle(consumer)
    assert world.order("A").reason is Reason.UNKNOWN_PACKAGE


# --- what an operator changes in MongoDB ----------------------------------------------------------


def test_a_raised_quota_shows_within_a_second_without_an_order(world: World) -> None:
    """Within two steps of an idle consumer, of which none waits for longer than a beat."""
    waits: list[float] = []

    class Watched(BookingQueue):
        def wait(self, timeout_s: float) -> bool:
            waits.append(timeout_s)
            return super().wait(timeout_s)

    world.sell(package(1, 1))
    consumer = world.consumer(beat_ms=500, queue=world.new_queue(Watched))
    world.push(place("A"))
    world.settle(consumer)
    assert world.remaining() == 0
    world.database.packages.update_one({"_id": 1}, {"$set": {"quota": 3}})
    waits.clear()
    consumer.step()
    consumer.step()
    assert world.remaining() == 2
    assert sum(waits) <= 1.0


def test_a_raised_quota_is_sold_at_once(world: World) -> None:
    """The packages that a batch names are read anew, whatever the last beat saw."""
    world.sell(package(1, 1))
    consumer = world.consumer(beat_ms=1_000)
    world.push(place("A"), place("B"))
    world.settle(consumer)
    world.database.packages.update_one({"_id": 1}, {"$set": {"quota": 2}})
    world.push(place("C"))
    world.settle(consumer)
    assert world.order("C").state is State.HELD
    assert world.order("C").quota_seen == 2


def test_a_lowered_quota_stops_sales_and_takes_nothing_back(world: World) -> None:
    world.sell(package(1, 3))
    consumer = world.consumer()
    world.push(place("A"), place("B"), place("C"))
    world.settle(consumer)
    world.database.packages.update_one({"_id": 1}, {"$set": {"quota": 1}})
    world.push(place("D"), ReservationFailed(order_id="A", reason=DECLINED), place("E"))
    world.settle(consumer)
    assert world.states() == {
        "A": State.FAILED, "B": State.HELD, "C": State.HELD,
        "D": State.REJECTED, "E": State.REJECTED,
    }  # fmt: skip
    assert world.remaining() == 0
    world.check()


def test_packages_come_and_go(world: World) -> None:
    world.sell(package(1, 1))
    consumer = world.consumer()
    serve(world, consumer)
    world.sell(package(2, 4))
    steps_until(consumer, lambda: world.shelf.package(2) is not None)
    world.intake.accept(2, "ann@example.org", None)
    world.database.packages.delete_one({"_id": 1})
    steps_until(consumer, lambda: world.shelf.package(1) is None)
    with pytest.raises(UnknownPackage):
        world.intake.accept(1, "ann@example.org", None)


def test_a_package_that_comes_back_still_knows_its_live_orders(world: World) -> None:
    world.sell(package(1, 2), package(2, 1))
    consumer = world.consumer()
    world.push(place("A"))
    world.settle(consumer)
    world.database.packages.delete_one({"_id": 1})
    steps_until(consumer, lambda: world.shelf.package(1) is None)
    world.sell(package(1, 1))
    world.push(place("B"))
    world.settle(consumer)
    assert world.order("B").reason is Reason.SOLD_OUT


@pytest.mark.parametrize("change", [
    {"quota": "many"}, {"price": None}, {"sale_ends_at": DatetimeMS(8_640_000_000_000_000)},
    {"sale_starts_at": DatetimeMS(-1)}, {"flight": 5},
])  # fmt: skip
def test_a_package_spoilt_by_hand_is_not_sold_and_stops_nobody_else(
    world: World, change: dict[str, object]
) -> None:
    world.sell(package(1, 2), package(2, 2))
    consumer = world.consumer()
    serve(world, consumer)
    world.database.packages.update_one({"_id": 1}, {"$set": change})
    steps_until(consumer, lambda: world.shelf.package(1) is None)
    world.push(place("A", 1), place("B", 2))
    world.settle(consumer)
    assert world.order("A").reason is Reason.UNKNOWN_PACKAGE
    assert world.order("B").state is State.HELD


def test_a_paused_sale_is_closed_at_the_door_and_open_again_afterwards(world: World) -> None:
    world.sell(package(1, 2))
    consumer = world.consumer()
    serve(world, consumer)
    world.database.packages.update_one({"_id": 1}, {"$set": {"paused": True}})
    steps_until(consumer, lambda: world.valkey.hget(BOOKING.doors, "1") == b"closed")
    with pytest.raises(SaleClosed):
        world.intake.accept(1, "ann@example.org", None)
    world.push(place("A"))
    world.settle(consumer)
    assert world.order("A").reason is Reason.SALES_PAUSED
    world.database.packages.update_one({"_id": 1}, {"$unset": {"paused": ""}})
    steps_until(consumer, lambda: world.valkey.hget(BOOKING.doors, "1") != b"closed")
    world.intake.accept(1, "ann@example.org", None)


def test_an_order_accepted_in_time_is_sold_after_the_end_of_the_sale(world: World) -> None:
    world.sell(package(1, 2))
    consumer = world.consumer()
    serve(world, consumer)
    early = world.intake.accept(1, "ann@example.org", None).order_id
    accepted_ms = int(world.status(early)["accepted_ms"])
    world.sell(package(1, 2, sale_ends_ms=accepted_ms + 1))
    world.push(place("LATE", accepted_ms=accepted_ms + 1))
    world.settle(consumer)
    assert world.order(early).state is State.HELD
    assert world.order("LATE").reason is Reason.SALES_CLOSED
    with pytest.raises(SaleClosed):
        world.intake.accept(1, "ann@example.org", None)


def test_the_shelf_follows_even_while_every_batch_must_wait_for_the_one_before(
    world: World,
) -> None:
    """A limit per customer keeps batches from being decided ahead; the beat is not lost by it."""
    world.sell(package(1, 5, limit_per_customer=1))
    numbers: list[bytes] = []

    def memory_percent() -> int:
        numbers.append(world.valkey.hget(BOOKING.batch, "number") or b"")
        return 0

    def batches_as_seconds() -> float:
        return float(world.valkey.hget(BOOKING.batch, "number") or 0)

    consumer = world.consumer(batch_max=4, memory_percent=memory_percent,
                              monotonic=batches_as_seconds, stop=Hurried())
    serve(world, consumer)
    world.push(*(place(f"O{n}") for n in range(40)))
    numbers.clear()
    consumer.step()
    assert world.backlog() == 0, "the whole backlog is one step"
    assert len(set(numbers)) >= 10, "each of ten batches was a beat"


# --- limits per customer --------------------------------------------------------------------------


def test_a_customer_gets_no_more_than_the_limit_across_batches(world: World) -> None:
    world.sell(package(1, 9, limit_per_customer=2), package(2, 9, limit_per_customer=1))
    consumer = world.consumer(batch_max=2)
    world.push(place("A", email="Ann@example.org"), place("B", email="ann@example.org"),
               place("C", email="ANN@EXAMPLE.ORG"), place("D", email="bob@example.org"),
               place("E", 2, email="ann@example.org"), place("F", 2, email="aNN@example.org"),
               )  # fmt: skip
    world.settle(consumer)
    refused = {i for i, o in world.orders().items() if o.reason is Reason.LIMIT_REACHED}
    assert refused == {"C", "F"}
    world.push(CancelOrder(order_id="A"), place("G", email="ann@example.ORG"),
               place("H", email="ann@example.org"))  # fmt: skip
    world.settle(consumer)
    assert world.order("G").state is State.HELD
    assert world.order("H").reason is Reason.LIMIT_REACHED
    world.check({1: 9, 2: 9})


@pytest.mark.parametrize("forgets", [False, True], ids=["one consumer", "a new one each time"])
def test_under_a_lowered_limit_every_live_order_of_the_customer_counts(
    world: World, forgets: bool
) -> None:
    """Slots above the new limit are still had: without them, Ann would have three of two."""
    world.sell(package(1, 9, limit_per_customer=3))
    consumer = world.consumer()

    def after(*jobs: Command) -> dict[str, State]:
        nonlocal consumer
        if forgets:
            consumer.leave()
            consumer = world.consumer()
        world.push(*jobs)
        world.settle(consumer)
        return world.states()

    after(*(place(name, email="ann@example.org") for name in "ABC"))
    world.database.packages.update_one({"_id": 1}, {"$set": {"limit_per_customer": 2}})
    states = after(CancelOrder(order_id="A"), place("D", email="Ann@example.org"),
                   place("X", email="ann@example.org.uk"))
    assert (states["D"], states["X"]) == (State.REJECTED, State.HELD)
    after(CancelOrder(order_id="B"))
    states = after(place("E", email="ann@example.org"), place("F", email="ann@example.org"))
    assert (states["E"], states["F"]) == (State.HELD, State.REJECTED)
    assert world.order("D").reason is world.order("F").reason is Reason.LIMIT_REACHED
    assert (world.order("C").slot, world.order("E").slot) == (3, 1)
    world.check({1: 9})


def test_the_slots_of_a_whole_batch_are_one_read_of_the_index_alone(world: World) -> None:
    world.sell(package(1, 99, limit_per_customer=2), package(2, 99))
    consumer = world.consumer(beat_ms=1_000)
    jobs = [place(f"{n}{order}", 1 + n % 2, email=f"c{n}@example.org")
            for n in range(20) for order in "AB"]
    world.push(*jobs)
    world.settle(consumer)
    world.database.command("profile", 2)
    world.push(*(msgspec.structs.replace(job, order_id=f"{job.order_id}C") for job in jobs))
    world.settle(consumer)
    world.database.command("profile", 0)
    asked = list(world.database["system.profile"].find({"op": {"$in": ["query", "getmore"]}}))
    [slots] = [read for read in asked if "slot" in str(read["command"])]
    assert (slots["nreturned"], slots["docsExamined"]) == (20, 0)


# --- expiry, cancellation, what is owed -----------------------------------------------------------


def test_a_hold_that_nobody_confirmed_expires_and_is_compensated(world: World) -> None:
    world.sell(package(1, 1))
    consumer = world.consumer(hold_s=0)
    serve(world, consumer)
    order_id = world.intake.accept(1, "ann@example.org", None).order_id
    steps_until(consumer, lambda: world.states().get(order_id) is State.EXPIRED)
    order = world.order(order_id)
    assert (order.reason, order.owed) == (Reason.HOLD_EXPIRED, COMPENSATION_ORDER)
    assert order_id in world.compensate_ids()
    assert world.remaining() == 1
    world.check_told([order_id])


def test_a_confirmation_in_time_keeps_the_hold(world: World) -> None:
    world.sell(package(1, 1))
    consumer = world.consumer()
    world.push(place("A"), confirmed("A"))
    world.settle(consumer)
    assert world.store.expired_holds(10**13, 10) == []


def test_the_expiries_of_a_sweep_are_awaited_before_the_next(world: World) -> None:
    """Behind a long backlog, every sweep would queue the same expiries once more."""
    world.sell(package(1, 9))
    world.push(*(place(f"O{n}") for n in range(4)))
    world.settle(world.consumer(hold_s=0, sweep_every_ms=10_000_000))
    world.lease_runs_out()
    backlog = [place(f"P{n}") for n in range(30)]
    world.push(*backlog)
    consumer = world.consumer("two", batch_max=1, hold_s=600)
    for _ in range(8):
        consumer.step()
    kinds = [type(commands.decode_command(raw)).__name__
             for raw in world.valkey.lrange(BOOKING.jobs, 0, -1)]  # fmt: skip
    assert kinds.count("ExpireHold") == 4


def test_a_cancellation_takes_its_turn_behind_its_order(world: World) -> None:
    world.sell(package(1, 1))
    consumer = world.consumer()
    serve(world, consumer)
    order_id = world.intake.accept(1, "ann@example.org", None).order_id
    world.intake.cancel(order_id)
    later = world.intake.accept(1, "bob@example.org", None).order_id
    world.settle(consumer)
    assert world.order(order_id).state is State.CANCELLED
    assert world.order(order_id).reason is Reason.CUSTOMER_REQUEST
    assert world.order(later).state is State.HELD, "the unit came back in the same batch"
    assert order_id not in world.reserve_ids()
    world.check_told([order_id, later])


@pytest.mark.parametrize("confirm", [False, True])
def test_a_live_order_can_be_cancelled_and_owes_both_parts(world: World, confirm: bool) -> None:
    world.sell(package(1, 1))
    consumer = world.consumer()
    world.push(place("A"), *([confirmed("A")] if confirm else []), CancelOrder(order_id="A"))
    world.settle(consumer)
    assert world.order("A").owed == COMPENSATION_ORDER
    assert world.reservation_jobs() == [Compensate(order_id="A", parts=COMPENSATION_ORDER)]
    world.push(ReservationCompensated(order_id="A"))
    world.settle(consumer)
    assert world.order("A").owed == ()
    assert world.order("A").compensated


def test_a_confirmation_that_comes_too_late_is_compensated_once(world: World) -> None:
    world.sell(package(1, 1))
    consumer = world.consumer()
    world.push(place("A"), ReservationFailed(order_id="A", reason=DECLINED))
    world.settle(consumer)
    world.valkey.delete(BOOKING.reservations.waiting)
    world.push(confirmed("A"))
    world.settle(consumer)
    assert world.compensate_ids() == ["A"]
    assert world.order("A").state is State.FAILED
    world.push(ReservationCompensated(order_id="A"))
    world.settle(consumer)
    world.valkey.delete(BOOKING.reservations.waiting)
    world.push(confirmed("A"))
    world.settle(consumer)
    assert world.compensate_ids() == []


def test_owed_work_that_got_lost_is_asked_for_again_and_a_short_while_is_left_alone(
    world: World,
) -> None:
    world.sell(package(1, 1))
    patient = world.consumer(owed_after_s=600)
    world.push(place("A"), CancelOrder(order_id="A"))
    world.settle(patient)
    world.valkey.delete(BOOKING.reservations.waiting)
    for _ in range(3):
        patient.step()
    assert world.compensate_ids() == []
    patient.leave()
    steps_until(world.consumer("two", owed_after_s=0), lambda: world.compensate_ids() == ["A"])


def test_owed_work_is_asked_for_again_only_after_a_while(world: World) -> None:
    """A supplier that is slow finds each cancellation once, not once for every sweep."""
    now_s = 0.0
    world.sell(package(1, 1))
    consumer = world.consumer(owed_after_s=30, monotonic=lambda: now_s)
    world.push(place("A"), CancelOrder(order_id="A"))
    world.settle(consumer)
    world.valkey.delete(BOOKING.reservations.waiting)
    long_ago = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    world.database.orders.update_one({"_id": "A"}, {"$set": {"owed_since": long_ago}})
    for now_s, asked in ((31.0, 1), (32.0, 1), (60.0, 1), (62.0, 2), (63.0, 2)):
        consumer.step()
        assert world.compensate_ids() == ["A"] * asked, now_s


def test_a_supplier_that_is_away_for_long_fills_no_list(world: World) -> None:
    world.sell(package(1, 1))
    consumer = world.consumer(owed_after_s=0)
    world.push(place("A"), CancelOrder(order_id="A"))
    world.settle(consumer)
    world.valkey.lpush(BOOKING.reservations.waiting, *[b"waits"] * SWEEP_MOST)
    length = world.valkey.llen(BOOKING.reservations.waiting)
    for _ in range(5):
        consumer.step()
    assert world.valkey.llen(BOOKING.reservations.waiting) == length


# --- memory, and the end --------------------------------------------------------------------------


def test_memory_pressure_closes_the_door_until_it_is_over(world: World) -> None:
    world.sell(package(1, 5))
    used = [80]
    consumer = world.consumer(memory_percent=lambda: used[0])
    consumer.step()
    with pytest.raises(Overloaded):
        world.intake.accept(1, "ann@example.org", None)
    used[0] = 10
    world.valkey.pexpire(BOOKING.pressure, 1)
    consumer.step()
    eventually(lambda: not world.valkey.exists(BOOKING.pressure))
    world.intake.accept(1, "ann@example.org", None)


def test_an_idle_consumer_waits_for_the_bell_and_stops_when_told(world: World) -> None:
    world.sell(package(1, 5))
    stop = threading.Event()
    heard: list[bool] = []

    class Watched(BookingQueue):
        def wait(self, timeout_s: float) -> bool:
            heard.append(super().wait(timeout_s))
            return heard[-1]

    beat_ms = 4_000
    consumer = world.consumer(stop=stop, beat_ms=beat_ms,
                              queue=world.new_queue(Watched, lease_ms=10 * beat_ms))
    serve(world, consumer)
    running = threading.Thread(target=lambda: [consumer.step() for _ in range(2)])
    running.start()
    eventually(lambda: world.valkey.info("clients")["blocked_clients"])
    order_id = world.intake.accept(1, "ann@example.org", None).order_id
    eventually(lambda: world.status(order_id)["state"] == "held")
    assert True in heard, "it was woken, it did not wait for its beat"
    stop.set()
    running.join(20)
    assert not running.is_alive()
    consumer.leave()
    assert not world.valkey.exists(BOOKING.lease), "a standby takes over at once"


def test_one_consumer_works_and_the_next_takes_over(world: World) -> None:
    world.sell(package(1, 5))
    one, two = world.consumer("one"), world.consumer("two", stop=Hurried())
    serve(world, one)
    world.push(place("A"))
    two.step()
    assert world.states() == {}
    one.leave()
    world.settle(two)
    assert world.states() == {"A": State.HELD}


def test_a_long_backlog_is_sold_in_its_order_and_a_step_still_ends(world: World) -> None:
    world.sell(package(1, 30))
    running = world.consumer(batch_max=2)
    running.step()
    ids = [f"O{n:03}" for n in range(2 * STREAM_MOST_BATCHES + 40)]
    world.push(*(place(order_id) for order_id in ids), CancelOrder(order_id=ids[0]), place("Z"))
    running.step()
    assert len(world.states()) >= 2 * STREAM_MOST_BATCHES, "one step, many batches"
    assert world.backlog() > 0, "whoever watches the consumer must see that it turns"
    world.settle(running)
    held = [i for i, state in sorted(world.states().items()) if state is State.HELD]
    assert held == [*ids[1:30], "Z"], "the unit of the cancelled order went to the last"
    world.check({1: 30})
