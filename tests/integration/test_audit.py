"""The audit finds each defect that is planted by hand, and finds nothing where nothing is."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ulid import ULID

from audit.__main__ import main
from booking import commands
from booking.commands import Compensate, Reserve
from booking.model import Guest
from embedded import RunningEngines
from embedded.ports import free_port
from queues.keys import BOOKING
from settings import Settings
from tests.rate_orders import placed
from tests.road import Road, confirmed, declined, package, running_road
from tests.simulator_fixtures import ROOT, SimulatorProcess, running_simulator

EMAIL = "anna.secret@example.org"
COUNTS = ("lost", "duplicated", "oversold", "drifted", "owed_overdue", "supplier_orphans",
          "supplier_missing")
LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)


class Audited:
    """A small road that has sold, and the audit of it."""

    def __init__(self, sold: Sold, capsys: pytest.CaptureFixture[str]) -> None:
        self.road = sold.road
        self.orders = sold.road.orders
        self.client = sold.road.client
        self.live = sold.live
        self.failed = sold.failed
        self._capsys = capsys

    def look(self, *arguments: str, quiet: float = 0) -> tuple[int, dict[str, Any]]:
        """Exit code and answer; the answer is the one line on stdout, and names no e-mail."""
        self._capsys.readouterr()
        code = main(["--json", "--quiet-within", str(quiet), *arguments])
        out = self._capsys.readouterr()
        assert out.err == ""
        assert out.out.count("\n") == 1
        assert "secret" not in out.out.lower()
        return code, json.loads(out.out)

    def sees(self, *words: str, only: dict[str, int], arguments: tuple[str, ...] = ()) -> None:
        """The audit finds exactly these counts, and says so in these words."""
        code, answer = self.look(*arguments)
        told = "\n".join(answer["findings"])
        assert {name: answer[name] for name in COUNTS if answer[name]} == only, told
        assert code == 1
        assert answer["ok"] is False
        for word in words:
            assert word in told

    def change(self, order_id: str, update: dict[str, Any]) -> None:
        assert self.orders.update_one({"_id": order_id}, update).matched_count == 1


class Sold(NamedTuple):
    """A road that has sold, and all that stood in its engines then."""

    road: Road
    live: list[str]
    failed: list[str]
    orders: list[dict[str, Any]]
    packages: list[dict[str, Any]]
    keys: dict[bytes, tuple[int, bytes]]

    def restore(self) -> None:
        """Make both engines what they were. A road per test would take a second each."""
        road = self.road
        road.consumer.leave()
        road.client.flushall()
        pipe = road.client.pipeline()
        for key, (ttl_ms, dump) in self.keys.items():
            pipe.restore(key, max(0, ttl_ms), dump)
        pipe.execute()
        for name, documents in (("orders", self.orders), ("packages", self.packages)):
            road.database[name].delete_many({})
            road.database[name].insert_many(documents)
        road.store.ensure_indexes()


@pytest.fixture(scope="module")
def sold(engines: RunningEngines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sold]:
    """Package 1 (quota 3): one declined, then two confirmed. Package 2 (limit 2): two of one
    customer, and a third refused. No consumer runs any more."""
    settings = Settings(
        data_dir=str(tmp_path_factory.mktemp("data")),
        redis_url=engines.redis_url,
        mongo_url=engines.mongo_url,
        mongo_database=f"test-{ULID()}".lower(),
        simulator_port=free_port(),
    )
    with running_road(settings) as road:
        road.client.flushall()
        road.sell(package(1, 3), package(2, 5, limit=2))
        failed = [road.order(1, EMAIL)]
        road.work()
        road.supply(declined)
        live = [road.order(1, EMAIL, "a key"), road.order(1, EMAIL)]
        live += [road.order(2, EMAIL) for _ in range(3)][:2]
        road.work()
        road.supply(confirmed)
        road.consumer.leave()
        keys = {key: (road.client.pttl(key), road.client.dump(key))
                for key in road.client.scan_iter()}
        yield Sold(road, live, failed, list(road.orders.find()),
                   list(road.database["packages"].find()), keys)
        road.mongo.drop_database(settings.mongo_database)


@pytest.fixture
def audited(
    sold: Sold, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Audited:
    """What was sold, untouched, and the audit of it."""
    sold.restore()
    for name, value in sold.road.environment().items():
        monkeypatch.setenv(name, value)
    return Audited(sold, capsys)


# --- nothing is wrong -------------------------------------------------------------------------


def test_a_clean_system_passes(audited: Audited) -> None:
    code, answer = audited.look()
    assert code == 0, answer
    assert answer["ok"] is True
    assert answer["findings"] == []
    counted = {name: answer[name] for name in (
        "orders", "accepted", "confirmed", "failed", "rejected", "expired", "cancelled", "held")}
    assert counted == {"orders": 6, "accepted": 6, "confirmed": 4, "failed": 1, "rejected": 1,
                       "expired": 0, "cancelled": 0, "held": 0}
    assert all(answer[name] == 0 for name in COUNTS)
    assert answer["supplier"].startswith("not looked at: the supplier does not answer")


def test_an_empty_system_passes(audited: Audited) -> None:
    audited.client.flushall()
    for name in ("orders", "packages"):
        audited.road.database[name].delete_many({})
    code, answer = audited.look("--no-supplier")
    assert (code, answer["orders"], answer["supplier"]) == (0, 0, "not looked at: --no-supplier")


def test_a_lowered_quota_excuses_who_saw_the_higher_one(audited: Audited) -> None:
    audited.road.database["packages"].update_one({"_id": 1}, {"$set": {"quota": 1}})
    audited.road.consumer = audited.road.new_consumer()
    audited.road.work()
    assert audited.look()[0] == 0


def test_cancelled_and_compensated_passes(audited: Audited) -> None:
    road = audited.road
    road.consumer = road.new_consumer()
    road.intake.cancel(audited.live[0])
    road.work()
    road.supply(confirmed)
    code, answer = audited.look()
    assert (code, answer["cancelled"]) == (0, 1)


# --- accepted, and not final ------------------------------------------------------------------


def test_lost_a_queued_order_without_a_job(audited: Audited) -> None:
    order_id = audited.road.order(1, EMAIL)
    audited.client.delete(BOOKING.jobs, BOOKING.bell)
    audited.client.hincrby(BOOKING.counters, "applied", 1)
    audited.client.hset(BOOKING.counters, "bytes", 0)
    audited.sees(order_id, "neither a document nor a waiting job", only={"lost": 1})
    assert audited.look()[1]["accepted"] == 7


def test_lost_a_decided_order_without_a_document(audited: Audited) -> None:
    audited.orders.delete_one({"_id": audited.failed[0]})
    audited.sees(audited.failed[0], "failed", only={"lost": 1})


def test_lost_an_order_that_only_its_idempotency_key_remembers(audited: Audited) -> None:
    order_id = audited.road.order(1, EMAIL, "another key")
    audited.client.delete(BOOKING.jobs, BOOKING.bell, BOOKING.status(order_id))
    audited.client.hincrby(BOOKING.counters, "applied", 1)
    audited.client.hset(BOOKING.counters, "bytes", 0)
    audited.sees(order_id, "Idempotency-Key", only={"lost": 1})


def test_lost_jobs_that_nobody_takes(audited: Audited) -> None:
    for _ in range(3):
        audited.road.order(1, EMAIL)
    audited.sees("3 jobs wait and 0 are in flight", only={"lost": 3})


def test_an_order_of_a_rate_that_waits_is_not_lost_twice(audited: Audited) -> None:
    """Nobody works on it, as on any job here; but the job is there."""
    audited.road.intake.accept_rate(placed().rate, EMAIL, Guest(), None)
    audited.sees("1 jobs wait and 0 are in flight", only={"lost": 1})


def test_lost_a_batch_in_flight(audited: Audited) -> None:
    audited.road.order(1, EMAIL)
    lease = audited.road.queue.acquire("gone")
    assert lease is not None
    audited.road.queue.take(lease, most=10, singles_after=3)
    audited.sees("0 jobs wait and 1 are in flight", only={"lost": 1})


def test_lost_reservation_jobs_without_a_worker(audited: Audited) -> None:
    job = commands.encode(Reserve(order_id=audited.failed[0], flight="F", stay="2022-08-09"))
    audited.client.lpush(BOOKING.reservations.waiting, job)
    audited.sees("1 reservation jobs are left, and no worker lives", only={"lost": 1})


def test_lost_jobs_of_a_worker_whom_nobody_knows(audited: Audited) -> None:
    job = commands.encode(Compensate(order_id=audited.failed[0], parts=()))
    audited.client.lpush(BOOKING.reservations.inflight("ghost"), job, job)
    audited.sees("ghost", only={"lost": 2})


def hold(audited: Audited, **fields: Any) -> str:
    """A held order of package 2 that the road itself made, changed by hand."""
    road = audited.road
    road.consumer = road.new_consumer()
    order_id = road.order(2, "berta@example.org")
    road.work()
    road.consumer.leave()
    audited.client.delete(BOOKING.reservations.waiting)
    if fields:
        audited.change(order_id, fields)
    return order_id


def test_lost_a_hold_that_nobody_ended(audited: Audited) -> None:
    order_id = hold(audited, **{"$set": {"hold_expires_at": LONG_AGO}})
    audited.sees(order_id, "its hold ended long ago", only={"lost": 1})


def test_lost_a_hold_without_an_end(audited: Audited) -> None:
    order_id = hold(audited, **{"$unset": {"hold_expires_at": ""}})
    audited.sees(order_id, "held without an end", only={"lost": 1})


def test_a_hold_that_runs_is_no_defect_and_no_rest(audited: Audited) -> None:
    hold(audited)
    code, answer = audited.look()
    assert (code, answer["ok"], answer["findings"]) == (2, False, [])
    assert answer["under_way"] == ["1 orders within their hold"]


# --- two outcomes -----------------------------------------------------------------------------

AT = LONG_AGO
HISTORIES: dict[str, tuple[dict[str, Any], str]] = {
    "no follower": (
        {"$push": {"history": {"$each": [{"state": "held", "at": AT},
                                         {"state": "confirmed", "at": AT}]}}},
        "went from confirmed to held"),
    "twice": ({"$push": {"history": {"state": "confirmed", "at": AT}}},
              "went from confirmed to confirmed"),
    "no beginning": ({"$pop": {"history": -1}}, "does not begin with queued"),
    "empty": ({"$set": {"history": []}}, "does not begin with queued"),
    "other end": ({"$push": {"history": {"state": "cancelled", "at": AT,
                                         "reason": "customer_request"}}},
                  "history ends with cancelled"),
    "other reason": ({"$set": {"reason": "sold_out"}}, "another reason"),
    "no such state": ({"$set": {"state": "paid"}}, "which no order can have"),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_duplicated_history(audited: Audited, name: str) -> None:
    update, words = HISTORIES[name]
    order_id = audited.live[0]
    audited.client.delete(BOOKING.status(order_id))
    audited.change(order_id, update)
    code, answer = audited.look()
    assert code == 1
    assert answer["duplicated"] == 1
    assert any(order_id in line and words in line for line in answer["findings"])


def test_duplicated_told_otherwise_than_decided(audited: Audited) -> None:
    audited.client.hset(BOOKING.status(audited.live[0]), "state", "failed")
    audited.sees(audited.live[0], "was told to be failed", only={"duplicated": 1})


def test_duplicated_told_another_reason(audited: Audited) -> None:
    audited.client.hset(BOOKING.status(audited.failed[0]), "reason", "sold_out")
    audited.sees("(sold_out)", "(flight_declined)", only={"duplicated": 1})


# --- oversold ---------------------------------------------------------------------------------


def reproject(audited: Audited) -> None:
    """A consumer that looks at what the test has written, and shows it."""
    audited.road.consumer = audited.road.new_consumer()
    audited.road.work()
    audited.road.consumer.leave()


def copy_of(audited: Audited, order_id: str, **fields: Any) -> str:
    document = audited.orders.find_one({"_id": order_id})
    assert document is not None
    document.update(_id=str(ULID()), **fields)
    audited.orders.insert_one(document)
    return str(document["_id"])


def test_oversold_more_live_orders_than_the_quota(audited: Audited) -> None:
    for unit in ("1:3", "1:4"):
        copy_of(audited, audited.live[0], unit=unit)
    reproject(audited)
    audited.sees("package 1 has 4 live orders that saw a quota of 3 at most",
                 "carries unit 1:4, beyond the quota of 3", only={"oversold": 2})


def test_oversold_a_raised_quota_excuses_nobody_before_it(audited: Audited) -> None:
    audited.road.database["packages"].update_one({"_id": 1}, {"$set": {"quota": 50}})
    for unit in ("1:3", "1:4"):
        copy_of(audited, audited.live[0], unit=unit)
    reproject(audited)
    audited.sees("package 1 has 4 live orders", only={"oversold": 2})


def test_oversold_one_unit_twice(audited: Audited) -> None:
    audited.orders.drop_index("unit")
    other = copy_of(audited, audited.live[0])
    reproject_without_check(audited)
    audited.sees(f"unit 1:1 is carried by orders {audited.live[0]}, {other}",
                 "the unique index on unit is missing", only={"oversold": 1, "drifted": 1})


def reproject_without_check(audited: Audited) -> None:
    """Tell the shelf by hand what a consumer would not be asked to: 3 of 3 are live."""
    view = json.loads(audited.client.hget(BOOKING.packages, "1") or b"")
    view["remaining"] = 0
    audited.client.hset(BOOKING.packages, "1", json.dumps(view))


def test_oversold_one_slot_twice(audited: Audited) -> None:
    audited.orders.drop_index("slot")
    # One that refuses nothing, for the time of the consumer: without any, it would not start.
    audited.orders.create_index("slot", name="slot", sparse=True)
    other = copy_of(audited, audited.live[2], unit="2:3")
    reproject(audited)
    audited.orders.drop_index("slot")
    audited.sees("one slot is carried by orders", other, only={"oversold": 1, "drifted": 1})


UNITS: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"$unset": {"unit": ""}}, "is confirmed without a unit"),
    "of another package": ({"$set": {"unit": "7:1"}}, "no unit of package 1"),
    "zero": ({"$set": {"unit": "1:0"}}, "no unit of package 1"),
    "not a number": ({"$set": {"unit": "1:one"}}, "no unit of package 1"),
    "padded": ({"$set": {"unit": "1:01"}}, "no unit of package 1"),
    "not a text": ({"$set": {"unit": 1}}, "no unit of package 1"),
    "beyond": ({"$set": {"unit": "1:9"}}, "beyond the quota of 3"),
    "quota not seen": ({"$unset": {"quota_seen": ""}}, "does not say which quota it saw"),
}


@pytest.mark.parametrize("name", UNITS)
def test_oversold_unit(audited: Audited, name: str) -> None:
    update, words = UNITS[name]
    audited.change(audited.live[0], update)
    audited.sees(f"order {audited.live[0]}", words, only={"oversold": 1})


@pytest.mark.parametrize(("field", "value"), [("unit", "1:3"), ("slot", "1:anna:1")])
def test_oversold_an_ended_order_keeps_what_it_had(audited: Audited, field: str, value: str
                                                   ) -> None:
    audited.change(audited.failed[0], {"$set": {field: value}})
    audited.sees(f"is failed and still keeps its {field}", only={"oversold": 1})


def test_oversold_a_slot_above_the_limit(audited: Audited) -> None:
    audited.change(audited.live[2], {"$set": {"slot": f"2:{EMAIL}:3"}})
    audited.sees("carries slot 3 of package 2, whose customers may have 2", only={"oversold": 1})


def test_a_limit_that_was_lowered_later_makes_nothing_oversold(audited: Audited) -> None:
    """The orders keep the limit that they saw. One of before that is held to today's."""
    audited.road.database["packages"].update_one({"_id": 2}, {"$set": {"limit_per_customer": 1}})
    reproject(audited)
    code, answer = audited.look()
    assert (code, answer["findings"]) == (0, [])
    [second] = list(audited.orders.find({"slot": f"2:{EMAIL}:2"}))
    audited.change(second["_id"], {"$unset": {"limit_seen": ""}})
    audited.sees("carries slot 2 of package 2, whose customers may have 1", only={"oversold": 1})


