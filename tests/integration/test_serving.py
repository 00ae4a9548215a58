"""gunicorn as it is configured here: what its logs hold, and what a killed master leaves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from embedded.ports import LOOPBACK, free_port
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]


class Served:
    """A gunicorn process without engines: `/livez` answers, and that is enough here."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self._log = log

    def alive(self) -> bool:
        try:
            return requests.get(f"http://{LOOPBACK}:{self.port}/livez", timeout=2).ok
        except requests.RequestException:
            return False

    def send(self, raw: bytes) -> bytes:
        """Bytes on a connection of their own; the first bytes of the answer."""
        with closing(socket.create_connection((LOOPBACK, self.port), timeout=10)) as connection:
            connection.sendall(raw)
            return connection.recv(64)

    def log(self) -> str:
        return self._log.read_text()


@contextmanager
def serving(folder: Path, port: int) -> Iterator[Served]:
    log = folder / "web.log"
    environment = {
        **os.environ, "HOST": LOOPBACK, "PORT": str(port), "DATA_DIR": str(folder / "data"),
        "REDIS_URL": f"redis://{LOOPBACK}:{free_port()}/0",
        "MONGO_URL": f"mongodb://{LOOPBACK}:{free_port()}/",
    }  # fmt: skip
    command = ["-m", "gunicorn", "-c", "embedded/gunicorn_conf.py", "app_queue:create_app()"]
    with log.open("ab") as output:
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment,
                                   stdout=output, stderr=subprocess.STDOUT)
    served = Served(process, port, log)
    try:
        eventually(served.alive, 30, "gunicorn serves")
        yield served
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("serving"), free_port()) as running:
        yield running


@pytest.mark.parametrize("raw", [
    b"GET /api/orders/1?email=ann%40example.org HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\nReferer: http://x/query?email=ann@example.org\r\n"
    b"Connection: close\r\n\r\n",
    b"GET http://x/livez?email=ann@example.org HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /livez?email=ann@example.org HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /livez?email=ann@example.org\r\n\r\n",
    b"GET /livez?email=ann@example.org HTTP/1.1 again\r\nHost: x\r\n\r\n",
    b"GET /livez?email=ann@example.org&" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
])  # fmt: skip
def test_no_address_of_a_customer_is_logged(served: Served, raw: bytes) -> None:
    before = len(served.log())
    assert served.send(raw).startswith(b"HTTP/1.")
    eventually(lambda: len(served.log()) > before, 5, "something was logged")
    assert "example.org" not in served.log()


def test_an_address_may_name_a_thousand_hotels_and_no_more_than_that(served: Served) -> None:
    hotels = "%2C".join(f"london-{n}" for n in range(1, 1_001)).encode()
    head = b"GET /livez?hotel_ids=%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert served.send(head % hotels).startswith(b"HTTP/1.1 200")
    assert served.send(head % (b"x" * 33_000)).startswith(b"HTTP/1.1 4")


def test_a_path_cannot_forge_a_line_of_the_log(served: Served) -> None:
    assert served.send(
        b'GET /no%0aforged%20"line HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'
    ).startswith(b"HTTP/1.1 404")
    eventually(lambda: "forged" in served.log(), 5, "the request was logged")
    assert not [line for line in served.log().splitlines() if line.startswith("forged")]


ORDER = b'{"package_id": 1, "email": "ann@example.org"}'


def in_chunks(body: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (
        body[at:at + 1_000] for at in range(0, len(body), 1_000)
    )) + b"0\r\n\r\n"  # fmt: skip


@pytest.mark.parametrize(("body", "status"), [
    (in_chunks(ORDER), b"503"),  # it can be read, and the engines are away
    (in_chunks(ORDER.ljust(8_192)), b"503"),
    (in_chunks(ORDER.ljust(8_193)), b"413"),
    (in_chunks(ORDER.ljust(1_000_000)), b"413"),
    (b"ann@example.org\r\n" + ORDER + b"\r\n0\r\n\r\n", b"400"),
    (b"-1\r\n" + ORDER + b"\r\n0\r\n\r\n", b"400"),
    (b"2\r\n" + ORDER + b"\r\n0\r\n\r\n", b"400"),
])  # fmt: skip
@pytest.mark.parametrize("head", [
    b"POST /api/orders HTTP/1.1\r\nContent-Type: application/json",
    b"POST /order HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded",
])  # fmt: skip
def test_a_body_in_chunks_has_the_same_bound_and_no_other_fault(
    served: Served, head: bytes, body: bytes, status: bytes
) -> None:
    if b"/api" not in head and status == b"503":
        status = b"400"  # there is no token against forged forms in it
    answer = served.send(head + b"\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
                         b"Connection: close\r\n\r\n" + body)  # fmt: skip
    assert answer.startswith(b"HTTP/1.1 " + status), served.log()
    assert "example.org" not in served.log()


def test_workers_do_not_keep_the_port_of_a_killed_master(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path, port) as first:
        master = psutil.Process(first.process.pid)
        # It serves with its first worker already.
        eventually(lambda: len(master.children()) == 2, 10, "both workers are there")
        workers = master.children()
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait(5)
        with serving(tmp_path, port) as second:
            assert second.alive()
            assert "Connection in use" not in second.log()
        eventually(lambda: not any(worker.is_running() for worker in workers), 10,
                   "workers end with their master")
