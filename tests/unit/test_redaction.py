"""What is kept of a vendor call: enough to see what went wrong, nothing that must not be seen."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from suppliers.http import Exchange
from suppliers.redaction import (
    _EMAIL,
    BLOT,
    BODY_MAX_BYTES,
    Interaction,
    _without_addresses,
    redact,
)

SECRET = "s3cr3t-of-acme"


def call(
    *, url: str = "https://api.example/rates", body: bytes = b"", answer: bytes = b"{}",
    headers: Mapping[str, str] | None = None, status: int | None = 200, error: str = "",
) -> Interaction:
    return redact(
        Exchange("acme", "POST", url, headers or {"Content-Type": "application/json"}, body,
                 status, {"Content-Type": "application/json"}, answer, 1_796_000_000.25, 0.1234,
                 error),
        "01ID", [SECRET],
    )


def test_what_helps_stays() -> None:
    kept = call(
        url="https://api.example/rates?check_in=2027-01-01&guests=2&hotel=lisbon-1",
        body=b'{"stay": {"checkIn": "2027-01-01"}, "guests": 2, "hotels": [1, 2]}',
        answer=b'{"rooms": [{"name": "Double", "price": "93.00", "rateKey": "abc"}]}',
    )
    assert kept.url == "https://api.example/rates?check_in=2027-01-01&guests=2&hotel=lisbon-1"
    assert json.loads(kept.request_body)["hotels"] == [1, 2]
    assert json.loads(kept.response_body)["rooms"][0] == {
        "name": "Double", "price": "93.00", "rateKey": "abc"}
    assert (kept.status, kept.latency_ms, kept.at) == (200, 123.4, "2026-11-30T00:53:20.250Z")


@pytest.mark.parametrize("body", [
    {"holder": {"given_name": "Ada", "family_name": "Lovelace"}},
    {"data": {"guests": [{"given_name": "Ada", "family_name": "Lovelace"}]}},
    {"rooms": [{"paxes": [{"name": "Ada", "surname": "Lovelace"}]}]},
    {"email": "ada@lovelace.example"},
    {"note": "please call ada@lovelace.example back"},
    {"contact": {"phone": "+44 20 Lovelace", "of": "Ada"}},
    {"given_name": "Ada Lovelace"},
    {"access_token": "Lovelace"},
    {"client_secret": "Ada"},
    {"note": f"it is {SECRET}, Ada"} | {"name": "x", "e-mail": "Ada"},
])
def test_persons_and_secrets_go(body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    for kept in (call(body=raw), call(answer=raw)):
        text = json.dumps([kept.request_body, kept.response_body])
        for word in ("Lovelace", "lovelace", SECRET, "+44"):
            assert word not in text
        assert BLOT in text


@pytest.mark.parametrize("document", [
    {"phone": 4420111222}, {"birth_year": 4420111222}, {"user": {"name": "4420111222"}},
    {"traveler": {"name": "4420111222"}},
    {"links": {"book": {"href": "/v3/itineraries?a=1&token=4420111222&b=2"}}},
    {"links": {"book": {"href": "https://api.example/x?access_token=4420111222"}}},
])
def test_numbers_of_a_person_and_links_with_a_token_go(document: dict[str, Any]) -> None:
    raw = json.dumps(document).encode()
    kept = call(body=raw, answer=raw)
    for body in (kept.request_body, kept.response_body):
        assert "4420111222" not in body
        assert BLOT in json.dumps(json.loads(body)), "and what is left is a document"
    assert "4420111222" not in call(url="https://api.example/x?phone=4420111222&guests=2").url


def test_a_secret_is_found_however_it_is_spelled() -> None:
    secret = 'a"b/c+d\\e f'
    body = json.dumps({"note": secret}).encode()
    url = f"https://api.example/x?{urlencode({'q': secret})}"
    told = Exchange("acme", "POST", url, {}, body, 200, {}, body, 1_796_000_000.25, 0.1, "")
    kept = redact(told, "01ID", [secret])
    for text in (kept.url, kept.request_body, kept.response_body):
        assert not re.search(r"c(%2B|\+)d", text)


def test_a_secret_at_the_end_of_what_is_kept_is_not_cut_in_two() -> None:
    for shift in range(len(SECRET) + 1):
        text = "x" * (BODY_MAX_BYTES - 2 - shift) + SECRET + "y" * 9_000
        assert SECRET[:4] not in call(answer=json.dumps([text]).encode()).response_body


def test_headers_stay_by_a_list_and_queries_go_by_name() -> None:
    kept = call(
        url=f"https://me:{SECRET}@api.example/x?api_key=KEY1&email=ada%40x.example&access_token=T1"
            f"&city=lisbon&q={SECRET}",
        headers={"Authorization": "Bearer T1", "X-Signature": "SIG1", "Api-key": "KEY1",
                 "Cookie": "C1", "Content-Type": "application/json", "X-Odd": "ODD1"},
    )
    assert kept.request_headers == {"content-type": "application/json"}
    for word in ("KEY1", "T1", "ada", SECRET, "me:"):
        assert word not in kept.url, word
    assert "city=lisbon" in kept.url


def test_a_form_is_read_too_and_what_cannot_be_read_is_not_kept() -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    kept = call(body=b"grant_type=client_credentials&client_secret=XYZ", headers=form)
    assert "XYZ" not in kept.request_body
    assert "grant_type=client_credentials" in kept.request_body
    assert call(answer=b"<html>Ada Lovelace</html>").response_body == \
        "[25 bytes that are no JSON]"
    assert call(answer=b'{"a": "Ada').response_body == "[10 bytes that are no JSON]"
    large = call(answer=json.dumps(["x" * 100] * 1_000).encode())
    assert len(large.response_body) < 17_000
    assert large.response_body.endswith(" bytes]")


def test_a_large_answer_is_kept_up_to_the_bound_as_it_came() -> None:
    document = {"hotels": [{"code": n, "rooms": [{"name": "Döuble", "net": None, "ok": True}]}
                           for n in range(5_000)]}
    whole = msgspec.json.encode(document)
    text, _, rest = call(answer=whole).response_body.partition("[... ")
    assert text == whole[:BODY_MAX_BYTES + 4_096].decode("utf-8", "ignore")[:BODY_MAX_BYTES]
    assert rest == f"{len(whole)} bytes]"


@given(st.text(st.sampled_from("ab%40@.,; :\"<é"), max_size=60))
def test_addresses_are_found_where_the_pattern_finds_them(text: str) -> None:
    assert _without_addresses(text) == _EMAIL.sub(BLOT, text)


@pytest.mark.parametrize("text", [
    "x" * 200 + "@berth.travel", "ada@" + "b" * 300 + "!", "@, a@b", "a%40b%40c@d e@f",
])
def test_long_and_crowded_addresses_are_found(text: str) -> None:
    assert _without_addresses(text) == _EMAIL.sub(BLOT, text)


@given(st.binary(max_size=300), st.text(max_size=60))
def test_nothing_makes_it_fail(body: bytes, text: str) -> None:
    kept = call(body=body, answer=body, url=f"https://api.example/{text}?{text}", error=text)
    assert SECRET not in kept.url


@given(st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner,
                                                                max_size=4), max_leaves=15))
def test_a_secret_is_found_at_any_depth(document: Any) -> None:
    kept = call(answer=json.dumps({"deep": [document, {"password": "PPP-1"}, SECRET]}).encode())
    assert "PPP-1" not in kept.response_body
    assert SECRET not in kept.response_body
