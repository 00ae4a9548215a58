"""The orders that this browser has shown itself to know, in its signed session cookie.

The cookie is signed, not encrypted: it holds nothing but the visitor's own order ids and e-mail
addresses. It spares them to type the pair again, and keeps the address out of every URL.
"""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
from flask import session

import shapes

ORDERS_MAX = 20
# A browser drops a cookie above 4 kB: what the addresses may take together, in characters.
EMAILS_MAX_CHARS = 1_200
_NAME = "orders"


class KnownOrder(msgspec.Struct, frozen=True, array_like=True):
    """An order of this visitor.

    `place` is where it stood in the queue at `seen_s` (seconds since 1970; 0: not known), from
    which the speed of the queue is told. `cancel_s` is when its cancellation was asked for, or 0.
    """

    order_id: str
    email: str
    place: int = 0
    seen_s: int = 0
    cancel_s: int = 0


def orders() -> list[KnownOrder]:
    """What this browser knows, the latest first."""
    kept: Any = session.get(_NAME, [])
    try:
        return shapes.convert(kept, list[KnownOrder])
    except msgspec.ValidationError:
        return []  # a cookie of an earlier version; its visitor finds the order by the query page


def known(order_id: str) -> KnownOrder | None:
    """The order with this id, if this browser knows it."""
    wanted = order_id.strip().upper()
    return next((order for order in orders() if order.order_id == wanted), None)


def remember(order_id: str, email: str, place: int | None) -> None:
    """Put an order first; the oldest are forgotten when the cookie would grow too large.

    An order that is remembered again keeps where it was first seen: a replayed answer says
    nothing about its place.
    """
    before = known(order_id)
    if before is not None and before.email == email:
        return
    seen_s = int(time.time()) if place else 0
    _keep([KnownOrder(order_id.strip().upper(), email, place or 0, seen_s), *orders()])


def asked_to_cancel(order_id: str) -> None:
    """Note that the cancellation of a known order is on its way."""
    now_s = int(time.time())
    _keep([
        msgspec.structs.replace(order, cancel_s=now_s) if order.order_id == order_id else order
        for order in orders()
    ])


def _keep(wanted: list[KnownOrder]) -> None:
    kept: dict[str, KnownOrder] = {}
    left = EMAILS_MAX_CHARS
    for order in wanted:
        left -= len(json.dumps(order.email))  # as the cookie writes it, escapes included
        if left < 0 or len(kept) == ORDERS_MAX:
            break
        kept.setdefault(order.order_id, order)
    session[_NAME] = msgspec.to_builtins(list(kept.values()))
