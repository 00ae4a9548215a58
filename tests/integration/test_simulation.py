"""The simulation holds, repeats itself to the byte, and is able to fail. `make simulate` and
`make mutants` do the same at length.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.simulation import crash_points
from tests.simulation.mutants import MUTANTS, ROOT, Mutant, mutated_tree
from tests.simulation.network import Fault
from tests.simulation.world import FAULTS_MIN, ORDERS_MIN, simulate

SEEDS_AT_ONCE = 10


@pytest.mark.parametrize("first", range(0, 40, SEEDS_AT_ONCE))
def test_every_promise_holds_after_every_step(first: int) -> None:
    for seed in range(first, first + SEEDS_AT_ONCE):
        outcome = simulate(seed)
        replay = f"python -m tests.simulation --seed {seed} --trace"
        assert not outcome.rule, f"{outcome.detail}\nreplay it: {replay}"
        assert outcome.orders >= ORDERS_MIN
        assert outcome.faults >= FAULTS_MIN


def command_line(folder: Path, *args: str, hash_seed: str = "0") -> tuple[str, dict[str, Any]]:
    """All that is printed, and the JSON at its end."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *args], cwd=folder, capture_output=True,
        text=True, timeout=100, check=False,
        env={**os.environ, "PYTHONPATH": str(folder), "PYTHONHASHSEED": hash_seed},
    )  # fmt: skip
    lines = done.stdout.strip().splitlines()
    assert lines, done.stderr
    said: dict[str, Any] = json.loads(lines[-1])
    assert done.returncode == (said["rule"] is not None)
    return done.stdout, said


def test_the_same_seed_is_the_same_trace_byte_for_byte() -> None:
    lines: list[str] = []
    outcome = simulate(5, lines.append)
    printed = [command_line(ROOT, "--seed", "5", "--trace", hash_seed=n)[0] for n in "12"]
    assert printed[0] == printed[1]
    assert printed[0].splitlines()[:-1] == lines
    assert json.loads(printed[0].splitlines()[-1])["digest"] == outcome.digest
    assert simulate(6).digest != outcome.digest


@pytest.mark.parametrize("name", [
    "acknowledged and told before it is written", "no lease check in tell",
])  # fmt: skip
def test_a_missing_protection_is_caught_and_its_seed_replays(name: str, tmp_path: Path) -> None:
    [mutant] = [mutant for mutant in MUTANTS if mutant.name == name]
    mutated_tree(mutant, tmp_path)
    printed, said = command_line(tmp_path, "--seeds", "20", "--processes", "1")
    assert said["rule"], "nobody noticed"
    [replay] = [line for line in printed.splitlines() if line.startswith("replay it: ")]
    _, _, *args = shlex.split(replay.removeprefix("replay it: "))[1:]
    again, said_again = command_line(tmp_path, *args)
    assert (said_again["failed_seed"], said_again["rule"]) == (said["failed_seed"], said["rule"])
    led_to_it = printed.splitlines()[:-5]
    assert led_to_it[-1] in again.splitlines()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_a_mutant_takes_out_is_there(mutant: Mutant) -> None:
    for edit in mutant.edits:
        assert (ROOT / edit.file).read_text(encoding="utf-8").count(edit.old) == 1


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST_ANSWER])
def test_a_booking_survives_this_fault_at_each_of_its_calls(fault: Fault) -> None:
    story = crash_points.STORIES[0]
    calls = crash_points.tell(story, None).calls
    assert calls > 50, "the door, the lease, the booking consumer and the saga are in it"
    for call in range(1, calls + 1):
        told = crash_points.tell(story, crash_points.Point(call, fault, 0))
        assert not told.rule, f"{told.point}: {told.detail}"
