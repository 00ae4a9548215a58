"""From the door to finding the order again: with its id and its e-mail, never with one alone."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest
import redis
from redis.connection import AbstractConnection
from ulid import ULID

from booking import commands
from booking.commands import CancelOrder, PlaceOrder, ReservationConfirmed
from booking.intake import Accepted, KeyReused, Overloaded, new_order_id
from booking.lookup import OrderLookup, OrderView
from booking.model import Reason, State
from bootstrap import connect_valkey
from errors import EngineAway
from queues.keys import BOOKING
from tests.booking_world import World, package
from tests.traps import Hurried

ANN = "Ann@example.org"


class Desk:
    """The door, the consumer and the look-up of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lookup = OrderLookup(world.valkey, world.store)
        self.consumer = world.consumer(stop=Hurried())
        world.sell(package(1, 2))
        self.consumer.step()

    def order(self, email: str = ANN) -> str:
        return self.world.intake.accept(1, email, None).order_id

    def settle(self) -> None:
        self.world.settle(self.consumer)

    def find(self, order_id: str, email: str = ANN) -> OrderView:
        view = self.lookup.find(order_id, email)
        assert view is not None
        return view


@pytest.fixture
def desk(world: World) -> Desk:
    return Desk(world)


# --- the door -------------------------------------------------------------------------------------


def test_what_the_door_queues_is_the_job_that_the_consumer_reads(desk: Desk) -> None:
    order_id = desk.order()
    [raw] = desk.world.valkey.lrange(BOOKING.jobs, 0, -1)
    accepted_ms = int(desk.world.status(order_id)["accepted_ms"])
    assert commands.decode_command(raw) == PlaceOrder(
        order_id=order_id, package_id=1, email=ANN, accepted_ms=accepted_ms
    )