def test_oversold_a_slot_of_another_customer(audited: Audited) -> None:
    audited.change(audited.live[2], {"$set": {"slot": "2:mallory@example.org:1"}})
    audited.sees("not one of its customer's", only={"oversold": 1})


# --- drifted ----------------------------------------------------------------------------------


def view_with(**fields: Any) -> Callable[[Audited], None]:
    def plant(audited: Audited) -> None:
        view = json.loads(audited.client.hget(BOOKING.packages, "1") or b"")
        audited.client.hset(BOOKING.packages, "1", json.dumps({**view, **fields}))
    return plant


DRIFTS: dict[str, tuple[Callable[[Audited], object], str]] = {
    "remaining": (view_with(remaining=2), "remaining 2; by the documents it is 1"),
    "quota": (view_with(quota=4), "quota 4; by the documents it is 3"),
    "price": (view_with(price="99.00"), "price 99.00; by the documents it is 100.00"),
    "flight": (view_with(flight="Flight-9"), "flight Flight-9"),
    "paused": (view_with(paused=True), "paused True"),
    "unreadable": (lambda a: a.client.hset(BOOKING.packages, "1", "{"), "cannot be read"),
    "door": (lambda a: a.client.hset(BOOKING.doors, "1", "closed"), "door closed"),
    "not shown": (lambda a: a.client.hdel(BOOKING.packages, "1"), "is to be sold, and is not"),
    "no door": (lambda a: a.client.hdel(BOOKING.doors, "1"), "is to be sold, and is not shown"),
    "gone": (lambda a: a.road.database["packages"].delete_one({"_id": 1}), "no document sells it"),
    "not sellable": (
        lambda a: a.road.database["packages"].update_one({"_id": 1}, {"$set": {"quota": "many"}}),
        "no document sells it"),
    "pushed": (lambda a: a.client.hincrby(BOOKING.counters, "pushed", 2),
               "the counters say that 2 jobs wait"),
    "bytes": (lambda a: a.client.hincrby(BOOKING.counters, "bytes", 7),
              "the counters say that 7 bytes wait"),
    "status for ever": (lambda a: a.client.persist(BOOKING.status(a.live[0])),
                        "would stay in memory for ever"),
    "hold of a confirmed order": (
        lambda a: a.change(a.live[0], {"$set": {"hold_expires_at": LONG_AGO}}),
        "its hold still has an end"),
    "reason of a live order": (
        lambda a: (a.change(a.live[0], {"$set": {"reason": "sold_out",
                                                 "history.2.reason": "sold_out"}}),
                   a.client.hset(BOOKING.status(a.live[0]), "reason", "sold_out")),
        "is confirmed with the reason 'sold_out'"),
    "live and owing": (
        lambda a: a.change(a.live[0], {"$set": {"owed": ["room"], "owed_since": LONG_AGO}}),
        "is confirmed and owes a cancellation"),
    "owes nonsense": (
        lambda a: a.change(a.failed[0], {"$set": {"owed": ["cruise"], "owed_since": LONG_AGO}}),
        "owes what nobody can cancel"),
    "unreadable document": (lambda a: a.change(a.failed[0], {"$set": {"history": 3}}),
                            "cannot be read"),
}


