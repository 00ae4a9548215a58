"""A vendor call as it may be kept: no secret, and nothing that says who a customer is. Pure.

Headers stay by a list of those that may. In queries and bodies, members go by their names, and
whole objects that are about a person are cut out; what looks like an e-mail address or is one of
our own secrets is blotted out wherever it stands. A body that cannot be read is not kept at all.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from suppliers.http import Exchange

BLOT = "[removed]"
BODY_MAX_BYTES = 16_384
# A larger one is not even read: what is kept of it would be a small part anyway.
_READ_MAX_BYTES = 4_194_304
_HEADERS = frozenset({
    "accept", "accept-encoding", "content-encoding", "content-length", "content-type", "date",
    "duffel-version", "retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset",
    "rate-limit-minute-remaining", "rate-limit-minute-reset", "rate-limit-day-remaining",
    "rate-limit-day-reset", "test", "user-agent", "x-request-id",
})  # fmt: skip
_SECRET = re.compile(
    r"token|secret|password|passwd|signature|credential|authori[sz]ation|api[-_]?key|cookie",
    re.IGNORECASE,
)
_PERSON = re.compile(
    r"e?-?mail|phone|holder|paxes|passenger|traveller|contact|customer|surname|"
    r"(given|family|first|last)[-_ ]?name|birth|passport|address|payment|card|^guests?$",
    re.IGNORECASE,
)
_EMAIL = re.compile(r"[^\s\"'<>@,;:]{1,64}(?:@|%40)[^\s\"'<>@,;:]{1,255}")


class Interaction(msgspec.Struct, frozen=True, kw_only=True):
    """One call as it is kept. `at` is RFC 3339 in UTC; `latency_ms` until the last byte."""

    id: str
    supplier: str
    at: str
    method: str
    url: str
    status: int | None
    latency_ms: float
    error: str
    request_headers: dict[str, str]
    request_body: str
    response_headers: dict[str, str]
    response_body: str
    response_bytes: int


def redact(exchange: Exchange, interaction_id: str, secrets: Collection[str]) -> Interaction:
    """What may be kept of a call. `secrets` are blotted out wherever they stand."""
    def clean(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, BLOT)
        return _EMAIL.sub(BLOT, text)

    at = dt.datetime.fromtimestamp(exchange.started_at, dt.UTC)
    return Interaction(
        id=interaction_id,
        supplier=exchange.supplier,
        at=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        method=exchange.method,
        url=clean(_url(exchange.url)),
        status=exchange.status,
        latency_ms=round(exchange.latency_s * 1_000, 1),
        error=clean(exchange.error),
        request_headers=_headers(exchange.request_headers, clean),
        request_body=clean(_body(exchange.request_body, exchange.request_headers)),
        response_headers=_headers(exchange.response_headers, clean),
        response_body=clean(_body(exchange.response_body, exchange.response_headers)),
        response_bytes=len(exchange.response_body),
    )


def _headers(headers: Mapping[str, str], clean: Any) -> dict[str, str]:
    return {name.lower(): clean(str(value)[:500]) for name, value in headers.items()
            if name.lower() in _HEADERS}


def _url(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]  # a user and password in front of it go
    pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=5_000)
    query = urlencode([(name, _value(name, value)) for name, value in pairs])
    return urlunsplit((parts.scheme, host, parts.path, query, ""))[:4_000]


def _value(name: str, value: str) -> str:
    # In a query, `guests` is how many.
    personal = _PERSON.search(name) and not value.isdecimal()
    return BLOT if _SECRET.search(name) or personal else value


def _body(body: bytes, headers: Mapping[str, str]) -> str:
    if not body:
        return ""
    if len(body) > _READ_MAX_BYTES:
        return f"[{len(body)} bytes, not read]"
    try:
        found = msgspec.json.encode(_cut(msgspec.json.decode(body)))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        if "x-www-form-urlencoded" not in str(headers.get("Content-Type", "")):
            return f"[{len(body)} bytes that are no JSON]"
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        found = urlencode([(name, _value(name, value)) for name, value in pairs]).encode()
    text = found[:BODY_MAX_BYTES].decode("utf-8", "ignore")
    return text if len(found) <= BODY_MAX_BYTES else f"{text}[... {len(found)} bytes]"


def _cut(node: Any) -> Any:
    """The document without secrets and persons."""
    if isinstance(node, dict):
        return {
            name: BLOT if _SECRET.search(name) or (
                # How many guests there are is no secret; who they are is.
                _PERSON.search(name) and not isinstance(value, int | float | bool)
            ) else _cut(value)
            for name, value in node.items()
        }
    if isinstance(node, list):
        return [_cut(one) for one in node]
    return node
