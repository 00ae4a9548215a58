"""What vendors of hotel rates have booked, against the orders of rates.

A vendor knows an order by its id, or by a hash where its references are shorter: each order is
looked for under both. Orders of rates are few beside those of packages, so they are kept whole.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from decimal import Decimal

from audit.documents import Document, Snapshot
from audit.findings import Findings, Kind
from audit.supplier import Stay

_ORDER_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}", re.ASCII)
_HASH = re.compile(r"[A-Z2-7]{20}", re.ASCII)
_FIELDS = ("state", "owed", "rate", "hotel_reservation_number")


def check_stays(snapshot: Snapshot, stays: Iterable[Stay], findings: Findings) -> int:
    """Compare booking by booking. Returns how many may be of an order that was erased.

    Those are older than every order known, or hashes, which do not say how old they are.
    """
    orders: dict[tuple[str, str], Document] = {}
    first = ""
    for order in snapshot.orders(_FIELDS):
        first = first or str(order["_id"])
        if "rate" in order:
            for name in _names(str(order["_id"])):
                orders[order["rate"]["supplier"], name] = order
    unknown = 0
    booked: dict[str, Stay] = {}
    for stay in stays:
        if stay.state != "booked":
            continue
        found = orders.get((stay.vendor, stay.client_reference))
        if found is None:
            name = stay.client_reference
            if _HASH.fullmatch(name) or (_ORDER_ID.fullmatch(name) and name < (first or "~")):
                unknown += 1
            else:
                findings.doubt(Kind.SUPPLIER_ORPHANS,
                               f"a stay is booked at {stay.vendor} for order {name}, which is not "
                               "known")
            continue
        booked[found["_id"]] = stay
        _check(stay, found, findings)
    for order in {order["_id"]: order for order in orders.values()}.values():
        if order["state"] == "confirmed" and order["_id"] not in booked:
            findings.doubt(Kind.SUPPLIER_MISSING,
                           f"order {order['_id']} is confirmed, and no stay is booked for it")
    return unknown


def _check(stay: Stay, order: Document, findings: Findings) -> None:
    name, state = f"order {order['_id']}", order["state"]
    if state != "confirmed":
        if state != "held" and "stay" not in (order.get("owed") or ()):
            findings.doubt(Kind.SUPPLIER_ORPHANS,
                           f"a stay is booked for {name}, which is {state} and owes none")
        return
    if stay.number != order.get("hotel_reservation_number"):
        findings.doubt(Kind.SUPPLIER_MISSING,
                       f"{name} has the stay {order.get('hotel_reservation_number')}; "
                       f"{stay.vendor} says {stay.number}")
    pinned = order["rate"]
    if (Decimal(stay.price), stay.currency) != (Decimal(pinned["price"]), pinned["currency"]):
        findings.doubt(Kind.DRIFTED,
                       f"{name} was pinned at {pinned['price']} {pinned['currency']} and booked "
                       f"at {stay.price} {stay.currency}")


def _names(order_id: str) -> tuple[str, str]:
    """The references that an order may travel under: its id, or 20 letters of a hash of it."""
    digest = hashlib.blake2b(order_id.encode(), digest_size=12).digest()
    return order_id, base64.b32encode(digest)[:20].decode()
