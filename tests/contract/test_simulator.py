"""What the simulator promises to the system that takes it for the outside world."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
import requests

from tests.simulator_fixtures import ROOT, SimulatorProcess, running_simulator

ACCEPT_ALL = {"FLIGHT_FAILURE_RATE": "0", "ROOM_FAILURE_RATE": "0"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    """One process for the tests that change nothing but keys of their own."""
    with running_simulator(tmp_path_factory.mktemp("simulator"), **ACCEPT_ALL) as simulator:
        yield simulator


def new_key() -> str:
    return uuid4().hex


def refusal(answer: requests.Response) -> tuple[int, str]:
    assert answer.headers["Content-Type"] == "application/problem+json", answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["title"]
    assert document["detail"]
    return answer.status_code, document["reason"]


# --- reserving and cancelling -----------------------------------------------------------------


def test_a_flight_then_its_room_are_reserved(shared: SimulatorProcess) -> None:
    key = new_key()
    flight = shared.flight(key)
    assert flight.status_code == 201
    ticket = flight.json()["flight_ticket_number"]
    room = shared.room(key, ticket)
    assert room.status_code == 201
    assert room.json()["hotel_reservation_number"] != ticket


def test_a_repetition_gets_the_first_answer(shared: SimulatorProcess) -> None:
    key = new_key()
    first = shared.flight(key)
    with ThreadPoolExecutor(8) as pool:
        repeated = list(pool.map(lambda _: shared.flight(key), range(16)))
    assert {answer.status_code for answer in repeated} == {201}
    assert {answer.text for answer in repeated} == {first.text}


def test_simultaneous_first_calls_make_one_reservation(shared: SimulatorProcess) -> None:
    key = new_key()
    start = threading.Barrier(16)

    def reserve(_: int) -> str:
        start.wait(10)
        return shared.flight(key).json()["flight_ticket_number"]

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(reserve, range(16)))) == 1


def test_a_key_cannot_be_used_for_another_order(shared: SimulatorProcess) -> None:
    key = new_key()
    assert shared.flight(key, flight="Flight-1").status_code == 201
    assert refusal(shared.flight(key, flight="Flight-2")) == (422, "idempotency_mismatch")


@pytest.mark.parametrize("ticket", ["F-NEVERISSUED", "H-WRONGROAD"])
def test_a_room_needs_a_ticket_that_was_issued(shared: SimulatorProcess, ticket: str) -> None:
    assert refusal(shared.room(new_key(), ticket)) == (422, "unknown_flight_ticket")


def test_a_hotel_number_is_no_flight_ticket(shared: SimulatorProcess) -> None:
    key = new_key()
    ticket = shared.flight(key).json()["flight_ticket_number"]
    number = shared.room(key, ticket).json()["hotel_reservation_number"]
    assert refusal(shared.room(new_key(), number)) == (422, "unknown_flight_ticket")


def test_a_cancelled_ticket_buys_no_room_but_old_answers_are_repeated(
    shared: SimulatorProcess,
) -> None:
    key = new_key()
    ticket = shared.flight(key).json()["flight_ticket_number"]
    room = shared.room(key, ticket)
    assert shared.cancel("flights", key).status_code == 204
    assert refusal(shared.room(new_key(), ticket)) == (422, "unknown_flight_ticket")
    assert shared.room(key, ticket).text == room.text
    assert shared.cancel("hotels", key).status_code == 204


@pytest.mark.parametrize("word", ["flights", "hotels"])
def test_a_cancellation_of_nothing_refuses_the_request_that_arrives_later(
    shared: SimulatorProcess, word: str
) -> None:
    key = new_key()
    for _ in range(3):
        assert shared.cancel(word, key).status_code == 204
    late = shared.flight(key) if word == "flights" else shared.room(key, "F-ANY")
    assert refusal(late) == (410, "cancelled")
    [entry] = shared.book(word, after=key[:-1], limit=1)["reservations"]
    assert (entry["key"], entry["state"], entry["number"]) == (key, "cancelled", None)


def test_a_cancelled_flight_stays_cancelled(shared: SimulatorProcess) -> None:
    key = new_key()
    ticket = shared.flight(key).json()["flight_ticket_number"]
    assert shared.cancel("flights", key).status_code == 204
    assert refusal(shared.flight(key)) == (410, "cancelled")
    assert shared.cancel("flights", key).status_code == 204
    [entry] = shared.book("flights", after=key[:-1], limit=1)["reservations"]
    assert (entry["state"], entry["number"]) == ("cancelled", ticket)


# --- declining --------------------------------------------------------------------------------


def outcomes(simulator: SimulatorProcess, keys: list[str]) -> dict[str, tuple[int, str]]:
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(simulator.flight, keys)
        return {key: (answer.status_code, answer.text)
                for key, answer in zip(keys, answers, strict=True)}


def test_about_half_is_declined_by_seed_and_key(tmp_path: Path) -> None:
    keys = [f"order-{number}" for number in range(400)]
    by_seed = {}
    for name, seed in (("a", "one"), ("b", "one"), ("c", "two")):
        data_dir = tmp_path / name
        data_dir.mkdir()
        with running_simulator(data_dir, SIMULATOR_SEED=seed) as simulator:
            by_seed[name] = outcomes(simulator, keys)
    assert by_seed["a"] == by_seed["b"]
    assert by_seed["a"] != by_seed["c"]
    for answers in by_seed.values():
        statuses = [status for status, _ in answers.values()]
        assert set(statuses) == {201, 409}
        assert 140 < statuses.count(409) < 260  # six standard deviations around 200


def test_a_decline_says_why_and_is_repeated_whatever_the_rate_is_later(
    shared: SimulatorProcess,
) -> None:
    key, ticket_key = new_key(), new_key()
    ticket = shared.flight(ticket_key).json()["flight_ticket_number"]
    assert shared.switch(flight_failure_rate=1, room_failure_rate=1).status_code == 200
    try:
        declined = shared.flight(key)
        assert refusal(declined) == (409, "flight_declined")
        assert refusal(shared.room(key, ticket)) == (409, "room_declined")
    finally:
        assert shared.switch(flight_failure_rate=0, room_failure_rate=0).status_code == 200
    assert shared.flight(key).text == declined.text
    assert refusal(shared.room(key, ticket)) == (409, "room_declined")


def test_kill_9_and_a_restart_change_no_answer(tmp_path: Path) -> None:
    keys = [f"order-{number}" for number in range(200)]
    with running_simulator(tmp_path) as simulator:
        first = outcomes(simulator, keys)
        tickets = {key: json.loads(text)["flight_ticket_number"]
                   for key, (status, text) in first.items() if status == 201}
        gone = next(iter(tickets))
        simulator.cancel("flights", gone)
        simulator.cancel("flights", "never-asked")
        simulator.kill()
        simulator.start()
        # A rate of 1 would decline all of them, had the book forgotten any.
        assert simulator.switch(flight_failure_rate=1).status_code == 200
        again = outcomes(simulator, [key for key in keys if key != gone])
        assert again == {key: first[key] for key in again}
        assert refusal(simulator.flight(gone)) == (410, "cancelled")
        assert refusal(simulator.flight("never-asked")) == (410, "cancelled")
        assert refusal(simulator.room(gone, tickets[gone])) == (422, "unknown_flight_ticket")


def test_what_was_answered_under_load_survives_kill_9(tmp_path: Path) -> None:
    with running_simulator(tmp_path, **ACCEPT_ALL) as simulator:
        answered: dict[str, str] = {}

        def reserve_until_killed(thread: int) -> None:
            number = 0
            while True:
                key = f"{thread}-{number}"
                try:
                    answer = simulator.flight(key)
                except requests.RequestException:
                    return
                answered[key] = answer.text
                number += 1

        with ThreadPoolExecutor(8) as pool:
            for thread in range(8):
                pool.submit(reserve_until_killed, thread)
            deadline = time.monotonic() + 20
            while len(answered) < 100 and time.monotonic() < deadline:
                time.sleep(0.01)
            simulator.kill()
        assert len(answered) >= 100
        simulator.start()
        entries = simulator.book("flights", limit=5_000)["reservations"]
        numbers = {entry["key"]: entry["number"] for entry in entries}
        lost = [key for key, text in answered.items() if f'"{numbers.get(key)}"' not in text]
        assert lost == []


def test_two_processes_on_one_book_give_the_same_answers(tmp_path: Path) -> None:
    # This happens for a moment when a server was killed and its worker is not yet gone.
    with running_simulator(tmp_path) as one, running_simulator(tmp_path) as two, \
            ThreadPoolExecutor(16) as pool:
        for number in range(100):
            calls = [pool.submit(simulator.flight, f"order-{number}")
                     for simulator in (one, two) * 4]
            answers = {(call.result(20).status_code, call.result().text) for call in calls}
            assert len(answers) == 1
            assert answers.pop()[0] in (201, 409)


# --- conduct ----------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Iterator[SimulatorProcess]:
    """A process of the test's own, whose conduct it may change."""
    with running_simulator(tmp_path, **ACCEPT_ALL) as simulator:
        yield simulator


