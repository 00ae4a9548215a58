"""What the pages and the door believe of the packages, against the documents."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import redis
from bson import Decimal128
from bson.datetime_ms import DatetimeMS

import shapes
from audit.documents import Document
from audit.findings import Findings, Kind
from audit.orders import Sold, whole
from engine_errors import valkey_errors
from queues.keys import BOOKING

_ID_MAX = 2**53 - 1
_QUOTA_MAX = 10_000_000
_LIMIT_MAX = 100
_PRICE_DIGITS_MAX = 12
_ALWAYS_OPEN = "0 253402300800000"


class Package(msgspec.Struct, frozen=True):
    """A package as its document says it should be sold."""

    id: int
    quota: int
    limit: int | None
    paused: bool
    price: Decimal
    texts: tuple[str, str, str]  # flight, stay, currency
    starts_ms: int | None
    ends_ms: int | None


def read_package(document: Document) -> Package | None:
    """None when it cannot be sold as it stands: it must not be on the shelf then."""
    package_id, quota = whole(document.get("_id")), whole(document.get("quota"))
    limit = document.get("limit_per_customer")
    texts = tuple(document.get(name) for name in ("flight", "stay", "currency"))
    moments = [document.get(name) for name in ("sale_starts_at", "sale_ends_at")]
    price = _price(document.get("price"))
    fits = (
        package_id is not None and 1 <= package_id <= _ID_MAX
        and quota is not None and 0 <= quota <= _QUOTA_MAX
        and (limit is None or 1 <= (whole(limit) or 0) <= _LIMIT_MAX)
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(at, DatetimeMS | None) for at in moments)
        and price is not None
    )
    if not fits:
        return None
    return shapes.convert(
        {
            "id": package_id,
            "quota": quota,
            "limit": whole(limit),
            "paused": bool(document.get("paused", False)),
            "price": price,
            "texts": texts,
            "starts_ms": None if moments[0] is None else int(moments[0]),
            "ends_ms": None if moments[1] is None else int(moments[1]),
        },
        Package,
    )


def _price(value: object) -> Decimal | None:
    text = str(value.to_decimal() if isinstance(value, Decimal128) else value)
    try:
        price = Decimal(text)
    except InvalidOperation:
        return None
    if not price.is_finite() or price < 0 or len(text) > 2 * _PRICE_DIGITS_MAX:
        return None
    return price if abs(price.adjusted()) <= _PRICE_DIGITS_MAX else None


def check_shelf(
    client: redis.Redis, packages: Iterable[Package], sold: Sold, findings: Findings
) -> None:
    """Both projections, package by package. Raises EngineAway."""
    with valkey_errors():
        pipe = client.pipeline(transaction=True)
        pipe.hgetall(BOOKING.packages)
        pipe.hgetall(BOOKING.doors)
        shown, doors = pipe.execute()
    expected = {str(package.id).encode(): package for package in packages}
    for key in sorted({*expected, *shown, *doors}):
        name = f"package {key.decode(errors='replace')}"
        package = expected.get(key)
        if package is None:
            findings.doubt(Kind.DRIFTED, f"{name} is shown, and no document sells it")
        elif key not in shown or key not in doors:
            findings.doubt(Kind.DRIFTED, f"{name} is to be sold, and is not shown")
        else:
            for words in _differences(package, sold.live(package.id), shown[key], doors[key]):
                findings.doubt(Kind.DRIFTED, f"{name} {words}")


def _differences(package: Package, live: int, shown: bytes, door: bytes) -> Iterator[str]:
    try:
        view = shapes.decode(shown, dict[str, Any])
        price = Decimal(str(view.get("price")))
    except (msgspec.MsgspecError, InvalidOperation) as error:
        yield f"is shown as something that cannot be read: {type(error).__name__}"
        return
    remaining = max(0, package.quota - live)
    pairs = {
        "id": (view.get("id"), package.id),
        "quota": (view.get("quota"), package.quota),
        "remaining": (view.get("remaining"), remaining),
        "paused": (view.get("paused", False), package.paused),
        "limit_per_customer": (view.get("limit_per_customer"), package.limit),
        "price": (price, package.price),
        "flight": (view.get("flight"), package.texts[0]),
        "stay": (view.get("stay"), package.texts[1]),
        "currency": (view.get("currency"), package.texts[2]),
        "sale_starts_at": (_ms(view.get("sale_starts_at")), package.starts_ms),
        "sale_ends_at": (_ms(view.get("sale_ends_at")), package.ends_ms),
        "door": (door.decode(errors="replace"), _door(package)),
    }
    for field, (told, true) in pairs.items():
        if told != true:
            yield f"is shown with {field} {told}; by the documents it is {true}"


def _door(package: Package) -> str:
    if package.paused:
        return "closed"
    always = _ALWAYS_OPEN.split()
    starts = always[0] if package.starts_ms is None else str(package.starts_ms)
    ends = always[1] if package.ends_ms is None else str(package.ends_ms)
    return f"{starts} {ends}"


def _ms(text: str | None) -> int | str | None:
    if text is None:
        return None
    try:
        at = dt.datetime.fromisoformat(text)
        return round(at.timestamp() * 1_000)
    except ValueError:
        return text
