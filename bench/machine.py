"""Where a figure came from: the machine and the versions. No names of hosts or people."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.world import World

PROGRAMS = ("gunicorn", "flask", "pymongo", "redis", "celery", "dramatiq", "rq")


def machine(place: World) -> dict[str, object]:
    """Cores, processor, load (the mean of a minute), and the versions of what was measured."""
    valkey = place.valkey.info("server")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu(),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "valkey": valkey.get("valkey_version", valkey["redis_version"]),
        "mongod": place.mongo.server_info()["version"],
        **{name: found for name in PROGRAMS if (found := _version(name))},
    }


def caption(found: dict[str, object]) -> str:
    """The same in one line, for a picture."""
    return (
        f"{found['cores']} cores of {found['cpu']}, Python {found['python']}, "
        f"Valkey {found['valkey']}, mongod {found['mongod']}"
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
