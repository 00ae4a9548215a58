"""Jobs as they stand on the list: round trips, later versions, and what is no job at all."""

from __future__ import annotations

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking import commands
from booking.commands import (
    VERSION,
    CancelOrder,
    Command,
    Compensate,
    ExpireHold,
    PlaceOrder,
    PlaceRateOrder,
    ReservationCompensated,
    ReservationConfirmed,
    ReservationFailed,
    ReservationJob,
    Reserve,
    ReserveStay,
)
from booking.model import STAY_ONLY, Guest, Part, Reason
from errors import BrokenJob, NewerJob
from tests.rate_orders import OFFER

COMMANDS: list[Command] = [
    PlaceOrder(order_id="A", package_id=7, email="gül@example.org", accepted_ms=1_700_000_000_123),
    PlaceRateOrder(order_id="A", rate=OFFER, email="gül@example.org",
                   guest=Guest("Gül", "Ada"), accepted_ms=1_700_000_000_123),
    ReservationConfirmed(order_id="A", hotel_reservation_number="R1", supplier="hotelbeds"),
    ReservationFailed(order_id="A", reason=Reason.PRICE_CHANGED, may_exist=STAY_ONLY,
                      supplier="hotelbeds"),
    CancelOrder(order_id="A"),
    ExpireHold(order_id="A", at_ms=5),
    ReservationConfirmed(order_id="A", flight_ticket_number="F1", hotel_reservation_number="R1"),
    ReservationFailed(order_id="A", reason=Reason.ROOM_DECLINED, may_exist=(Part.FLIGHT,)),
    ReservationFailed(order_id="A", reason=Reason.FLIGHT_DECLINED),
    ReservationCompensated(order_id="A"),
]
RESERVATION_JOBS: list[ReservationJob] = [
    Reserve(order_id="A", flight="Flight-1", stay="2022-08-09"),
    Compensate(order_id="A", parts=(Part.ROOM, Part.FLIGHT)),
    ReserveStay(order_id="A", rate=OFFER),
    Compensate(order_id="A", parts=STAY_ONLY, supplier="hotelbeds"),
]
WORDS = {
    "place_order", "place_rate_order", "cancel_order", "expire_hold", "reservation_confirmed",
    "reservation_failed", "reservation_compensated",
}  # fmt: skip
# Bytes that no version of anything wrote. The last ones break decoders, not only schemas.
BROKEN = [
    b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"type":"no_such_command","order_id":"A"}',
    b'{"type":"cancel_order"}', b'{"order_id":"A"}', b'{"type":"cancel_order","order_id":7}',
    b'{"type":"cancel_order","order_id":"\xff"}', b'{"type":"cancel_order","order_id":"\\ud800"}',
    b'{"type":"cancel_order","order_id":"A","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"type":"cancel_order","order_id":"A","v":"2"}',
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: type(c).__name__)
def test_commands_round_trip(command: Command) -> None:
    assert commands.decode_command(commands.encode(command)) == command


@pytest.mark.parametrize("job", RESERVATION_JOBS, ids=lambda j: type(j).__name__)
def test_reservation_jobs_round_trip(job: ReservationJob) -> None:
    assert commands.decode_reservation_job(commands.encode(job)) == job


def test_the_words_on_the_list_are_those_that_running_systems_hold() -> None:
    written = {json.loads(commands.encode(command))["type"] for command in COMMANDS}
    assert written == WORDS
    assert len(WORDS) == len(msgspec.inspect.type_info(Command).types)  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", ["", ',"v":1', ',"v":2'])
def test_jobs_of_all_versions_before_are_read(version: str) -> None:
    raw = f'{{"type":"cancel_order","order_id":"A"{version}}}'.encode()
    assert isinstance(commands.decode_command(raw), CancelOrder)


@pytest.mark.parametrize("job", [*COMMANDS, *RESERVATION_JOBS], ids=lambda j: type(j).__name__)
def test_a_consumer_of_the_version_before_stops_at_whatever_is_written_now(
    job: Command | ReservationJob
) -> None:
    """It would cancel the flight of an order of a rate, and never its stay."""
    assert json.loads(commands.encode(job))["v"] == 2


def test_an_open_job_of_a_rate_becomes_whole_by_the_moment_that_the_script_adds() -> None:
    guest = Guest("Ada", "")
    raw = commands.open_place_rate_order("A", OFFER, "a@example.org", guest)
    assert commands.decode_command(raw + b'"accepted_ms":5}') == PlaceRateOrder(
        order_id="A", rate=OFFER, email="a@example.org", guest=guest, accepted_ms=5
    )


@pytest.mark.parametrize("raw", BROKEN, ids=range(len(BROKEN)))
@pytest.mark.parametrize("decode", [commands.decode_command, commands.decode_reservation_job])
def test_what_is_no_job_is_broken_not_a_crash(raw: bytes, decode) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BrokenJob):
        decode(raw)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_job_or_broken_or_newer(raw: bytes) -> None:
    with contextlib.suppress(BrokenJob, NewerJob):
        commands.decode_command(raw)


@pytest.mark.parametrize("body", [
    {"type": "cancel_order", "order_id": "A"},
    {"type": "a_command_of_tomorrow", "order_id": "A", "more": [1]},
    {"type": "place_order", "order": "of another shape"},
])  # fmt: skip
def test_a_later_version_is_known_by_its_number_before_its_shape(body: dict[str, object]) -> None:
    raw = json.dumps({**body, "v": VERSION + 1}).encode()
    with pytest.raises(NewerJob):
        commands.decode_command(raw)
    with pytest.raises(NewerJob):
        commands.decode_reservation_job(raw)


@pytest.mark.parametrize("email", ["a@example.org", 'quo"te\\@example.org', "ünï@例え.jp", "{}@x"])
def test_an_open_job_becomes_whole_by_the_moment_that_the_script_adds(email: str) -> None:
    raw = commands.open_place_order("A", 3, email) + b'"accepted_ms":1700000000123}'
    assert commands.decode_command(raw) == PlaceOrder(
        order_id="A", package_id=3, email=email, accepted_ms=1_700_000_000_123
    )
