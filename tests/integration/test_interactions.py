"""The log of vendor calls: whole, clean, written once, and in nobody's way."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import msgspec
import pytest
import redis
from moto.server import ThreadedMotoServer

from consumer import interactions as consumer_module
from consumer.interactions import InteractionsConsumer
from errors import EngineAway
from queues.keys import INTERACTIONS
from queues.reliable import ReliableQueue
from suppliers import log as command
from suppliers.http import Exchange
from suppliers.interaction_store import InteractionStore, StoreAway
from suppliers.interactions import BUFFER_MAX, InteractionLog
from suppliers.redaction import Interaction
from tests.waiting import eventually

NOON = dt.datetime(2026, 12, 1, 12, tzinfo=dt.UTC)


def exchange(number: int = 0, *, supplier: str = "acme", status: int | None = 200,
             at: dt.datetime = NOON, body: bytes = b"{}") -> Exchange:
    return Exchange(supplier, "GET", f"https://api.example/{number}", {}, b"", status, {}, body,
                    at.timestamp() + number, 0.01, "" if status else "ReadTimeout")


def consumer(valkey: redis.Redis, store: InteractionStore, name: str = "one"
             ) -> InteractionsConsumer:
    return InteractionsConsumer(
        ReliableQueue(valkey, INTERACTIONS, lease_ms=5_000), store, name=name, kept_days=30,
        stop=threading.Event(), gather_s=0.0,
    )


def tell(valkey: redis.Redis, *exchanges: Exchange, most_waiting: int = 1_000) -> None:
    log = InteractionLog(valkey, most_waiting=most_waiting, secrets=[])
    for one in exchanges:
        log.observe(one)
    log.close(10)


def read(store: InteractionStore, supplier: str = "acme") -> list[Interaction]:
    return list(store.read(supplier=supplier, since=NOON - dt.timedelta(days=1),
                           until=NOON + dt.timedelta(days=1)))


def objects(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InteractionStore:
    monkeypatch.setattr(consumer_module, "BEAT_S", 0.01)
    return InteractionStore(str(tmp_path / "kept"))


def test_calls_become_objects_by_supplier_and_hour(
    valkey: redis.Redis, store: InteractionStore, tmp_path: Path
) -> None:
    tell(valkey, *(exchange(n) for n in range(5)), exchange(7, supplier="other"),
         exchange(1, at=NOON + dt.timedelta(hours=2)))
    consumer(valkey, store).step()
    folders = sorted(str(path.parent.relative_to(tmp_path / "kept"))
                     for path in objects(tmp_path / "kept"))
    assert folders == ["acme/2026-12-01/12", "acme/2026-12-01/14", "other/2026-12-01/12"]
    assert [one.url[-1] for one in read(store)] == ["0", "1", "2", "3", "4", "1"]
    assert valkey.llen(INTERACTIONS.inflight) == 0


def test_a_batch_that_comes_again_writes_nothing_twice(
    valkey: redis.Redis, store: InteractionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(valkey, *(exchange(n) for n in range(10)))
    with monkeypatch.context() as patch:
        # Killed between the object and `done`.
        patch.setattr(ReliableQueue, "done", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            consumer(valkey, store, "first").step()
    assert len(read(store)) == 10
    valkey.delete(INTERACTIONS.lease)
    tell(valkey, exchange(11))
    second = consumer(valkey, store, "second")
    second.step()
    second.step()
    assert sorted(int(one.url.rpartition("/")[2]) for one in read(store)) == [*range(10), 11]


def test_a_write_that_is_cut_short_leaves_no_half_object(
    valkey: redis.Redis, store: InteractionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(valkey, exchange(1))
    real = store._call

    def killed(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "mv":
            raise SystemExit
        return real(name, *arguments, **options)

    monkeypatch.setattr(store, "_call", killed)
    with pytest.raises(SystemExit):
        consumer(valkey, store, "first").step()
    assert read(store) == [], "what is there is not taken for an object"
    monkeypatch.setattr(store, "_call", real)
    valkey.delete(INTERACTIONS.lease)
    consumer(valkey, store, "second").step()
    assert len(read(store)) == 1


def test_while_the_store_is_away_calls_wait_and_the_list_is_bounded(
    valkey: redis.Redis, store: InteractionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    kept.write_text("a file where the folder should be")
    monkeypatch.setattr(consumer_module, "STORE_PAUSE_MAX_S", 0.02)
    worker = consumer(valkey, store)
    tell(valkey, *(exchange(n) for n in range(5)), most_waiting=5)
    worker.step()
    worker.step()
    tell(valkey, *(exchange(n) for n in range(5, 9)), most_waiting=5)
    eventually(lambda: valkey.hget(INTERACTIONS.counters, "dropped") == b"4", 5, "they are counted")
    kept.unlink()
    worker.step()
    assert len(read(store)) == 5


def test_what_waits_for_a_store_that_is_away_is_bounded_in_bytes_and_the_oldest_stay(
    valkey: redis.Redis, store: InteractionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = tmp_path / "kept"
    away.write_text("a file where the folder should be")
    monkeypatch.setattr(consumer_module, "STORE_PAUSE_MAX_S", 0.02)
    monkeypatch.setattr("suppliers.interactions.WAITING_MAX_BYTES", 20_000)
    monkeypatch.setattr("suppliers.interactions.AT_ONCE", 1)
    worker = consumer(valkey, store)

    def on_the_list() -> list[bytes]:
        return [*valkey.lrange(INTERACTIONS.inflight, 0, -1),
                *valkey.lrange(INTERACTIONS.jobs, 0, -1)]

    def count(name: str) -> int:
        return int(valkey.hget(INTERACTIONS.counters, name) or 0)

    tell(valkey, *(exchange(n, body=b"4") for n in range(2)))
    worker.step()  # takes them, and cannot put them anywhere
    tell(valkey, *(exchange(n, body=b'"' + b"x" * 3_000 + b'"') for n in range(2, 20)))
    waiting = on_the_list()
    numbers = sorted(int(msgspec.json.decode(raw)["url"].rpartition("/")[2]) for raw in waiting)
    assert 4 < len(numbers) < 8
    assert numbers == [*range(len(numbers))], "the first ones are kept, the later ones are not"
    assert count("bytes") == sum(map(len, waiting)) <= 20_000
    assert count("dropped") == 20 - len(numbers)
    away.unlink()
    worker.step()
    assert len(read(store)) == 2, "what was in flight comes first"
    assert count("bytes") == sum(map(len, on_the_list())) > 0
    for _ in range(2):
        worker.step()
    assert [int(one.url.rpartition("/")[2]) for one in read(store)] == numbers
    assert (count("bytes"), on_the_list()) == (0, [])
    tell(valkey, exchange(20, body=b'"' + b"x" * 3_000 + b'"'))
    worker.step()
    assert len(read(store)) == len(numbers) + 1, "there is room again"


def test_what_a_process_holds_is_bounded_in_bytes(
    valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    send = InteractionLog._send

    def stuck(log: InteractionLog, some: list[Exchange]) -> None:
        assert released.wait(60)
        send(log, some)

    monkeypatch.setattr(InteractionLog, "_send", stuck)
    monkeypatch.setattr("suppliers.interactions.BUFFER_MAX_BYTES", 10_000)
    log = InteractionLog(valkey, most_waiting=1_000, secrets=[])
    for number in range(12):
        log.observe(exchange(number, body=b"7" * 4_000))
    log.observe(exchange(12, body=b"1"))
    assert log._held_bytes == 8_001
    released.set()
    eventually(lambda: valkey.llen(INTERACTIONS.jobs) == 3, 10, "what fitted is told")
    assert [msgspec.json.decode(raw)["url"][-2:] for raw in
            valkey.lrange(INTERACTIONS.jobs, 0, -1)] == ["12", "/1", "/0"]
    log.observe(exchange(13, body=b"7" * 4_000))
    log.close(10)
    assert valkey.llen(INTERACTIONS.jobs) == 4, "there is room again"
    assert valkey.hget(INTERACTIONS.counters, "dropped") == b"10"
    assert log._held_bytes == 0


def test_calls_that_valkey_did_not_take_are_counted_when_it_is_back(
    valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("suppliers.interactions.AT_ONCE", 1)
    log = InteractionLog(valkey, most_waiting=1_000, secrets=[])
    push, failures = log._push, iter([EngineAway("away"), EngineAway("away")])

    def flaky(*what: Any) -> Any:
        for failure in failures:
            raise failure
        return push(*what)

    monkeypatch.setattr(log, "_push", flaky)
    for number in range(5):
        log.observe(exchange(number))
    log.close(10)
    assert valkey.llen(INTERACTIONS.jobs) == 3
    assert valkey.hget(INTERACTIONS.counters, "dropped") == b"2"


def test_a_call_is_never_kept_waiting(valkey: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = threading.Event()
    monkeypatch.setattr(InteractionLog, "_send", lambda *_: stuck.wait(20))
    log = InteractionLog(valkey, most_waiting=10, secrets=[])
    begun = time.monotonic()
    for number in range(BUFFER_MAX + 200):
        log.observe(exchange(number))
    assert time.monotonic() - begun < 5, "nothing waits for a thread that is stuck"
    assert log._dropped >= 100
    stuck.set()
    log.close(20)  # what is in the buffer must not come in another test's way


def test_old_days_go(store: InteractionStore) -> None:
    def kept(day: int) -> Interaction:
        return Interaction(
            id=f"i{day}", supplier="acme", at=f"2026-12-{day:02}T09:00:00.000Z", method="GET",
            url="", status=200, latency_ms=1.0, error="", request_headers={}, request_body="",
            response_headers={}, response_body="", response_bytes=0)

    for day in (1, 2, 3):
        store.write([kept(day)])
    assert store.forget_before(dt.date(2026, 12, 3)) == 2
    assert [one.id for one in store.read(
        supplier="acme", since=dt.datetime(2026, 12, 1, tzinfo=dt.UTC),
        until=dt.datetime(2026, 12, 5, tzinfo=dt.UTC))] == ["i3"]


# --- S3 -------------------------------------------------------------------------------------------


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (("AWS_ACCESS_KEY_ID", "testing"), ("AWS_SECRET_ACCESS_KEY", "testing"),
                        ("AWS_ENDPOINT_URL", f"http://{host}:{port}")):
        monkeypatch.setenv(name, value)
    files = fsspec.filesystem("s3", skip_instance_cache=True)
    files.mkdir("calls")
    try:
        yield "s3://calls/of/berth"
    finally:
        server.stop()


def test_the_same_at_s3(valkey: redis.Redis, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "BEAT_S", 0.01)
    store = InteractionStore(bucket)
    tell(valkey, *(exchange(n) for n in range(3)))
    consumer(valkey, store).step()
    assert [one.url[-1] for one in read(store)] == ["0", "1", "2"]
    assert store.suppliers() == ["acme"]
    assert store.forget_before(dt.date(2027, 1, 1)) == 1
    assert read(store) == []
    nowhere = InteractionStore("s3://no-such-bucket/x")
    with pytest.raises(StoreAway):
        nowhere.write([msgspec.convert({
            "id": "1", "supplier": "a", "at": "2026-12-01T09:00:00.000Z", "method": "GET",
            "url": "", "status": 200, "latency_ms": 1.0, "error": "", "request_headers": {},
            "request_body": "", "response_headers": {}, "response_body": "", "response_bytes": 0,
        }, Interaction)])


# --- reading it back ------------------------------------------------------------------------------


def test_the_command_shows_calls_by_supplier_and_time(
    valkey: redis.Redis, tmp_path: Path, store: InteractionStore, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("INTERACTIONS_URL", str(tmp_path / "kept"))
    tell(valkey, exchange(1), exchange(2, status=503), exchange(3, status=None))
    consumer(valkey, store).step()

    def shown(*arguments: str) -> list[str]:
        code = command.main(arguments)
        assert code == 0
        return capsys.readouterr().out.splitlines()

    times = ("--from", "2026-12-01T11:00:00Z", "--to", "2026-12-01T13:00:00Z")
    assert shown() == ["acme"]
    assert len(shown("--supplier", "acme", *times)) == 3
    failed = shown("--supplier", "acme", "--failed", *times)
    assert ["503" in failed[0], "ReadTimeout" in failed[1], len(failed)] == [True, True, 2]
    [line] = shown("--supplier", "acme", "--from", "2026-12-01T12:00:02Z", "--to",
                   "2026-12-01T12:00:03Z", "--json")
    assert msgspec.json.decode(line)["status"] == 503
    capsys.readouterr()
    assert command.main(["--supplier", "acme"]) == 0, "an hour back, there was nothing"
    said = capsys.readouterr()
    assert (said.out, "No such call" in said.err) == ("", True)
    with pytest.raises(SystemExit):
        command.main(["--supplier", "acme", "--from", "yesterday"])