def test_an_order_is_one_round_trip(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.order()  # the server knows the script from here on
    sent: list[Any] = []
    real = AbstractConnection.send_packed_command
    monkeypatch.setattr(
        AbstractConnection, "send_packed_command",
        lambda self, command, **more: (sent.append(command), real(self, command, **more)),
    )
    desk.world.intake.accept(1, ANN, "key")
    assert len(sent) == 1


def test_order_ids_are_ulids_and_sort_by_their_moment(desk: Desk) -> None:
    ids = [desk.order() for _ in range(2)]
    assert [str(ULID.from_str(order_id)) for order_id in ids] == ids
    moments = [ULID.from_str(order_id).timestamp for order_id in ids]
    assert moments == sorted(moments)


def test_an_order_id_says_nothing_of_the_one_beside_it() -> None:
    """Orders of one millisecond among them: a neighbour's id and address would be a way in."""
    numbers = [int(ULID.from_str(new_order_id())) for _ in range(2_000)]
    assert min(abs(b - a) for a, b in zip(numbers, numbers[1:], strict=False)) > 2**32


def test_an_accepted_order_survives_the_end_of_every_process(desk: Desk) -> None:
    """All of it is in Valkey, under appendfsync always, before the answer is given."""
    order_id = desk.order()
    assert desk.world.valkey.config_get("appendfsync") == {"appendfsync": "always"}
    stranger = desk.world.consumer("after-a-restart", stop=Hurried())
    desk.world.lease_runs_out()
    desk.world.settle(stranger)
    assert desk.world.order(order_id).state is State.HELD


def test_a_full_valkey_still_knows_the_first_answer_to_a_key(desk: Desk) -> None:
    """Nobody is told that nothing was ordered who asks again for what was accepted."""
    intake = desk.world.intake
    first = intake.accept(1, ANN, "key")
    desk.world.valkey.config_set("maxmemory", 1)
    try:
        assert intake.accept(1, ANN, "key") == Accepted(first.order_id, replayed=True)
        with pytest.raises(KeyReused):
            intake.accept(1, "bob@example.org", "key")
        with pytest.raises(Overloaded):
            intake.accept(1, ANN, "another key")
    finally:
        desk.world.valkey.config_set("maxmemory", "256mb")


def test_a_full_valkey_is_an_overload_not_an_error(desk: Desk) -> None:
    desk.world.valkey.config_set("maxmemory", 1)
    try:
        with pytest.raises(Overloaded):
            desk.order()
        desk.world.intake.cancel("A")
        desk.settle()
    finally:
        desk.world.valkey.config_set("maxmemory", "256mb")
    assert desk.world.orders() == {}


# --- finding an order again -----------------------------------------------------------------------


def test_a_queued_order_shows_its_place_and_what_was_ordered(desk: Desk) -> None:
    first, second = desk.order(), desk.order("bob@example.org")
    view = desk.find(second, "bob@example.org")
    assert (view.state, view.position, view.decided_at) == (State.QUEUED, 2, None)
    assert view.package is not None
    assert (view.package.id, view.package.price) == (1, "49.90")
    assert [line.state for line in view.history] == [State.QUEUED]
    assert desk.find(first).position == 1


def test_the_place_moves_up_as_orders_are_decided(desk: Desk) -> None:
    ids = [desk.order() for _ in range(4)]
    small = desk.world.consumer("small", batch_max=2, stop=Hurried())
    desk.consumer.leave()
    small.step()
    assert [desk.find(order_id).position for order_id in ids] == [None, None, 1, 2]


def test_a_decided_order_shows_all_that_happened(desk: Desk) -> None:
    order_id = desk.order()
    desk.settle()
    desk.world.push(ReservationConfirmed(order_id=order_id, flight_ticket_number="F",
                                         hotel_reservation_number="R"))  # fmt: skip
    desk.settle()
    view = desk.find(order_id)
    order = desk.world.order(order_id)
    assert (view.state, view.flight_ticket_number, view.hotel_reservation_number) == (
        State.CONFIRMED, "F", "R",
    )
    assert view.position is None
    assert view.package == order.package
    assert [line.state for line in view.history] == [
        State.QUEUED, State.HELD, State.CONFIRMED,
    ]
    assert view.accepted_at == dt.datetime.fromtimestamp(order.accepted_ms / 1_000, dt.UTC)
    assert view.decided_at == view.history[-1].at
    assert all(line.at.tzinfo for line in view.history)


def test_a_rejected_order_says_why(desk: Desk) -> None:
    ids = [desk.order() for _ in range(3)]
    desk.settle()
    view = desk.find(ids[2])
    assert (view.state, view.reason) == (State.REJECTED, Reason.SOLD_OUT)
    assert view.history[-1].reason is Reason.SOLD_OUT


@pytest.mark.parametrize("given", ["ann@EXAMPLE.org", "  Ann@example.org ", ANN])
@pytest.mark.parametrize("settled", [False, True])
def test_the_address_is_compared_as_people_type_it(desk: Desk, given: str, settled: bool) -> None:
    order_id = desk.order()
    if settled:
        desk.settle()
    assert desk.find(order_id, given).order_id == order_id
    assert desk.find(f" {order_id.lower()} ", given).order_id == order_id


@pytest.mark.parametrize("settled", [False, True])
def test_a_wrong_id_and_a_wrong_address_look_the_same(desk: Desk, settled: bool) -> None:
    order_id = desk.order()
    if settled:
        desk.settle()
    misses = [
        (order_id, "bob@example.org"), (order_id, ""), (str(ULID()), ANN), ("", ANN),
        ("A" * 1_000, ANN), ("../../etc", ANN), ('{"$gt":""}', ANN), (order_id + "\n0", ANN),
        (order_id, "\ud800"),
    ]  # fmt: skip
    assert [desk.lookup.find(*miss) for miss in misses] == [None] * len(misses)


def test_an_order_is_found_after_its_status_expired(desk: Desk) -> None:
    order_id = desk.order()
    desk.settle()
    desk.world.push(CancelOrder(order_id=order_id))
    desk.settle()
    desk.world.valkey.delete(BOOKING.status(order_id))
    assert desk.find(order_id).state is State.CANCELLED


def test_an_order_is_queued_until_it_is_told_even_when_it_is_written(desk: Desk) -> None:
    order_id = desk.order()
    desk.settle()
    desk.world.valkey.hset(BOOKING.status(order_id), "state", "queued")
    assert desk.find(order_id).state is State.QUEUED


def test_without_an_engine_it_says_away_and_not_unknown(desk: Desk) -> None:
    settings = desk.world.settings
    gone = connect_valkey(msgspec.structs.replace(
        settings, redis_url=f"redis://127.0.0.1:{settings.port}/0"
    ))
    with pytest.raises(EngineAway):
        OrderLookup(gone, desk.world.store).find(str(ULID()), ANN)


def test_a_client_of_valkey_never_repeats_a_call_by_itself(valkey: redis.Redis) -> None:
    """An answer that was lost is the caller's to judge: most scripts are not repeatable."""
    retry = valkey.get_connection_kwargs()["retry"]
    assert retry.get_retries() == 0