def test_conduct_is_switched_while_it_runs(own: SimulatorProcess) -> None:
    settings = f"{own.url}/api/simulator/settings"
    shown = requests.get(settings, timeout=5).json()
    # The vendors of rates are switched in the same place; their own tests look at them.
    assert set(shown.pop("vendors")) == {
        "hotelbeds", "expedia_rapid", "duffel_stays", "ascenda", "perhotel"}
    assert shown == {
        "latency_ms_min": 0, "latency_ms_max": 0, "fault_rate": 0.0, "lost_answer_rate": 0.0,
        "flight_failure_rate": 0.0, "room_failure_rate": 0.0,
    }
    assert own.switch(latency_ms_min=200, latency_ms_max=300).json()["latency_ms_max"] == 300
    assert requests.get(settings, timeout=5).json()["latency_ms_min"] == 200
    begun = time.monotonic()
    assert own.flight(new_key()).status_code == 201
    assert time.monotonic() - begun >= 0.2


@pytest.mark.parametrize("fields", [
    {"fault_rate": 1.5}, {"fault_rate": -0.1}, {"fault_rate": "often"}, {"fault_rate": None},
    {"latency_ms_min": 60_001}, {"latency_ms_min": 1.5}, {"latency_ms_min": 10},
    {"unheard_of": 1}, {"fault_rate": 0.5, "latency_ms_max": -1}, {"fault_rate": [[1]]},
])
def test_conduct_out_of_bounds_is_refused_and_nothing_changes(
    shared: SimulatorProcess, fields: dict[str, object]
) -> None:
    settings = f"{shared.url}/api/simulator/settings"
    before = requests.get(settings, timeout=5).json()
    assert refusal(shared.switch(**fields)) == (422, "invalid_request")
    assert requests.get(settings, timeout=5).json() == before


