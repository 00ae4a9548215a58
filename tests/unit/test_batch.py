"""A batch folds to one write per order, and deciding it again asks for the same again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from booking.allotment import Allotment, Ledger
from booking.batch import Decided, decide_batch, named
from booking.commands import (
    CancelOrder,
    Command,
    Compensate,
    ExpireHold,
    PlaceOrder,
    ReservationCompensated,
    ReservationConfirmed,
    ReservationFailed,
    Reserve,
)
from booking.model import (
    COMPENSATION_ORDER,
    LIVE,
    Order,
    Package,
    PackageFacts,
    Part,
    Reason,
    State,
)

NOW, HOLD_MS = 5_000, 60_000
FACTS = PackageFacts(1, "Flight-1", "2022-08-09", "49.90", "EUR")


def place(order_id: str, email: str = "") -> PlaceOrder:
    return PlaceOrder(order_id=order_id, package_id=1, email=email or f"{order_id}@example.org",
                      accepted_ms=1_000)


def confirmed(order_id: str) -> ReservationConfirmed:
    return ReservationConfirmed(order_id=order_id, flight_ticket_number=f"F{order_id}",
                                hotel_reservation_number=f"R{order_id}")


class Database:
    """The orders collection, reduced to what a batch reads and writes."""

    def __init__(self, quota: int = 2, limit: int | None = None) -> None:
        self.orders: dict[str, Order] = {}
        self.package = Package(facts=FACTS, quota=quota, limit_per_customer=limit)

    def ledger(self, commands: list[Command]) -> Ledger:
        """A ledger as the consumer reads it, with a memory loaded anew."""
        live = [o for o in self.orders.values() if o.state in LIVE]
        ledger = Ledger({1: Allotment([order.unit or 0 for order in live])})
        ledger.packages = {1: self.package}
        names = named(commands)
        ledger.load(order for order in self.orders.values() if order.order_id in names.order_ids)
        for order in live:
            if order.slot is not None:
                ledger.slots.setdefault((1, order.email.casefold()), set()).add(order.slot)
        return ledger

    def decide(self, *commands: Command) -> Decided:
        return decide_batch(self.ledger(list(commands)), commands, NOW, hold_ms=HOLD_MS)

    def write(self, decided: Decided, *, only: set[int] | None = None) -> None:
        """Write all changes, or those with these numbers: a crash in the middle of a bulk."""
        for number, (before, after) in enumerate(decided.changed):
            if only is None or number in only:
                assert self.orders.get(after.order_id) == before, "a guard would have refused"
                self.orders[after.order_id] = after

    def apply(self, *commands: Command) -> Decided:
        decided = self.decide(*commands)
        self.write(decided)
        return decided


def test_what_a_batch_names_is_read_once_each() -> None:
    names = named([place("A", "Ann@X.org"), CancelOrder(order_id="A"), place("B", "ann@x.ORG"),
                   confirmed("C")])
    assert set(names.order_ids) == {"A", "B", "C"}
    assert len(names.order_ids) == 3
    assert names.package_ids == {1}
    assert names.customers == {(1, "ann@x.org")}


def test_placed_and_cancelled_in_one_batch_is_one_insert_without_a_unit() -> None:
    decided = Database().decide(place("A"), CancelOrder(order_id="A"))
    [(before, after)] = decided.changed
    assert before is None
    assert (after.state, after.unit, after.slot) == (State.CANCELLED, None, None)
    assert [event.state for event in after.history] == [
        State.QUEUED, State.HELD, State.CANCELLED,
    ]
    [status] = decided.statuses
    assert (status.state, status.final) == ("cancelled", True)
    assert not any(isinstance(job, Reserve) for job in decided.reservations)


def test_a_unit_that_comes_back_in_the_batch_is_given_in_the_same_batch() -> None:
    database = Database(quota=1, limit=1)
    database.apply(place("A", "ann@example.org"))
    decided = database.decide(
        place("B"),
        ReservationFailed(order_id="A", reason=Reason.FLIGHT_DECLINED),
        place("C", "ann@example.org"),
    )
    after = {order.order_id: order for _, order in decided.changed}
    assert (after["B"].state, after["B"].reason) == (State.REJECTED, Reason.SOLD_OUT)
    assert after["A"].state is State.FAILED
    assert (after["C"].state, after["C"].unit, after["C"].slot) == (State.HELD, 1, 1)


def test_many_steps_of_one_order_are_one_change_from_what_the_database_has() -> None:
    database = Database()
    database.apply(place("A"))
    loaded = database.orders["A"]
    decided = database.decide(confirmed("A"), confirmed("A"), CancelOrder(order_id="A"),
                              ReservationCompensated(order_id="A"))
    [(before, after)] = decided.changed
    assert before is loaded
    assert (after.state, after.compensated, after.owed) == (State.CANCELLED, True, ())
    assert after.flight_ticket_number == "FA"
    assert decided.reservations == []


def test_what_changed_nothing_is_not_written_but_told_again() -> None:
    database = Database()
    database.apply(place("A"), place("B"))
    database.apply(confirmed("B"))
    decided = database.decide(place("A"), place("B"), confirmed("B"),
                              ExpireHold(order_id="A", at_ms=NOW))
    assert decided.changed == []
    assert {(s.order_id, s.state, s.final) for s in decided.statuses} == {
        ("A", "held", False), ("B", "confirmed", True),
    }
    assert decided.reservations == [Reserve(order_id="A", flight="Flight-1", stay="2022-08-09")]


def test_an_order_that_owes_is_compensated_again_when_its_end_is_delivered_again() -> None:
    database = Database()
    database.apply(place("A"))
    first = database.apply(CancelOrder(order_id="A"))
    again = database.decide(CancelOrder(order_id="A"))
    wanted = [Compensate(order_id="A", parts=COMPENSATION_ORDER)]
    assert first.reservations == wanted
    assert again.changed == []
    assert again.reservations == wanted


def test_reports_for_an_order_that_nobody_knows_undo_what_they_brought() -> None:
    decided = Database().decide(
        confirmed("A"),
        ReservationFailed(order_id="B", reason=Reason.ROOM_DECLINED, may_exist=(Part.FLIGHT,)),
        ReservationFailed(order_id="C", reason=Reason.FLIGHT_DECLINED),
        CancelOrder(order_id="D"),
        ReservationCompensated(order_id="E"),
    )
    assert decided.changed == []
    assert decided.statuses == []
    assert decided.reservations == [
        Compensate(order_id="A", parts=COMPENSATION_ORDER),
        Compensate(order_id="B", parts=COMPENSATION_ORDER),
    ]


IDS = st.sampled_from("ABCDEF")
JOBS = st.one_of(
    st.builds(place, IDS, st.sampled_from(["x@example.org", "y@example.org"])),
    st.builds(confirmed, IDS),
    st.builds(CancelOrder, order_id=IDS),
    st.builds(ExpireHold, order_id=IDS, at_ms=st.sampled_from([0, NOW + HOLD_MS])),
    st.builds(ReservationFailed, order_id=IDS, reason=st.just(Reason.ROOM_DECLINED),
              may_exist=st.sampled_from([(), (Part.FLIGHT,)])),
    st.builds(ReservationCompensated, order_id=IDS),
)  # fmt: skip
BATCHES = st.lists(st.lists(JOBS, min_size=1, max_size=8), max_size=5)


@settings(max_examples=100, deadline=None)
@given(BATCHES, st.data())
def test_a_batch_decided_again_after_a_partial_write_ends_whole(
    batches: list[list[Command]], data: st.DataObject
) -> None:
    """The crash in the middle of a bulk write: updates in any part, then inserts in any part."""
    database = Database(quota=2, limit=1)
    for drawn in batches:
        batch = [job for number, job in enumerate(drawn) if can_come(database, drawn[:number], job)]
        decided = database.decide(*batch)
        numbers = range(len(decided.changed))
        updates = {n for n in numbers if decided.changed[n][0] is not None}
        inserts = set(numbers) - updates
        written = data.draw(st.sets(st.sampled_from(sorted(updates)))) if updates else set()
        if written == updates and inserts:
            written |= data.draw(st.sets(st.sampled_from(sorted(inserts))))
        database.write(decided, only=written)
        check_sold(database)

        again = database.apply(*batch)
        check_sold(database)
        check_told(database, batch, again)
        assert database.decide(*batch).changed == [], "a third time must change nothing"


def can_come(database: Database, earlier: list[Command], job: Command) -> bool:
    """Reports and cancellations come behind their order, as the list keeps the order of jobs, and
    a compensation is reported only of what was owed before.
    """
    order = database.orders.get(job.order_id)
    if isinstance(job, ReservationCompensated):
        return order is not None and bool(order.owed)
    placed = any(isinstance(j, PlaceOrder) and j.order_id == job.order_id for j in earlier)
    return isinstance(job, PlaceOrder) or order is not None or placed


def check_sold(database: Database) -> None:
    live = [order for order in database.orders.values() if order.state in LIVE]
    assert sorted(order.unit or 0 for order in live) == sorted({o.unit or 0 for o in live})
    assert len(live) <= 2
    assert len({order.email for order in live}) == len(live), "a limit of one was passed"


def check_told(database: Database, batch: list[Command], decided: Decided) -> None:
    said = {status.order_id: status.state for status in decided.statuses}
    asked = {type(job).__name__ + job.order_id for job in decided.reservations}
    for command in batch:
        order = database.orders.get(command.order_id)
        if order is None:
            continue
        assert said[command.order_id] == order.state
        if isinstance(command, PlaceOrder) and order.state is State.HELD:
            assert "Reserve" + order.order_id in asked
        assert ("Compensate" + order.order_id in asked) == bool(order.owed)