@pytest.mark.parametrize("name", DRIFTS)
def test_drifted(audited: Audited, name: str) -> None:
    plant, words = DRIFTS[name]
    plant(audited)
    audited.sees(words, only={"drifted": 1})


def test_drifted_a_queued_status_that_would_be_forgotten(audited: Audited) -> None:
    order_id = hold(audited)
    audited.client.expire(BOOKING.status(order_id), 1_000)
    audited.sees(order_id, "would be forgotten before its end", only={"drifted": 1})


# --- owed -------------------------------------------------------------------------------------


def test_owed_for_too_long(audited: Audited) -> None:
    audited.change(audited.failed[0], {"$set": {"owed": ["flight"], "owed_since": LONG_AGO}})
    audited.sees(audited.failed[0], "owes flight for longer", only={"owed_overdue": 1})


def test_owed_without_a_date_is_never_asked_for_again(audited: Audited) -> None:
    audited.change(audited.failed[0], {"$set": {"owed": ["flight"]}})
    audited.sees("since when is not written down", only={"owed_overdue": 1})


def test_owed_a_moment_ago_is_no_defect_and_no_rest(audited: Audited) -> None:
    since = datetime.now(UTC) - timedelta(seconds=40)
    audited.change(audited.failed[0], {"$set": {"owed": ["flight"], "owed_since": since}})
    code, answer = audited.look()
    assert (code, answer["under_way"]) == (2, ["1 cancellations owed within their bound"])
    assert audited.look("--owed-within", "30")[0] == 1


