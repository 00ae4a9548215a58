"""No process outlives the one that started it, not even when that one is killed with -9.

Linux sends a signal of our choice to a child when its parent dies (PR_SET_PDEATHSIG). The
setting survives exec, but not fork: each generation has to ask for itself. On other systems
nothing of the kind exists, and children of a killed starter have to be ended by hand.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
# Loaded when the module is, because nothing may be loaded between fork and exec.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def end_with_parent(parent_pid: int, number: int = signal.SIGKILL) -> None:
    """Have this process signalled with `number` when its parent, `parent_pid`, dies.

    Call it in the child, between fork and exec or at the start of its program. The parent is
    the *thread* that forked: start long-lived children from the main thread.

    Raises OSError when the kernel refuses.
    """
    if _libc is None:
        return
    if _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) was refused")
    # A parent that died before the line above will never be reported: we are an orphan already.
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), number)