def test_a_fault_does_nothing_and_comes_with_and_without_retry_after(
    own: SimulatorProcess,
) -> None:
    own.switch(fault_rate=1)
    answers = [own.flight(new_key()) for _ in range(60)]
    answers += [own.cancel("flights", "kept")]
    assert {refusal(answer) for answer in answers} == {(503, "fault")}
    assert {answer.headers.get("Retry-After") for answer in answers} == {None, "1"}
    assert own.book("flights")["reservations"] == []


def test_faults_are_drawn_for_each_call_and_not_by_key(own: SimulatorProcess) -> None:
    own.switch(fault_rate=0.5)
    assert {own.flight("same").status_code for _ in range(60)} == {201, 503}


def test_a_lost_answer_has_been_booked(own: SimulatorProcess) -> None:
    own.switch(lost_answer_rate=1)
    assert refusal(own.flight("lost")) == (504, "lost_answer")
    own.switch(lost_answer_rate=0)
    [entry] = own.book("flights")["reservations"]
    assert entry["state"] == "booked"
    assert own.flight("lost").json() == {"flight_ticket_number": entry["number"]}


# --- the auditor's view -----------------------------------------------------------------------


def test_an_auditor_pages_through_the_whole_book(own: SimulatorProcess) -> None:
    keys = sorted(f"order-{number}" for number in range(25))
    tickets = {key: own.flight(key).json()["flight_ticket_number"] for key in keys}
    assert own.room(keys[3], tickets[keys[3]]).status_code == 201
    own.cancel("flights", keys[0])
    seen: list[dict[str, str]] = []
    after: str | None = ""
    while after is not None:
        page = own.book("flights", after=after, limit=10)
        assert len(page["reservations"]) <= 10
        seen += page["reservations"]
        after = page["next_after"]
    assert [entry["key"] for entry in seen] == keys
    assert {entry["key"]: entry["number"] for entry in seen} == tickets
    assert [entry["state"] for entry in seen] == ["cancelled"] + ["booked"] * 24
    [room] = own.book("hotels")["reservations"]
    assert room["key"] == keys[3]
    assert room["flight_ticket_number"] == tickets[keys[3]]


