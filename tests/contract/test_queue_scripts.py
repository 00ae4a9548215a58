"""What each Lua script promises, asked of a real Valkey and of the simulated one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import redis
import redis.exceptions

from booking.intake import (
    OPEN_UNTIL_MS,
    Accepted,
    Intake,
    KeyReused,
    NotReady,
    Overloaded,
    SaleClosed,
    UnknownPackage,
    door,
)
from bootstrap import connect_valkey
from engine_errors import valkey_errors
from errors import EngineAway, EngineUnfit, LeaseLost
from queues.keys import BOOKING
from queues.reliable import BookingQueue, Lease, Taken, Told
from queues.scripts import Script
from queues.shared_work import Beat, SharedWork
from settings import Settings
from tests.simulation.direct import simulated_valkey
from tests.waiting import eventually

LEASE_MS = 5_000


@pytest.fixture(params=["real", "simulated"])
def valkey(request: pytest.FixtureRequest, valkey: redis.Redis) -> redis.Redis:
    """The real server, and the one that the simulation runs on: they must not be told apart."""
    return valkey if request.param == "real" else simulated_valkey()


@pytest.fixture
def queue(valkey: redis.Redis) -> BookingQueue:
    return BookingQueue(valkey, BOOKING, lease_ms=LEASE_MS, status_ttl_s=100)


@pytest.fixture
def lease(queue: BookingQueue) -> Lease:
    lease = queue.acquire("one")
    assert lease is not None
    return lease


@pytest.fixture
def doors(valkey: redis.Redis) -> None:
    """Package 1 is open, 2 is paused, 3 opens in the year 9999, 4 closed in 1970."""
    valkey.hset(BOOKING.doors, mapping={
        "1": door(None, None), "2": "closed",
        "3": door(OPEN_UNTIL_MS - 1, None), "4": door(None, 1),
    })  # fmt: skip


def intake(valkey: redis.Redis, **changes: int) -> Intake:
    options = {"backlog_max_jobs": 3, "backlog_max_bytes": 10_000, "idempotency_ttl_s": 60}
    return Intake(valkey, **{**options, **changes})


def counters(valkey: redis.Redis) -> dict[str, int]:
    return {k.decode(): int(v) for k, v in valkey.hgetall(BOOKING.counters).items()}


def waiting(valkey: redis.Redis) -> list[bytes]:
    """Jobs in the order in which they will be taken."""
    return list(reversed(valkey.lrange(BOOKING.jobs, 0, -1)))


def everything(valkey: redis.Redis) -> dict[bytes, Any]:
    """All that Valkey holds, without what only time changes."""
    return {key: valkey.dump(key) for key in valkey.keys("*")}


def numbered(count: int) -> list[bytes]:
    return [b"job-%d" % number for number in range(count)]


def take(queue: BookingQueue, lease: Lease, most: int = 10, **more: Any) -> Taken:
    return queue.take(lease, most=most, singles_after=3, **more)


# --- accept ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("doors")
class TestAccept:
    def test_an_order_is_queued_with_status_counters_and_bell(self, valkey: redis.Redis) -> None:
        accepted = intake(valkey).accept(1, "ann@example.org", None)
        status = valkey.hgetall(BOOKING.status(accepted.order_id))
        [job] = waiting(valkey)
        assert accepted == Accepted(accepted.order_id, place=1)
        assert status[b"state"] == b"queued"
        assert (status[b"email"], status[b"package_id"], status[b"seq"]) == (
            b"ann@example.org", b"1", b"1",
        )
        assert job.endswith(b'"accepted_ms":' + status[b"accepted_ms"] + b"}")
        assert counters(valkey) == {"pushed": 1, "bytes": len(job)}
        assert valkey.llen(BOOKING.bell) == 1
        assert valkey.ttl(BOOKING.status(accepted.order_id)) == -1, "it expires only when final"

    def test_the_moment_is_that_of_the_server(self, valkey: redis.Redis) -> None:
        def now_ms() -> int:
            seconds, micros = valkey.time()
            return seconds * 1_000 + micros // 1_000

        before = now_ms()
        accepted = intake(valkey).accept(1, "ann@example.org", None)
        accepted_ms = int(valkey.hget(BOOKING.status(accepted.order_id), "accepted_ms"))
        assert before <= accepted_ms <= now_ms()

    def test_places_count_up_and_the_bell_holds_one_token(self, valkey: redis.Redis) -> None:
        door_ = intake(valkey)
        assert [door_.accept(1, "a@example.org", None).place for _ in range(3)] == [1, 2, 3]
        assert valkey.llen(BOOKING.bell) == 1

    @pytest.mark.parametrize(("package_id", "refusal"), [
        (2, SaleClosed), (3, SaleClosed), (4, SaleClosed), (5, UnknownPackage),
    ])  # fmt: skip
    def test_a_refused_order_leaves_no_trace(
        self, valkey: redis.Redis, package_id: int, refusal: type[Exception]
    ) -> None:
        before = everything(valkey)
        with pytest.raises(refusal):
            intake(valkey).accept(package_id, "ann@example.org", "key")
        assert everything(valkey) == before

    def test_a_closed_sale_says_when_it_is_open(self, valkey: redis.Redis) -> None:
        said = []
        for package_id in (2, 3, 4):
            with pytest.raises(SaleClosed) as refused:
                intake(valkey).accept(package_id, "ann@example.org", None)
            said.append((refused.value.starts_ms, refused.value.ends_ms))
        assert said == [(None, None), (OPEN_UNTIL_MS - 1, None), (None, 1)]

    def test_without_any_package_it_is_not_ready(self, valkey: redis.Redis) -> None:
        valkey.delete(BOOKING.doors)
        with pytest.raises(NotReady):
            intake(valkey).accept(1, "ann@example.org", None)

    def test_the_same_key_and_body_give_the_first_answer_again(self, valkey: redis.Redis) -> None:
        door_ = intake(valkey)
        first = door_.accept(1, "ann@example.org", "key")
        before = everything(valkey)
        again = door_.accept(1, "ann@example.org", "key")
        assert again == Accepted(first.order_id, replayed=True)
        assert everything(valkey) == before
        assert 0 < valkey.ttl(BOOKING.idempotency("key")) <= 60

    @pytest.mark.parametrize(("package_id", "email"), [(1, "bob@example.org"), (2, "a@b.org")])
    def test_the_same_key_with_another_body_is_a_conflict(
        self, valkey: redis.Redis, package_id: int, email: str
    ) -> None:
        door_ = intake(valkey)
        door_.accept(1, "ann@example.org", "key")
        with pytest.raises(KeyReused):
            door_.accept(package_id, email, "key")
        assert len(waiting(valkey)) == 1

    def test_a_replay_is_answered_when_the_door_is_shut(self, valkey: redis.Redis) -> None:
        door_ = intake(valkey, backlog_max_jobs=1)
        first = door_.accept(1, "ann@example.org", "key")
        valkey.delete(BOOKING.doors)
        valkey.set(BOOKING.pressure, "memory")
        assert door_.accept(1, "ann@example.org", "key").order_id == first.order_id

    def test_the_key_is_not_readable_in_valkey(self, valkey: redis.Redis) -> None:
        intake(valkey).accept(1, "ann@example.org", "a-secret")
        assert not [key for key in valkey.keys("*") if b"a-secret" in key]

    def test_the_backlog_is_bounded_by_count(
        self, valkey: redis.Redis, queue: BookingQueue, lease: Lease
    ) -> None:
        door_ = intake(valkey)
        for _ in range(3):
            door_.accept(1, "a@example.org", None)
        with pytest.raises(Overloaded):
            door_.accept(1, "a@example.org", None)
        taken = take(queue, lease)
        with pytest.raises(Overloaded):
            door_.accept(1, "a@example.org", None)  # in flight is not yet done
        queue.tell(lease, taken, Told())
        assert door_.accept(1, "a@example.org", None).place == 1

    def test_the_backlog_is_bounded_by_bytes(self, valkey: redis.Redis) -> None:
        door_ = intake(valkey, backlog_max_bytes=250)
        door_.accept(1, "a@example.org", None)
        with pytest.raises(Overloaded):
            door_.accept(1, "a" * 200 + "@example.org", None)
        assert len(waiting(valkey)) == 1

    def test_pressure_shuts_the_door(self, valkey: redis.Redis) -> None:
        valkey.set(BOOKING.pressure, "memory")
        with pytest.raises(Overloaded):
            intake(valkey).accept(1, "a@example.org", None)
        assert waiting(valkey) == []

    def test_with_many_at_once_the_bound_holds_and_one_key_is_one_order(
        self, valkey: redis.Redis
    ) -> None:
        door_ = intake(valkey, backlog_max_jobs=20)
        answers: list[str] = []

        def shop(number: int) -> None:
            for turn in range(5):
                try:
                    key = "same" if turn == 0 else None
                    answers.append(door_.accept(1, "a@example.org", key).order_id)
                except Overloaded:
                    answers.append("")

        threads = [threading.Thread(target=shop, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(answers) == 40
        assert len(waiting(valkey)) == 20
        assert len(set(answers) - {""}) == 20

    def test_a_cancellation_is_bounded_too(self, valkey: redis.Redis) -> None:
        door_ = intake(valkey, backlog_max_jobs=2)
        door_.cancel("A")
        door_.cancel("B")
        with pytest.raises(Overloaded):
            door_.cancel("C")
        assert len(waiting(valkey)) == 2


# --- the lease ------------------------------------------------------------------------------------


class TestLease:
    def test_one_at_a_time_and_a_new_epoch_each_time(self, queue: BookingQueue) -> None:
        first = queue.acquire("one")
        assert first is not None
        assert queue.acquire("two") is None
        assert queue.acquire("one") is None, "the same name is another process"
        queue.release(first)
        second = queue.acquire("two")
        assert second is not None
        assert (first.token, second.token) == ("one:1", "two:2")

    def test_it_runs_out_by_itself(self, valkey: redis.Redis) -> None:
        short = BookingQueue(valkey, BOOKING, lease_ms=30, status_ttl_s=100)
        assert short.acquire("one") is not None
        assert eventually(lambda: short.acquire("two"), 2)

    def test_only_its_holder_gives_it_back_or_keeps_it(
        self, valkey: redis.Redis, queue: BookingQueue, lease: Lease
    ) -> None:
        queue.release(Lease("two:9"))
        with pytest.raises(LeaseLost):
            queue.renew(Lease("two:9"))
        assert valkey.get(BOOKING.lease) == b"one:1"
        valkey.pexpire(BOOKING.lease, 100)
        queue.renew(lease)
        assert valkey.pttl(BOOKING.lease) > 1_000

    @pytest.mark.parametrize("call", ["take", "tell"])
    def test_each_batch_renews_it(
        self, valkey: redis.Redis, queue: BookingQueue, lease: Lease, call: str
    ) -> None:
        taken = take(queue, lease)
        valkey.pexpire(BOOKING.lease, 100)
        if call == "take":
            take(queue, lease)
        else:
            queue.tell(lease, taken, Told())
        assert valkey.pttl(BOOKING.lease) > 1_000

    def test_released_with_an_excuse_the_delivery_is_not_counted(
        self, queue: BookingQueue, lease: Lease
    ) -> None:
        queue.push(numbered(2))
        assert take(queue, lease).deliveries == 1
        holder = lease
        for _ in range(5):
            queue.release(holder, excused=True)
            holder = queue.acquire("next") or pytest.fail("the lease was not given back")
            assert take(queue, holder).deliveries == 1
        queue.release(holder)
        holder = queue.acquire("next") or pytest.fail("the lease was not given back")
        assert take(queue, holder).deliveries == 2


# --- take -----------------------------------------------------------------------------------------


class TestTake:
    def test_the_oldest_come_first_and_no_more_than_asked(
        self, queue: BookingQueue, lease: Lease
    ) -> None:
        queue.push(numbered(5))
        taken = take(queue, lease, most=3)
        assert taken.jobs == numbered(5)[:3]
        assert (taken.deliveries, taken.pushed, taken.applied) == (1, 5, 0)

    def test_repeating_it_gives_the_same_batch_under_another_number(
        self, queue: BookingQueue, lease: Lease
    ) -> None:
        queue.push(numbered(3))
        first = take(queue, lease, most=2)
        queue.push([b"later"])
        again = take(queue, lease, most=2)
        assert again.jobs == first.jobs
        assert again.number == first.number + 1
        assert again.deliveries == 2

    def test_a_lost_lease_takes_nothing(
        self, valkey: redis.Redis, queue: BookingQueue, lease: Lease
    ) -> None:
        queue.push(numbered(2))
        valkey.set(BOOKING.lease, "two:2")
        before = everything(valkey)
        with pytest.raises(LeaseLost):
            take(queue, lease)
        valkey.delete(BOOKING.lease)
        with pytest.raises(LeaseLost):
            take(queue, lease)
        valkey.set(BOOKING.lease, "two:2")
        assert everything(valkey) == before

    def test_whoever_holds_the_lease_next_gets_what_is_in_flight(
        self, queue: BookingQueue, lease: Lease
    ) -> None:
        queue.push(numbered(4))
        first = take(queue, lease, most=3)
        queue.release(lease)
        successor = queue.acquire("two")
        assert successor is not None
        taken = take(queue, successor, most=3)
        assert taken.jobs == first.jobs, "recovered work is a batch of its own"
        assert taken.deliveries == 2

    def test_from_the_second_redelivery_on_jobs_go_one_by_one_in_their_order(
        self, queue: BookingQueue, lease: Lease
    ) -> None:
        queue.push(numbered(5))
        take(queue, lease, most=4)
        assert take(queue, lease, most=4).jobs == numbered(5)[:4]
        seen = []
        for _ in range(4):
            taken = take(queue, lease, most=4)
            assert (len(taken.jobs), taken.deliveries) == (1, 1)
            seen += taken.jobs
            queue.tell(lease, taken, Told())
        queue.push([b"job-5"])
        last = take(queue, lease, most=4)
        assert seen == numbered(5)[:4]
        assert last.jobs == [b"job-4", b"job-5"], "what was not recovered goes together again"

    def test_one_by_one_at_once_when_asked(self, queue: BookingQueue, lease: Lease) -> None:
        queue.push(numbered(3))
        take(queue, lease)
        assert take(queue, lease, singles_now=True).jobs == [b"job-0"]
        assert take(queue, lease).deliveries == 2, "alone, each delivery counts"

    def test_an_excused_delivery_is_not_counted(self, queue: BookingQueue, lease: Lease) -> None:
        queue.push(numbered(2))
        take(queue, lease)
        for _ in range(6):
            taken = take(queue, lease, excused=True)
            assert (taken.deliveries, len(taken.jobs)) == (1, 2)

    def test_an_empty_batch_heals_counters_that_drifted(
        self, valkey: redis.Redis, queue: BookingQueue, lease: Lease
    ) -> None:
        valkey.hset(BOOKING.counters, mapping={"pushed": 90, "applied": 7, "bytes": 5_000})
        valkey.hset(BOOKING.batch, "singles", 4)
        taken = take(queue, lease)
        assert taken.jobs == []
        assert queue.tell(lease, taken, Told()) == 0
        assert counters(valkey) == {"pushed": 90, "applied": 90, "bytes": 0}
        queue.push(numbered(2))
        assert len(take(queue, lease).jobs) == 2

    def test_the_largest_batch_fits_a_call(self, queue: BookingQueue, lease: Lease) -> None:
        queue.push(numbered(2_500))
        assert take(queue, lease, most=2_000).jobs == numbered(2_500)[:2_000]
        assert len(take(queue, lease, most=2_000, singles_now=True).jobs) == 1


class TestTakeBehind:
    def test_batches_are_told_in_their_order(
        self, valkey: redis.Redis, queue: BookingQueue, lease: Lease
    ) -> None:
        queue.push(numbered(9))
        first = take(queue, lease, most=2)
        second = queue.take_behind(lease, first.number, most=2)
        third = queue.take_behind(lease, second.number, most=2)
        assert second.jobs + third.jobs == numbered(9)[2:6]
        for early in (second, third):
            with pytest.raises(LeaseLost):
                queue.tell(lease, early, Told())
        assert queue.tell(lease, first, Told()) == 7
        assert valkey.lrange(BOOKING.inflight, 0, -1) == second.jobs + third.jobs
        assert queue.take_behind(lease, third.number, most=2).jobs == numbered(9)[6:8]
        assert queue.tell(lease, second, Told()) == 5
        assert queue.tell(lease, third, Told()) == 3

    def test_all_come_back_together_in_order(self, queue: BookingQueue, lease: Lease) -> None:
        queue.push(numbered(7))
        first = take(queue, lease, most=2)
        second = queue.take_behind(lease, first.number, most=2)
        queue.take_behind(lease, second.number, most=2)
        taken = take(queue, lease, most=2)
        assert taken.jobs == numbered(7)[:6]
        with pytest.raises(LeaseLost):
            queue.tell(lease, first, Told())
        queue.tell(lease, taken, Told())
        assert take(queue, lease).jobs == [b"job-6"]

    def test_the_second_comes_back_alone_when_the_first_was_told(
        self, queue: BookingQueue, lease: Lease
    ) -> None:
        queue.push(numbered(4))
        first = take(queue, lease, most=2)
        behind = queue.take_behind(lease, first.number, most=2)
        queue.tell(lease, first, Told())
        taken = take(queue, lease)
        assert taken.jobs == behind.jobs
        assert taken.deliveries == 2

    @pytest.mark.parametrize("spoilt", ["repeated", "fourth", "late", "told", "singles", "lease"])
    def test_it_takes_nothing_but_once_behind_the_batch_taken_last(
        self, valkey: redis.Redis, queue: BookingQueue, lease: Lease, spoilt: str
    ) -> None:
        queue.push(numbered(9))
        first = take(queue, lease, most=2)
        last = first
        if spoilt == "repeated":
            queue.take_behind(lease, first.number, most=2)
        elif spoilt == "fourth":
            for _ in range(2):
                last = queue.take_behind(lease, last.number, most=2)
        elif spoilt == "late":
            take(queue, lease, most=2)
        elif spoilt == "told":
            queue.tell(lease, first, Told())
        elif spoilt == "singles":
            valkey.hset(BOOKING.batch, "singles", 3)
        else:
            valkey.set(BOOKING.lease, "two:2")
        before = waiting(valkey)
        with pytest.raises(LeaseLost):
            queue.take_behind(lease, last.number, most=2)
        assert waiting(valkey) == before


# --- tell -----------------------------------------------------------------------------------------


def full_told(order_id: str = "A") -> Told:
    return Told(
        statuses=[(order_id, "confirmed", "", True), ("nobody", "held", "", False)],
        reservations=["reserve-1", "reserve-2"], commands=["command"],
        packages=[("1", '{"id":1}', "0 9")], gone=["2"], dead=["letter"], pressure="memory",
    )  # fmt: skip


class TestTell:
    def test_everything_is_told_at_once(
        self, valkey: redis.Redis, queue: BookingQueue, lease: Lease
    ) -> None:
        valkey.hset(BOOKING.status("A"), mapping={"state": "held", "email": "a@example.org"})
        valkey.hset(BOOKING.packages, "2", "old")
        valkey.hset(BOOKING.doors, "2", "old")
        queue.push(numbered(3))
        taken = take(queue, lease, most=2)
        valkey.delete(BOOKING.bell)

        left = queue.tell(lease, taken, full_told())

        assert left == 2
        assert valkey.hgetall(BOOKING.status("A")) == {
            b"state": b"confirmed", b"email": b"a@example.org",
        }
        assert 90_000 < valkey.pttl(BOOKING.status("A")) <= 100_000
        assert valkey.lrange(BOOKING.reservations.waiting, 0, -1) == [b"reserve-2", b"reserve-1"]
        assert valkey.llen(BOOKING.reservations.bell) == 1
        assert waiting(valkey) == [b"job-2", b"command"]
        assert valkey.hgetall(BOOKING.packages) == {b"1": b'{"id":1}'}
        assert valkey.hgetall(BOOKING.doors) == {b"1": b"0 9"}
        assert valkey.lrange(BOOKING.dead, 0, -1) == [b"letter"]
        assert valkey.get(BOOKING.pressure) == b"memory"
        assert 0 < valkey.pttl(BOOKING.pressure) <= 5_000
        assert not valkey.exists(BOOKING.inflight)
        assert counters(valkey) == {"pushed": 4, "applied": 2, "bytes": len(b"job-2" + b"command")}
        assert valkey.llen(BOOKING.bell) == 1

    def test_a_status_is_only_changed_never_made(
        self, valkey: redis.Redis, queue: BookingQueue, lease: Lease
    ) -> None:
        queue.tell(lease, take(queue, lease), full_told())
        assert not valkey.exists(BOOKING.status("nobody"), BOOKING.status("A"))

    def test_a_status_that_is_not_final_never_expires(
        self, valkey: redis.Redis, queue: BookingQueue, lease: Lease
    ) -> None:
        valkey.hset(BOOKING.status("A"), "state", "queued")
        queue.tell(lease, take(queue, lease), Told(statuses=[("A", "held", "", False)]))
        assert valkey.hget(BOOKING.status("A"), "state") == b"held"
        assert valkey.ttl(BOOKING.status("A")) == -1

    @pytest.mark.parametrize("spoilt", ["another lease", "no lease", "taken again", "told before"])
    def test_a_call_out_of_date_does_nothing(
        self, valkey: redis.Redis, queue: BookingQueue, lease: Lease, spoilt: str
    ) -> None:
        valkey.hset(BOOKING.status("A"), "state", "held")
        queue.push(numbered(2))
        taken = take(queue, lease)
        if spoilt == "another lease":
            valkey.set(BOOKING.lease, "one:2")
        elif spoilt == "no lease":
            valkey.delete(BOOKING.lease)
        elif spoilt == "taken again":
            take(queue, lease)
        else:
            queue.tell(lease, taken, full_told())
        before = everything(valkey)
        with pytest.raises(LeaseLost):
            queue.tell(lease, taken, full_told())
        assert everything(valkey) == before

    def test_an_empty_telling_changes_no_list_and_rings_no_bell(
        self, valkey: redis.Redis, queue: BookingQueue, lease: Lease
    ) -> None:
        assert queue.tell(lease, take(queue, lease), Told()) == 0
        assert not valkey.exists(BOOKING.jobs, BOOKING.bell, BOOKING.reservations.bell)
        assert counters(valkey) == {"pushed": 0, "applied": 0, "bytes": 0}

    def test_the_largest_batch_can_be_told(
        self, valkey: redis.Redis, queue: BookingQueue, lease: Lease
    ) -> None:
        queue.push(numbered(2_000))
        taken = take(queue, lease, most=2_000)
        with valkey.pipeline(transaction=False) as pipe:
            for number in range(2_000):
                pipe.hset(BOOKING.status(f"O{number}"), "state", "queued")
            pipe.execute()
        told = Told(
            statuses=[(f"O{number}", "held", "", False) for number in range(2_000)],
            reservations=[f"reserve-{number}" for number in range(2_000)],
            commands=[f"command-{number}" for number in range(500)],
        )
        assert queue.tell(lease, taken, told) == 500
        queued = valkey.lrange(BOOKING.reservations.waiting, 0, -1)
        assert [job.decode() for job in reversed(queued)] == told.reservations

    def test_counters_keep_agreeing_with_the_lists(
        self, valkey: redis.Redis, queue: BookingQueue, lease: Lease
    ) -> None:
        for turn in range(6):
            queue.push(numbered(turn * 2))
            taken = take(queue, lease, most=3, singles_now=turn == 4)
            if turn % 2:
                taken = take(queue, lease, most=3)
            told = Told(commands=["more"] * (turn % 3))
            left = queue.tell(lease, taken, told)
            jobs = waiting(valkey)
            assert left == len(jobs)
            assert counters(valkey)["bytes"] == sum(map(len, jobs))


# --- push, revive, the bell -----------------------------------------------------------------------


class TestPush:
    def test_jobs_keep_their_order_and_ring_once(
        self, valkey: redis.Redis, queue: BookingQueue
    ) -> None:
        assert queue.push([b"1", b"22"])
        assert queue.push([b"333"])
        assert waiting(valkey) == [b"1", b"22", b"333"]
        assert counters(valkey) == {"pushed": 3, "bytes": 6}
        assert valkey.llen(BOOKING.bell) == 1

    def test_nothing_is_refused_without_a_bound(
        self, valkey: redis.Redis, queue: BookingQueue
    ) -> None:
        valkey.hset(BOOKING.counters, "pushed", 10_000_000)
        assert queue.push([b"a report"])

    def test_with_a_bound_it_is_all_or_nothing(
        self, valkey: redis.Redis, queue: BookingQueue
    ) -> None:
        assert queue.push(numbered(2), most_waiting=2)
        before = everything(valkey)
        assert not queue.push(numbered(2), most_waiting=2)
        assert everything(valkey) == before

    def test_letters_that_had_to_go_are_counted(
        self, valkey: redis.Redis, queue: BookingQueue
    ) -> None:
        for number in range(5):
            queue.bury(b"%d" % number, most=2)
        assert valkey.lrange(BOOKING.dead, 0, -1) == [b"4", b"3"]
        assert counters(valkey) == {"letters_gone": 3}

    def test_the_bell_wakes_a_waiting_reader_and_holds_no_job(
        self, valkey: redis.Redis, queue: BookingQueue
    ) -> None:
        heard: list[bool] = []
        reader = threading.Thread(target=lambda: heard.append(queue.wait(5)))
        reader.start()
        eventually(lambda: valkey.info("clients")["blocked_clients"])
        queue.push([b"job"])
        reader.join(5)
        assert heard == [True]
        assert waiting(valkey) == [b"job"], "a token lost in the wait is no job lost"
        assert not queue.wait(0.01)


class TestRevive:
    def revive(self, valkey: redis.Redis, letter: bytes, job: bytes, counted: str) -> int:
        to = BOOKING if counted == "1" else BOOKING.reservations
        jobs = BOOKING.jobs if counted == "1" else BOOKING.reservations.waiting
        script = Script(valkey, "revive")
        return int(script([BOOKING.dead, jobs, to.bell, BOOKING.counters], [letter, job, counted]))

    @pytest.mark.parametrize("counted", ["1", "0"])
    def test_a_letter_goes_back_once(
        self, valkey: redis.Redis, queue: BookingQueue, counted: str
    ) -> None:
        valkey.lpush(BOOKING.dead, b"letter", b"other")
        assert self.revive(valkey, b"letter", b"the job", counted) == 1
        assert self.revive(valkey, b"letter", b"the job", counted) == 0
        assert valkey.lrange(BOOKING.dead, 0, -1) == [b"other"]
        if counted == "1":
            assert waiting(valkey) == [b"the job"]
            assert counters(valkey) == {"pushed": 1, "bytes": 7}
        else:
            assert valkey.lrange(BOOKING.reservations.waiting, 0, -1) == [b"the job"]
            assert counters(valkey) == {}
            assert valkey.llen(BOOKING.reservations.bell) == 1


# --- shared work ----------------------------------------------------------------------------------


def worker(valkey: redis.Redis, name: str, heartbeat_ms: int = 5_000) -> SharedWork:
    return SharedWork(valkey, BOOKING.reservations, BOOKING, worker=name,
                      heartbeat_ms=heartbeat_ms, alone_after_deaths=2)


def offer(valkey: redis.Redis, *jobs: bytes) -> None:
    valkey.lpush(BOOKING.reservations.waiting, *jobs)


def dies(valkey: redis.Redis, name: str) -> None:
    """Its heartbeat ran out a while ago."""
    valkey.zadd(BOOKING.reservations.workers, {name: 1})


def offered(valkey: redis.Redis) -> list[bytes]:
    return list(reversed(valkey.lrange(BOOKING.reservations.waiting, 0, -1)))


class TestSharedWork:
    def test_a_beat_fills_up_to_what_the_worker_bears(self, valkey: redis.Redis) -> None:
        one = worker(valkey, "one")
        offer(valkey, *numbered(5))
        assert one.beat(2) == Beat(0, numbered(2))
        assert one.beat(3) == Beat(0, numbered(3)), "all in flight, one of them new"
        assert one.beat(3) == Beat(0, numbered(3)), "a beat whose answer was lost loses nothing"
        assert one.beat(1) == Beat(0, numbered(3))
        assert offered(valkey) == numbered(5)[3:]

    def test_workers_share_and_the_bell_goes_on_ringing(self, valkey: redis.Redis) -> None:
        one, two = worker(valkey, "one"), worker(valkey, "two")
        offer(valkey, *numbered(4))
        assert one.beat(2)[1] == numbered(4)[:2]
        assert one.wait(0.01), "there is more for the others"
        assert two.beat(9)[1] == numbered(4)[2:]
        assert not two.wait(0.01)

    def test_a_report_acknowledges_and_is_pushed_in_one_step(self, valkey: redis.Redis) -> None:
        one = worker(valkey, "one")
        offer(valkey, b"job")
        one.beat(1)
        assert one.report(b"job", b"report")
        assert waiting(valkey) == [b"report"]
        assert counters(valkey) == {"pushed": 1, "bytes": 6}
        assert valkey.llen(BOOKING.bell) == 1
        assert not one.report(b"job", b"report"), "a repeated report pushes nothing"
        assert waiting(valkey) == [b"report"]

    def test_a_job_without_a_report_is_only_acknowledged(self, valkey: redis.Redis) -> None:
        one = worker(valkey, "one")
        offer(valkey, b"job")
        one.beat(1)
        assert one.report(b"job", dead_letter=b"letter")
        assert one.beat(1) == Beat(0, [])
        assert waiting(valkey) == []
        assert valkey.lrange(BOOKING.dead, 0, -1) == [b"letter"]

    def test_a_letter_that_may_be_left_out_is_counted_where_many_wait(
        self, valkey: redis.Redis
    ) -> None:
        one = worker(valkey, "one")
        offer(valkey, *numbered(3))
        one.beat(3)
        for job in numbered(2):
            assert one.report(job, dead_letter=b"of " + job, most_letters=1)
        assert one.report(b"job-2", dead_letter=b"of job-2")
        assert valkey.lrange(BOOKING.dead, 0, -1) == [b"of job-2", b"of job-0"]
        assert counters(valkey) == {"letters_gone": 1}

    def test_a_dead_workers_jobs_come_back_once(self, valkey: redis.Redis) -> None:
        worker(valkey, "dead").beat(0)
        offer(valkey, *numbered(3))
        worker(valkey, "dead").beat(3)
        dies(valkey, "dead")
        returned, jobs, _ = worker(valkey, "one").beat(9)
        assert (returned, sorted(jobs)) == (3, numbered(3))
        assert worker(valkey, "two").beat(9) == Beat(0, [])
        assert valkey.zscore(BOOKING.reservations.workers, "dead") is None
        assert not valkey.exists(BOOKING.reservations.inflight("dead"))

    def test_a_living_workers_jobs_stay_with_it(self, valkey: redis.Redis) -> None:
        one = worker(valkey, "one")
        offer(valkey, *numbered(2))
        one.beat(2)
        assert worker(valkey, "two").beat(9) == Beat(0, [])

    def test_a_worker_that_slept_reports_nothing_and_goes_on(self, valkey: redis.Redis) -> None:
        slept, other = worker(valkey, "slept"), worker(valkey, "other")
        offer(valkey, b"job")
        slept.beat(1)
        dies(valkey, "slept")
        assert other.beat(1) == Beat(1, [b"job"])
        assert not slept.report(b"job", b"too late")
        assert other.report(b"job", b"in time")
        assert waiting(valkey) == [b"in time"]
        offer(valkey, b"next")
        assert slept.beat(1) == Beat(0, [b"next"])

    def test_a_worker_that_slept_alone_keeps_its_jobs(self, valkey: redis.Redis) -> None:
        slept = worker(valkey, "slept")
        offer(valkey, b"job")
        slept.beat(1)
        dies(valkey, "slept")
        assert slept.beat(1) == Beat(0, [b"job"])

    def test_leaving_returns_jobs_in_front_and_in_order(self, valkey: redis.Redis) -> None:
        one = worker(valkey, "one")
        offer(valkey, *numbered(4))
        one.beat(3)
        one.report(b"job-1", b"")
        valkey.delete(BOOKING.reservations.bell)
        assert one.leave() == 2
        assert offered(valkey) == [b"job-0", b"job-2", b"job-3"]
        assert valkey.llen(BOOKING.reservations.bell) == 1
        assert valkey.zcard(BOOKING.reservations.workers) == 0
        assert one.leave() == 0

    def test_a_job_that_came_back_often_goes_alone(self, valkey: redis.Redis) -> None:
        """Twice with its neighbours, for nobody knows which of them it was; then by itself."""
        offer(valkey, *numbered(3))
        for number in range(2):
            name = f"dead-{number}"
            assert len(worker(valkey, name).beat(9).jobs) == 3
            dies(valkey, name)
        one, two = worker(valkey, "one"), worker(valkey, "two")
        first = one.beat(9)
        offer(valkey, b"new")
        assert (first.returned, len(first.jobs), first.deaths) == (3, 1, 2)
        assert one.beat(9) == Beat(0, first.jobs, 2), "nothing comes beside it"
        assert not one.wait(0.01), "and nobody is woken for what it cannot take"
        second = two.beat(9)
        assert (len(second.jobs), second.deaths) == (1, 2)
        one.report(first.jobs[0], b"done")
        third = one.beat(9)
        assert (len(third.jobs), third.deaths) == (1, 2)
        two.report(second.jobs[0], b"done")
        assert two.beat(9) == Beat(0, [b"new"]), "which is nobody's fault"
        offer(valkey, first.jobs[0])
        one.report(third.jobs[0], b"done")
        assert two.beat(9) == Beat(0, [b"new", first.jobs[0]]), "what is reported is forgotten"
        assert not valkey.exists(BOOKING.reservations.deaths)

    def test_one_that_goes_alone_waits_until_its_worker_has_nothing_else(
        self, valkey: redis.Redis
    ) -> None:
        one = worker(valkey, "one")
        offer(valkey, b"other")
        one.beat(1)
        offer(valkey, b"suspect", b"behind")
        valkey.hset(BOOKING.reservations.deaths, "suspect", 4)
        valkey.delete(BOOKING.reservations.bell)
        assert one.beat(9) == Beat(0, [b"other"])
        assert offered(valkey) == [b"suspect", b"behind"]
        assert not one.wait(0.01), "it would spin"
        one.report(b"other")
        assert one.beat(9) == Beat(0, [b"suspect"], 4)
        one.leave()
        assert offered(valkey) == [b"suspect", b"behind"]
        assert one.beat(9).deaths == 4, "who leaves in good order did not die of it"

    def test_each_job_is_reported_once_however_workers_die(self, valkey: redis.Redis) -> None:
        """Every worker reports its first job and dies with the rest; nothing is lost or doubled."""
        offer(valkey, *numbered(8))
        for number in range(20):
            one = worker(valkey, f"w{number}")
            _, jobs, _ = one.beat(3)
            if not jobs:
                break
            assert one.report(jobs[0], b"of " + jobs[0])
            dies(valkey, f"w{number}")
        assert sorted(waiting(valkey)) == [b"of " + job for job in numbered(8)]


# --- the limits of the server ---------------------------------------------------------------------


@pytest.fixture
def full(valkey: redis.Redis) -> Iterator[redis.Redis]:
    """A Valkey at its memory limit: it refuses whatever is not allowed for."""
    valkey.hset(BOOKING.doors, "1", door(None, None))
    valkey.lpush(BOOKING.dead, b"letter")
    valkey.config_set("maxmemory", 1)
    valkey.script_flush()  # a server that was restarted while full has forgotten the scripts too
    try:
        yield valkey
    finally:
        valkey.config_set("maxmemory", "256mb")


class TestAtTheMemoryLimit:
    def test_intake_refuses_and_nothing_is_written(self, full: redis.Redis) -> None:
        before = everything(full)
        with pytest.raises(Overloaded):
            intake(full).accept(1, "ann@example.org", "key")
        assert everything(full) == before

    def test_what_frees_memory_is_allowed(self, full: redis.Redis) -> None:
        queue = BookingQueue(full, BOOKING, lease_ms=LEASE_MS, status_ttl_s=100)
        lease = queue.acquire("one")
        assert lease is not None
        queue.renew(lease)
        assert queue.push(numbered(3))
        intake(full, backlog_max_jobs=9).cancel("A")
        first = take(queue, lease, most=2)
        behind = queue.take_behind(lease, first.number, most=2)
        queue.tell(lease, first, full_told())
        queue.tell(lease, behind, Told())
        one = worker(full, "one")
        _, jobs, _ = one.beat(5)
        assert one.report(jobs[0], b"report")
        assert one.leave() == 1
        assert TestRevive().revive(full, b"letter", b"job", "1") == 1
        queue.release(lease)


class TestEngineErrors:
    @pytest.mark.parametrize("text", [
        "BUSY Valkey is busy running a script.",
        "MISCONF Errors writing to the AOF file: No space left on device",
        "NOREPLICAS Not enough good replicas to write.",
        "UNBLOCKED force unblock from blocking operation, instance state changed",
    ])  # fmt: skip
    def test_what_time_can_mend_is_away(self, valkey: redis.Redis, text: str) -> None:
        script = valkey.register_script(f"return redis.error_reply({text!r})")
        with pytest.raises(EngineAway), valkey_errors():
            script()

    def test_a_server_that_forgot_a_script_twice_is_away(
        self, valkey: redis.Redis, queue: BookingQueue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        load = valkey.script_load

        def load_and_restart(text: str) -> str:
            sha = str(load(text))
            valkey.script_flush()
            return sha

        valkey.script_flush()
        monkeypatch.setattr(valkey, "script_load", load_and_restart)
        with pytest.raises(EngineAway):
            queue.acquire("one")

    def test_too_few_replicas_are_away(self, valkey: redis.Redis, queue: BookingQueue) -> None:
        valkey.config_set("min-replicas-to-write", 1)
        try:
            with pytest.raises(EngineAway):
                queue.push([b"job"])
        finally:
            valkey.config_set("min-replicas-to-write", 0)

    def test_what_no_waiting_mends_is_unfit(
        self, valkey: redis.Redis, queue: BookingQueue
    ) -> None:
        valkey.set(BOOKING.jobs, "not a list")
        with pytest.raises(EngineUnfit, match="WRONGTYPE"):
            queue.push([b"job"])

    def test_a_server_that_is_gone_is_away(self, settings: Settings) -> None:
        gone = msgspec.structs.replace(
            settings, redis_url=f"redis://127.0.0.1:{settings.port}/0"
        )
        nobody = connect_valkey(gone)
        with pytest.raises(EngineAway):
            BookingQueue(nobody, BOOKING, lease_ms=1, status_ttl_s=1).acquire("one")


def test_numbers_only_grow(queue: BookingQueue, lease: Lease) -> None:
    queue.push(numbered(3))
    numbers = []
    for _ in range(4):
        taken = take(queue, lease, most=1)
        numbers.append(taken.number)
        queue.tell(lease, taken, Told())
        numbers.append(take(queue, lease, most=1).number)
    assert all(a < b for a, b in pairwise(numbers))