# --- the supplier's book ----------------------------------------------------------------------


@pytest.fixture
def simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatorProcess]:
    with running_simulator(tmp_path, FLIGHT_FAILURE_RATE="0") as running:
        yield running


@pytest.fixture
def booked(simulator: SimulatorProcess, audited: Audited, monkeypatch: pytest.MonkeyPatch
           ) -> Audited:
    """The same road, whose live orders are booked at the simulator with its own numbers."""
    monkeypatch.setenv("SIMULATOR_PORT", str(simulator.port))
    for order_id in audited.live:
        ticket = simulator.flight(order_id).json()["flight_ticket_number"]
        room = simulator.room(order_id, ticket).json()["hotel_reservation_number"]
        audited.change(order_id, {"$set": {"flight_ticket_number": ticket,
                                           "hotel_reservation_number": room}})
    return audited


def test_the_simulators_book_agrees(booked: Audited) -> None:
    code, answer = booked.look()
    assert (code, answer["supplier"], answer["supplier_earlier"]) == (0, "looked at", 0), answer


def test_supplier_orphan_of_an_order_that_failed(booked: Audited, simulator: SimulatorProcess
                                                 ) -> None:
    simulator.flight(booked.failed[0])
    booked.sees(booked.failed[0], "is failed and owes none", only={"supplier_orphans": 1})
    assert booked.look("--no-supplier")[0] == 0


