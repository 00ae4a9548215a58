"""A visitor of the pages, and the campaign that is on sale when one comes."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import redis
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from booking import commands
from booking.model import PackageAbout
from booking.projection import project
from queues.keys import BOOKING
from tests.booking_world import World, package
from tests.html_page import Page

ANN = "ann@example.org"
UNKNOWN_ID = "01JD8YV6S2Q0M5W3ZK7C4T9XRB"
EVIL = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>"
LONG_AGO_MS, LONG_HENCE_MS = 1_000_000_000_000, 4_000_000_000_000
ABOUT = PackageAbout(
    origin_city="Lisbon", origin_iata="LIS", destination_city="Tokyo", destination_iata="NRT",
    destination_country="Japan", hotel="Quiet Lantern Inn",
)


def stay(destination: str = "lisbon", guests: int = 2) -> dict[str, str]:
    """The parameters of a search that can be made today."""
    arrival = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=30)
    return {"destination": destination, "check_in": str(arrival), "guests": str(guests),
            "check_out": str(arrival + dt.timedelta(days=3))}


class Visitor:
    """A browser without JavaScript: it fills in forms and follows where they lead."""

    def __init__(self, app: Flask) -> None:
        self.client: FlaskClient = app.test_client()

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def page(self, path: str, status: int = 200) -> Page:
        answer = self.get(path)
        assert answer.status_code == status, answer.text
        return Page(answer.text)

    def order_form(self, package_id: int = 1) -> dict[str, str]:
        return self.page(f"/order?package={package_id}").form("/order")

    def order(self, package_id: int = 1, email: str = ANN) -> str:
        """Order by the form; returns the order's id."""
        answer = self.client.post("/order", data={**self.order_form(package_id), "email": email})
        assert answer.status_code == 303, answer.text
        return answer.location.rpartition("/")[2]

    def query(self, order_id: str, email: str) -> TestResponse:
        form = self.page("/query").form("/query")
        return self.client.post("/query", data={**form, "order_id": order_id, "email": email})

    def cancel(self, order_id: str) -> TestResponse:
        path = f"/orders/{order_id}/cancel"
        return self.client.post(path, data=self.page(path).form(path))


def sell_campaign(world: World) -> None:
    """Six packages on the shelf, among them one for every state of a sale."""
    world.sell(
        package(1, quota=3, about=ABOUT), package(2, quota=2, sale_ends_ms=LONG_AGO_MS),
        package(3, quota=2, sale_starts_ms=LONG_HENCE_MS), package(4, quota=2, paused=True),
        package(5, quota=0), package(6, quota=50, limit_per_customer=1),
    )
    work(world)


def work(world: World) -> None:
    """Let a booking consumer do all that waits."""
    consumer = world.consumer()
    world.settle(consumer)
    consumer.step()
    consumer.leave()


def confirm(world: World, order_id: str) -> None:
    world.push(commands.ReservationConfirmed(
        order_id=order_id, flight_ticket_number="F-123", hotel_reservation_number="H-456"))
    work(world)


def waiting(world: World) -> int:
    return int(world.valkey.llen(BOOKING.jobs))


def shelve(valkey: redis.Redis) -> None:
    """Put one package on the shelf, as the booking consumer tells it."""
    key, view, door = project(package(1, quota=3), 3)
    valkey.hset(BOOKING.packages, key, view)
    valkey.hset(BOOKING.doors, key, door)


def without_ids(text: str) -> str:
    """A page without what differs between any two renderings of it."""
    text = re.sub(r'name="csrf_token"[^>]*value="[^"]+"', "", text)
    return re.sub(r"\b[0-9A-HJKMNP-TV-Z]{26}\b", "ID", text)
