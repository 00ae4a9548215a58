"""Who goes first when processors are short: orders, before searches and before what stands for the
outside world.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_OWN_GROUP = Path("/proc/self/autogroup")


def step_back(niceness: int) -> None:
    """Let others go before this process and what it forks: `niceness` as of nice(1), 0 for nothing.

    Linux shares processors among sessions first, and looks at niceness within a session only. A
    session's own number is another one; it is set where the session is this process's alone.
    """
    if niceness == 0:
        return
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        # Not every kernel groups by session, and a container may not be let.
        with suppress(OSError):
            _OWN_GROUP.write_text(str(niceness), encoding="ascii")
