"""Who goes first when processors are short: orders, before searches and before what stands for the
outside world.
"""

from __future__ import annotations

import os


def step_back(niceness: int) -> None:
    """Let others go before this process and what it forks: `niceness` as of nice(1).

    Linux shares processors among sessions first and looks at niceness within each, so the whole of
    Berth on a machine (one session) loses nothing to others by it.
    """
    os.nice(niceness)
