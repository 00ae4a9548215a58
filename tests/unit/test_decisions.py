"""The rules of an order's life: every step of the table, every step that is none, any sequence."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from booking.allotment import Allotment, Ledger
from booking.commands import (
    CancelOrder,
    Command,
    ExpireHold,
    PlaceOrder,
    ReservationCompensated,
    ReservationConfirmed,
    ReservationFailed,
)
from booking.decisions import Outcome, Verdict, decide
from booking.model import (
    COMPENSATION_ORDER,
    FINAL,
    LIVE,
    TRANSITIONS,
    Order,
    Package,
    PackageFacts,
    Part,
    Reason,
    State,
)

NOW = 5_000
HOLD_MS = 60_000
FACTS = PackageFacts(1, "Flight-1", "2022-08-09", "49.90", "EUR")
BOTH = COMPENSATION_ORDER


def package(**changes: object) -> Package:
    return msgspec.structs.replace(Package(facts=FACTS, quota=2), **changes)


def ledger(one: Package | None = None, live: tuple[int, ...] = ()) -> Ledger:
    book = Ledger({1: Allotment(live)})
    book.packages = {1: one or package()}
    return book


def place(order_id: str = "A", **changes: object) -> PlaceOrder:
    job = PlaceOrder(order_id=order_id, package_id=1, email="a@example.org", accepted_ms=1_000)
    return msgspec.structs.replace(job, **changes)


def run(book: Ledger, command: Command, now_ms: int = NOW) -> Outcome:
    outcome = decide(book, command, now_ms, hold_ms=HOLD_MS)
    if outcome.verdict is Verdict.APPLIED:
        assert outcome.order is not None
        book.apply(outcome.order)
    return outcome


def held() -> tuple[Ledger, Order]:
    book = ledger()
    order = run(book, place()).order
    assert order is not None
    return book, order


CONFIRMED = ReservationConfirmed(
    order_id="A", flight_ticket_number="F", hotel_reservation_number="R"
)
DECLINED = ReservationFailed(order_id="A", reason=Reason.FLIGHT_DECLINED)
NO_ROOM = ReservationFailed(order_id="A", reason=Reason.ROOM_DECLINED, may_exist=(Part.FLIGHT,))
UNREACHABLE = ReservationFailed(
    order_id="A", reason=Reason.SUPPLIER_UNREACHABLE, may_exist=(Part.FLIGHT,)
)
CANCEL = CancelOrder(order_id="A")
EXPIRE = ExpireHold(order_id="A", at_ms=NOW + HOLD_MS)
COMPENSATED = ReservationCompensated(order_id="A")

# How a test brings order A into each state that an order can be found in.
ROAD_TO: dict[State, tuple[Command, ...]] = {
    State.HELD: (place(),),
    State.CONFIRMED: (place(), CONFIRMED),
    State.FAILED: (place(), DECLINED),
    State.EXPIRED: (place(), EXPIRE),
    State.REJECTED: (place(package_id=9),),
    State.CANCELLED: (place(), CANCEL),
}
# What a command makes of an order in a state, if it moves it at all.
MOVES: dict[tuple[State, type[Command]], tuple[State, Reason | None]] = {
    (State.HELD, ReservationConfirmed): (State.CONFIRMED, None),
    (State.HELD, ReservationFailed): (State.FAILED, Reason.FLIGHT_DECLINED),
    (State.HELD, ExpireHold): (State.EXPIRED, Reason.HOLD_EXPIRED),
    (State.HELD, CancelOrder): (State.CANCELLED, Reason.CUSTOMER_REQUEST),
    (State.CONFIRMED, CancelOrder): (State.CANCELLED, Reason.CUSTOMER_REQUEST),
}
ALL = [place(), CANCEL, EXPIRE, CONFIRMED, DECLINED, COMPENSATED]


def found_in(state: State) -> Ledger:
    book = ledger()
    for command in ROAD_TO[state]:
        run(book, command)
    assert book.orders["A"].state is state
    return book


# --- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ROAD_TO)
@pytest.mark.parametrize("command", ALL, ids=lambda c: type(c).__name__)
def test_each_command_in_each_state_moves_as_the_table_says_or_not(
    state: State, command: Command
) -> None:
    book = found_in(state)
    outcome = run(book, command)
    assert outcome.order is not None
    wanted = MOVES.get((state, type(command)))
    if wanted is None:
        assert outcome.order.state is state
        assert len(outcome.order.history) == len(found_in(state).orders["A"].history)
    else:
        assert outcome.verdict is Verdict.APPLIED
        assert (outcome.order.state, outcome.order.reason) == wanted
        assert wanted[0] in TRANSITIONS[state]
        assert msgspec.structs.astuple(outcome.order.history[-1]) == (*wanted, NOW)


def test_every_transition_of_the_table_is_taken_by_some_command() -> None:
    taken = {(state, move[0]) for (state, _), move in MOVES.items()}
    taken |= {(State.QUEUED, State.HELD), (State.QUEUED, State.REJECTED)}
    assert taken == {(a, b) for a, followers in TRANSITIONS.items() for b in followers}


def test_final_states_are_those_without_a_way_on_but_by_cancelling() -> None:
    assert {state for state in State if not TRANSITIONS[state]} == FINAL - {State.CONFIRMED}
    assert {State.HELD, State.CONFIRMED} == LIVE


@pytest.mark.parametrize("command", ALL[1:], ids=lambda c: type(c).__name__)
def test_without_an_order_only_placing_does_anything(command: Command) -> None:
    assert run(ledger(), command) == Outcome(Verdict.UNKNOWN_ORDER, None)


# --- placing --------------------------------------------------------------------------------------


def test_a_placed_order_holds_the_lowest_unit_and_says_what_quota_it_saw() -> None:
    book = ledger(package(quota=5), live=(1, 3))
    order = run(book, place()).order
    assert order is not None
    assert (order.state, order.unit, order.quota_seen) == (State.HELD, 2, 5)
    assert order.hold_expires_ms == NOW + HOLD_MS
    assert (order.accepted_ms, order.decided_ms) == (1_000, NOW)
    assert [event.state for event in order.history] == [State.QUEUED, State.HELD]
    assert order.package == FACTS, "a later change of the package must not touch the order"


@pytest.mark.parametrize(("changes", "reason"), [
    ({"quota": 0}, Reason.SOLD_OUT),
    ({"quota": 1}, Reason.SOLD_OUT),
    ({"paused": True}, Reason.SALES_PAUSED),
    ({"sale_starts_ms": 1_001}, Reason.SALES_CLOSED),
    ({"sale_ends_ms": 1_000}, Reason.SALES_CLOSED),
    ({"quota": 1, "paused": True}, Reason.SALES_PAUSED),
])  # fmt: skip
def test_a_refused_order_is_rejected_with_its_reason(
    changes: dict[str, object], reason: Reason
) -> None:
    outcome = run(ledger(package(**changes), live=(1,)), place())
    assert outcome.order is not None
    assert (outcome.order.state, outcome.order.reason) == (State.REJECTED, reason)
    assert (outcome.order.unit, outcome.order.slot, outcome.order.hold_expires_ms) == (None,) * 3
    assert [event.state for event in outcome.order.history] == [State.QUEUED, State.REJECTED]


def test_an_unknown_package_is_a_reason_too() -> None:
    order = run(ledger(), place(package_id=9)).order
    assert order is not None
    assert (order.state, order.reason, order.package) == (
        State.REJECTED, Reason.UNKNOWN_PACKAGE, None,
    )


@pytest.mark.parametrize(("accepted_ms", "open_"), [
    (999, False), (1_000, True), (1_999, True), (2_000, False),
])  # fmt: skip
def test_the_sale_window_is_judged_by_the_moment_of_acceptance(
    accepted_ms: int, open_: bool
) -> None:
    book = ledger(package(sale_starts_ms=1_000, sale_ends_ms=2_000))
    order = run(book, place(accepted_ms=accepted_ms), now_ms=1_000_000_000).order
    assert order is not None
    assert (order.state is State.HELD) == open_


def test_a_stay_long_past_closes_no_sale() -> None:
    order = run(ledger(), place(accepted_ms=4_000_000_000_000)).order
    assert order is not None
    assert order.state is State.HELD


def test_a_customer_reaches_the_limit_whatever_the_case_of_the_address() -> None:
    book = ledger(package(quota=9, limit_per_customer=2))
    first = run(book, place("A", email="Ann@Example.org")).order
    second = run(book, place("B", email="ANN@example.ORG")).order
    third = run(book, place("C", email="ann@example.org")).order
    other = run(book, place("D", email="bob@example.org")).order
    assert first is not None
    assert second is not None
    assert third is not None
    assert other is not None
    assert (first.slot, second.slot) == (1, 2)
    assert (third.state, third.reason) == (State.REJECTED, Reason.LIMIT_REACHED)
    assert (other.state, other.slot) == (State.HELD, 1)


def test_an_order_that_ends_frees_its_slot() -> None:
    book = ledger(package(limit_per_customer=1))
    run(book, place("A"))
    run(book, CANCEL)
    order = run(book, place("B")).order
    assert order is not None
    assert (order.state, order.slot) == (State.HELD, 1)


def test_under_a_lowered_limit_every_live_order_of_the_customer_counts() -> None:
    book = ledger(package(quota=9, limit_per_customer=3))
    for order_id in "ABC":
        run(book, place(order_id))
    book.packages[1] = package(quota=9, limit_per_customer=2)
    run(book, CancelOrder(order_id="A"))
    refused = run(book, place("D")).order
    run(book, CancelOrder(order_id="B"))
    held, refused_too = run(book, place("E")).order, run(book, place("F")).order
    assert refused is not None
    assert held is not None
    assert refused_too is not None
    assert refused.reason is Reason.LIMIT_REACHED, "slots 2 and 3 are a limit of 2"
    assert (held.state, held.slot) == (State.HELD, 1)
    assert refused_too.reason is Reason.LIMIT_REACHED, "slots 1 and 3 are too"


def test_without_a_limit_there_are_no_slots() -> None:
    order = run(ledger(), place()).order
    assert order is not None
    assert order.slot is None


# --- the end of a hold ----------------------------------------------------------------------------


@pytest.mark.parametrize("command", [DECLINED, NO_ROOM, CANCEL, EXPIRE], ids=range(4))
def test_whatever_ends_an_order_gives_back_its_unit_and_slot_at_once(command: Command) -> None:
    book = ledger(package(quota=1, limit_per_customer=1))
    run(book, place())
    ended = run(book, command).order
    assert ended is not None
    assert (ended.unit, ended.slot, ended.hold_expires_ms) == (None,) * 3
    assert book.allotments[1].live == 0
    assert run(book, place("B")).order is not None
    assert book.orders["B"].state is State.HELD


def test_an_expiry_before_the_end_of_the_hold_is_not_due() -> None:
    book, order = held()
    early = ExpireHold(order_id="A", at_ms=NOW + HOLD_MS - 1)
    assert run(book, early, now_ms=10**15) == Outcome(Verdict.NOT_DUE, order)
    assert run(book, EXPIRE, now_ms=0).verdict is Verdict.APPLIED, "only the command's time counts"


def test_a_confirmed_order_keeps_its_unit_and_can_no_longer_expire() -> None:
    book, order = held()
    confirmed = run(book, CONFIRMED).order
    assert confirmed is not None
    assert (confirmed.unit, confirmed.hold_expires_ms) == (order.unit, None)
    assert confirmed.flight_ticket_number == "F"
    assert confirmed.hotel_reservation_number == "R"
    assert run(book, EXPIRE).verdict is Verdict.ALREADY_APPLIED


# --- what is owed ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("command", "owed"), [
    (DECLINED, ()), (NO_ROOM, BOTH), (UNREACHABLE, BOTH), (CANCEL, BOTH), (EXPIRE, BOTH),
])  # fmt: skip
def test_an_end_owes_both_parts_as_soon_as_one_may_exist(
    command: Command, owed: tuple[Part, ...]
) -> None:
    # Who reports that the flight may exist does not know of a twin of its job that went on to
    # the room: without the room's tombstone, that room would be booked for nobody.
    book, _ = held()
    order = run(book, command).order
    assert order is not None
    assert order.owed == owed


def test_the_room_is_cancelled_before_the_flight_that_it_needs() -> None:
    assert BOTH == (Part.ROOM, Part.FLIGHT)


@pytest.mark.parametrize("state", [State.FAILED, State.REJECTED])
@pytest.mark.parametrize("report", [CONFIRMED, NO_ROOM])
def test_a_late_report_is_owed_back_once(state: State, report: Command) -> None:
    book = found_in(state)
    late = run(book, report).order
    assert late is not None
    assert (late.state, late.owed) == (state, BOTH)
    assert run(book, report).verdict is Verdict.ALREADY_APPLIED
    run(book, COMPENSATED)
    assert book.orders["A"].compensated
    assert run(book, report).verdict is Verdict.ALREADY_APPLIED, "tombstones stand at the supplier"
    assert book.orders["A"].owed == ()


@pytest.mark.parametrize("report", [CONFIRMED, NO_ROOM])
def test_what_a_late_report_brings_is_owed_since_it_came(report: Command) -> None:
    book = found_in(State.FAILED)
    decided_ms = book.orders["A"].decided_ms
    late = run(book, report, now_ms=NOW + 90_000).order
    assert late is not None
    assert (late.owed_since_ms, late.decided_ms) == (NOW + 90_000, decided_ms)
    cleared = run(book, COMPENSATED).order
    assert cleared is not None
    assert cleared.owed_since_ms is None


def test_an_end_that_owes_says_since_when_and_one_that_does_not_says_nothing() -> None:
    owing, owing_nothing = (run(held()[0], command).order for command in (NO_ROOM, DECLINED))
    assert owing is not None
    assert owing.owed_since_ms == NOW
    assert owing_nothing is not None
    assert owing_nothing.owed_since_ms is None


def test_a_hold_keeps_the_limit_that_it_saw() -> None:
    book = ledger(package(limit_per_customer=2))
    assert run(book, place()).order is not None
    assert book.orders["A"].limit_seen == 2
    ended = run(book, NO_ROOM).order
    assert ended is not None
    assert (ended.slot, ended.limit_seen) == (None, 2)


def test_a_late_report_that_brought_nothing_owes_nothing() -> None:
    assert run(found_in(State.EXPIRED), DECLINED).verdict is Verdict.ALREADY_APPLIED
    assert run(found_in(State.FAILED), DECLINED).verdict is Verdict.ALREADY_APPLIED


def test_a_failure_that_comes_after_the_confirmation_takes_nothing_away() -> None:
    book = found_in(State.CONFIRMED)
    assert run(book, NO_ROOM).verdict is Verdict.ALREADY_APPLIED
    assert book.orders["A"].state is State.CONFIRMED


def test_compensated_clears_what_is_owed_and_nothing_else() -> None:
    book = found_in(State.CANCELLED)
    before = book.orders["A"]
    after = run(book, COMPENSATED).order
    assert after == msgspec.structs.replace(before, owed=(), owed_since_ms=None,
                                            compensated=True)
    assert run(book, COMPENSATED).verdict is Verdict.ALREADY_APPLIED


# --- any sequence ---------------------------------------------------------------------------------


def test_every_reason_can_be_the_reason_of_an_order() -> None:
    """All but the words of a refusal at the door, which no order carries."""
    said = {Reason.INTERNAL_ERROR}  # that of a buried job; see test_booking_consumer.py
    for changes in ({"quota": 0}, {"paused": True}, {"sale_ends_ms": 0}):
        order = run(ledger(package(**changes)), place()).order
        assert order is not None
        said.add(order.reason or Reason.INTERNAL_ERROR)
    limited = ledger(package(limit_per_customer=1))
    run(limited, place())
    for book, command in [
        (limited, place("B")), (ledger(), place(package_id=9)), (held()[0], CANCEL),
        (held()[0], EXPIRE), (held()[0], DECLINED), (held()[0], NO_ROOM), (held()[0], UNREACHABLE),
    ]:  # fmt: skip
        order = run(book, command).order
        assert order is not None
        said.add(order.reason or Reason.INTERNAL_ERROR)
    # What suppliers of hotel rates say; see test_rate_decisions.py.
    assert said == set(Reason) - {Reason.PRICE_CHANGED}


IDS = st.sampled_from(["A", "B", "C", "D", "E"])
EMAILS = st.sampled_from(["x@example.org", "X@example.ORG", "y@example.org"])
PARTS = st.sampled_from([(), (Part.FLIGHT,), BOTH])
ANY_COMMAND = st.one_of(
    st.builds(PlaceOrder, order_id=IDS, package_id=st.sampled_from([1, 1, 2, 9]), email=EMAILS,
              accepted_ms=st.sampled_from([500, 1_000, 1_500])),
    st.builds(CancelOrder, order_id=IDS),
    st.builds(ExpireHold, order_id=IDS, at_ms=st.sampled_from([0, NOW + HOLD_MS, 10**9])),
    st.builds(ReservationConfirmed, order_id=IDS, flight_ticket_number=st.just("F"),
              hotel_reservation_number=st.just("R")),
    st.builds(ReservationFailed, order_id=IDS, reason=st.just(Reason.ROOM_DECLINED),
              may_exist=PARTS),
    st.builds(ReservationCompensated, order_id=IDS),
)  # fmt: skip
# A step is a command, or a change of the first package's quota.
ANY_STEPS = st.lists(st.one_of(ANY_COMMAND, st.integers(0, 4)), max_size=40)


@settings(max_examples=150, deadline=None)
@given(ANY_STEPS)
def test_any_sequence_keeps_the_promises(steps: list[Command | int]) -> None:
    book = Ledger({1: Allotment(), 2: Allotment()})
    book.packages = {
        1: package(quota=3, limit_per_customer=2),
        2: package(facts=msgspec.structs.replace(FACTS, id=2), quota=1, sale_starts_ms=1_000),
    }
    for step in steps:
        if isinstance(step, int):
            book.packages[1] = msgspec.structs.replace(book.packages[1], quota=step)
            continue
        before = book.orders.get(step.order_id)
        live_before = count_live(book, 1)
        once = run(book, step).order
        check_step(before, once)
        check_book(book)
        if count_live(book, 1) > live_before:
            assert count_live(book, 1) <= book.packages[1].quota, "sold beyond the quota"
        again = decide(book, step, NOW + 1, hold_ms=HOLD_MS)
        assert again.verdict is not Verdict.APPLIED, "the second time must change nothing"
        assert again.order == once


def count_live(book: Ledger, package_id: int) -> int:
    return sum(o.state in LIVE and o.package_id == package_id for o in book.orders.values())


def check_step(before: Order | None, after: Order | None) -> None:
    if after is None or before is after:
        return
    was = before.state if before else State.QUEUED
    if after.state is not was:
        assert after.state in TRANSITIONS[was]
        assert after.history[:-1] == (before.history if before else after.history[:1])
        assert after.history[-1].state is after.state
        assert after.history[-1].reason is after.reason


def check_book(book: Ledger) -> None:
    live = [order for order in book.orders.values() if order.state in LIVE]
    units = [(order.package_id, order.unit) for order in live]
    slots = [(o.package_id, o.email.casefold(), o.slot) for o in live if o.slot is not None]
    assert len(set(units)) == len(units)
    assert len(set(slots)) == len(slots)
    for order in live:
        assert order.unit is not None
        assert order.quota_seen is not None
        assert 1 <= order.unit <= order.quota_seen
        assert not order.owed
    for order in book.orders.values():
        if order.state not in LIVE:
            assert (order.unit, order.slot, order.hold_expires_ms) == (None, None, None)
        assert not (order.owed and order.compensated), "owed again after it was compensated"
    for package_id, allotment in book.allotments.items():
        assert allotment.live == count_live(book, package_id)


def test_the_same_commands_give_the_same_orders() -> None:
    ids = [f"O{number}" for number in range(20)]
    random.Random(7).shuffle(ids)
    books = [ledger(package(quota=9)), ledger(package(quota=9))]
    for book in books:
        for order_id in ids:
            run(book, place(order_id))
    assert books[0].orders == books[1].orders
