"""`python db_init.py` as a process of its own, on real engines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from pymongo.database import Database

import bootstrap
from booking import campaigns
from booking.documents import Document
from booking.store import BookingStore
from catalogue.hotels_file import Good
from catalogue.seeding import HotelSeeding
from catalogue.shelf_writer import ShelfWriter
from embedded import RunningEngines, binaries
from embedded.data_dir import leave_addresses, owned
from embedded.ports import LOOPBACK, free_port
from embedded.replica_set import make_set
from queues.keys import BOOKING
from settings import Settings
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parent.parent.parent
TIMEOUT_S = 60


def environment(settings: Settings) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {
        **inherited,
        "DEFAULT_HOTELS": "40",
        "DATA_DIR": settings.data_dir,
        "REDIS_URL": settings.redis_url,
        "MONGO_URL": settings.mongo_url,
        "MONGO_DATABASE": settings.mongo_database,
    }


def start(settings: Settings, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "db_init.py", *arguments], cwd=ROOT, env=environment(settings),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    try:
        out, err = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    return process.returncode, out, err


def db_init(settings: Settings, *arguments: str) -> tuple[int, str, str]:
    return finish(start(settings, *arguments))


def done(settings: Settings, *arguments: str) -> str:
    code, out, err = db_init(settings, *arguments)
    assert (code, err) == (0, "")
    return out


def all_documents(database: Database[Document]) -> dict[str, list[Document]]:
    return {
        name: sorted(database[name].find(), key=lambda document: str(document["_id"]))
        for name in sorted(database.list_collection_names())
    }


def campaign(tmp_path: Path, *packages: dict[str, Any]) -> str:
    file = tmp_path / "campaign.json"
    file.write_text(json.dumps({"packages": packages}, indent=1), encoding="utf-8")
    return str(file)


def package(package_id: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": package_id, "flight": f"LIS-NRT BE{package_id}", "stay": "2027-02-28",
        "price": "99.50", "quota": 3, **fields,
    }


# --- hotels of an operator ------------------------------------------------------------------------

HOTELS = """id,name,city,city_name,country,country_name,type,stars,amenities,price
ericeira-1,Wave View,ericeira,Ericeira,PT,Portugal,hotel,3,wifi,88.50
ericeira-2,No Such Stars,ericeira,,,,hotel,7,,
ericeira-3,Harbour House,ericeira,,,,boutique,4,pool|bar,142.00
"""


def test_hotels_of_a_file_are_kept_and_bad_rows_told(
    settings: Settings, mongo_database: Database[Document], tmp_path: Path
) -> None:
    file = tmp_path / "hotels.csv"
    file.write_text(HOTELS)
    code, out, err = db_init(settings, "--hotels", str(file))
    assert (code, out.splitlines()[-1]) == (1, "2 hotels added or changed, 1 refused.")
    assert "line 3" in err
    assert "stars" in err
    found = {one["_id"]: one["name"] for one in mongo_database["hotels"].find({"city": "ericeira"})}
    assert found == {"ericeira-1": "Wave View", "ericeira-3": "Harbour House"}
    # The same as JSON, with the mistake mended and one name changed.
    file = tmp_path / "hotels.json"
    file.write_text(json.dumps([
        {"id": "ericeira-1", "name": "Wave Watch", "city": "ericeira", "type": "hotel", "stars": 3},
        {"id": "ericeira-2", "name": "Two", "city": "ericeira", "type": "hotel", "stars": 2},
    ]))
    assert "2 hotels added or changed, 0 refused." in done(settings, "--hotels", str(file))
    found = {one["_id"]: one["name"] for one in mongo_database["hotels"].find({"city": "ericeira"})}
    assert found == {"ericeira-1": "Wave Watch", "ericeira-2": "Two", "ericeira-3": "Harbour House"}


def test_the_hotels_of_the_readme_are_taken_where_there_is_no_other(
    settings: Settings, mongo_database: Database[Document], tmp_path: Path
) -> None:
    """What rows name without saying it themselves is there without any default hotel."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    file = tmp_path / "hotels.csv"
    file.write_text(readme.partition("hotels.csv <<'END'\n")[2].partition("END\n")[0])
    for arguments in ((), ("--hotels", str(file))):
        out = subprocess.run(
            [sys.executable, "db_init.py", *arguments], cwd=ROOT, capture_output=True, text=True,
            env=environment(settings) | {"DEFAULT_HOTELS": "0"}, timeout=TIMEOUT_S, check=True,
        ).stdout
    assert "2 hotels added or changed, 0 refused." in out
    hotels = list(mongo_database["hotels"].find())
    for collection, field in (("cities", "city"), ("hotel_types", "type")):
        named = {one[field] for one in hotels}
        assert mongo_database[collection].count_documents({"_id": {"$in": [*named]}}) == len(named)
    offered = {amenity for one in hotels for amenity in one["amenities"]}
    assert {one["_id"] for one in mongo_database["amenities"].find()} >= offered


