"""Jobs that cannot be applied, jobs of later versions, and how the process ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import consumer.batches
from booking import commands
from booking.commands import (
    CancelOrder,
    ExpireHold,
    PlaceOrder,
    ReservationConfirmed,
    ReservationFailed,
)
from booking.intake import Overloaded
from booking.model import NO_PACKAGE, Guest, Part, Reason, State
from errors import EngineAway, NewerJob
from queues.keys import BOOKING
from queues.reliable import BookingQueue, Lease, Taken, Told
from tests.booking_world import World, package, place
from tests.rate_orders import OFFER
from tests.traps import Hurried, Killed
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]

# --- jobs that cannot be applied ------------------------------------------------------------------


def poisoned(monkeypatch: pytest.MonkeyPatch, order_id: str, error: BaseException) -> None:
    """Deciding anything of this order fails."""
    real = consumer.batches.decide_batch

    def decide_batch(ledger: Any, batch: list[Any], *args: Any, **kwargs: Any) -> Any:
        if any(command.order_id == order_id for command in batch):
            raise error
        return real(ledger, batch, *args, **kwargs)

    monkeypatch.setattr(consumer.batches, "decide_batch", decide_batch)


@pytest.mark.parametrize("batch_max", [100, 3])
def test_a_poison_job_is_buried_alone_and_the_others_keep_their_turn(
    world: World, monkeypatch: pytest.MonkeyPatch, batch_max: int
) -> None:
    world.sell(package(1, 6))
    ids = world.through_the_door(10)
    poison = ids[4]
    poisoned(monkeypatch, poison, ValueError("a fault of ours"))
    world.settle(world.consumer(stop=Hurried(), batch_max=batch_max))
    good = [order_id for order_id in ids if order_id != poison]
    assert list(dict.fromkeys(world.reserve_ids())) == good[:6]
    order = world.order(poison)
    assert (order.state, order.reason) == (State.REJECTED, Reason.INTERNAL_ERROR)
    world.check_told(ids)
    [letter] = world.letters()
    job = commands.decode_command(letter.job)
    assert (letter.source, job.order_id, letter.deliveries) == ("jobs", poison, 6)
    world.check({1: 6})


def test_a_job_that_kills_its_consumer_is_buried_and_nobody_elses(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Segfault(BaseException):
        pass

    world.sell(package(1, 9))
    ids = world.through_the_door(5)
    poisoned(monkeypatch, ids[2], Segfault())
    deaths = 0
    for number in range(30):
        world.lease_runs_out()
        mortal = world.consumer(f"mortal-{number}", stop=Hurried())
        try:
            world.settle(mortal)
            break
        except Segfault:
            deaths += 1
    assert deaths == 2 + 5, "twice with others, then alone until it was delivered too often"
    assert world.order(ids[2]).reason is Reason.INTERNAL_ERROR
    assert [letter.deliveries for letter in world.letters()] == [6]
    assert all(world.order(i).state is State.HELD for i in ids if i != ids[2])


def test_a_buried_report_that_was_written_but_not_told_is_told(world: World) -> None:
    """Killed between writing and telling until it is buried: the order has ended all the same."""

    class DiesTelling(BookingQueue):
        def tell(self, lease: Lease, taken: Taken, told: Told) -> int:
            raise Killed

    world.sell(package(1, 9))
    [order_id] = world.through_the_door(1)
    booker = world.consumer("booker")
    world.settle(booker)
    booker.leave()
    world.push(ReservationFailed(
        order_id=order_id, reason=Reason.ROOM_DECLINED, may_exist=(Part.FLIGHT,)
    ))  # fmt: skip
    mortal = world.consumer("mortal", queue=world.new_queue(DiesTelling))
    with pytest.raises(Killed):
        mortal.step()
    assert world.order(order_id).state is State.FAILED
    world.lease_runs_out()
    world.settle(world.consumer("next", bury_after_deliveries=1))
    assert len(world.letters()) == 1
    world.check_told([order_id])
    assert world.compensate_ids() == [order_id]


@pytest.mark.parametrize("raw", [
    b"nonsense", b"\xff", b'{"type":"cancel_order","order_id":"\xff"}',
    b'{"type":"cancel_order","order_id":"A","x":' + b"[" * 50_000 + b"]" * 50_000 + b"}",
])  # fmt: skip
def test_what_is_no_job_is_buried_at_once_and_stops_nobody(world: World, raw: bytes) -> None:
    world.sell(package(1, 5))
    world.push(place("A"))
    world.push_raw(raw)
    world.push(place("B"))
    world.settle(world.consumer(stop=Hurried()))
    assert world.states() == {"A": State.HELD, "B": State.HELD}
    assert [letter.job for letter in world.letters()] == [raw]


SPOILING = {
    "cut off": lambda job: job[:-20],
    "another type": lambda job: job.replace(b'"package_id":1', b'"package_id":"one"'),
    "not UTF-8": lambda job: job.replace(b"@", b"\xff"),
    "no e-mail": lambda job: job.replace(b'"email"', b'"e"'),
    "no type": lambda job: job.replace(b'"type"', b'"t"'),
}


@pytest.mark.parametrize("how", SPOILING)
def test_an_accepted_order_whose_job_cannot_be_read_ends_and_its_customer_is_told(
    world: World, how: str
) -> None:
    world.sell(package(1, 5))
    ids = world.through_the_door(3)
    raw = world.valkey.lindex(BOOKING.jobs, 1) or b""
    spoilt = SPOILING[how](raw)
    world.valkey.lset(BOOKING.jobs, 1, spoilt)
    world.valkey.hincrby(BOOKING.counters, "bytes", len(spoilt) - len(raw))
    world.settle(world.consumer(stop=Hurried()))
    order = world.order(ids[1])
    assert (order.state, order.reason) == (State.REJECTED, Reason.INTERNAL_ERROR)
    assert (order.email, order.package_id) == ("a1@example.org", 1)
    assert order.accepted_ms == order.history[0].at_ms == int(world.status(ids[1])["accepted_ms"])
    world.check_told(ids)
    assert [letter.job for letter in world.letters()] == [spoilt]
    assert [world.order(ids[n]).state for n in (0, 2)] == [State.HELD] * 2


def test_an_order_of_a_rate_whose_job_cannot_be_read_keeps_its_rate(world: World) -> None:
    accepted = world.intake.accept_rate(OFFER, "ann@example.org", Guest(), None)
    raw = world.valkey.lindex(BOOKING.jobs, 0) or b""
    world.valkey.lset(BOOKING.jobs, 0, raw.replace(b'"guest":{', b'"guest":[{'))
    world.settle(world.consumer(stop=Hurried()))
    order = world.order(accepted.order_id)
    assert (order.state, order.package_id) == (State.REJECTED, NO_PACKAGE)
    assert order.rate is not None
    assert order.rate.facts == OFFER.facts
    world.check_told([accepted.order_id])


def test_no_job_that_cannot_be_read_ends_an_order_that_it_would_not_place(world: World) -> None:
    """A cancellation, or an id that the door never gave out."""
    world.sell(package(1, 5))
    [order_id] = world.through_the_door(1)
    cancel = commands.encode(CancelOrder(order_id=order_id)).replace(b'"v":2', b'"v":"two"')
    world.valkey.rpush(BOOKING.jobs, cancel)
    world.push_raw(b'{"type":"place_order","order_id":"NOBODY"}')
    world.settle(world.consumer(stop=Hurried()))
    assert world.states() == {order_id: State.HELD}
    assert len(world.letters()) == 2


def test_an_order_that_can_neither_be_read_nor_rejected_stops_nobody(world: World) -> None:
    world.sell(package(1, 5))
    world.database.orders.insert_one({"_id": "SPOILT", "by": "hand"})
    huge = PlaceOrder(order_id="HUGE", package_id=10**30, email="a@b.org", accepted_ms=10**30)
    world.push(place("A"), place("SPOILT"), huge, place("B"))
    world.settle(world.consumer(stop=Hurried()))
    world.database.orders.delete_one({"_id": "SPOILT"})
    assert world.states() == {"A": State.HELD, "B": State.HELD}
    assert sorted(commands.decode_command(one.job).order_id for one in world.letters()) == [
        "HUGE", "SPOILT",
    ]


def test_a_burial_that_crashes_in_between_is_done_again_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the order is written, then the letter: a crash between the two repeats it."""
    world.sell(package(1, 5))
    [order_id] = world.through_the_door(1)
    poisoned(monkeypatch, order_id, ValueError("a fault of ours"))
    queue = world.new_queue()
    real_tell = queue.tell
    lost: list[int] = []

    def tell(lease: Any, taken: Any, told: Any) -> int:
        if told.dead and not lost:
            lost.append(taken.number)
            raise EngineAway("the answer was lost")
        return real_tell(lease, taken, told)

    monkeypatch.setattr(queue, "tell", tell)
    world.settle(world.consumer(queue=queue, stop=Hurried()))
    assert lost
    assert len(world.letters()) == 1
    assert len(world.order(order_id).history) == 2
    world.check_told([order_id])


