"""python -m operate about live rates: what an operator sees of searches, workers and suppliers."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import redis

import bootstrap
from consumer.fetch_queue import FetchQueue
from consumer.fetch_workers import FetchWorkersAlive
from errors import SupplierAway, Throttled
from operate.__main__ import main
from queues.keys import INTERACTIONS, SEARCH
from queues.reliable import ReliableQueue
from search.query import SearchQuery
from settings import Settings
from suppliers.fetching import FetchPart, query_of
from suppliers.http import Exchange, IssuedToken
from suppliers.interactions import InteractionLog
from suppliers.rates import Part
from suppliers.registry import ADAPTERS
from suppliers.tokens import SharedTokens

DAY = dt.date(2027, 3, 1)
QUERY = SearchQuery("lisbon", DAY, DAY + dt.timedelta(2), 2)


@pytest.fixture
def client(settings: Settings, valkey: redis.Redis) -> Iterator[redis.Redis]:
    with bootstrap.connect_search_valkey(settings, connections=4) as client:
        yield client


class Operator:
    """The command in this process, on the engines of the test."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> str:
        assert main(arguments) == code
        captured = self._capsys.readouterr()
        return captured.err if code else captured.out

    def json(self, *arguments: str) -> dict[str, Any]:
        return dict(json.loads(self(*arguments, "--json")))


