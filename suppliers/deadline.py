"""One deadline for a whole HTTP answer.

The timeouts of requests and urllib3 bound each single read: a supplier that sends one byte a
second keeps its caller for hours, and with it a reservation longer than its hold. The adapter
here turns the timeout of a call into one deadline for connecting, headers and body.

Two waits stay outside of it, because the standard library cannot bound them: the look-up of a
host name, and a TLS handshake that the other side drags out on purpose.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any

from requests import Response, Session
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection


class _DeadlineReader(io.RawIOBase):
    """Reads a socket; the timeout that the socket has now is the time for all of the reads."""

    def __init__(self, sock: socket.socket, held_open: io.BufferedIOBase) -> None:
        self._sock = sock
        # The socket counts its files and stays open until the last one is closed. The answer's
        # own file is kept for that, but never read.
        self._held_open = held_open
        timeout_s = sock.gettimeout()
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._deadline is not None:
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError("the answer was not complete at its deadline")
            self._sock.settimeout(left_s)
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        self._held_open.close()
        super().close()


class _DeadlineAnswer(http.client.HTTPResponse):
    """urllib3 sets what is left of the total timeout on the socket, then creates this."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(sock, self.fp))


class _AllAddressesInTime(HTTPConnection):
    """Shares the time for connecting among the addresses of a host, which are tried in turn."""

    def _new_conn(self) -> socket.socket:
        # A name that is unknown raises again, and with the right error, in the call below.
        with suppress(OSError):
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
            if self.timeout is not None:
                self.timeout /= len(addresses)
        return super()._new_conn()


class _DeadlineHTTPConnection(_AllAddressesInTime):
    response_class = _DeadlineAnswer


class _DeadlineHTTPSConnection(_AllAddressesInTime, HTTPSConnection):
    response_class = _DeadlineAnswer


class _DeadlineHTTPPool(HTTPConnectionPool):
    ConnectionCls = _DeadlineHTTPConnection


class _DeadlineHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _DeadlineHTTPSConnection


class DeadlineAdapter(HTTPAdapter):
    """Mount it on a requests.Session; `timeout=` of a call is then the time for all of it."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {
            "http": _DeadlineHTTPPool,
            "https": _DeadlineHTTPSPool,
        }

    def send(self, *args: Any, **kwargs: Any) -> Response:
        kwargs["timeout"] = Timeout(total=kwargs.get("timeout"))
        return super().send(*args, **kwargs)


def session_of(pool_size: int, headers: Mapping[str, str]) -> Session:
    """A session with these headers whose timeouts are deadlines. It may be shared by threads: what
    a session changes by itself is not safe among them, so it takes no cookies, and no proxies or
    passwords from the environment.
    """
    session = Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, DeadlineAdapter(pool_connections=1, pool_maxsize=pool_size))
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.trust_env = False
    session.headers.update({"Accept": "application/json", "User-Agent": "berth", **headers})
    return session
