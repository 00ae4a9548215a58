"""Keeps the programs running: supervisor, run inside the starter and given three manners of ours.

Supervisor starts processes again, stops them group by group in an order, keeps and rotates
their logs, and does so since 2004. It was preferred to circus, which needs two more libraries
(ZeroMQ, Tornado) for the same, and to code of our own. What is ours:

- It runs in the starter's own process. As a process between, it would be one more thing that
  can be killed, and with it everything else would be gone.
- Programs end with it, even if it is killed with -9 (`embedded.orphans`), and what a program
  forked ends with the program. A worker that outlives its master keeps the master's port.
- It looks ten times a second instead of once, and the pause before a program that died at
  once is started again stays at one second. Supervisor would wait longer each time, and then
  give up; but here a program that cannot start mostly waits for another one.
- All has ended 10 s after it was asked to, even if every single program hangs.
"""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from supervisor import events
from supervisor.medusa.asyncore_25 import ExitNow
from supervisor.options import ServerOptions
from supervisor.poller import Poller
from supervisor.states import ProcessStates, SupervisorStates
from supervisor.supervisord import Supervisor

from embedded.orphans import end_with_parent
from embedded.programs import END_BY_S, Program, Stage
from errors import BerthError

LOOK_EVERY_S = 0.1
PAUSE_S = 1
LOG_BYTES = 5_000_000
LOG_BACKUPS = 2


class Manager(Supervisor):  # type: ignore[misc]
    """Runs `programs` until SIGTERM, SIGINT or SIGHUP, or until `launch` fails.

    `launch` is given this manager and is a generator: it is resumed ten times a second, starts
    the stages and looks at what became of them. It must never wait. `on_end` is called with the
    name of every program that ended although nobody told it to. After `run_until_stopped`,
    `failure` holds the error that `launch` raised.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        data_dir: Path,
        *,
        launch: Callable[[Manager], Iterator[None]],
        on_end: Callable[[str], None],
        environment: Mapping[str, str],
    ) -> None:
        # Supervisor reads meaning into some characters of paths, differently for each setting. So
        # the configuration names everything in the data directory from there.
        os.chdir(data_dir)
        config = Path("run", "supervisord.conf")
        config.write_text(configuration(programs, data_dir))
        # Programs inherit it. In the file, an address with a password would lie around.
        os.environ.update(environment)
        options = _Options()
        options.realize(["--nodaemon", "--configuration", str(config)])
        options.first = True
        options.test = False
        super().__init__(options)
        self.failure: BerthError | None = None
        self._launch: Iterator[None] | None = launch(self)
        self._ending_since: float | None = None
        self._on_end = on_end

    def run_until_stopped(self) -> None:
        """Return when every program has ended."""
        try:
            self.main()
        except ExitNow:
            pass  # supervisor's way to say that all is stopped
        finally:
            self.options.close_logger()

    def start(self, stage: Stage) -> None:
        """Start the programs of a stage."""
        group = self.process_groups.get(stage.name.lower())
        for process in group.processes.values() if group else ():
            process.spawn()

    def exit_code(self, stage: Stage, name: str) -> int | None:
        """How a program that runs once ended; None while it runs, -1 if by a signal."""
        process = self.process_groups[stage.name.lower()].processes[name]
        return int(process.exitstatus) if process.state == ProcessStates.EXITED else None

    def ending(self) -> bool:
        """Whether everything is being ended."""
        return bool(self.options.mood != SupervisorStates.RUNNING)

    def runforever(self) -> None:
        """Supervisor's loop."""
        for event in (events.ProcessStateExitedEvent, events.ProcessStateBackoffEvent):
            events.subscribe(event, self._ended)
        super().runforever()

    def tick(self, now: float | None = None) -> None:
        """Called by supervisor's loop each time round."""
        super().tick(now)
        if self.ending():
            self._hurry()
        elif self._launch is not None:
            self._resume(self._launch)

    def _hurry(self) -> None:
        # Supervisor measures from when each program was asked; the sum of that could be long.
        self._ending_since = self._ending_since or time.monotonic()
        passed_s = time.monotonic() - self._ending_since
        for group in self.process_groups.values():
            for process in group.processes.values():
                if process.state == ProcessStates.STOPPING:
                    left_s = END_BY_S[Stage(group.config.priority)] - passed_s
                    process.delay = time.time() + left_s

    def _resume(self, launch: Iterator[None]) -> None:
        try:
            next(launch)
        except StopIteration:
            self._launch = None
        except BerthError as error:
            self.failure = error
            self.options.mood = SupervisorStates.SHUTDOWN

    def _ended(self, event: Any) -> None:
        process = event.process
        if process.pid:
            # It led a process group; whatever it forked is still in there.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if process.state == ProcessStates.BACKOFF:
            process.backoff = 1
            process.delay = time.time() + PAUSE_S
        if process.config.autorestart and not self.ending():
            self._on_end(process.config.name)


class _Options(ServerOptions):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.poller = _Poller(self)
        self._starter_pid = os.getpid()

    def setpgrp(self) -> None:
        # Supervisor calls this first in the child, before exec.
        super().setpgrp()
        end_with_parent(self._starter_pid)


class _Poller(Poller):  # type: ignore[misc]
    def poll(self, timeout: float) -> Any:
        return super().poll(min(timeout, LOOK_EVERY_S))


def configuration(programs: Sequence[Program], data_dir: Path) -> str:
    """The programs in supervisor's words. Nothing starts by itself: the launch says when."""
    logs = Path("logs")
    sections = [_section(
        "supervisord", nodaemon="true", silent="true", nocleanup="true",
        logfile=logs / "supervisord.log", logfile_maxbytes=LOG_BYTES, logfile_backups=LOG_BACKUPS,
        pidfile=Path("run", "supervisord.pid"),
    )]  # fmt: skip
    for stage in Stage:
        members = [program for program in programs if program.stage is stage]
        if members:
            sections.append(_section(
                f"group:{stage.name.lower()}", priority=int(stage),
                programs=",".join(program.name for program in members),
            ))  # fmt: skip
    for program in programs:
        sections.append(_section(
            f"program:{program.name}",
            command=" ".join(map(shlex.quote, program.command)),
            directory=os.path.relpath(program.folder.resolve(), data_dir.resolve()),
            autostart="false", autorestart="false" if program.once else "true",
            startsecs=0 if program.once else 1,
            killasgroup="true",
            redirect_stderr="true", stdout_logfile=logs / f"{program.name}.log",
            stdout_logfile_maxbytes=LOG_BYTES, stdout_logfile_backups=LOG_BACKUPS,
        ))  # fmt: skip
    return "\n".join(sections)


def _section(name: str, **values: object) -> str:
    lines = [f"{key} = {value}".replace("%", "%%") for key, value in values.items()]
    return "\n".join([f"[{name}]", *lines, ""])
