"""The starter: what runs is started again when it dies, and ends when the starter ends, however."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import psutil
import redis
import requests

from embedded.ports import LOOPBACK, free_port
from embedded.programs import END_BY_S
from settings import ENGINE_ADDRESSES
from tests.stand_ins import (
    DIES_AT_ONCE,
    FORKER,
    ROOT,
    SEEDED,
    SLEEPER,
    STUBBORN,
    STUBBORN_WEB,
    WEB,
    Run,
    stand_ins,
    starter,
)
from tests.waiting import eventually

SERVED = ("web", "WEB", WEB)
# Ten seconds are promised; the manager's own clock, which ends all before, stops for no machine.
assert max(END_BY_S.values()) < 10
ENDED_WITHIN_S = 15


def ended(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs any more. A zombie that nobody has waited for has ended too."""
    return not any(
        process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes
    )


def addresses(data_dir: Path) -> dict[str, str]:
    return msgspec.json.decode((data_dir / "engines.json").read_bytes(), type=dict[str, str])


def test_a_killed_starter_takes_all_with_it_and_the_next_finds_the_data(tmp_path: Path) -> None:
    data_dir = tmp_path / "data ; 100% #1: ours"  # all that a path may hold
    with starter(data_dir) as run:
        run.open()
        found = addresses(data_dir)
        assert set(found) == {*ENGINE_ADDRESSES, "simulator_port"}
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        with redis.Redis.from_url(found["redis_url"]) as valkey:
            valkey.set("left by the first run", "yes")
        refused_while_running(data_dir, run)
        everything = run.descendants()
        assert len(everything) >= 9, "engines, simulator, consumers, web, and their workers"
        run.process.kill()
        run.process.wait(10)
        eventually(lambda: ended(everything), 5, "what it had started ends")
    with starter(data_dir) as run:
        run.open()
        with redis.Redis.from_url(addresses(data_dir)["redis_url"]) as valkey:
            assert valkey.get("left by the first run") == b"yes"
        everything = run.descendants()
        begun = time.monotonic()
        run.process.terminate()
        assert run.process.wait(20) == 0
        assert time.monotonic() - begun < ENDED_WITHIN_S
        eventually(lambda: ended(everything), 2, "nothing is left")
        assert not (data_dir / "engines.json").exists()
        order = run.stopped()
        assert order[0] == "web"
        assert set(order[1:9]) == {"booking-1", "booking-2", "catalogue", "feedback", "fetch",
                                   "interactions",
                                   "reservation", "search"}
        assert order[9] == "simulator"
        assert set(order[10:]) == {"valkey", "valkey-search", "valkey-catalogue", "mongo"}
        assert "killing 'valkey'" not in run.manager_log(), "it ended by itself"
        assert "killing 'mongo'" not in run.manager_log(), "it ended by itself"


def refused_while_running(data_dir: Path, first: Run) -> None:
    with starter(data_dir) as second:
        assert second.process.wait(30) == 1
        assert f"process {first.process.pid}" in second.printed()
        assert "DATA_DIR" in second.printed()
    assert first.process.poll() is None
    assert addresses(data_dir), "the second run has not taken the addresses away"


def test_a_taken_port_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        with starter(tmp_path / "data", PORT=str(port)) as run:
            assert run.process.wait(30) == 1
            assert f"PORT {port}" in run.printed()
            assert "Traceback" not in run.printed()
            assert run.manager_log() == ""
    assert not (tmp_path / "data" / "mongo").exists()


def test_a_wrong_setting_is_told_in_one_line(tmp_path: Path) -> None:
    with starter(tmp_path / "data", BATCH_MAX="many") as run:
        assert run.process.wait(30) == 1
        assert run.printed().count("\n") == 1
        assert "BATCH_MAX" in run.printed()


def test_a_taken_simulator_port_is_no_obstacle(tmp_path: Path) -> None:
    says_port = "import os, time; print(os.environ['SIMULATOR_PORT']); time.sleep(600)"
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        taken = str(other.getsockname()[1])
        with stand_ins(
            tmp_path / "data", SEEDED, SERVED, ("simulator", "SUPPLIERS", says_port),
            SIMULATOR_PORT=taken,
        ) as run:  # fmt: skip
            log = run.open().logs / "simulator.log"
            port = eventually(log.read_text, 5, "it says its port").strip()
            assert port != taken
            # An audit in another shell reads this system's book, not that of the other program.
            assert addresses(tmp_path / "data")["simulator_port"] == port


def test_engines_from_outside_are_used_and_none_is_started(tmp_path: Path) -> None:
    redis_url = f"redis://:secret@{LOOPBACK}:{free_port()}/0"
    says_url = "import os, time; print(os.environ['REDIS_URL']); time.sleep(600)"
    with stand_ins(
        tmp_path / "data", SEEDED, SERVED, ("one", "CONSUMERS", says_url), REDIS_URL=redis_url
    ) as run:
        run.open()
        eventually(lambda: redis_url in (run.logs / "one.log").read_text(), 5, "it is handed on")
        assert set(addresses(tmp_path / "data")) == {"mongo_url", "simulator_port"}
        kept = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
        holding = [path.name for path in kept if b"secret@" in path.read_bytes()]
        assert holding == ["one.log"], "the password lies nowhere but where the stand-in put it"


