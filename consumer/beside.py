"""A second process beside this one, for work whose many threads would hold up our own.

It is forked, so that both share what is loaded. It ends with us, whatever ends us: it holds one
end of a pipe whose other end is ours alone, and the kernel closes that. Should it end by itself,
we end too, and whoever started us starts both anew.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from errors import BerthError

log = logging.getLogger(__name__)

_LOOK_S = 0.02
EXIT_LEFT_ALONE = 1


class Beside:
    """Runs `run` in the second process; what it returns is the exit code there.

    Create it before there are threads, and before there are clients of anything.
    """

    def __init__(self, run: Callable[[], int]) -> None:
        theirs, ours = os.pipe()
        self._pid: int = os.fork()
        if self._pid == 0:
            os.close(ours)
            _become(run, theirs)
        os.close(theirs)
        self._ours = ours

    def check(self) -> None:
        """Raises BerthError when it has ended."""
        if self._pid and self._reaped():
            raise BerthError("the process beside this one has ended")

    def ask_to_end(self) -> None:
        """As whoever runs us asks us."""
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)

    def end(self, within_s: float) -> None:
        """Wait until it has ended, and end it if it does not."""
        give_up_s = time.monotonic() + within_s
        while not self._reaped() and time.monotonic() < give_up_s:
            time.sleep(_LOOK_S)
        os.close(self._ours)  # the pipe ends it if nothing else did

    def _reaped(self) -> bool:
        if self._pid and os.waitpid(self._pid, os.WNOHANG)[0]:
            self._pid = 0
        return not self._pid


def _become(run: Callable[[], int], theirs: int) -> None:
    def watch() -> None:
        os.read(theirs, 1)  # nobody writes: it returns when the other end is closed
        os._exit(EXIT_LEFT_ALONE)

    code = EXIT_LEFT_ALONE
    try:
        threading.Thread(target=watch, name="left-alone", daemon=True).start()
        code = run()
    except BaseException:
        log.exception("the process beside %d fails", os.getppid())
    finally:
        logging.shutdown()
        # Not the way out of the program that forked us: what it has registered is its own.
        os._exit(code)