def test_a_row_with_the_address_of_another_hotel_is_told_and_costs_itself(
    settings: Settings, mongo_database: Database[Document], tmp_path: Path
) -> None:
    done(settings)
    there = mongo_database["hotels"].find_one({"_id": "lisbon-7"})
    assert there is not None
    before = mongo_database["hotel_ratings"].find_one({"_id": "lisbon-8"})
    file = tmp_path / "hotels.csv"
    header = "id,name,city,city_name,country,country_name,type,stars,slug,rating,rating_count"
    file.write_text("\n".join([
        header,
        f"lisbon-8,Elsewhere,faro,Faro,PT,Portugal,hotel,3,{there['slug']},1.0,9",
        "faro-1,Wave View,faro,,,,hotel,3,wave-view,,",
        f"lisbon-7,The Same Place,lisbon,,,,hotel,3,{there['slug']},,",
        "faro-2,Wave View,faro,,,,hotel,3,wave-view,,",
    ]))
    code, out, err = db_init(settings, "--hotels", str(file))
    assert (code, out.splitlines()[-1]) == (1, "2 hotels added or changed, 2 refused.")
    assert err.splitlines() == [
        f"{file}, line 2: slug: {there['slug']} is that of hotel lisbon-7",
        f"{file}, line 5: slug: wave-view is that of hotel faro-1"]
    names = {one["_id"]: one["name"] for one in mongo_database["hotels"].find(
        {"_id": {"$in": ["lisbon-7", "lisbon-8", "faro-1", "faro-2"]}})}
    assert names.pop("lisbon-8") != "Elsewhere"
    assert names == {"lisbon-7": "The Same Place", "faro-1": "Wave View"}
    assert mongo_database["hotel_ratings"].find_one({"_id": "lisbon-8"}) == before
    assert mongo_database["cities"].find_one({"_id": "faro"}), "line 3 stands in it"