def test_supplier_orphan_of_an_order_that_nobody_knows(
    booked: Audited, simulator: SimulatorProcess
) -> None:
    order_id = str(ULID())
    ticket = simulator.flight(order_id).json()["flight_ticket_number"]
    simulator.room(order_id, ticket)
    simulator.flight("not-an-order-id")
    booked.sees(f"a room is booked for order {order_id}, which is not known",
                only={"supplier_orphans": 3})


def test_bookings_from_before_a_reset_are_counted_apart(
    booked: Audited, simulator: SimulatorProcess
) -> None:
    simulator.flight(str(ULID.from_timestamp(1_500_000_000)))
    code, answer = booked.look()
    assert (code, answer["supplier_earlier"]) == (0, 1)


def test_what_is_owed_is_no_orphan(booked: Audited, simulator: SimulatorProcess) -> None:
    simulator.flight(booked.failed[0])
    booked.change(booked.failed[0], {"$set": {"owed": ["flight"], "owed_since": LONG_AGO}})
    booked.sees(only={"owed_overdue": 1})


def test_supplier_missing_a_cancelled_room(booked: Audited, simulator: SimulatorProcess) -> None:
    simulator.cancel("hotels", booked.live[0])
    booked.sees(booked.live[0], "its room is cancelled", only={"supplier_missing": 1})


