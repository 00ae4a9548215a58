"""Types that many threads read for the first time, at once. Plain msgspec ends the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import shapes

ROOT = Path(__file__).resolve().parents[2]

# In a process of its own, because the fault is one of C: nothing can be caught.
TOGETHER = '''
import sys, threading
import msgspec, shapes
sys.setswitchinterval(0.000005)
source = """
class Inner{n}(msgspec.Struct):
    a: str
    b: tuple[str, ...]
class Outer{n}(msgspec.Struct):
    x: Inner{n}
    y: dict[str, Inner{n}]
"""
inner = {"a": "q", "b": ["r"]}
plain = {"x": inner, "y": {"k": inner}}
raw = msgspec.json.encode(plain)
seen = []
for n in range(60):
    names = {"msgspec": msgspec}
    exec(source.format(n=n), names)
    kind = names[f"Outer{n}"]
    start = threading.Barrier(16)
    def read():
        start.wait(30)
        seen.append(CALL.x.a)
    threads = [threading.Thread(target=read) for _ in range(16)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
assert seen == ["q"] * 16 * 60
'''


@pytest.mark.parametrize("call", ["shapes.decode(raw, kind)", "shapes.convert(plain, kind)"])
def test_a_type_may_be_read_first_by_many_threads(call: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER.replace("CALL", call)], cwd=ROOT, capture_output=True,
        text=True, timeout=120, check=False,
    )
    assert done.returncode == 0, done.stderr[-1_000:]


def test_bad_input_is_refused_as_msgspec_refuses_it() -> None:
    with pytest.raises(msgspec.ValidationError):
        shapes.convert("x", int)
    with pytest.raises(msgspec.ValidationError):
        shapes.decode(b'"x"', int)
    assert shapes.convert("7", int, strict=False) == 7
    assert shapes.decode(b"[1]", list[int]) == [1]
