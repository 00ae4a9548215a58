"""docker-compose.yml as it runs: from empty volumes to healthy, an order, and `--scale`."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest
import redis
import requests
from requests.adapters import HTTPAdapter

from queues.keys import BOOKING
from tests.compose import Container, LocalCompose
from tests.waiting import eventually

pytestmark = pytest.mark.xdist_group("compose")

EMAIL = "ada@example.com"
MISSES_PER_MINUTE = 5
OPERATOR_SETS = {
    "SECRET_KEY": "only for tests",
    "LOOKUP_MISSES_PER_MINUTE": str(MISSES_PER_MINUTE),
    # Half of the flights are declined unless told otherwise; here all shall end the same way.
    "FLIGHT_FAILURE_RATE": "0",
    "DEFAULT_HOTELS": "40",
    "SIMULATOR_LATENCY_MS_MIN": "0",
    "SIMULATOR_LATENCY_MS_MAX": "20",
}


@pytest.fixture(scope="module")
def berth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCompose]:
    """All services of the file, in the order that it asks for."""
    compose = LocalCompose(tmp_path_factory.mktemp("compose"), OPERATOR_SETS)
    try:
        for service in compose.specs:
            compose.up(service)
        yield compose
    finally:
        compose.close()


@pytest.fixture
def valkey(berth: LocalCompose) -> Iterator[redis.Redis]:
    with redis.Redis(berth.address("valkey"), int(berth.ports["6379"]), decode_responses=True,
                     socket_timeout=5) as client:
        yield client


def place(berth: LocalCompose) -> str:
    """Order what is left most of, through the door; returns the order's id."""
    packages = requests.get(f"{berth.url('proxy')}/api/packages", timeout=10).json()["packages"]
    package = max(packages, key=lambda found: found["remaining"])
    answer = requests.post(f"{berth.url('proxy')}/api/orders", timeout=10,
                           json={"package_id": package["id"], "email": EMAIL})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["order_id"])


def order(berth: LocalCompose, order_id: str) -> dict[str, Any]:
    answer = requests.get(f"{berth.url('proxy')}/api/orders/{order_id}", timeout=10,
                          params={"email": EMAIL})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def confirmed(berth: LocalCompose, order_id: str, within_s: float = 10.0) -> None:
    eventually(lambda: order(berth, order_id)["state"] == "confirmed", within_s, order_id)


def holder(berth: LocalCompose, valkey: redis.Redis) -> Container:
    """The booking container whose process holds the lease."""
    token = str(eventually(lambda: valkey.get(BOOKING.lease), 10, "nobody holds the lease"))
    for container in berth.containers["booking"]:
        if f"holding the lease {token}" in container.log.read_text():
            return container
    raise AssertionError(f"{token} is none of ours")


def test_all_become_healthy_and_an_order_is_confirmed(berth: LocalCompose) -> None:
    whole = requests.get(f"{berth.url('proxy')}/healthz", timeout=10)
    assert whole.status_code == 200, whole.text
    confirmed(berth, place(berth))


def test_init_runs_again_and_changes_nothing(berth: LocalCompose) -> None:
    with pymongo.MongoClient[Any](
        berth.containers["web"][0].here("mongodb://mongo:27017/?replicaSet=berth")
    ) as client:
        before = list(client["berth"]["packages"].find())
        members = client.admin.command("replSetGetConfig")["config"]["members"]
        [init] = berth.containers["init"]
        init.start()
        init.wait_for("service_completed_successfully")
        assert list(client["berth"]["packages"].find()) == before
        assert client.admin.command("replSetGetConfig")["config"]["members"] == members
    # A member is named as every other container finds it, or no client could follow it.
    assert [member["host"] for member in members] == [init.here("mongo:27017")]


def test_a_standby_is_healthy_and_takes_over(berth: LocalCompose, valkey: redis.Redis) -> None:
    working = holder(berth, valkey)
    [standby] = [other for other in berth.containers["booking"] if other is not working]
    assert standby.healthy()
    working.kill()
    assert not working.healthy()
    confirmed(berth, place(berth))
    assert holder(berth, valkey) is standby
    working.start()  # as the restart policy would
    working.wait_for("service_healthy")
    assert holder(berth, valkey) is standby


def test_a_consumer_whose_loop_hangs_is_unhealthy(berth: LocalCompose) -> None:
    hanging = berth.containers["reservation"][0]
    beat = Path(hanging.here("/tmp/beat"))  # noqa: S108 (what the file says)

    def unhealthy_a_minute_later() -> bool:
        two_minutes_ago = time.time() - 120
        os.utime(beat, (two_minutes_ago, two_minutes_ago))
        return not hanging.healthy()

    hanging.send(signal.SIGSTOP)
    try:
        eventually(unhealthy_a_minute_later, 5)
    finally:
        hanging.send(signal.SIGCONT)
    hanging.wait_for("service_healthy")


def test_two_reservation_workers_and_one_is_killed(
    berth: LocalCompose, valkey: redis.Redis
) -> None:
    _, victim = berth.up("reservation", scale=2)
    eventually(lambda: valkey.zcard(BOOKING.reservations.workers) == 2, 10, "two heartbeats")
    slow = {"latency_ms_min": 800, "latency_ms_max": 800}
    quick = {"latency_ms_min": 0, "latency_ms_max": 20}
    settings = f"{berth.url('simulator')}/api/simulator/settings"
    assert requests.patch(settings, json=slow, timeout=10).status_code == 200
    try:
        orders = [place(berth) for _ in range(8)]
        inflight = BOOKING.reservations.inflight_prefix + "*"
        eventually(lambda: len(valkey.keys(inflight)) == 2, 10, "both have work")
        victim.kill()
    finally:
        requests.patch(settings, json=quick, timeout=10)
    for order_id in orders:
        confirmed(berth, order_id)
    victim.start()
    victim.wait_for("service_healthy")