def test_an_address_that_is_taken_meanwhile_costs_its_row_alone(
    mongo_database: Database[Document], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeding = HotelSeeding(mongo_database)
    seeding.ensure_indexes()
    hotels = [Good("", name, slug, [("hotels", {"_id": name, "slug": slug})])
              for name, slug in (("one", "a"), ("two", "b"))]
    assert seeding.put(hotels[:1]) == {}
    monkeypatch.setattr(HotelSeeding, "_taken", lambda self, hotels: {})
    rivals = [Good("", "three", "a", [("hotels", {"_id": "three", "slug": "a"})]), hotels[1]]
    assert seeding.put(rivals) == {"three": "slug: a was taken just now"}
    assert sorted(str(one["_id"]) for one in mongo_database["hotels"].find()) == ["one", "two"]


def test_hotels_that_share_an_address_already_are_told_and_stop_nothing(
    settings: Settings, mongo_database: Database[Document], tmp_path: Path
) -> None:
    mongo_database["hotels"].insert_many([{"_id": "a", "slug": "x"}, {"_id": "b", "slug": "x"}])
    code, out, err = db_init(settings)
    assert (code, out.splitlines()[-1]) == (0, "2 hotels are there already and stay as they are.")
    assert "x (a, b)" in err
    assert "a slug of its own" in err
    file = tmp_path / "hotels.csv"
    file.write_text("id,name,city,city_name,country,country_name,type,type_label,stars\n"
                    "b,Wave View,faro,Faro,PT,Portugal,hotel,Hotel,3\n")
    done(settings, "--hotels", str(file))  # the file mends it
    assert "slug_1" in mongo_database["hotels"].index_information()


def test_a_terminal_sees_how_far_it_is(settings: Settings) -> None:
    screen, terminal = os.openpty()
    try:
        termios.tcsetwinsize(terminal, (24, 80))
        subprocess.run([sys.executable, "db_init.py"], cwd=ROOT, env=environment(settings),
                       stdout=subprocess.DEVNULL, stderr=terminal, timeout=TIMEOUT_S, check=True)
        shown = os.read(screen, 65_536).decode()
    finally:
        os.close(terminal)
        os.close(screen)
    assert "seeding hotels: 100%" in shown
    assert "40.0/40.0" in shown


@pytest.mark.parametrize("running", [None, 1, 2])
def test_hotels_that_there_is_no_room_for_are_told_by_the_limit_that_holds(
    settings: Settings, valkey: redis.Redis, tmp_path: Path, running: int | None
) -> None:
    """That of the system that runs, whatever this shell believes; else that of this shell."""
    file = tmp_path / "hotels.csv"
    file.write_text("".join(HOTELS.splitlines(keepends=True)[:2]))
    shell = environment(settings) | {"CATALOGUE_ACTIVE_MAX": "9" if running else "1"}
    if running:
        with bootstrap.connect_catalogue_valkey(settings) as shelf:
            writer = ShelfWriter(shelf, consumer="one", lease_ms=60_000)
            assert writer.acquire()
            writer.note_active_max(running)
    for count in (1, 2):
        told = subprocess.run(
            [sys.executable, "db_init.py", "--hotels", str(file)], cwd=ROOT, env=shell,
            capture_output=True, text=True, timeout=TIMEOUT_S, check=True,
        ).stdout
        assert "1 hotels added" in told
        assert ("the system that runs shows the 1 that" in told) == ((running, count) == (1, 2))
        assert ("of this shell it is the 1 that" in told) == ((running, count) == (None, 2))
        file.write_text(file.read_text().replace("ericeira-1", "ericeira-2"))


# --- seeding ------------------------------------------------------------------------------------


def test_an_empty_database_gets_indexes_and_the_default_campaign(
    settings: Settings, mongo_database: Database[Document]
) -> None:
    assert "64 packages" in done(settings)
    store = BookingStore(mongo_database)
    store.check_indexes()
    assert sorted(store.read_packages()) == list(range(1, 65))


def test_a_second_run_changes_nothing_an_operator_changed(
    settings: Settings, mongo_database: Database[Document]
) -> None:
    done(settings)
    mongo_database.packages.update_one({"_id": 2}, {"$set": {"quota": 77, "paused": True}})
    mongo_database.packages.delete_one({"_id": 3})
    before = all_documents(mongo_database)
    assert "63 packages are there already and stay as they are" in done(settings)
    assert all_documents(mongo_database) == before


def test_a_file_adds_changes_and_leaves(
    settings: Settings, mongo_database: Database[Document], tmp_path: Path
) -> None:
    done(settings, "--packages", campaign(
        tmp_path,
        package(1, limit_per_customer=1, sale_starts_at="2026-12-01T09:00:00Z"),
        package(2),
        package(3),
    ))
    mongo_database.packages.update_many(
        {"_id": {"$in": [1, 3]}}, {"$set": {"quota": 9, "paused": True, "note": "ours"}}
    )
    before = mongo_database.packages.find_one({"_id": 3})
    out = done(settings, "--packages", campaign(tmp_path, package(1), package(2), package(4)))
    assert "1 (4) added, 1 (1) changed, 1 (2) as they were; 1 other packages stay." in out
    assert "The sale of 1 (1) is paused and stays so." in out
    # What the file says counts, what it left out is gone, and what is not its business stays.
    assert mongo_database.packages.find_one({"_id": 1}) == {
        "_id": 1, "flight": "LIS-NRT BE1", "stay": "2027-02-28", "price": "99.50",
        "currency": "USD", "quota": 3, "paused": True, "note": "ours",
    }
    assert mongo_database.packages.find_one({"_id": 3}) == before
    assert sorted(d["_id"] for d in mongo_database.packages.find()) == [1, 2, 3, 4]


def test_what_is_written_is_what_the_consumer_reads(
    settings: Settings, mongo_database: Database[Document]
) -> None:
    from booking.campaign import parse_bytes

    done(settings)
    wanted = {p.facts.id: p for p in parse_bytes(campaigns.DEFAULT.read_bytes())}
    assert BookingStore(mongo_database).read_packages() == wanted


def test_several_at_once_seed_once(
    settings: Settings, mongo_database: Database[Document]
) -> None:
    ended = [finish(process) for process in [start(settings) for _ in range(4)]]
    assert [code for code, _, _ in ended] == [0] * 4
    assert sum("is seeded" in out for _, out, _ in ended) == 1
    assert mongo_database.packages.count_documents({}) == 64
    BookingStore(mongo_database).check_indexes()


def test_several_at_once_take_the_same_file(
    settings: Settings, mongo_database: Database[Document]
) -> None:
    file = str(campaigns.DEFAULT)
    done(settings, "--packages", str(campaigns.ORIGINAL))
    ended = [finish(p) for p in [start(settings, "--packages", file) for _ in range(4)]]
    assert [code for code, _, _ in ended] == [0] * 4
    assert sum("60 (5, 6, 7" in out for _, out, _ in ended) == 1
    assert mongo_database.packages.count_documents({}) == 64


# --- refusals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--reset",)])
def test_a_bad_file_changes_nothing(
    settings: Settings,
    mongo_database: Database[Document],
    valkey: redis.Redis,
    tmp_path: Path,
    arguments: tuple[str, ...],
) -> None:
    done(settings, "--packages", str(campaigns.ORIGINAL))
    valkey.set(BOOKING.prefix + "something", "kept")
    before = all_documents(mongo_database)
    file = campaign(tmp_path, package(1, quota=50), package(9, quota=-1, colour="red"))
    code, out, err = db_init(settings, *arguments, "--packages", file)
    assert (code, out) == (1, "")
    assert f"{file} is refused, and nothing was changed:" in err
    assert "line 15, column 4: packages[1].quota: must be a whole number from 0 to 10000000" in err
    assert "line 16, column 4: packages[1].colour: there is no such field" in err
    assert all_documents(mongo_database) == before
    assert valkey.keys() == [(BOOKING.prefix + "something").encode()]


@pytest.mark.parametrize("kind", ["absent", "folder", "too large"])
def test_a_file_that_cannot_be_read(settings: Settings, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "campaign.json"
    if kind == "folder":
        file.mkdir()
    elif kind == "too large":
        with file.open("wb") as handle:
            handle.truncate(17 * 1_048_576)
    code, out, err = db_init(settings, "--packages", str(file))
    assert (code, out) == (1, "")
    assert err.startswith(f"{file} ")
    assert "Nothing was changed." in err
    assert "Traceback" not in err


def test_help_and_unknown_arguments(settings: Settings) -> None:
    assert "--packages FILE" in done(settings, "--help")
    assert db_init(settings, "--resett")[0] == 2


@contextmanager
def raw_mongod(tmp_path: Path, *options: str) -> Iterator[str]:
    """A mongod of which nobody has made a replica set; its address."""
    address = f"{LOOPBACK}:{free_port()}"
    data = tmp_path / "alone"
    data.mkdir()
    command = [*binaries.mongod(tmp_path / "lib"), "--bind_ip", LOOPBACK, "--nounixsocket",
               "--port", address.rpartition(":")[2], "--dbpath", str(data), *options]
    alone = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield address
    finally:
        alone.kill()
        alone.wait(TIMEOUT_S)


def test_a_server_without_a_replica_set_is_refused(settings: Settings, tmp_path: Path) -> None:
    with raw_mongod(tmp_path) as address:
        code, _, err = db_init(msgspec.structs.replace(settings, mongo_url=f"mongodb://{address}"))
    assert code == 1
    assert "MongoDB runs without a replica set" in err


# --- waiting ------------------------------------------------------------------------------------


def test_it_waits_for_a_replica_set_that_is_being_made(
    settings: Settings, valkey: redis.Redis, tmp_path: Path
) -> None:
    with raw_mongod(tmp_path, "--replSet", "berth") as address:
        process = start(msgspec.structs.replace(
            settings, mongo_url=f"mongodb://{address}/?directConnection=true"))
        try:
            assert process.stdout is not None
            assert "Waiting for MongoDB to have a primary" in process.stdout.readline()
            make_set(address, within_s=TIMEOUT_S)
            code, out, err = finish(process)
        finally:
            process.kill()
    assert (code, err) == (0, "")
    assert "64 packages" in out


def test_it_waits_for_a_mongodb_that_is_still_starting(own_engines: RunningEngines) -> None:
    own_engines.mongo.stop()
    process = start(Settings(
        data_dir=str(own_engines.plan.data_dir), redis_url=own_engines.redis_url,
        mongo_url=own_engines.mongo_url, mongo_database="waiting",
    ))
    try:
        assert process.stdout is not None
        assert "Waiting for MongoDB to have a primary" in process.stdout.readline()
        own_engines.mongo.start()
        code, out, err = finish(process)
    finally:
        process.kill()
    assert (code, err) == (0, "")
    assert "64 packages" in out


def test_without_engines_it_starts_the_embedded_ones_for_itself(tmp_path: Path) -> None:
    nowhere = Settings(data_dir=str(tmp_path))
    # A starter that was killed could not take its addresses back.
    leave_addresses(tmp_path, {
        "redis_url": f"redis://{LOOPBACK}:{free_port()}",
        "mongo_url": f"mongodb://{LOOPBACK}:{free_port()}/?replicaSet=berth",
    })
    assert "is seeded: 64 packages" in done(nowhere)
    out = done(nowhere, "--reset", "--packages", str(campaigns.ORIGINAL))
    assert "4 (1, 2, 3, 4) added" in out


def test_beside_a_running_starter_it_uses_that_ones_engines(
    settings: Settings, mongo_database: Database[Document], tmp_path: Path
) -> None:
    undeclared = Settings(data_dir=str(tmp_path), mongo_database=settings.mongo_database)
    with owned(tmp_path) as folder:
        leave_addresses(folder, {"redis_url": settings.redis_url,
                                 "mongo_url": settings.mongo_url})
        done(undeclared, "--packages", str(campaigns.ORIGINAL))
    assert mongo_database.packages.count_documents({}) == 4


# --- the reset ----------------------------------------------------------------------------------


def leave_traces(valkey: redis.Redis, database: Database[Document]) -> None:
    """Something of every kind, and something of somebody else in both engines."""
    valkey.hset(BOOKING.doors, "1", "0 9")
    valkey.lpush(BOOKING.jobs, "job")
    valkey.hset(BOOKING.status("01"), "state", "queued")
    valkey.set(BOOKING.idempotency("key"), "01")
    valkey.lpush(BOOKING.reservations.waiting, "job")
    valkey.lpush(BOOKING.reservations.inflight("dead"), "job")
    valkey.zadd(BOOKING.reservations.workers, {"dead": 1})
    valkey.set("booking:of-somebody-else", "kept")
    database.orders.insert_one({"_id": "01", "unit": "1:1"})
    database.somebody_elses.insert_one({"_id": "kept"})


def check_cleared(valkey: redis.Redis, database: Database[Document]) -> None:
    assert set(valkey.keys()) == {b"booking:of-somebody-else", BOOKING.epoch.encode()}
    assert database.orders.count_documents({}) == 0
    assert database.somebody_elses.find_one() == {"_id": "kept"}
    BookingStore(database).check_indexes()


def test_a_reset_erases_what_is_ours_and_seeds_again(
    settings: Settings, valkey: redis.Redis, mongo_database: Database[Document], tmp_path: Path
) -> None:
    done(settings)
    leave_traces(valkey, mongo_database)
    out = done(settings, "--reset", "--packages", campaign(tmp_path, package(5)))
    assert "1 (5) added" in out
    check_cleared(valkey, mongo_database)
    assert [d["_id"] for d in mongo_database.packages.find()] == [5]
    assert "is seeded: 64 packages" in done(settings, "--reset")


def test_a_reset_is_refused_while_a_consumer_holds_the_lease(
    settings: Settings, valkey: redis.Redis, mongo_database: Database[Document]
) -> None:
    done(settings)
    leave_traces(valkey, mongo_database)
    patient = Settings(lease_ms=60_000)
    queue = bootstrap.booking_queue(patient, valkey)
    lease = queue.acquire("booking-of-this-test")
    assert lease is not None
    before, keys = all_documents(mongo_database), set(valkey.keys())

    code, out, err = db_init(settings, "--reset")

    assert (code, out) == (1, "")
    assert "booking-of-this-test is at work" in err
    assert "Stop the consumers first" in err
    assert all_documents(mongo_database) == before
    assert set(valkey.keys()) == keys

    queue.release(lease)
    done(settings, "--reset")
    check_cleared(valkey, mongo_database)
    # Whoever slept through the reset has a token that is never given out again.
    again = queue.acquire("booking-of-this-test")
    assert again is not None
    assert again.token != lease.token


def test_a_reset_is_refused_while_a_reservation_worker_is_alive(
    settings: Settings, valkey: redis.Redis, mongo_database: Database[Document]
) -> None:
    done(settings)
    leave_traces(valkey, mongo_database)
    patient = Settings(heartbeat_ms=60_000)
    worker = bootstrap.reservation_work(patient, valkey, "worker-of-this-test")
    worker.beat(1)
    before, keys = all_documents(mongo_database), set(valkey.keys())

    code, out, err = db_init(settings, "--reset")

    assert (code, out) == (1, "")
    assert "worker-of-this-test is at work" in err
    assert all_documents(mongo_database) == before
    assert set(valkey.keys()) == keys | {BOOKING.epoch.encode()}  # the lease was given back

    worker.leave()
    done(settings, "--reset")
    check_cleared(valkey, mongo_database)


def test_a_killed_reset_is_finished_by_the_next_one(
    settings: Settings, valkey: redis.Redis, mongo_database: Database[Document]
) -> None:
    done(settings)
    leave_traces(valkey, mongo_database)
    pipe = valkey.pipeline(transaction=False)
    for number in range(60_000):
        pipe.set(BOOKING.status(str(number)), "queued")
    pipe.execute()
    full = valkey.dbsize()
    process = start(settings, "--reset")
    try:
        eventually(lambda: valkey.dbsize() < full - 1_000, within_s=30)
        process.send_signal(signal.SIGKILL)
        process.wait(TIMEOUT_S)
    finally:
        process.kill()
        process.communicate()
    assert valkey.dbsize() > 3, "it was killed too late for this test to mean anything"
    # The doors went first: half erased, nobody is let in.
    assert not valkey.exists(BOOKING.doors)
    assert "db_init-" in db_init(settings, "--reset")[2]
    valkey.delete(BOOKING.lease)  # instead of waiting until it runs out
    done(settings, "--reset")
    check_cleared(valkey, mongo_database)
    assert mongo_database.packages.count_documents({}) == 64


def test_of_several_resets_at_once_each_is_whole_or_refused(
    settings: Settings, valkey: redis.Redis, mongo_database: Database[Document]
) -> None:
    done(settings)
    leave_traces(valkey, mongo_database)
    ended = [finish(process) for process in [start(settings, "--reset") for _ in range(4)]]
    assert {code for code, _, _ in ended} <= {0, 1}
    assert any(code == 0 for code, _, _ in ended)
    assert all("is at work here" in err for code, _, err in ended if code == 1)
    check_cleared(valkey, mongo_database)
    assert mongo_database.packages.count_documents({}) == 64
