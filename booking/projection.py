"""What everybody sees of the packages: a projection in Valkey, written by the lease holder only.

It may lag behind by a batch; nothing is ever decided by it but what the door can refuse early.
"""

from __future__ import annotations

import datetime as dt

import msgspec
import redis

from booking.intake import door
from booking.lookup import moment
from booking.model import Package, PackageAbout, PackageFacts
from engine_errors import valkey_errors
from queues.keys import BOOKING

PAUSED_DOOR = "closed"


class PackageView(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A package as GET /api/packages shows it. `price` is a decimal string in `currency`."""

    id: int
    flight: str
    stay: str
    price: str
    currency: str
    quota: int
    remaining: int
    sale_starts_at: dt.datetime | None = None
    sale_ends_at: dt.datetime | None = None
    limit_per_customer: int | None = None
    paused: bool = False
    about: PackageAbout | None = None

    @property
    def facts(self) -> PackageFacts:
        """The part that an order copies."""
        return PackageFacts(self.id, self.flight, self.stay, self.price, self.currency)


class PackageList(msgspec.Struct, frozen=True):
    """All packages, by id."""

    packages: list[PackageView]


def project(package: Package, remaining: int) -> tuple[str, str, str]:
    """(id, JSON, door) as tell.lua writes them."""
    facts = package.facts
    starts_ms, ends_ms = package.sale_starts_ms, package.sale_ends_ms
    view = PackageView(
        id=facts.id,
        flight=facts.flight,
        stay=facts.stay,
        price=facts.price,
        currency=facts.currency,
        quota=package.quota,
        remaining=remaining,
        sale_starts_at=None if starts_ms is None else moment(starts_ms),
        sale_ends_at=None if ends_ms is None else moment(ends_ms),
        limit_per_customer=package.limit_per_customer,
        paused=package.paused,
        about=package.about,
    )
    closed = PAUSED_DOOR if package.paused else door(starts_ms, ends_ms)
    return str(facts.id), msgspec.json.encode(view).decode(), closed


class Shelf:
    """The packages as pages and the API show them."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._decoder = msgspec.json.Decoder(PackageView)

    def packages(self) -> list[PackageView]:
        """All packages by id; empty while the booking consumer has not told them."""
        with valkey_errors():
            found = self._client.hvals(BOOKING.packages)
        return sorted((self._decoder.decode(raw) for raw in found), key=lambda view: view.id)

    def package(self, package_id: int) -> PackageView | None:
        """One package."""
        with valkey_errors():
            raw = self._client.hget(BOOKING.packages, str(package_id))
        return self._decoder.decode(raw) if raw else None
