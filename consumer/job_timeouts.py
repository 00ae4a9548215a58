"""Time limits of RQ jobs that run in threads, kept by one thread for all of them.

RQ's own way for threads is a timer, which is a thread per job; under load, starting one takes
several milliseconds. A part ends by itself at its search's deadline, so a limit is reached only by
one that hangs, and a second more does not matter to that one.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from rq.timeouts import TimerDeathPenalty

_LOOK_EVERY_S = 1.0

_watching = threading.Lock()
_due: dict[SharedDeathPenalty, float] = {}
_watch: threading.Thread | None = None


class SharedDeathPenalty(TimerDeathPenalty):
    """For a worker's `death_penalty_class`. What runs for too long is interrupted as RQ's timer
    does it, within a second.
    """

    def setup_death_penalty(self) -> None:
        """The job begins."""
        global _watch
        if self._timeout <= 0:
            return
        with _watching:
            _due[self] = time.monotonic() + self._timeout
            if _watch is None:
                _watch = threading.Thread(target=_look, name="job-timeouts", daemon=True)
                _watch.start()

    def cancel_death_penalty(self) -> None:
        """The job is done."""
        with _watching:
            _due.pop(self, None)


def _look() -> None:
    """Until no job is under way; the next one begins anew."""
    global _watch
    while True:
        time.sleep(_LOOK_EVERY_S)
        now_s = time.monotonic()
        with _watching:
            if not _due:
                _watch = None
                return
            late: list[Any] = [job for job, due_s in _due.items() if due_s <= now_s]
            for job in late:
                # Within the lock: a job that is done meanwhile is not there any more.
                del _due[job]
                job.handle_death_penalty()
