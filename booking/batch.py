"""A batch of commands, decided one by one in memory and folded to one write per order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from booking.allotment import Ledger
from booking.commands import (
    Command,
    Compensate,
    PlaceOrder,
    PlaceRateOrder,
    ReservationConfirmed,
    ReservationFailed,
    ReservationJob,
    Reserve,
    ReserveStay,
)
from booking.decisions import Outcome, Verdict, decide
from booking.model import COMPENSATION_ORDER, FINAL, STAY_ONLY, Customer, Order, State


class Status(msgspec.Struct, frozen=True, array_like=True):
    """What is told of an order: the words of its state, and whether it may be forgotten."""

    order_id: str
    state: str
    reason: str
    final: bool


class Decided(msgspec.Struct, frozen=True):
    """What a batch wants written (as loaded or None, as decided) and told."""

    changed: list[tuple[Order | None, Order]]
    statuses: list[Status]
    reservations: list[ReservationJob]


class Named(msgspec.Struct, frozen=True):
    """What a batch names, so that all of it is read in one query each.

    `known_ids` are those orders that it does not place itself, before anything else.
    """

    order_ids: set[str]
    known_ids: set[str]
    package_ids: set[int]
    customers: set[Customer]


def named(commands: Iterable[Command]) -> Named:
    """The orders, packages and customers that deciding will look at."""
    order_ids: set[str] = set()
    known_ids: set[str] = set()
    package_ids: set[int] = set()
    customers: set[Customer] = set()
    for command in commands:
        placing = type(command) is PlaceOrder or type(command) is PlaceRateOrder
        if not placing and command.order_id not in order_ids:
            known_ids.add(command.order_id)
        order_ids.add(command.order_id)
        if type(command) is PlaceOrder:
            package_ids.add(command.package_id)
            customers.add((command.package_id, command.email.casefold()))
    return Named(order_ids, known_ids, package_ids, customers)


def decide_batch(
    ledger: Ledger, commands: Sequence[Command], now_ms: int, *, hold_ms: int
) -> Decided:
    """Decide all commands in their order.

    What is already applied is told again as it stands, and what it asks of the supplier is asked
    again: the first telling may have been lost in a crash. The supplier's keys make that harmless.
    """
    touched: dict[str, Outcome] = {}
    placed: set[str] = set()
    orphans: list[ReservationJob] = []
    for command in commands:
        outcome = decide(ledger, command, now_ms, hold_ms=hold_ms)
        if outcome.order is None:
            if isinstance(command, ReservationConfirmed) or (
                isinstance(command, ReservationFailed) and command.may_exist
            ):
                # A reservation for an order that nobody knows, as after a restore of an old
                # backup: there is no order to owe it, so it is undone at once.
                orphans.append(Compensate(
                    order_id=command.order_id, supplier=command.supplier,
                    parts=STAY_ONLY if command.supplier else COMPENSATION_ORDER,
                ))
            continue
        if outcome.verdict is Verdict.APPLIED:
            ledger.apply(outcome.order)
        touched[command.order_id] = outcome
        if type(command) is PlaceOrder or type(command) is PlaceRateOrder:
            placed.add(command.order_id)
    orders = [outcome.order for outcome in touched.values() if outcome.order is not None]
    return Decided(
        changed=ledger.changed(),
        statuses=[status(order) for order in orders],
        reservations=orphans + follow_ups(orders, placed),
    )


def follow_ups(orders: Iterable[Order], placed: set[str]) -> list[ReservationJob]:
    """What the orders ask of the supplier as they stand after the batch."""
    jobs: list[ReservationJob] = []
    for order in orders:
        if order.state is State.HELD and order.order_id in placed:
            if order.package is not None:
                jobs.append(Reserve(order_id=order.order_id, flight=order.package.flight,
                                    stay=order.package.stay))
            elif order.rate is not None:
                jobs.append(ReserveStay(order_id=order.order_id, rate=order.rate))
        elif order.owed:
            supplier = order.rate.facts.supplier if order.rate else ""
            jobs.append(Compensate(order_id=order.order_id, parts=order.owed, supplier=supplier))
    return jobs


def status(order: Order) -> Status:
    """What the status key says of an order."""
    return Status(order.order_id, order.state._value_,
                  order.reason._value_ if order.reason else "", order.state in FINAL)