@pytest.fixture
def operate(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Operator:
    for name in ("redis_url", "mongo_url", "mongo_database", "data_dir"):
        monkeypatch.setenv(name.upper(), getattr(settings, name))
    return Operator(capsys)


def suppliers_of(operate: Operator) -> dict[str, dict[str, Any]]:
    return dict(operate.json("queues")["rates"]["suppliers"])


def test_a_road_without_anybody_says_who_is_missing(
    operate: Operator, client: redis.Redis
) -> None:
    seen = operate.json("queues")
    assert {one["state"] for one in seen["rates"]["suppliers"].values()} == {"closed"}
    assert set(seen["rates"]["suppliers"]) == set(ADAPTERS)
    assert seen["rates"]["tokens"] == {"perhotel": None}
    for words in ("No search consumer holds the lease.", "No fetch worker has a heartbeat.",
                  "Nobody writes the log of calls."):
        assert words in seen["rates"]["remarks"]


def test_what_waits_and_who_works(
    operate: Operator, client: redis.Redis, settings: Settings
) -> None:
    entries = bootstrap.search_entries(settings, client)
    entry = entries.begin(QUERY)
    entries.begin(msgspec.structs.replace(QUERY, guests=3))
    search = ReliableQueue(client, SEARCH, lease_ms=60_000)
    lease = search.acquire("searcher")
    assert lease is not None
    search.take(lease, most=1, singles_after=3)
    FetchWorkersAlive(client, heartbeat_ms=60_000).beat("fetcher")
    FetchWorkersAlive(client, heartbeat_ms=-5_000).beat("gone")
    asked = query_of(QUERY.destination, QUERY.check_in, QUERY.check_out, 2, "EUR", ())
    FetchQueue(client, ADAPTERS).enqueue([
        FetchPart(search_id=QUERY.search_id, created_ms=entry.created_ms,
                  deadline_ms=entry.deadline_ms, supplier="hotelbeds", query=asked,
                  part=Part(number, ("lisbon-1",)))
        for number in range(3)
    ], timeout_s=60)
    ReliableQueue(client, INTERACTIONS, lease_ms=60_000).acquire("keeper")
    seen = operate.json("queues")
    rates = seen["rates"]
    assert (rates["searches"]["jobs"], rates["searches"]["inflight"]) == (1, 1)
    assert rates["searches"]["holder"].startswith("searcher:")
    assert {one["worker"]: one["alive"] for one in rates["fetch_workers"]} == {
        "fetcher": True, "gone": False}
    assert rates["suppliers"]["hotelbeds"]["parts_waiting"] == 3
    assert rates["suppliers"]["ascenda"]["parts_waiting"] == 0
    assert not any("search" in words or "fetch" in words for words in seen["rates"]["remarks"])


def test_a_breaker_that_opened_a_pause_and_a_probe_are_told(
    operate: Operator, client: redis.Redis, settings: Settings
) -> None:
    gate = bootstrap.vendor_gate(settings, client, threading.Event())
    for _ in range(settings.breaker_failures):
        with suppress(SupplierAway), gate.call(ADAPTERS["hotelbeds"], until_s=float("inf")):
            raise SupplierAway("down")
    with suppress(Throttled), gate.call(ADAPTERS["ascenda"], until_s=float("inf")):
        raise Throttled("slowly", 60.0)
    gate.enter(ADAPTERS["perhotel"], "somebody", until_s=float("inf"))
    seen = suppliers_of(operate)
    assert seen["hotelbeds"]["state"] == "open"
    assert seen["hotelbeds"]["failures"] == settings.breaker_failures
    assert 0 < seen["hotelbeds"]["left_s"] <= settings.breaker_open_s
    assert (seen["ascenda"]["state"], seen["ascenda"]["paused"]) == ("closed", True)
    assert seen["perhotel"]["calls_now"] == 1
    told = operate("queues")
    assert "hotelbeds is left alone: for " in told
    assert "ascenda is left alone: a pause of " in told
    assert "duffel_stays is left alone" not in told
    client.hset(SEARCH.gate("hotelbeds"), "open_until", 1)  # its time is over
    assert suppliers_of(operate)["hotelbeds"]["state"] == "half_open"
    assert "until one call has come through" in operate("queues")
    with gate.call(ADAPTERS["hotelbeds"], until_s=float("inf")):
        gate.admit()
    assert suppliers_of(operate)["hotelbeds"]["state"] == "closed"


def test_the_age_of_a_token_is_told_and_never_the_token(
    operate: Operator, client: redis.Redis, settings: Settings
) -> None:
    account = f"perhotel:{settings.perhotel_client_id}"
    SharedTokens(client, {account: lambda: IssuedToken("a-secret-token", 600.0)},
                 stop=threading.Event()).get(account)
    token = operate.json("queues")["rates"]["tokens"]["perhotel"]
    assert 0 <= token["age_s"] < 60
    assert 540 < token["left_s"] <= 600
    told = operate("queues")
    assert "token of perhotel" in told
    assert "a-secret-token" not in told


def test_calls_that_the_log_dropped_are_told(operate: Operator, client: redis.Redis) -> None:
    log = InteractionLog(client, most_waiting=0, secrets=[])
    for number in range(3):
        log.observe(Exchange("acme", "GET", f"https://api.example/{number}", {}, b"", 200, {},
                             b"{}", 0.0, 0.01, ""))
    log.close(10)
    seen = operate.json("queues")
    assert seen["rates"]["interactions"]["dropped"] == 3
    assert "3 calls are missing from the log." in seen["rates"]["remarks"]


def test_orders_are_shown_while_the_valkey_of_searches_is_away(
    operate: Operator, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEARCH_REDIS_URL", "redis://127.0.0.1:9")
    seen = operate.json("queues")
    assert seen["waiting"] == 0
    [words] = seen["rates"]["remarks"]
    assert words.startswith("The Valkey of searches does not answer")
    assert "The Valkey of searches does not answer" in operate("queues")
    assert "EngineAway" in operate("search", "a" * 32, code=2)


def test_one_search_and_who_of_its_suppliers_is_missing(
    operate: Operator, client: redis.Redis, settings: Settings
) -> None:
    entries = bootstrap.search_entries(settings, client)
    entries.begin(QUERY)
    assert "It is not planned yet." in operate("search", QUERY.search_id)
    entries.plan(QUERY.search_id, {"hotelbeds": 1, "perhotel": 2})
    entries.append(QUERY.search_id, "perhotel", "perhotel:end:0", (), finished=True,
                   error="3 of 9 hotels took too long")
    seen = operate.json("search", QUERY.search_id)
    assert (seen["destination"], seen["guests"], seen["is_completed"]) == ("lisbon", 2, False)
    assert seen["suppliers"]["hotelbeds"]["state"] == "pending"
    assert seen["suppliers"]["perhotel"]["parts_done"] == 1
    told = operate("search", QUERY.search_id)
    assert "lisbon, 2027-03-01 to 2027-03-03, 2 guests" in told
    assert "1 of 2" in told
    assert "There is no search" in operate("search", "f" * 32, code=1)