def test_supplier_missing_both(booked: Audited) -> None:
    order_id = copy_of(booked, booked.live[0], unit="1:3", flight_ticket_number="F-1",
                       hotel_reservation_number="H-1")
    reproject(booked)
    booked.sees(order_id, "its flight is not in the book", only={"supplier_missing": 2})


@pytest.mark.parametrize("field", ["flight_ticket_number", "hotel_reservation_number"])
def test_supplier_missing_another_number(booked: Audited, field: str) -> None:
    booked.change(booked.live[0], {"$set": {field: "X-1"}})
    booked.sees("number X-1; the book says", only={"supplier_missing": 1})


def test_supplier_missing_a_room_with_another_ticket(
    booked: Audited, simulator: SimulatorProcess
) -> None:
    order_id = copy_of(booked, booked.live[0], unit="1:3")
    reproject(booked)
    ticket = simulator.flight(order_id).json()["flight_ticket_number"]
    other = simulator.flight(booked.live[0]).json()["flight_ticket_number"]
    room = simulator.room(order_id, other).json()["hotel_reservation_number"]
    booked.change(order_id, {"$set": {"flight_ticket_number": ticket,
                                      "hotel_reservation_number": room}})
    booked.sees("with another flight's ticket", only={"supplier_missing": 1})


