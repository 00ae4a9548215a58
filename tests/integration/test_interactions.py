"""The log of vendor calls: whole, clean, written once, and in nobody's way."""

from __future__ import annotations

import datetime as dt
import gzip
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
from errors import SupplierDeclined
from queues.keys import INTERACTIONS
from queues.reliable import ReliableQueue
from suppliers import log as command
from suppliers.http import Exchange
from suppliers.interaction_store import InteractionStore, StoreAway
from suppliers.interactions import BUFFER_MAX, InteractionLog
from suppliers.rates import Holder
from suppliers.redaction import Interaction
from tests.rate_suppliers import PART, QUERY, suppliers_at
from tests.simulator_fixtures import SimulatorProcess
from tests.waiting import eventually

NOON = dt.datetime(2026, 12, 1, 12, tzinfo=dt.UTC)


def exchange(number: int = 0, *, supplier: str = "acme", status: int | None = 200,
             at: dt.datetime = NOON) -> Exchange:
    return Exchange(supplier, "GET", f"https://api.example/{number}", {}, b"", status, {}, b"{}",
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
    assert shown("--supplier", "acme") == [], "an hour back, there was nothing"
    with pytest.raises(SystemExit):
        command.main(["--supplier", "acme", "--from", "yesterday"])


# --- all five vendors -----------------------------------------------------------------------------


def test_no_secret_and_no_person_of_any_vendor_is_kept(
    valkey: redis.Redis, store: InteractionStore, tmp_path: Path
) -> None:
    secrets = {f"{name}": f"plant-{name.lower()}-0123456789" for name in (
        "HOTELBEDS_API_KEY", "HOTELBEDS_SECRET", "EXPEDIA_RAPID_API_KEY", "EXPEDIA_RAPID_SECRET",
        "DUFFEL_STAYS_ACCESS_TOKEN", "PERHOTEL_CLIENT_ID", "PERHOTEL_CLIENT_SECRET")}
    holder = Holder(given_name="Adaplanted", family_name="Lovelaceplanted",
                    email="planted@example.org", phone="+15550199")
    simulator = SimulatorProcess(tmp_path, **secrets)
    simulator.start()
    log = InteractionLog(valkey, most_waiting=10_000, secrets=list(secrets.values()))
    heard: list[Exchange] = []

    def observe(one: Exchange) -> None:
        heard.append(one)
        log.observe(one)

    try:
        suppliers, _ = suppliers_at(simulator.url, environ=secrets, observe=observe)
        for name, supplier in suppliers.items():
            rates = [rate for chunk in supplier.fetch(QUERY, PART) for rate in chunk.rates]
            assert rates, name
            for number, rate in enumerate(rates[:4]):
                checked = supplier.recheck(rate)
                if checked.outcome != "available":
                    continue
                assert checked.rate is not None
                try:
                    supplier.book(checked.rate, holder, f"KEY{name}{number}".replace("_", ""))
                except SupplierDeclined:
                    continue
                break
    finally:
        simulator.kill()
    log.close(10)
    worker = consumer(valkey, store)
    eventually(lambda: (worker.step(), valkey.llen(INTERACTIONS.jobs) == 0)[1], 10, "all is kept")
    text = b"".join(gzip.decompress(path.read_bytes()) for path in objects(tmp_path / "kept"))
    assert text.count(b"\n") == len(heard), "each call once"
    raw = repr(heard)
    persons = ("Adaplanted", "Lovelaceplanted", "planted@example.org", "15550199")
    for word in (*secrets.values(), *persons):
        assert word in raw or "secret" in word or "client_id" in word or "api_key" in word
        assert word.encode() not in text, word
    for path in ("/hotel-api/1.0/bookings", "/v3/itineraries", "/stays/bookings", "/bookings"):
        assert path.encode() in text, "bookings were made, and are kept"
