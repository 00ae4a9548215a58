"""What people read covers everything that can happen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from booking.model import Reason, State
from web import problems, words
from web.types import FieldError, Problem


def test_every_reason_and_every_state_has_words() -> None:
    assert set(words.REASONS) == set(Reason)
    assert set(words.STATES) == set(State)


@pytest.mark.parametrize("reason", list(Reason))
def test_a_reason_says_what_happened_and_what_to_do_in_whole_sentences(reason: Reason) -> None:
    said = words.REASONS[reason]
    for text in (said.what, said.next):
        assert text[0].isupper()
        assert text.endswith(".")
        assert "_" not in text, "a name of the program is no word for people"
    assert len({found.what for found in words.REASONS.values()}) == len(Reason)


def test_every_kind_of_problem_that_is_for_programs_has_words_for_people() -> None:
    source = Path(problems.__file__).read_text(encoding="utf-8")
    kinds = set(re.findall(r'_problem\("([a-z-]+)"', source))
    assert kinds >= {"unknown-package", "overloaded", "engine-away", "csrf"}
    for kind in kinds - {"http", "bad-input", "sales-closed", "internal-error"}:
        problem = Problem(type=f"/problems/{kind}", title="T", status=400, detail="D")
        assert words.for_people(problem) != ("T", "D"), kind


@pytest.mark.parametrize("status", [400, 404, 405, 413, 429])
def test_every_status_of_the_framework_has_words_for_people(status: int) -> None:
    problem = Problem(type="/problems/http", title="T", status=status, detail="D")
    assert words.for_people(problem) != ("T", "D")


@pytest.mark.parametrize(("field", "detail", "text"), [
    ("price_max", "not below the lowest price", "The highest price: not below the lowest price."),
    ("city", "no hotel has 'lisbonn'; did you mean lisbon?",
     "City: no hotel has 'lisbonn'; did you mean lisbon?"),
    ("package", "Choose a package first.", "Choose a package first."),
])
def test_a_page_says_what_is_wrong_with_which_field(field: str, detail: str, text: str) -> None:
    problem = Problem(type="/problems/bad-input", title="T", status=422, detail=detail,
                      errors=[FieldError(detail, field)])
    assert words.for_people(problem)[1] == text


@pytest.mark.parametrize(("seconds", "text"), [
    (0, "a few seconds"), (4.9, "a few seconds"), (5, "about 5 seconds"), (6, "about 10 seconds"),
    (54, "about 55 seconds"), (55, "about 1 minute"), (61, "about 2 minutes"),
    (3_540, "about 59 minutes"), (3_541, "about 1 hour"), (7_201, "about 3 hours"),
])
def test_a_wait_is_rounded_up(seconds: float, text: str) -> None:
    assert words.wait_text(seconds) == text


def test_the_estimate_goes_by_the_speed_that_was_seen() -> None:
    # From place 100 to place 40 in 30 s: two a second, so 20 s for the rest.
    assert words.estimate_s(100, 1_000.0, 40, 1_030.0) == pytest.approx(20.0)


@pytest.mark.parametrize(("place_then", "place_now", "took_s"), [
    (0, 5, 10), (5, 5, 10), (5, 6, 10), (10, 5, 0), (10, 5, -3),
])
def test_there_is_no_estimate_without_a_speed(place_then: int, place_now: int, took_s: float
                                              ) -> None:
    assert words.estimate_s(place_then, 1_000.0, place_now, 1_000.0 + took_s) is None


# How an order of a hotel rate can end: consumer/stays.py, and what ends any order.
RATE_ENDINGS = {Reason.PRICE_CHANGED, Reason.SOLD_OUT, Reason.ROOM_DECLINED,
                Reason.SUPPLIER_UNREACHABLE, Reason.HOLD_EXPIRED, Reason.CUSTOMER_REQUEST,
                Reason.INTERNAL_ERROR}


def test_an_order_of_a_rate_is_told_of_no_flight() -> None:
    steps = [words.RATE_STEPS.get(state, words.STATES[state].step) for state in State]
    said = [text for reason in RATE_ENDINGS
            for found in [words.RATE_REASONS.get(reason, words.REASONS[reason])]
            for text in (found.what, found.next)]
    said += [text for found in words.RATE_STATES.values() for text in (found.what, found.next)]
    for text in (*steps, *said):
        assert not re.search(r"flight|airline|package", text, re.IGNORECASE), text