def test_web_scales_behind_the_door(berth: LocalCompose) -> None:
    first, second = berth.up("web", scale=2)
    eventually(lambda: serves(berth, first), 15, first.name)
    eventually(lambda: serves(berth, second), 15, second.name)
    first.kill()
    # A request that finds nobody there goes to the other one; nobody outside notices.
    for _ in range(40):
        assert requests.get(f"{berth.url('proxy')}/api/packages", timeout=10).status_code == 200
    first.start()
    eventually(lambda: serves(berth, first), 15, "it is back")


def serves(berth: LocalCompose, web: Container) -> bool:
    """Whether it is this one of the web containers that answers a request through the door."""
    before = web.log.read_text().count("GET /api/packages")
    assert requests.get(f"{berth.url('proxy')}/api/packages", timeout=10).status_code == 200
    return web.log.read_text().count("GET /api/packages") > before


def test_without_web_the_door_says_when_to_come_back(berth: LocalCompose) -> None:
    for container in berth.containers["web"]:
        container.kill()
    door = berth.url("proxy")
    program = requests.get(f"{door}/api/packages", timeout=10)
    person = requests.get(f"{door}/order", headers={"Accept": "text/html,*/*"}, timeout=10)
    assert (program.status_code, person.status_code) == (503, 503)
    assert program.headers["Retry-After"] == "2"
    assert program.headers["Content-Type"] == "application/problem+json"
    assert program.json()["status"] == 503
    eventually(lambda: "One moment" in requests.get(
        f"{door}/order", headers={"Accept": "text/html,*/*"}, timeout=10).text, 5)
    for container in berth.containers["web"]:
        container.start()
        container.wait_for("service_healthy")
    berth.containers["proxy"][0].wait_for("service_healthy")


def test_valkey_is_killed_and_only_those_are_unhealthy_who_cannot_serve(
    berth: LocalCompose,
) -> None:
    order_id = place(berth)
    [valkey_container] = berth.containers["valkey"]
    valkey_container.kill()
    [proxy] = berth.containers["proxy"]
    eventually(lambda: not proxy.healthy(), 10, "the door says that orders can be taken")
    refused = requests.post(f"{berth.url('proxy')}/api/orders", timeout=10,
                            json={"package_id": 1, "email": EMAIL})
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) >= 1
    # Starting these again would bring no Valkey back.
    for service in ("web", "booking", "reservation"):
        for container in berth.containers[service]:
            assert container.healthy(), container.name
    valkey_container.start()
    proxy.wait_for("service_healthy")
    confirmed(berth, order_id)


def test_the_door_tells_who_came_and_believes_no_forged_header(berth: LocalCompose) -> None:
    stranger, customer = coming_from("127.0.0.66"), coming_from("127.0.0.77")
    address = f"{berth.url('proxy')}/api/orders/01JD3Z5V7Q8W9X0Y1Z2A3B4C5D"

    def look_up(session: requests.Session, number: int) -> requests.Response:
        return session.get(address, params={"email": EMAIL}, timeout=10, headers={
            "X-Forwarded-For": f"10.0.0.{number}", "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "evil.example",
        })

    answers = [look_up(stranger, number) for number in range(2 * MISSES_PER_MINUTE + 1)]
    assert answers[0].status_code == 404
    assert answers[-1].status_code == 429, "it counts by an address that anybody can invent"
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert look_up(customer, 1).status_code == 404, "it counts the door's own address"


def coming_from(address: str) -> requests.Session:
    """A client with this address of its own."""
    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
            super().init_poolmanager(*arguments, **options, source_address=(address, 0))

    session = requests.Session()
    session.mount("http://", Adapter())
    return session


def test_a_huge_body_is_refused_before_it_is_sent(berth: LocalCompose) -> None:
    connection = http.client.HTTPConnection(berth.address("proxy"), int(berth.ports["8080"]),
                                            timeout=10)
    with contextlib.closing(connection):
        connection.putrequest("POST", "/api/orders")
        connection.putheader("Content-Type", "application/json")
        connection.putheader("Content-Length", "2000000")
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 413
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert json.load(answer)["status"] == 413


def test_bodies_that_never_end_keep_nobody_out(berth: LocalCompose) -> None:
    """Each would have a thread of web to itself, for as long as its sender likes."""
    place(berth)
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            connection = http.client.HTTPConnection(
                berth.address("proxy"), int(berth.ports["8080"]), timeout=10
            )
            stack.enter_context(contextlib.closing(connection))
            connection.putrequest("POST", "/api/orders")
            connection.putheader("Content-Type", "application/json")
            connection.putheader("Content-Length", "60")
            connection.endheaders(b"{")
        place(berth)


def test_no_log_has_an_address_of_a_customer(berth: LocalCompose) -> None:
    order_id = place(berth)
    confirmed(berth, order_id)
    [proxy] = berth.containers["proxy"]
    eventually(lambda: f"GET /api/orders/{order_id} 200" in proxy.log.read_text(), 5)
    for service in berth.containers.values():
        for container in service:
            assert EMAIL not in container.log.read_text(), container.name
            assert "email" not in container.log.read_text(), container.name


@pytest.mark.parametrize("service", ["booking", "reservation", "web", "simulator"])
def test_it_ends_in_good_order_when_told_to(berth: LocalCompose, service: str) -> None:
    container = berth.containers[service][-1]
    assert container.stop() == 0, container.last_words()
    container.start()
    container.wait_for("service_healthy")