# --- the list of dead letters is bounded ----------------------------------------------------------


def test_many_dead_letters_shut_the_door_and_none_of_them_is_lost(world: World) -> None:
    world.sell(package(1, 9))
    ids = world.through_the_door(2)
    world.push_raw(b"nonsense 1", b"nonsense 2", b"nonsense 3")
    booker = world.consumer("booker", stop=Hurried(), dead_letters_max=2, beat_ms=1)
    world.settle(booker)
    assert len(world.letters()) == 3, "what was accepted before is kept all the same"
    eventually(lambda: booker.step() or world.valkey.get(BOOKING.pressure) == b"dead letters")
    with pytest.raises(Overloaded):
        world.intake.accept(1, "ann@example.org", None)
    with pytest.raises(Overloaded):
        world.intake.cancel(ids[0])
    world.push(ReservationConfirmed(order_id=ids[0], hotel_reservation_number="R"))
    world.settle(booker)
    assert world.order(ids[0]).state is State.CONFIRMED, "reports are let in as ever"
    world.valkey.ltrim(BOOKING.dead, 0, 0)  # a person has looked
    world.valkey.delete(BOOKING.pressure)  # it runs out
    booker.step()
    world.intake.cancel(ids[0])


def test_an_expiry_that_comes_again_and_again_does_not_fill_the_list(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.sell(package(1, 9))
    [order_id] = world.through_the_door(1)
    world.settle(world.consumer("opener", stop=Hurried()))
    world.lease_runs_out()
    poisoned(monkeypatch, order_id, ValueError("a fault of ours"))
    booker = world.consumer("booker", stop=Hurried(), dead_letters_max=2)
    for _ in range(4):
        world.push(ExpireHold(order_id=order_id, at_ms=1))
        world.settle(booker)
    assert len(world.letters()) == 2
    assert world.order(order_id).state is State.HELD, "the sweep and the audit find it there"


# --- later versions -------------------------------------------------------------------------------


def newer(order_id: str) -> bytes:
    raw = commands.encode(place(order_id))
    return raw.replace(f'"v":{commands.VERSION}'.encode(), b'"v":99')


def test_a_later_version_stops_each_consumer_and_is_applied_by_the_one_that_knows_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.sell(package(1, 5))
    world.push_raw(newer("A"))
    for number in range(12):  # a process manager starts it again and again until the upgrade
        old = world.consumer(f"old-{number}", stop=Hurried())
        with pytest.raises(NewerJob):
            old.step()
        old.leave()
    assert world.backlog() == 1
    monkeypatch.setattr(commands, "VERSION", 99)
    upgraded = world.consumer("new", stop=Hurried())
    world.settle(upgraded)
    assert world.states() == {"A": State.HELD}
    assert world.letters() == []


def process(world: World, name: str, **environment: str) -> subprocess.Popen[bytes]:
    """`python -m consumer <name>` on the engines of this test."""
    settings = world.settings
    return subprocess.Popen(
        [sys.executable, "-m", "consumer", name], cwd=ROOT, stderr=subprocess.PIPE,
        env={
            **{key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ},
            "REDIS_URL": settings.redis_url, "MONGO_URL": settings.mongo_url,
            "MONGO_DATABASE": settings.mongo_database, "DATA_DIR": settings.data_dir,
            **environment,
        },
    )  # fmt: skip


def test_the_process_ends_with_3_at_a_later_version(world: World) -> None:
    world.sell(package(1, 5))
    world.push_raw(newer("A"))
    running = process(world, "booking")
    _, said = running.communicate(timeout=20)
    assert running.returncode == 3, said.decode()
    assert world.backlog() == 1
    assert not world.valkey.exists(BOOKING.dead, BOOKING.lease)


def test_the_process_says_what_an_engine_lacks_and_ends_with_1(world: World) -> None:
    world.database.orders.drop_index("unit")
    running = process(world, "booking")
    _, said = running.communicate(timeout=20)
    assert running.returncode == 1
    assert b"lacks the index 'unit'" in said


def test_the_process_works_and_ends_with_0_at_sigterm(world: World) -> None:
    world.sell(package(1, 5))
    world.push(place("A"))
    running = process(world, "booking")
    try:
        eventually(lambda: world.states() == {"A": State.HELD}, 15)
        running.terminate()
        _, said = running.communicate(timeout=10)
    finally:
        running.kill()
    assert running.returncode == 0, said.decode()
    assert not world.valkey.exists(BOOKING.lease)
    assert b"@example.org" not in said, "addresses are nobody's business in a log"
