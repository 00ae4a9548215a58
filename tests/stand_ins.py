"""A starter whose programs are stand-ins of a few lines: the manners of the manager alone.

    python -m tests.stand_ins '[["web", "WEB", "import time; time.sleep(9)"], ...]'

Each entry is a program's name, its stage, and its Python code. It starts within a second, so
tests can let its programs die, hang and fork in every way.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from embedded.ports import free_port
from embedded.programs import SEEDING, Program, Stage
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parent.parent
Entry = tuple[str, str, str]

SLEEPER = "import time; time.sleep(600)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
while True:
    time.sleep(60)
"""
FORKER = "import os, time; os.fork(); time.sleep(600)"
DIES_AT_ONCE = "import sys; sys.exit('no such luck')"
# Answers /livez; in the stubborn edition nothing but SIGKILL ends it.
WEB = """
import http.server, os
class Alive(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Alive).serve_forever()
"""
STUBBORN_WEB = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + WEB
SEEDED: Entry = (SEEDING, "SEEDING", "print('seeded')")


class Run:
    """A starter process and what can be seen of it."""

    def __init__(self, process: subprocess.Popen[bytes], data_dir: Path, printed: Path) -> None:
        self.process = process
        self.logs = data_dir / "logs"
        self._printed = printed

    def printed(self) -> str:
        """All that it printed so far."""
        return self._printed.read_text()

    def open(self) -> Run:
        """Itself, once everything is started."""
        def said() -> bool:
            if self.process.poll() is not None:
                raise RuntimeError(f"the starter ended:\n{self.printed()}")
            return "Ctrl-C ends it" in self.printed()

        eventually(said, 60, "the starter says it is open")
        return self

    def pid(self, name: str) -> int:
        """The process that the program runs in now, from the manager's own log."""
        spawned = re.findall(rf"spawned: '{name}' with pid (\d+)", self.manager_log())
        assert spawned, f"{name} was not started"
        return int(spawned[-1])

    def starts(self, name: str) -> int:
        """How often the program was started."""
        return self.manager_log().count(f"spawned: '{name}' with pid")

    def stopped(self) -> list[str]:
        """The programs that the manager stopped, in that order."""
        return re.findall(r"stopped: (\S+) \(", self.manager_log())

    def manager_log(self) -> str:
        """supervisor's log."""
        path = self.logs / "supervisord.log"
        return path.read_text() if path.exists() else ""

    def descendants(self) -> list[psutil.Process]:
        """Its children and theirs."""
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def starter(data_dir: Path, *command: str, **environment: str) -> Iterator[Run]:
    """Run a starter; whatever is left of it at the end is killed."""
    printed = data_dir.with_suffix(".printed")
    chosen = {
        **{key: value for key, value in os.environ.items()
           if key not in ("REDIS_URL", "MONGO_URL", "SUPPLIER_URL")},
        "DATA_DIR": str(data_dir), "PORT": str(free_port()),
        "SIMULATOR_PORT": str(free_port()), **environment,
    }  # fmt: skip
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *(command or ("app_queue.py",))],
            cwd=ROOT, env=chosen, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield Run(process, data_dir, printed)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(15)
            raise


@contextmanager
def stand_ins(data_dir: Path, *entries: Entry, **environment: str) -> Iterator[Run]:
    """Run a starter with these programs."""
    with starter(
        data_dir, "-m", "tests.stand_ins", json.dumps(entries), **environment
    ) as run:
        yield run


def main() -> int:
    from embedded.starter import main as start

    chosen = []
    for name, stage, code in json.loads(sys.argv.pop(1)):
        path = Path(f"{os.environ['DATA_DIR']}.{name}.py")
        path.write_text(code)
        command = (sys.executable, "-u", str(path))
        chosen.append(Program(name, Stage[stage], command, once=name == SEEDING))
    return start(sys.argv[1:], choose=lambda settings, plan: chosen)


if __name__ == "__main__":
    sys.exit(main())
