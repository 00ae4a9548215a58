"""What a retry of a dead letter would do, asked of the rules themselves before anything moves.

A retry must never change what a customer was told to be final. The rules see to that: an order
that ended stays ended, whatever is tried again. So a retry that would change nothing is refused
with words, instead of looking as if it had helped.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from booking import commands
from booking.allotment import Ledger
from booking.commands import (
    Command,
    PlaceOrder,
    PlaceRateOrder,
    ReservationConfirmed,
    ReservationJob,
    Reserve,
    ReserveStay,
)
from booking.dead_letters import DeadLetter
from booking.decisions import Verdict, decide
from booking.model import Order, State
from errors import BrokenJob, NewerJob


class Use(StrEnum):
    """Whether to retry. ASK: only when the operator names the letter, never with --all."""

    USEFUL = "useful"
    ASK = "ask"
    USELESS = "useless"


class Prospect(msgspec.Struct, frozen=True):
    """The answer, and why in plain words."""

    use: Use
    why: str


def prospect(letter: DeadLetter, order: Order | None, now_ms: int) -> Prospect:
    """`order` is the one that the letter's job names, as MongoDB has it now."""
    try:
        if letter.source == "reservations":
            return _reservation(commands.decode_reservation_job(letter.job), order)
        return _booking(commands.decode_command(letter.job), order, now_ms)
    except NewerJob as newer:
        return Prospect(Use.USELESS, f"{newer}: it would stop the consumers; upgrade them first")
    except BrokenJob:
        return Prospect(Use.ASK, "this version cannot read the job, and would bury it again; a "
                                 "retry helps only after an upgrade to one that can")


def _booking(command: Command, order: Order | None, now_ms: int) -> Prospect:
    if isinstance(command, PlaceOrder | PlaceRateOrder):
        return _place(order)
    if order is None:
        if isinstance(command, ReservationConfirmed):
            return Prospect(Use.USEFUL, "no such order is known: its flight and room would be "
                                        "cancelled at the supplier")
        return Prospect(Use.USELESS, "no such order is known, so nothing would change")
    ledger = Ledger({})
    ledger.load([order])
    outcome = decide(ledger, command, now_ms, hold_ms=0)
    after = outcome.order
    if outcome.verdict is not Verdict.APPLIED or after is None:
        return Prospect(Use.USELESS, f"the order is {_words(order)}, and nothing would change")
    if after.state is not order.state:
        return Prospect(Use.USEFUL, f"the order is {_words(order)} and would become {after.state}")
    if after.owed:
        return Prospect(Use.USEFUL, f"the order is {_words(order)}; what was booked for it would "
                                    "be cancelled at the supplier")
    return Prospect(Use.USEFUL, f"the order is {_words(order)}; its owed cancellation would be "
                                "settled")


def _place(order: Order | None) -> Prospect:
    if order is None:
        return Prospect(Use.ASK, "no such order is known: it could not even be written as "
                                 "rejected, or an older backup was restored. A retry decides it "
                                 "now, whatever its customer was told before")
    return Prospect(Use.USELESS, f"the order is {_words(order)}, which is final and was told to "
                                 "its customer; a retry would not bring it back. The customer "
                                 "has to order again")


def _reservation(job: ReservationJob, order: Order | None) -> Prospect:
    if isinstance(job, Reserve | ReserveStay):
        if order is None or order.state is not State.HELD:
            return Prospect(Use.USELESS, f"the order is {_words(order)} and no longer waits for a "
                                         "reservation")
        return Prospect(Use.USEFUL, "the order is held and waits for its reservation")
    if order is not None and not order.owed:
        return Prospect(Use.USELESS, f"the order is {_words(order)} and owes no cancellation")
    return Prospect(Use.USEFUL, "what is booked for the order would be cancelled at the supplier")


def _words(order: Order | None) -> str:
    if order is None:
        return "not known"
    return f"{order.state} ({order.reason})" if order.reason else str(order.state)