def test_confirmed_without_a_number_is_seen_without_the_book(audited: Audited) -> None:
    audited.change(audited.live[0], {"$unset": {"hotel_reservation_number": ""}})
    audited.sees("confirmed without a hotel reservation number", only={"supplier_missing": 1})


# --- how it looks -----------------------------------------------------------------------------


def test_the_first_twenty_in_words_and_all_in_numbers(audited: Audited, tmp_path: Path) -> None:
    for number in range(30):
        copy_of(audited, audited.failed[0], unit=f"1:{1_000 + number}")
    every = tmp_path / "findings.txt"
    code, answer = audited.look("--findings", str(every))
    assert (code, answer["oversold"], len(answer["findings"])) == (1, 30, 20)
    assert len(every.read_text().splitlines()) == 30


def test_a_system_that_keeps_moving_is_no_defect(audited: Audited) -> None:
    """Orders come and end all the while: nothing may be reported that is only a step of it."""
    road = audited.road
    stop = threading.Event()

    def keep_busy() -> None:
        road.consumer = road.new_consumer()
        while not stop.is_set():
            road.order(1, EMAIL)
            road.order(2, f"{ULID()}@example.org")
            road.work()
            road.supply(declined)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        code, answer = audited.look(quiet=0.5)
    finally:
        stop.set()
        busy.join(30)
    assert code in (0, 2), json.dumps(answer)
    assert answer["findings"] == []
    code, answer = audited.look(quiet=5)
    assert code == 0, answer


def test_a_moving_system_still_shows_its_facts(audited: Audited) -> None:
    """A unit that an ended order keeps is wrong, however busy the rest is."""
    audited.change(audited.failed[0], {"$set": {"unit": "1:3"}})
    stop = threading.Event()

    def keep_moving() -> None:
        while not stop.wait(0.01):
            audited.client.hincrby(BOOKING.counters, "pushed", 1)
            audited.client.hincrby(BOOKING.counters, "applied", 1)

    mover = threading.Thread(target=keep_moving)
    mover.start()
    try:
        code, answer = audited.look()
    finally:
        stop.set()
        mover.join(10)
    assert (code, answer["oversold"]) == (1, 1)


def test_it_waits_until_the_road_is_quiet(audited: Audited) -> None:
    """A job that is taken while the audit waits is not left behind."""
    audited.road.order(1, EMAIL)

    def work_later() -> None:
        time.sleep(0.5)  # the audit is to find the job waiting first
        audited.road.consumer = audited.road.new_consumer()
        audited.road.work()
        audited.road.supply(confirmed)

    later = threading.Thread(target=work_later)
    later.start()
    code, answer = audited.look(quiet=20)
    later.join(30)
    assert (code, answer["confirmed"]) == (0, 5), answer


# --- as a command -----------------------------------------------------------------------------


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "audit", *arguments], cwd=ROOT, env=environment, text=True,
        capture_output=True, timeout=60, check=False,
    )


def test_the_command_says_it_for_people_and_for_programs(audited: Audited) -> None:
    done = run(audited.road.environment(), "--quiet-within", "5")
    assert done.returncode == 0, done.stderr
    assert "All is well." in done.stderr
    assert "6 orders: 4 confirmed" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["ok"] is True


@pytest.mark.parametrize("engine", ["REDIS_URL", "MONGO_URL"])
def test_an_engine_that_is_away_is_exit_code_2(audited: Audited, engine: str) -> None:
    scheme = "redis" if engine == "REDIS_URL" else "mongodb"
    done = run({**audited.road.environment(), engine: f"{scheme}://127.0.0.1:9"})
    assert done.returncode == 2
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (answer["ok"], answer["lost"], "EngineAway" in answer["error"]) == (False, None, True)
    assert "Could not look" in done.stderr


def test_help_and_bad_arguments() -> None:
    assert "Exit codes: 0 all is well" in run({}, "--help").stdout
    assert run({}, "--quiet-within", "soon").returncode == 2
