"""Searches step back for orders when processors are short."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TELL = """
import os, sys
from suppliers.precedence import step_back
before = os.nice(0)
step_back(int(sys.argv[1]))
child = os.fork()
if child:
    os.waitpid(child, 0)
print(os.nice(0) - before)
"""


@pytest.mark.parametrize("niceness", [0, 7])
def test_a_process_and_what_it_forks_step_back(niceness: int) -> None:
    run = subprocess.run([sys.executable, "-c", TELL, str(niceness)], cwd=ROOT,
                         capture_output=True, text=True, check=True)
    assert run.stdout.split() == [str(niceness)] * 2
