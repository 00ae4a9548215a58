"""What is kept of a vendor call: enough to see what went wrong, nothing that must not be seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suppliers.http import Exchange
from suppliers.redaction import BLOT, Interaction, redact

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
