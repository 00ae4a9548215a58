"""The short cut of plain addresses says what the library says, word for word."""

from __future__ import annotations

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from errors import BadInput
from web import types
from web.types import EMAIL_MAX_CHARS, valid_email

LOCAL_LETTERS = "abzABZ019._+-'\"( \u00e9\u0130\n"
DOMAIN_LETTERS = "abzABZ019.-_\u00e9\u3002 \n"
locals_ = st.text(LOCAL_LETTERS, max_size=8) | st.text("ab.", min_size=60, max_size=70)
domains = (
    st.text(DOMAIN_LETTERS, max_size=12)
    | st.text("ab-.", min_size=1, max_size=8).map(lambda text: f"{text}.com")
    | st.text("ab", min_size=60, max_size=70).map(lambda text: f"{text}.org")
    | st.sampled_from(["berth.travel", "BERTH.Travel", "localhost", "x.test", "x.invalid",
                       "xn--bcher-kva.example.com", "a--b.com", "1.2.3.4", "[1.2.3.4]", "com"])
)


def by_the_library(text: str) -> str:
    try:
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError as error:
        return f"refused: {error}"


def by_us(text: str) -> str:
    try:
        return valid_email(text, field="")
    except BadInput as error:
        return f"refused: {error.detail}"


@given(locals_, domains)
@example("postmaster", "Berth.Travel")
@example("a" * 64, "b" * 63 + ".com")
@example("a" * 65, "berth.travel")
@example(".a", "berth.travel")
def test_it_says_what_the_library_says(local: str, domain: str) -> None:
    text = f"{local}@{domain}"
    if len(text) <= EMAIL_MAX_CHARS:
        assert by_us(text) == by_the_library(text)


@given(st.emails())
def test_ordinary_addresses_too(text: str) -> None:
    if len(text) <= EMAIL_MAX_CHARS:
        assert by_us(text) == by_the_library(text)


def test_the_library_is_asked_once_for_a_domain_that_many_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def counting(text: str, **options: bool) -> object:
        asked.append(text)
        return validate_email(text, **options)

    monkeypatch.setattr(types, "validate_email", counting)
    types._domain.cache_clear()
    assert [valid_email(f"customer{n}@Berth.travel") for n in range(3)] == [
        f"customer{n}@berth.travel" for n in range(3)
    ]
    assert asked == ["a@Berth.travel"]


def test_a_domain_that_was_refused_is_refused_again() -> None:
    for _ in range(2):
        with pytest.raises(BadInput):
            valid_email("customer@berth.test")
