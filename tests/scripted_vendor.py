"""A vendor on a real socket that answers what a test wrote down, one after the other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import msgspec

from errors import SupplierAway, Throttled
from suppliers.http import Terms
from tests.rate_suppliers import NOW

# How a vendor can fail to say whether it did what it was asked to do.
FAULTS = [
    (500, b"oops", SupplierAway), (503, b"", SupplierAway), (429, b"{}", Throttled),
    (200, b"", SupplierAway), (200, b"<html>maintenance</html>", SupplierAway),
    (200, b'{"booking": {"refer', SupplierAway), (200, b"[7]", SupplierAway),
]


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: Any


class ScriptedVendor:
    """`asked` is what it was asked so far."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: list[tuple[int, bytes]] = []
        self._unforeseen = 0
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                status, body = vendor._next(self)
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815 (http.server's names)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def will_say(self, *answers: tuple[int, object]) -> None:
        """Status and document of the next answers; bytes go out as they are."""
        self._answers += [
            (status, said if isinstance(said, bytes) else msgspec.json.encode(said))
            for status, said in answers
        ]

    def calls(self) -> list[str]:
        """Method and path of each request since the last time that this was asked."""
        calls = [f"{one.method} {one.path}" for one in self.asked]
        self.asked.clear()
        return calls

    def close(self) -> None:
        """All that was written down was said, and nothing else was asked for."""
        self._server.shutdown()
        self._server.server_close()
        assert (self._answers, self._unforeseen) == ([], 0), "not the calls that were foreseen"

    def _next(self, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        parts = urlsplit(request.path)
        raw = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        self.asked.append(Asked(request.command, parts.path, dict(parse_qsl(parts.query)),
                                request.headers, msgspec.json.decode(raw) if raw else None))
        if self._answers:
            return self._answers.pop(0)
        self._unforeseen += 1
        return 500, b"nothing is written down"


@contextmanager
def scripted_vendor() -> Iterator[ScriptedVendor]:
    """One for a test."""
    vendor = ScriptedVendor()
    try:
        yield vendor
    finally:
        vendor.close()


def terms() -> Terms:
    """Of an adapter that is tested here, at the moment at which these tests stand still."""
    return Terms(threading.Event(), timeout_s=10.0, clock=NOW.timestamp)