@pytest.mark.parametrize("query", [
    {"limit": 0}, {"limit": 5_001}, {"limit": "all"}, {"after": "x" * 101},
])
def test_a_page_out_of_bounds_is_refused(
    shared: SimulatorProcess, query: dict[str, object]
) -> None:
    answer = requests.get(f"{shared.url}/api/flights/reservations", params=query, timeout=5)
    assert refusal(answer) == (422, "invalid_request")


# --- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(("body", "status"), [
    (b"{", 400), (b"", 400), (b"\xff\xfe", 400), (b'{"flight": "\xff", "stay": "x"}', 400),
    (b"[" * 8_000, 422), (b"null", 422), (b"[]", 422), (b"{}", 422),
    (b'{"flight": 1, "stay": "x"}', 422), (b'{"flight": "", "stay": "x"}', 422),
    (b'{"flight": "F", "stay": "x", "more": 1}', 422),
    (b'{"flight": "a\\u0000b", "stay": "x"}', 422),
    (b'{"flight": "a\\nb", "stay": "x"}', 422),
    (b'{"flight": "\\ud800", "stay": "x"}', 400),
    (b'{"flight": "' + b"x" * 201 + b'", "stay": "x"}', 422),
    (b'{"flight": "' + b"x" * 20_000 + b'", "stay": "x"}', 413),
])
def test_a_bad_body_is_refused(shared: SimulatorProcess, body: bytes, status: int) -> None:
    answer = requests.post(
        f"{shared.url}/api/flights/reservations", data=body, timeout=5,
        headers={"Content-Type": "application/json", "Idempotency-Key": new_key()},
    )
    assert refusal(answer) == (status, "invalid_request")


@pytest.mark.parametrize("key", [None, "x" * 101, "with space", ".hidden", "a/b"])
def test_a_bad_key_is_refused(shared: SimulatorProcess, key: str | None) -> None:
    answer = requests.post(
        f"{shared.url}/api/flights/reservations", json={"flight": "F", "stay": "x"}, timeout=5,
        headers={} if key is None else {"Idempotency-Key": key},
    )
    assert refusal(answer) == (422, "invalid_request")


def test_other_refusals_are_problems_too(shared: SimulatorProcess) -> None:
    url = f"{shared.url}/api/flights/reservations"
    assert refusal(requests.post(url, data="x", timeout=5)) == (415, "invalid_request")
    assert refusal(requests.put(url, timeout=5)) == (405, "invalid_request")
    assert refusal(requests.get(f"{shared.url}/nothing", timeout=5)) == (404, "invalid_request")
    assert refusal(shared.cancel("flights", "x" * 101)) == (422, "invalid_request")


# --- the process ------------------------------------------------------------------------------


def test_sigterm_ends_it_with_0_while_a_slow_answer_is_under_way(own: SimulatorProcess) -> None:
    own.switch(latency_ms_min=60_000, latency_ms_max=60_000)
    body = b'{"flight": "F", "stay": "x"}'
    with socket.create_connection(("127.0.0.1", own.port), timeout=10) as slow:
        slow.sendall(b"POST /api/flights/reservations HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\n"
                     b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                     % (len(body), body))
        # Connections are accepted in turn: once this one is answered, the slow one is at work.
        assert requests.get(f"{own.url}/healthz", timeout=5).status_code == 200
        begun = time.monotonic()
        assert own.terminate() == 0
        assert time.monotonic() - begun < 30, "it waits for no answer of a minute"
        with suppress(ConnectionResetError):
            assert slow.recv(1_000) == b""


def test_help_and_bad_settings() -> None:
    command = [sys.executable, "-m", "suppliers.simulator"]
    told = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, timeout=20,
                          check=True)
    assert b"SIMULATOR_PORT" in told.stdout
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=20, check=False,
                             env={"FLIGHT_FAILURE_RATE": "2"})
    assert refused.returncode == 2
    assert b"FLIGHT_FAILURE_RATE" in refused.stderr
