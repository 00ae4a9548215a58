"""One HTTP call to a supplier of rates: kept connections, one deadline, every fault named.

Each adapter owns a `Line` and adds to it what is its vendor's: addresses, signatures, documents.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import re
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol

import msgspec
import requests
import urllib3

from errors import SupplierAway, SupplierDeclined, Throttled
from suppliers.deadline import session_of

BODY_MAX_BYTES = 16_777_216
PAUSE_MAX_S = 86_400.0
# Refused for now, not refused: another try can be answered differently.
TRANSIENT_4XX = frozenset({408, 425})
_REFUSALS = {401: "unauthorized", 402: "payment_required", 403: "forbidden", 404: "not_found",
             409: "conflict", 410: "gone"}  # fmt: skip


class IssuedToken(NamedTuple):
    """What a supplier's token endpoint gave, and for how long from now."""

    value: str
    expires_in_s: float


class Tokens(Protocol):
    """Where adapters get access tokens from. `vendor_account` names vendor and account."""

    def get(self, vendor_account: str) -> str:
        """A token that is believed to be good. Raises SupplierAway when none can be had."""

    def refused(self, token: str) -> None:
        """The supplier answered 401 to this token: the next `get` brings another one."""


class Exchange(NamedTuple):
    """One call as it was, secrets included: whoever keeps it removes them first.

    `status` is None and `error` set when no whole answer came.
    """

    supplier: str
    method: str
    url: str
    request_headers: Mapping[str, str]
    request_body: bytes
    status: int | None
    response_headers: Mapping[str, str]
    response_body: bytes
    started_at: float
    latency_s: float
    error: str


class Terms(NamedTuple):
    """What all lines of a process share.

    `timeout_s` bounds one call from connecting to the last byte, and all polls of one fetch;
    `pool_size` is the number of connections kept open per supplier: the number of threads.
    Setting `stop` ends a wait between two polls. `admit` is asked before every call, and may wait
    or raise. `observe` is told every call; it must not block. `clock` is seconds since the epoch.
    """

    stop: threading.Event
    timeout_s: float = 20.0
    poll_s: float = 0.25
    pool_size: int = 16
    observe: Callable[[Exchange], None] | None = None
    admit: Callable[[], None] | None = None
    clock: Callable[[], float] = time.time


class Answer(NamedTuple):
    """A whole answer below 500 that is no throttling."""

    call: str
    status: int
    body: bytes

    def expect(self, *statuses: int) -> bytes:
        """The body of an answer with one of these statuses; SupplierDeclined for another 4xx."""
        if self.status in statuses:
            return self.body
        if not 400 <= self.status < 500:
            raise SupplierAway(f"{self.call}: status {self.status} was not expected")
        raise SupplierDeclined(_REFUSALS.get(self.status, f"status_{self.status}"))


class Line:
    """The connections to one supplier. One instance serves all threads of a process."""

    def __init__(
        self, supplier: str, base_url: str, terms: Terms, headers: Mapping[str, str] | None = None
    ) -> None:
        self._supplier = supplier
        self._base_url = base_url.rstrip("/")
        self.terms = terms
        self._session = session_of(terms.pool_size, {"Accept-Encoding": "gzip", **(headers or {})})

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        json: object = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """One request and its whole answer, of any status that says something about it.

        Raises Throttled for 429, and SupplierAway for a 5xx, for no answer within `timeout_s`
        (the terms' own if None), and for a broken or too long one.
        """
        if self.terms.admit is not None:
            self.terms.admit()
        started_at, begun = time.time(), time.monotonic()
        request = self._session.prepare_request(requests.Request(
            method, self._base_url + path, params=query, headers=headers,
            data=form if json is None else msgspec.json.encode(json),
        ))
        if json is not None:
            request.headers["Content-Type"] = "application/json"
        # The query holds dates and hotels, and for some suppliers a token: it is not for logs.
        call = f"{self._supplier}: {method} {path.partition('?')[0]}"
        status: int | None = None
        received: Mapping[str, str] = {}
        body, error = b"", ""
        try:
            status, received, body = self._exchange(request, timeout_s or self.terms.timeout_s)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as failure:
            error = type(failure).__name__
            raise SupplierAway(f"{call}: {error}") from failure
        finally:
            if self.terms.observe is not None:
                self.terms.observe(Exchange(
                    self._supplier, method, request.url or "", request.headers,
                    _bytes(request.body), status, received, body, started_at,
                    time.monotonic() - begun, error,
                ))
        if len(body) > BODY_MAX_BYTES:
            raise SupplierAway(f"{call}: an answer above {BODY_MAX_BYTES} bytes")
        if status == 429:
            raise Throttled(f"{call}: status 429", pause_s(received, self.terms.clock()))
        if status >= 500 or status in TRANSIENT_4XX:
            raise SupplierAway(f"{call}: status {status}")
        return Answer(call, status, body)

    def close(self) -> None:
        """Close the kept connections."""
        self._session.close()

    def _exchange(
        self, request: requests.PreparedRequest, timeout_s: float
    ) -> tuple[int, Mapping[str, str], bytes]:
        # By the session's adapter: what the session itself would do with an answer (cookies, hooks,
        # redirects) is nothing here, and took a tenth of the whole call.
        with self._session.get_adapter(request.url or "").send(
            request, timeout=timeout_s, stream=True
        ) as response:
            # One byte more than allowed tells a body at the bound from one above it. A body
            # that is read to its end gives its connection back to the pool. The bound is on
            # what is unpacked: a small body can hold a large one.
            body = response.raw.read(BODY_MAX_BYTES + 1, decode_content=True)
        return response.status_code, response.headers, body


def pause_s(headers: Mapping[str, str], now: float) -> float | None:
    """The pause that a supplier asks for, in seconds; None when it names none.

    Retry-After in seconds or as a date; else the reset of the bound that is used up, which is
    epoch milliseconds at Expedia and a date at Duffel.
    """
    wanted = headers.get("Retry-After")
    if wanted is not None:
        return _bounded(float(wanted) if re.fullmatch(r"[0-9]{1,9}", wanted)
                        else _until_date(wanted, now))
    for bound in ("Minute", "Day"):
        reset = headers.get(f"Rate-Limit-{bound}-Reset", "")
        if headers.get(f"Rate-Limit-{bound}-Remaining") == "0" and re.fullmatch(
            r"[0-9]{1,15}", reset
        ):
            return _bounded(int(reset) / 1_000 - now)
    return _bounded(_until_date(headers.get("RateLimit-Reset", ""), now))


def _until_date(text: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp() - now


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(seconds, 0.0), PAUSE_MAX_S)


def reference(key: str, length: int) -> str:
    """An order's key in at most `length` (20 or more) letters: itself, or a hash of it."""
    if len(key) <= length and re.fullmatch(r"[A-Za-z0-9]+", key):
        return key
    return base64.b32encode(hashlib.blake2b(key.encode(), digest_size=12).digest())[:20].decode()


def _bytes(body: object) -> bytes:
    return body if isinstance(body, bytes) else str(body or "").encode()
