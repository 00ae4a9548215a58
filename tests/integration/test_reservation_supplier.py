"""The client of the supplier of flights and rooms, against the real simulator process, and
against small servers that misbehave in ways that the simulator cannot."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from errors import SupplierAway, SupplierDeclined
from suppliers.reservations import ReservationSupplier
from tests.simulator_fixtures import SimulatorProcess, free_port, running_simulator

TICKET = b'{"flight_ticket_number": "F-1"}'
# What a machine under load may add to a bound; a missing bound shows as many seconds.
SLACK_S = 15.0


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    with running_simulator(
        tmp_path, FLIGHT_FAILURE_RATE="0", ROOM_FAILURE_RATE="0"
    ) as process:
        yield process


def client(url: str, **options: Any) -> ReservationSupplier:
    chosen = {"timeout_s": 5.0, "attempts": 4, "backoff_max_s": 0.05, "pool_size": 16, **options}
    return ReservationSupplier(url, **chosen)


def states(simulator: SimulatorProcess, word: str) -> dict[str, str]:
    entries = simulator.book(word, limit=5_000)["reservations"]
    return {entry["key"]: entry["state"] for entry in entries}


# --- against the simulator --------------------------------------------------------------------


def test_flight_and_room_are_reserved_and_cancelled(simulator: SimulatorProcess) -> None:
    supplier = client(simulator.url)
    ticket = supplier.reserve_flight("order-1", "Flight-1", "2022-08-09")
    number = supplier.reserve_room("order-1", ticket, "2022-08-09")
    assert supplier.reserve_flight("order-1", "Flight-1", "2022-08-09") == ticket
    assert supplier.reserve_room("order-1", ticket, "2022-08-09") == number
    for _ in range(2):
        supplier.cancel_room("order-1")
        supplier.cancel_flight("order-1")
    assert states(simulator, "hotels") == {"order-1": "cancelled"}
    assert states(simulator, "flights") == {"order-1": "cancelled"}
    with pytest.raises(SupplierDeclined) as refused:
        supplier.reserve_flight("order-1", "Flight-1", "2022-08-09")
    assert refused.value.reason == "cancelled"


def test_declines_and_refusals_carry_their_reason(simulator: SimulatorProcess) -> None:
    supplier = client(simulator.url)
    ticket = supplier.reserve_flight("order-0", "Flight-1", "2022-08-09")
    simulator.switch(flight_failure_rate=1, room_failure_rate=1)
    reasons = []
    for call in (
        lambda: supplier.reserve_flight("order-1", "Flight-1", "2022-08-09"),
        lambda: supplier.reserve_room("order-1", ticket, "2022-08-09"),
        lambda: supplier.reserve_room("order-2", "F-NEVER", "2022-08-09"),
        lambda: supplier.reserve_flight("order-3", "x" * 201, "2022-08-09"),
    ):
        with pytest.raises(SupplierDeclined) as refused:
            call()
        reasons.append(refused.value.reason)
    assert reasons == ["flight_declined", "room_declined", "unknown_flight_ticket",
                       "invalid_request"]


def test_another_reservation_under_the_same_key_is_an_unknown_outcome(
    simulator: SimulatorProcess,
) -> None:
    supplier = client(simulator.url)
    supplier.reserve_flight("order-1", "Flight-1", "2022-08-09")
    with pytest.raises(SupplierAway):
        supplier.reserve_flight("order-1", "Flight-2", "2022-08-09")


def test_many_threads_get_through_faults_and_lost_answers(simulator: SimulatorProcess) -> None:
    # More than a quarter of the tries fail; that 20 in a row do will not be seen.
    simulator.switch(fault_rate=0.15, lost_answer_rate=0.15)
    supplier = client(simulator.url, attempts=20)
    keys = [f"order-{number}" for number in range(60)]

    def reserve(key: str) -> tuple[str, str]:
        ticket = supplier.reserve_flight(key, "Flight-1", "2022-08-09")
        return ticket, supplier.reserve_room(key, ticket, "2022-08-09")

    with ThreadPoolExecutor(16) as pool:
        reserved = list(pool.map(reserve, keys))
    assert len({number for pair in reserved for number in pair}) == 120
    assert states(simulator, "flights") == dict.fromkeys(keys, "booked")
    assert states(simulator, "hotels") == dict.fromkeys(keys, "booked")


def test_a_lost_answer_is_found_again_by_the_key(simulator: SimulatorProcess) -> None:
    simulator.switch(lost_answer_rate=1)
    with pytest.raises(SupplierAway):
        client(simulator.url).reserve_flight("order-1", "Flight-1", "2022-08-09")
    assert states(simulator, "flights") == {"order-1": "booked"}
    simulator.switch(lost_answer_rate=0)
    ticket = client(simulator.url).reserve_flight("order-1", "Flight-1", "2022-08-09")
    [entry] = simulator.book("flights")["reservations"]
    assert entry["number"] == ticket


def test_an_unknown_outcome_is_settled_by_a_cancellation(simulator: SimulatorProcess) -> None:
    # The answer takes longer than the client waits, and the booking goes on without it.
    simulator.switch(latency_ms_min=400, latency_ms_max=400)
    with pytest.raises(SupplierAway):
        client(simulator.url, timeout_s=0.1, attempts=1).reserve_flight("order-1", "F", "stay")
    simulator.switch(latency_ms_min=0, latency_ms_max=0)
    client(simulator.url).cancel_flight("order-1")
    simulator.switch(latency_ms_min=400, latency_ms_max=400)
    # A request of the same length that is sent later is answered after the slow first one.
    assert simulator.flight("order-2").status_code == 201
    assert states(simulator, "flights") == {"order-1": "cancelled", "order-2": "booked"}


def test_a_restart_of_the_supplier_is_survived(simulator: SimulatorProcess) -> None:
    supplier = client(simulator.url, attempts=300, backoff_max_s=0.2)
    ticket = supplier.reserve_flight("order-1", "Flight-1", "2022-08-09")
    simulator.kill()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(supplier.reserve_flight, "order-1", "Flight-1", "2022-08-09")
        simulator.start()
        assert waiting.result(30) == ticket


# --- against scripted answers -----------------------------------------------------------------

Answer = tuple[int, dict[str, str], bytes]


class Scripted:
    """An HTTP server that gives the answers in turn (the last one for ever) and counts."""

    def __init__(self, *answers: Answer) -> None:
        self.calls: list[tuple[str, str, str | None]] = []
        self.connections: set[Any] = set()
        self.cookies: list[str | None] = []
        self._answers = list(answers)
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                scripted.connections.add(self.client_address)
                scripted.cookies.append(self.headers["Cookie"])
                scripted.calls.append((self.command, self.path, self.headers["Idempotency-Key"]))
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, headers, body = scripted._next()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_DELETE = answer

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def _next(self) -> Answer:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(5)
        self._server.server_close()


@pytest.fixture
def script() -> Iterator[Callable[..., Scripted]]:
    started: list[Scripted] = []

    def start(*answers: Answer) -> Scripted:
        started.append(Scripted(*answers))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410, 422])
def test_a_decline_is_never_tried_again(script: Callable[..., Scripted], status: int) -> None:
    server = script((status, {}, b'{"reason": "flight_declined"}'))
    with pytest.raises(SupplierDeclined, match=r"^flight_declined$"):
        client(server.url).reserve_flight("order-1", "F", "stay")
    assert server.calls == [("POST", "/api/flights/reservations", "order-1")]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_transient_fault_is_tried_again(script: Callable[..., Scripted], status: int) -> None:
    server = script((status, {}, b'{"reason": "fault"}'), (status, {}, b""), (201, {}, TICKET))
    assert client(server.url).reserve_flight("order-1", "F", "stay") == "F-1"
    assert server.calls == [("POST", "/api/flights/reservations", "order-1")] * 3


def test_the_tries_are_counted(script: Callable[..., Scripted]) -> None:
    server = script((503, {}, b""))
    with pytest.raises(SupplierAway):
        client(server.url, attempts=3).cancel_room("order-1")
    assert server.calls == [("DELETE", "/api/hotels/reservations/order-1", "order-1")] * 3


@pytest.mark.parametrize("answer", [
    (201, {}, b"<html>"), (201, {}, b""), (201, {}, b"{}"), (201, {}, b"\xff"),
    (201, {}, b'{"flight_ticket_number": 7}'), (201, {}, b'{"flight_ticket_number": ""}'),
    (201, {}, b'{"flight_ticket_number": "' + b"x" * 101 + b'"}'),
    (201, {}, TICKET + b" " * 70_000), (204, {}, b""), (202, {}, TICKET),
    (302, {"Location": "/elsewhere"}, b""),
    (409, {}, b"<html>"), (409, {}, b'{"reason": null}'),
    (409, {}, b'{"reason": "' + b"x" * 65 + b'"}'), (409, {}, b'{"reason": "Not a word"}'),
    (422, {}, b'{"reason": "idempotency_mismatch"}'),
])
def test_an_answer_that_is_not_understood_is_an_unknown_outcome(
    script: Callable[..., Scripted], answer: Answer
) -> None:
    server = script(answer)
    with pytest.raises(SupplierAway):
        client(server.url, attempts=2).reserve_flight("order-1", "F", "stay")
    assert len(server.calls) == 2


def test_retry_after_is_honoured_up_to_the_longest_pause(script: Callable[..., Scripted]) -> None:
    fault = (429, {"Retry-After": "1"}, b"")
    server = script(fault, (201, {}, TICKET))
    begun = time.monotonic()
    client(server.url, backoff_max_s=5.0).reserve_flight("order-1", "F", "stay")
    assert 1.0 <= time.monotonic() - begun < 1.0 + SLACK_S
    server = script((503, {"Retry-After": "3600"}, b""), (201, {}, TICKET))
    begun = time.monotonic()
    client(server.url, backoff_max_s=0.3).reserve_flight("order-1", "F", "stay")
    assert 0.3 <= time.monotonic() - begun < 0.3 + SLACK_S


@pytest.mark.parametrize("pause", ["", "soon", "-1", "1.5", "9" * 5_000, "²"])
def test_a_senseless_retry_after_is_not_an_error(
    script: Callable[..., Scripted], pause: str
) -> None:
    server = script((503, {"Retry-After": pause}, b""), (201, {}, TICKET))
    assert client(server.url).reserve_flight("order-1", "F", "stay") == "F-1"


def test_stop_ends_a_pause_and_the_call(script: Callable[..., Scripted]) -> None:
    server = script((503, {"Retry-After": "20"}, b""))
    stop = threading.Event()
    supplier = client(server.url, backoff_max_s=20.0, stop=stop)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(supplier.reserve_flight, "order-1", "F", "stay")
        deadline = time.monotonic() + 5
        while not server.calls and time.monotonic() < deadline:
            time.sleep(0.005)
        stop.set()
        with pytest.raises(SupplierAway, match="stopped"):
            waiting.result(5)
    assert len(server.calls) == 1


def test_connections_are_kept(script: Callable[..., Scripted]) -> None:
    server = script((503, {}, b""), (409, {}, b'{"reason": "no"}'), (204, {}, b""))
    supplier = client(server.url)
    with pytest.raises(SupplierDeclined):
        supplier.reserve_flight("order-1", "F", "stay")
    for _ in range(5):
        supplier.cancel_flight("order-1")
    assert len(server.calls) == 7
    assert len(server.connections) == 1


def test_a_cookie_of_one_answer_is_not_sent_with_the_next(
    script: Callable[..., Scripted],
) -> None:
    server = script((201, {"Set-Cookie": "order=1"}, TICKET))
    supplier = client(server.url)
    for _ in range(2):
        supplier.reserve_flight("order-1", "F", "stay")
    assert server.cookies == [None, None]


# --- against servers that stall ---------------------------------------------------------------


@contextmanager
def stalling_server(chunk: bytes, every_s: float, opening: bytes) -> Iterator[str]:
    """Sends `opening`, then `chunk` again and again, without an end."""
    stop = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                connection.sendall(opening)
                while not stop.wait(every_s):
                    connection.sendall(chunk)
            except OSError:
                return  # The client has given up: that is what is tested.

    def accept(listener: socket.socket) -> None:
        while not stop.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        accepting = threading.Thread(target=accept, args=(listener,))
        accepting.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            accepting.join(5)


CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 201 Created\r\nContent-Length: 60000\r\n\r\n"
UNSIZED = b"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(("opening", "chunk"), [
    (b"", b""),
    (b"", b"H"),
    (b"HTTP/1.1 201 Created\r\n", b"X"),
    (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
    (SIZED, b" "),
    (UNSIZED, b" "),
    (CHUNKED, b"1\r\n \r\n"),
    (CHUNKED, b"0"),
], ids=["silent", "status line", "headers", "continue", "sized", "unsized", "chunks", "chunk size"])
def test_no_way_of_stalling_holds_a_call_beyond_its_bound(opening: bytes, chunk: bytes) -> None:
    with stalling_server(chunk, 0.05, opening) as url:
        begun = time.monotonic()
        with pytest.raises(SupplierAway):
            client(url, timeout_s=0.4, attempts=2, backoff_max_s=0.1).reserve_flight(
                "order-1", "F", "stay")
        assert 0.7 < time.monotonic() - begun < 2 * (0.4 + 0.1) + SLACK_S


def test_a_byte_shortly_before_the_deadline_buys_no_more_time() -> None:
    with stalling_server(b" ", 2.4, SIZED) as url:
        begun = time.monotonic()
        with pytest.raises(SupplierAway):
            client(url, timeout_s=2.5, attempts=1).reserve_flight("order-1", "F", "stay")
        assert 2.4 < time.monotonic() - begun < 2 * 2.4


def test_a_complete_answer_on_a_closing_connection_is_read() -> None:
    with stalling_server(b"", 60, UNSIZED.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n"
                                                  % len(TICKET)) + TICKET) as url:
        assert client(url).reserve_flight("order-1", "F", "stay") == "F-1"


def test_a_refused_connection_is_away() -> None:
    with pytest.raises(SupplierAway):
        client(f"http://127.0.0.1:{free_port()}", attempts=2).reserve_flight("o", "F", "stay")


def test_an_unknown_name_is_away() -> None:
    with pytest.raises(SupplierAway):
        client("http://supplier.invalid", attempts=1).reserve_flight("o", "F", "stay")


def test_addresses_that_do_not_answer_share_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # A listener with a full backlog answers no further connection: the packets are dropped.
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", listener.getsockname())
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: [address] * 4)
        begun = time.monotonic()
        with pytest.raises(SupplierAway, match="ConnectTimeout"):
            client("http://four-addresses.test", timeout_s=1.5, attempts=1).cancel_room(
                uuid4().hex)
        assert 1.4 < time.monotonic() - begun < 4 * 1.5, "less than one after the other"
