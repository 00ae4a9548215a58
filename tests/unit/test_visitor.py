"""What a browser knows of its orders, and that it always fits into a cookie."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator

import pytest
from flask import Flask, session
from ulid import ULID

from web import visitor

COOKIE_MAX_BYTES = 4_093


@pytest.fixture
def app() -> Iterator[Flask]:
    app = Flask(__name__)
    app.secret_key = "only for tests"
    with app.test_request_context():
        yield app


def test_the_latest_order_comes_first_and_is_found_in_any_case(app: Flask) -> None:
    first, second = str(ULID()), str(ULID())
    visitor.remember(first, "ann@example.org", 7)
    visitor.remember(second, "bob@example.org", None)
    assert [order.order_id for order in visitor.orders()] == [second, first]
    found = visitor.known(f" {first.lower()} ")
    assert found is not None
    assert (found.email, found.place) == ("ann@example.org", 7)
    assert visitor.known(str(ULID())) is None


def test_an_order_that_is_remembered_again_keeps_where_it_was_first_seen(app: Flask) -> None:
    order_id = str(ULID())
    visitor.remember(order_id, "ann@example.org", 50)
    visitor.remember(order_id, "ann@example.org", 3)
    assert [order.place for order in visitor.orders()] == [50]


def test_asking_to_cancel_is_noted_for_that_order_alone(app: Flask) -> None:
    first, second = str(ULID()), str(ULID())
    visitor.remember(first, "ann@example.org", None)
    visitor.remember(second, "ann@example.org", None)
    visitor.asked_to_cancel(first)
    assert [order.cancel_s > 0 for order in visitor.orders()] == [False, True]


@pytest.mark.parametrize(("letters", "length"), [
    (string.ascii_lowercase, 10), (string.ascii_letters + string.digits, 48),
    (string.ascii_letters + string.digits, 240), ("üéčøłñåß", 30), ("漢字仮名交文", 20),
])
def test_the_cookie_never_grows_too_large_for_a_browser(
    app: Flask, letters: str, length: int
) -> None:
    """With addresses that no packing makes shorter."""
    chance = random.Random(length)
    session["csrf_token"] = f"{chance.getrandbits(160):040x}"
    for _ in range(60):
        email = "".join(chance.choices(letters, k=length)) + "@a-longer-domain.example.org"
        visitor.remember(str(ULID()), email, chance.randint(1, 200_000))
    for order in visitor.orders():
        visitor.asked_to_cancel(order.order_id)
    assert 1 <= len(visitor.orders()) <= visitor.ORDERS_MAX
    assert visitor.orders()[0].email == email, "the latest order must be there"
    serializer = app.session_interface.get_signing_serializer(app)
    assert len(serializer.dumps(dict(session))) + len("session=") < COOKIE_MAX_BYTES


@pytest.mark.parametrize("kept", [None, "text", [["id"]], [[1, 2]], {"a": 1}])
def test_a_cookie_of_another_version_is_an_empty_one(app: Flask, kept: object) -> None:
    session["orders"] = kept
    assert visitor.orders() == []
