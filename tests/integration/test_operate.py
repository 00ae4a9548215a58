"""python -m operate, as an operator runs it: real processes against real engines."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

import bootstrap
from booking import commands, dead_letters
from booking.commands import (
    CancelOrder,
    Compensate,
    ExpireHold,
    PlaceOrder,
    ReservationCompensated,
    ReservationConfirmed,
    ReservationFailed,
    Reserve,
)
from booking.dead_letters import DeadLetter, buried_order
from booking.intake import SaleClosed
from booking.model import Part, Reason, State
from operate.__main__ import main
from operate.output import age, masked, table
from operate.prospects import Use, prospect
from queues.keys import BOOKING, FEEDBACK
from settings import Settings
from tests.catalogue_world import CatalogueWorld
from tests.road import Road, confirmed, package, running_road
from tests.simulator_fixtures import ROOT
from tests.waiting import eventually

EMAIL = "anna.secret@hidden.example"
NOW_MS = 1_800_000_000_000


class Operator:
    """Runs the command against one road. Whatever it prints, no e-mail is in it."""

    def __init__(self, road: Road) -> None:
        self.road = road
        self.environment = road.environment()

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "operate", *arguments], cwd=ROOT, env=self.environment,
            text=True, capture_output=True, timeout=60, check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "secret" not in done.stdout + done.stderr
        assert "hidden" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr if code else done.stdout

    def json(self, *arguments: str) -> dict[str, Any]:
        return dict(json.loads(self(*arguments, "--json")))


@pytest.fixture
def road(settings: Settings) -> Iterator[Road]:
    with running_road(settings) as road:
        road.sell(package(1, 3), package(2, 5, limit=2))
        yield road


@pytest.fixture
def operate(road: Road) -> Operator:
    return Operator(road)


@contextmanager
def at_work(road: Road) -> Iterator[None]:
    """The consumer runs by itself meanwhile."""
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            road.consumer.step()

    worker = threading.Thread(target=run)
    worker.start()
    try:
        yield
    finally:
        stop.set()
        worker.join(30)


def bury(road: Road, job: Any, *, source: str = "jobs", at_ms: int | None = None) -> bytes:
    """A dead letter as the consumers write it."""
    seconds, micros = road.client.time()
    raw = job if isinstance(job, bytes) else commands.encode(job)
    letter = dead_letters.encode(DeadLetter(
        source=source, job=raw, error=f"ValueError: no room for {EMAIL}", deliveries=6,
        at_ms=at_ms or seconds * 1_000 + micros // 1_000,
    ))
    road.client.lpush(BOOKING.dead, letter)
    return letter


# --- watching ---------------------------------------------------------------------------------


def test_queues_of_a_road_at_rest(operate: Operator) -> None:
    work = bootstrap.reservation_work(operate.road.settings, operate.road.client, "worker-7")
    work.beat(0)
    seen = operate.json("queues")
    assert (seen["waiting"], seen["inflight"], seen["oldest_ms"]) == (0, 0, None)
    assert seen["lease"]["holder"].startswith("test:")
    assert seen["backlog"] == {"jobs": 0, "max_jobs": 200_000, "bytes": 0,
                               "max_bytes": 134_217_728}
    assert [worker["worker"] for worker in seen["reservations"]["workers"]] == ["worker-7"]
    assert seen["remarks"] in ([], ["No reservation worker has a heartbeat."])  # it beat only once


def test_queues_with_work_that_nobody_does(operate: Operator) -> None:
    road = operate.road
    road.consumer.leave()
    for _ in range(3):
        road.order(1, EMAIL)
    bury(road, CancelOrder(order_id="X"))
    size = sum(len(job) for job in road.client.lrange(BOOKING.jobs, 0, -1))
    lease = road.queue.acquire("a-holder")
    assert lease is not None
    road.queue.take(lease, most=1, singles_after=3)
    seen = operate.json("queues")
    assert (seen["waiting"], seen["inflight"], seen["backlog"]["bytes"]) == (2, 1, size)
    assert 0 <= seen["oldest_ms"] < 60_000
    assert seen["dead_letters"] == 1
    told = operate("queues")
    assert "No reservation worker has a heartbeat." in told
    assert "There are dead letters" in told
    assert "a-holder" in told


def test_queues_tells_the_age_behind_reports_that_have_none(operate: Operator) -> None:
    road = operate.road
    road.consumer.leave()
    road.queue.push([commands.encode(CancelOrder(order_id="X"))])
    old = PlaceOrder(order_id="Y", package_id=1, email=EMAIL, accepted_ms=1_000)
    road.queue.push([commands.encode(old)])
    seen = operate.json("queues")
    assert seen["oldest_ms"] > 10**12
    assert "No booking consumer holds the lease." in seen["remarks"]
    assert any("The oldest order has waited" in remark for remark in seen["remarks"])


def test_owed_work_and_its_age(operate: Operator) -> None:
    assert "Nothing is owed" in operate("owed")
    road = operate.road
    order_id = road.order(1, EMAIL)
    road.work()
    road.intake.cancel(order_id)
    road.work()
    owed = operate.json("owed")
    assert owed["count"] == 1
    assert owed["owed"][0]["order_id"] == order_id
    assert owed["owed"][0]["owed"] == ["room", "flight"]
    assert owed["owed"][0]["overdue"] is False
    road.orders.update_one({"_id": order_id},
                           {"$set": {"owed_since": datetime(2026, 1, 1, tzinfo=UTC)}})
    assert "overdue" in operate("owed")


def test_orders_by_state(operate: Operator) -> None:
    road = operate.road
    for _ in range(4):
        road.order(1, EMAIL)
    road.work()
    seen = operate.json("orders")
    assert seen["states"] == {
        "held": 3, "confirmed": 0, "failed": 0, "expired": 0, "rejected": 1, "cancelled": 0}
    assert seen["reasons"] == {"rejected": {"sold_out": 1}}
    assert operate("orders").splitlines()[-1].split() == ["all", "4"]


def test_statuses_of_an_old_copy_are_told_again(operate: Operator) -> None:
    """A status key that says held, of an order that is confirmed: no job is left to tell it."""
    road = operate.road
    order_id, other = held(road), held(road)
    copy = road.client.dump(BOOKING.status(order_id))
    road.supply(confirmed)
    road.client.restore(BOOKING.status(order_id), 0, copy, replace=True)
    road.orders.delete_one({"_id": other})
    assert operate.json("retell") == {"told_again": 1, "without_document": 1}
    road.work()
    assert road.client.hget(BOOKING.status(order_id), "state") == b"confirmed"
    assert road.client.ttl(BOOKING.status(order_id)) > 0
    assert "0 orders are told again" in operate("retell")
    order = road.store.find_order(order_id)
    assert order is not None
    assert [event.state for event in order.history] == ["queued", "held", "confirmed"]


def test_telling_again_ends_no_hold(operate: Operator) -> None:
    road = operate.road
    order_id = held(road)
    road.client.hset(BOOKING.status(order_id), "state", "queued")
    assert operate.json("retell")["told_again"] == 1
    road.work()
    assert road.client.hget(BOOKING.status(order_id), "state") == b"held"
    assert road.orders.count_documents({"state": "held"}) == 1


# --- steering a sale --------------------------------------------------------------------------


def test_pause_closes_the_door_and_resume_opens_it(operate: Operator) -> None:
    road = operate.road
    with at_work(road):
        assert operate.json("pause", "1") == {"package": 1, "paused": True, "was_paused": False,
                                              "seen": True}
        with pytest.raises(SaleClosed):
            road.order(1, EMAIL)
        assert "was paused already" in operate("pause", "1")
        assert operate.json("resume", "1")["seen"] is True
        road.order(1, EMAIL)
    assert "paused" not in (road.database["packages"].find_one({"_id": 1}) or {})


def test_pause_rejects_what_is_queued_and_says_that_nobody_works(operate: Operator) -> None:
    road = operate.road
    road.consumer.leave()
    order_id = road.order(1, EMAIL)
    assert "No booking consumer has taken it up yet" in operate("pause", "1")
    road.consumer = road.new_consumer()
    road.work()
    order = road.store.find_order(order_id)
    assert order is not None
    assert (order.state, order.reason) == (State.REJECTED, Reason.SALES_PAUSED)


def test_quota_says_old_new_and_live(operate: Operator) -> None:
    road = operate.road
    with at_work(road):
        for _ in range(3):
            road.order(1, EMAIL)
        eventually(lambda: road.orders.count_documents({"state": "held"}) == 3)
        assert operate.json("quota", "1", "7") == {
            "package": 1, "old": 3, "new": 7, "live": 3, "remaining": 4, "seen": True}
        told = operate("quota", "1", "2")
        assert "quota 7 before, 2 now; 3 live orders, 0 left to sell" in told
        assert "1 live orders are above it and stay" in told
    order_id = road.order(1, EMAIL)
    road.work()
    order = road.store.find_order(order_id)
    assert order is not None
    assert order.reason is Reason.SOLD_OUT


@pytest.mark.parametrize(("arguments", "words"), [
    (("pause", "9"), "There is no package 9; there are 1, 2."),
    (("resume", "9"), "There is no package 9"),
    (("quota", "9", "1"), "There is no package 9"),
    (("quota", "1", "-1"), "from 0 to 10000000; -1 is none"),
    (("quota", "1", "10000001"), "from 0 to 10000000"),
    (("dead", "show", "1"), "There is no dead letter 1"),
])
def test_a_refusal_says_why_and_changes_nothing(operate: Operator, arguments: tuple[str, ...],
                                                words: str) -> None:
    before = list(operate.road.database["packages"].find())
    assert words in operate(*arguments, code=1)
    assert list(operate.road.database["packages"].find()) == before


@pytest.mark.parametrize(("arguments", "words"), [
    (("quota", "1", "1.5"), "is not a whole number"),
    (("quota", "1"), "required: n"),
    (("pause", "one"), "is not a whole number"),
    (("pause", "0"), "cannot be the id of a package"),
    (("dead", "retry"), "one of the arguments letter --all is required"),
    (("dead", "retry", "1", "--all"), "not allowed with argument"),
    ((), "required"),
    (("sell",), "invalid choice"),
])
def test_wrong_arguments_are_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_a_refusal_is_json_for_programs(operate: Operator) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "operate", "pause", "9", "--json"], cwd=ROOT,
        env=operate.environment, text=True, capture_output=True, timeout=60, check=False,
    )
    assert done.returncode == 1
    assert "There is no package 9" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize("variable", ["REDIS_URL", "MONGO_URL"])
def test_an_engine_that_is_away_is_exit_code_2(operate: Operator, variable: str) -> None:
    scheme = "redis" if variable == "REDIS_URL" else "mongodb"
    operate.environment[variable] = f"{scheme}://127.0.0.1:9"
    assert "EngineAway" in operate("pause", "1", code=2)


@pytest.mark.parametrize("command", ["queues", "search", "orders", "owed", "pause", "resume",
                                     "quota", "retell", "rebuild", "dead", "dead list", "dead show",
                                     "dead retry", "dead drop"])
def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), "--help"])
    assert ended.value.code == 0
    assert "Exit codes" in capsys.readouterr().out


# --- the catalogue ----------------------------------------------------------------------------


@pytest.fixture
def hotels(road: Road) -> Iterator[CatalogueWorld]:
    with bootstrap.connect_catalogue_valkey(road.settings) as client:
        yield CatalogueWorld(client, road.database)


def test_the_catalogue_that_is_not_there_yet(operate: Operator) -> None:
    seen = operate.json("queues")["catalogue"]
    assert (seen["generation"], seen["hotels"], seen["changes"]) == (None, 0, None)
    assert "No page of the catalogue is shown." in seen["remarks"]
    assert "nothing is shown" in operate("queues")


def test_the_catalogue_and_the_changes_that_it_does_not_show_yet(
    operate: Operator, hotels: CatalogueWorld
) -> None:
    consumer = hotels.consumer()
    consumer.step()
    hotels.settle(consumer)
    hotels.valkey.rpush(FEEDBACK.jobs, "one")
    seen = operate.json("queues")["catalogue"]
    assert seen["generation"] == hotels.reader.standing().generation
    assert (seen["hotels"], seen["broken"]) == (25, 0)
    assert seen["changes"] == {"waiting": 0, "oldest_ms": None}
    assert seen["lease"].startswith("one:")
    assert seen["rebuild"] == {"asked": False, "under_way": False, "hotels_built": 0}
    assert seen["feedback"] == {"waiting": 1, "lease": None}
    assert seen["remarks"] == []
    hotels.database["hotels"].update_many({}, {"$set": {"stars": 1}})
    hotels.database["orders"].insert_one({"what": "no page shows this"})
    behind = operate.json("queues")["catalogue"]["changes"]
    assert behind["waiting"] == 25
    assert 0 <= behind["oldest_ms"] < 60_000
    consumer.leave()


def test_a_rebuild_is_asked_for_and_told_when_it_has_begun(
    operate: Operator, hotels: CatalogueWorld
) -> None:
    assert "it will when one is at work" in operate("rebuild")
    consumer = hotels.consumer()
    consumer.step()
    before = hotels.reader.standing().generation
    stop = threading.Event()

    def run() -> None:
        while not stop.is_set():
            consumer.step()

    worker = threading.Thread(target=run)
    worker.start()
    try:
        assert operate.json("rebuild") == {"asked": True, "seen": True}
        eventually(lambda: hotels.reader.standing().generation > before)
    finally:
        stop.set()
        worker.join(30)
        consumer.leave()


def test_orders_are_watched_although_the_catalogue_is_away(operate: Operator) -> None:
    operate.environment["CATALOGUE_REDIS_URL"] = "redis://127.0.0.1:9"
    seen = operate.json("queues")
    assert seen["waiting"] == 0
    assert "does not answer" in seen["catalogue"]["remarks"][0]
    assert "EngineAway" in operate("rebuild", code=2)


# --- dead letters -----------------------------------------------------------------------------


def held(road: Road) -> str:
    order_id = road.order(1, EMAIL)
    road.work()
    return order_id


def booked(order_id: str) -> ReservationConfirmed:
    return ReservationConfirmed(order_id=order_id, flight_ticket_number="F-1",
                                hotel_reservation_number="H-1")


def test_no_dead_letters(operate: Operator) -> None:
    assert operate("dead", "list") == "No dead letters.\n"
    assert operate("dead", "retry", "--all") == "0 retried, 0 left.\n"


def test_a_buried_order_is_not_brought_back(operate: Operator) -> None:
    """The order was rejected and its customer was told: a retry must not pretend otherwise."""
    road = operate.road
    job = PlaceOrder(order_id="01HZZZZZZZZZZZZZZZZZZZZZZZ", package_id=1, email=EMAIL,
                     accepted_ms=NOW_MS)
    road.store.write([(None, buried_order(job, NOW_MS))])
    bury(road, job)
    listed = operate.json("dead", "list")["dead_letters"][0]
    assert (listed["n"], listed["type"], listed["retry"]) == (1, "place_order", "useless")
    for name in ("1", listed["id"], listed["id"][:5], job.order_id):
        told = operate("dead", "retry", name, code=1)
        assert "rejected (internal_error), which is final and was told to its customer" in told
    assert "1 left" in operate("dead", "retry", "--all")
    assert road.client.llen(BOOKING.jobs) == 0
    assert road.client.llen(BOOKING.dead) == 1
    shown = operate("dead", "show", "1")
    assert "a***@h***" in shown
    assert "Dropped" in operate("dead", "drop", listed["id"])
    assert road.client.llen(BOOKING.dead) == 0
    order = road.store.find_order(job.order_id)
    assert order is not None
    assert order.state is State.REJECTED


def test_a_buried_report_is_applied_by_a_retry(operate: Operator) -> None:
    road = operate.road
    order_id = held(road)
    bury(road, booked(order_id))
    before = road.client.hget(BOOKING.counters, "pushed")
    told = operate("dead", "retry", order_id)
    assert "the order is held and would become confirmed" in told
    assert road.client.llen(BOOKING.dead) == 0
    assert int(road.client.hget(BOOKING.counters, "pushed") or 0) == int(before or 0) + 1
    assert road.client.llen(BOOKING.bell) == 1
    road.work()
    order = road.store.find_order(order_id)
    assert order is not None
    assert order.state is State.CONFIRMED


def test_a_late_report_is_cancelled_at_the_supplier_by_a_retry(operate: Operator) -> None:
    road = operate.road
    order_id = held(road)
    road.queue.push([commands.encode(ReservationFailed(order_id=order_id,
                                                       reason=Reason.FLIGHT_DECLINED))])
    road.work()
    bury(road, booked(order_id))
    assert "would be cancelled at the supplier" in operate("dead", "retry", "1")
    road.work()
    assert operate.json("owed")["count"] == 1


def test_a_buried_reservation_goes_back_to_its_own_list(operate: Operator) -> None:
    road = operate.road
    order_id = held(road)
    work = BOOKING.reservations
    job = road.client.rpop(work.waiting)
    road.client.delete(work.bell)
    bury(road, job, source="reservations")
    assert "waits for its reservation" in operate("dead", "retry", "1")
    assert road.client.lrange(work.waiting, 0, -1) == [job]
    assert road.client.llen(work.bell) == 1
    assert road.client.llen(BOOKING.jobs) == 0
    road.supply(confirmed)
    order = road.store.find_order(order_id)
    assert order is not None
    assert order.state is State.CONFIRMED


def test_retry_all_takes_the_useful_and_leaves_the_rest(operate: Operator) -> None:
    road = operate.road
    order_id = held(road)
    bury(road, b"not a job at all")
    bury(road, booked(order_id))
    bury(road, CancelOrder(order_id="01HZZZZZZZZZZZZZZZZZZZZZZZ"))
    newer = msgspec.json.encode({"type": "cancel_order", "order_id": order_id, "v": 99})
    bury(road, newer)
    told = operate.json("dead", "retry", "--all")
    assert [one["type"] for one in told["retried"]] == ["reservation_confirmed"]
    assert {one["type"]: one["retry"] for one in told["left"]} == {
        "?": "ask", "cancel_order": "useless"}
    assert road.client.llen(BOOKING.dead) == 3
    assert "upgrade them first" in operate("dead", "retry", "3", code=1)
    assert "helps only after an upgrade" in operate("dead", "retry", "1")
    assert road.client.lrange(BOOKING.jobs, 0, 0) == [b"not a job at all"]


def test_letters_are_numbered_from_the_oldest_and_named_without_doubt(operate: Operator) -> None:
    road = operate.road
    order_id = held(road)
    bury(road, booked(order_id), at_ms=NOW_MS)
    bury(road, CancelOrder(order_id=order_id), at_ms=NOW_MS + 1)
    listed = operate.json("dead", "list")["dead_letters"]
    assert [(one["n"], one["type"]) for one in listed] == [
        (1, "reservation_confirmed"), (2, "cancel_order")]
    told = operate("dead", "show", order_id, code=1)
    assert listed[0]["id"] in told
    assert listed[1]["id"] in told
    assert operate.json("dead", "show", "2")["job"]["type"] == "cancel_order"


# --- what a retry would do, rule by rule ------------------------------------------------------


def letter(job: Any, source: str = "jobs") -> DeadLetter:
    return DeadLetter(source=source, job=commands.encode(job), error="", deliveries=1, at_ms=0)


ORDER = buried_order(PlaceOrder(order_id="O", package_id=1, email=EMAIL, accepted_ms=0), 1)
HELD = msgspec.structs.replace(ORDER, state=State.HELD, reason=None, hold_expires_ms=5)
OWING = msgspec.structs.replace(ORDER, owed=(Part.FLIGHT,))
SETTLED = msgspec.structs.replace(ORDER, compensated=True)
CONFIRMED = msgspec.structs.replace(ORDER, state=State.CONFIRMED, reason=None)


@pytest.mark.parametrize(("job", "order", "use"), [
    (PlaceOrder(order_id="O", package_id=1, email=EMAIL, accepted_ms=0), None, Use.ASK),
    (PlaceOrder(order_id="O", package_id=1, email=EMAIL, accepted_ms=0), HELD, Use.USELESS),
    (CancelOrder(order_id="O"), CONFIRMED, Use.USEFUL),
    (CancelOrder(order_id="O"), ORDER, Use.USELESS),
    (CancelOrder(order_id="O"), None, Use.USELESS),
    (ExpireHold(order_id="O", at_ms=6), HELD, Use.USEFUL),
    (ExpireHold(order_id="O", at_ms=4), HELD, Use.USELESS),
    (booked("O"), CONFIRMED, Use.USELESS),
    (booked("O"), SETTLED, Use.USELESS),
    (booked("O"), None, Use.USEFUL),
    (ReservationCompensated(order_id="O"), OWING, Use.USEFUL),
    (ReservationCompensated(order_id="O"), SETTLED, Use.USELESS),
])
def test_prospect_of_a_booking_job(job: Any, order: Any, use: Use) -> None:
    assert prospect(letter(job), order, NOW_MS).use is use


@pytest.mark.parametrize(("job", "order", "use"), [
    (Reserve(order_id="O", flight="F", stay="S"), HELD, Use.USEFUL),
    (Reserve(order_id="O", flight="F", stay="S"), ORDER, Use.USELESS),
    (Reserve(order_id="O", flight="F", stay="S"), None, Use.USELESS),
    (Compensate(order_id="O", parts=(Part.ROOM,)), OWING, Use.USEFUL),
    (Compensate(order_id="O", parts=(Part.ROOM,)), None, Use.USEFUL),
    (Compensate(order_id="O", parts=(Part.ROOM,)), SETTLED, Use.USELESS),
])
def test_prospect_of_a_reservation_job(job: Any, order: Any, use: Use) -> None:
    assert prospect(letter(job, "reservations"), order, NOW_MS).use is use


# --- words ------------------------------------------------------------------------------------


def test_words_for_people() -> None:
    assert masked('{"email":"anna.b@mail.example.org","x":1}') == '{"email":"a***@m***","x":1}'
    assert masked("from <o'hara+x@ü.example>, b@c.d!") == "from <o'h***@ü***>, b***@c***"
    assert [age(ms) for ms in (400, 59_900, 61_000, 3_700_000, 90_000_000)] == [
        "0.4 s", "59.9 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]
    assert table(("a", "long"), [(1, 2), ("wide", "")]) == ["a     long", "1     2", "wide"]
