"""A vendor call as it may be kept: no secret, and nothing that says who a customer is. Pure.

Headers stay by a list of those that may. In queries and bodies, members go by their names, and
whole objects that are about a person are cut out; what looks like an e-mail address or is one of
our own secrets is blotted out wherever it stands. A body that cannot be read is not kept at all.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlencode, urlsplit, urlunsplit

import msgspec

from suppliers.http import Exchange

BLOT = "[removed]"
BODY_MAX_BYTES = 16_384
# A larger one is not even read: what is kept of it would be a small part anyway.
_READ_MAX_BYTES = 4_194_304
# Cleaned beyond what is kept, so that no secret is cut in two at the end and so not found.
_MARGIN_BYTES = 4_096
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
    r"e?-?mail|phone|holder|paxes|passenger|travell?er|^user$|contact|customer|surname|"
    r"(given|family|first|last)[-_ ]?name|birth|passport|address|payment|card|^guests?$",
    re.IGNORECASE,
)
# Whose number is a count. All other numbers about a person are part of him, such as a telephone's.
_COUNTED = re.compile(r"guests?", re.IGNORECASE)
# A supplier's answer may hold links that carry a secret in their query.
_LINKED = re.compile(
    rf"([?&][^=&?\s\"'<>]*(?:{_SECRET.pattern})[^=&?\s\"'<>]*=)[^&\s\"'<>\\]+", re.IGNORECASE
)
_EMAIL = re.compile(r"[^\s\"'<>@,;:]{1,64}(?:@|%40)[^\s\"'<>@,;:]{1,255}")
_AT = re.compile("@|%40")
_LOCAL_MAX = 64
_ADDRESS_MAX = 400


class _Kind(Enum):
    """What the name of a member says about its value."""

    OPEN = 0
    COUNTED = 1
    HIDDEN = 2


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
            for spelling in _spellings(secret):
                text = text.replace(spelling, BLOT)
        return _without_addresses(_LINKED.sub(rf"\1{BLOT}", text))

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
        request_body=_body(exchange.request_body, exchange.request_headers, clean),
        response_headers=_headers(exchange.response_headers, clean),
        response_body=_body(exchange.response_body, exchange.response_headers, clean),
        response_bytes=len(exchange.response_body),
    )


def _without_addresses(text: str) -> str:
    """Searched around each at-sign only: tried at every letter, it takes 64 times as long.
    """
    pieces, done = [], 0
    for at in _AT.finditer(text):
        if at.start() < done:
            continue
        first = max(done, at.start() - _LOCAL_MAX)
        found = _EMAIL.search(text, first, at.start() + _ADDRESS_MAX)
        if found is not None and found.start() < at.start():
            pieces += [text[done:found.start()], BLOT]
            done = found.end()
    return "".join([*pieces, text[done:]])


def _headers(headers: Mapping[str, str], clean: Callable[[str], str]) -> dict[str, str]:
    return {name.lower(): clean(str(value)[:500]) for name, value in headers.items()
            if name.lower() in _HEADERS}


def _url(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]  # a user and password in front of it go
    pairs = parse_qsl(parts.query, keep_blank_values=True, max_num_fields=5_000)
    query = urlencode([(name, _value(name, value)) for name, value in pairs])
    return urlunsplit((parts.scheme, host, parts.path, query, ""))[:4_000]


def _value(name: str, value: str) -> str:
    return BLOT if _hides(name, value.isdecimal()) else value


def _hides(name: str, is_number: bool) -> bool:
    kind = _kind(name)
    return kind is _Kind.HIDDEN or (kind is _Kind.COUNTED and not is_number)


@lru_cache(4_096)
def _kind(name: str) -> _Kind:
    """Kept, because an answer repeats the same few names thousands of times."""
    if _SECRET.search(name):
        return _Kind.HIDDEN
    if _COUNTED.fullmatch(name):
        return _Kind.COUNTED
    return _Kind.HIDDEN if _PERSON.search(name) else _Kind.OPEN


@lru_cache(64)
def _spellings(secret: str) -> tuple[str, ...]:
    """As it stands in a text, in JSON and in a query; the longest first."""
    in_json = msgspec.json.encode(secret).decode()[1:-1]
    all_of_them = {secret, in_json, quote(secret, safe=""), quote(secret), quote_plus(secret)}
    return tuple(sorted(all_of_them, key=len, reverse=True))


def _body(body: bytes, headers: Mapping[str, str], clean: Callable[[str], str]) -> str:
    if not body:
        return ""
    if len(body) > _READ_MAX_BYTES:
        return f"[{len(body)} bytes, not read]"
    try:
        room = [BODY_MAX_BYTES + _MARGIN_BYTES]
        found = msgspec.json.encode(_cut(msgspec.json.decode(body), room))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        if "x-www-form-urlencoded" not in str(headers.get("Content-Type", "")):
            return f"[{len(body)} bytes that are no JSON]"
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        found = urlencode([(name, _value(name, value)) for name, value in pairs]).encode()
    text = clean(found[:BODY_MAX_BYTES + _MARGIN_BYTES].decode("utf-8", "ignore"))
    if len(found) <= BODY_MAX_BYTES:
        return text
    return f"{text[:BODY_MAX_BYTES]}[... {len(body)} bytes]"


def _cut(node: Any, room: list[int]) -> Any:
    """The document without secrets and persons, as far as there is room for it.

    `room` counts no more than the encoded text will take, so what is left out would have been cut
    off there anyway. A large answer would keep other threads waiting for nothing.
    """
    if isinstance(node, dict):
        kept: dict[str, Any] = {}
        for name, value in node.items():
            if room[0] <= 0:
                break
            room[0] -= len(name) + 3
            kept[name] = (BLOT if _hides(name, isinstance(value, int | float))
                          else _cut(value, room))
        return kept
    if isinstance(node, list):
        some = []
        for one in node:
            if room[0] <= 0:
                break
            some.append(_cut(one, room))
        return some
    room[0] -= len(node) if isinstance(node, str) else 1
    return node
