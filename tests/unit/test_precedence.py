"""Searches step back for orders when processors are short."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TELL = """
import os, sys
from pathlib import Path
from suppliers import precedence
precedence._OWN_GROUP = Path(sys.argv[1])  # the kernel takes a number now and then only
precedence.step_back(int(sys.argv[2]))
child = os.fork()
if child:
    os.waitpid(child, 0)
print(os.nice(0))
"""


def told(group: Path, niceness: int, *, own_session: bool) -> list[int]:
    """Niceness of what a process forked, and its own."""
    run = subprocess.run([sys.executable, "-c", TELL, str(group), str(niceness)], cwd=ROOT,
                         start_new_session=own_session, capture_output=True, text=True, check=True)
    return [int(line) for line in run.stdout.splitlines()]


@pytest.mark.parametrize("niceness", [0, 7])
@pytest.mark.parametrize("own_session", [True, False])
def test_a_process_and_what_it_forks_step_back_and_no_session_that_is_others_too(
    tmp_path: Path, niceness: int, own_session: bool
) -> None:
    group = tmp_path / "autogroup"
    before = told(group, 0, own_session=False)[0]
    assert told(group, niceness, own_session=own_session) == [before + niceness] * 2
    assert (group.read_text() if group.exists() else "") == (
        "7" if own_session and niceness else "")


def test_a_kernel_that_knows_no_sessions_is_no_matter(tmp_path: Path) -> None:
    assert told(tmp_path / "not there" / "autogroup", 7, own_session=True)