def restarted_within_s(run: Run, starts: int) -> float:
    """How long until a program that is killed is started again, for the `starts`th time."""
    old = psutil.Process(run.pid("one"))
    forked = eventually(old.children, 5, "it has forked")
    # A program younger than a second is started again after a pause; see the next test.
    eventually(lambda: time.time() - old.create_time() > 1.5, 5, "it is no newborn")
    begun = time.monotonic()
    old.kill()
    eventually(lambda: run.starts("one") == starts, 5, "it is started again")
    took_s = time.monotonic() - begun
    eventually(lambda: ended(forked), 1, "what it had forked ends with it")
    return took_s


def test_a_killed_program_is_back_at_once_and_without_its_old_children(tmp_path: Path) -> None:
    with stand_ins(tmp_path / "data", SEEDED, SERVED, ("one", "CONSUMERS", FORKER)) as run:
        run.open()
        took_s = [restarted_within_s(run, 2)]
        while took_s[-1] >= 1.5 and len(took_s) < 5:  # a busy machine is slow at times
            took_s.append(restarted_within_s(run, len(took_s) + 2))
        assert took_s[-1] < 1.5, took_s
        assert "one ended and is started again" in run.printed()
        assert run.process.poll() is None


def test_a_program_that_dies_at_once_is_tried_every_second_and_never_given_up(
    tmp_path: Path,
) -> None:
    """Supervisor alone would pause 1 s, 2 s, 3 s, 4 s, and then leave it dead."""
    begun = time.monotonic()
    dies_later = "import os, sys, time; os.path.exists('{0}') and sys.exit(1); time.sleep(600)"
    flag = tmp_path / "die"
    with stand_ins(
        tmp_path / "data", SEEDED, SERVED, ("one", "CONSUMERS", dies_later.format(flag))
    ) as run:
        run.open()
        flag.touch()
        begun = time.monotonic()
        os.kill(run.pid("one"), signal.SIGKILL)
        eventually(lambda: run.starts("one") >= 7, 20, "it is tried again and again")
        assert time.monotonic() - begun > 4, "about once a second"
        assert run.printed().count("one ended") <= 2, "the terminal is not flooded"
        flag.unlink()
        eventually(lambda: psutil.pid_exists(run.pid("one")), 5, "it stays when it can")


def test_programs_that_do_not_listen_are_ended_in_time_and_in_order(tmp_path: Path) -> None:
    stages = ("ENGINES", "SUPPLIERS", "CONSUMERS")
    entries = [(stage.lower(), stage, STUBBORN) for stage in stages]
    with stand_ins(tmp_path / "data", SEEDED, ("web", "WEB", STUBBORN_WEB), *entries) as run:
        run.open()
        for name, _, _ in entries:
            eventually(lambda name=name: "deaf" in (run.logs / f"{name}.log").read_text(), 10)
        begun = time.monotonic()
        run.process.send_signal(signal.SIGINT)  # as Ctrl-C does
        assert run.process.wait(20) == 0
        assert time.monotonic() - begun < ENDED_WITHIN_S
        assert run.stopped() == ["web", "consumers", "suppliers", "engines"]


def test_a_closed_terminal_ends_all(tmp_path: Path) -> None:
    with stand_ins(tmp_path / "data", SEEDED, SERVED, ("one", "CONSUMERS", SLEEPER)) as run:
        everything = run.open().descendants()
        run.process.send_signal(signal.SIGHUP)
        assert run.process.wait(15) == 0
        assert ended(everything)


def test_a_seeding_that_fails_fails_the_start(tmp_path: Path) -> None:
    with stand_ins(tmp_path / "data", ("db_init", "SEEDING", DIES_AT_ONCE), SERVED) as run:
        assert run.process.wait(30) == 1
        assert "db_init failed" in run.printed()
        assert "no such luck" in run.printed()
        assert run.starts("web") == 0


def test_a_part_that_cannot_stay_up_fails_the_start(tmp_path: Path) -> None:
    with stand_ins(tmp_path / "data", SEEDED, ("web", "WEB", DIES_AT_ONCE)) as run:
        assert run.process.wait(40) == 1
        assert "web ended 3 times" in run.printed()
        assert "no such luck" in run.printed()
        assert "web.log" in run.printed()


def test_make_takes_its_starter_along(tmp_path: Path) -> None:
    """`make run` is the parent; who kills make means all of it."""
    script = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-m', 'tests.stand_ins', *sys.argv[1:]], check=True)\n"
    )
    entries = msgspec.json.encode([SEEDED, SERVED]).decode()
    environment = {**os.environ, "DATA_DIR": str(tmp_path / "data"), "PORT": str(free_port())}
    make = subprocess.Popen(
        [sys.executable, "-c", script, entries, "--with-parent"],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        url = f"http://{LOOPBACK}:{environment['PORT']}/livez"

        def answers() -> bool:
            try:
                return requests.get(url, timeout=1).ok
            except requests.ConnectionError:
                return False

        eventually(answers, 30, "it is open")
        everything = psutil.Process(make.pid).children(recursive=True)
    finally:
        make.kill()
        make.wait(10)
    eventually(lambda: ended(everything), 10, "the starter ends in order, and all with it")
    assert not (tmp_path / "data" / "engines.json").exists()
