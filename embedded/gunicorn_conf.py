"""How gunicorn serves the web, here and in the containers.

    gunicorn -c embedded/gunicorn_conf.py 'app_queue:create_app()'
"""

from __future__ import annotations

import gc
import logging
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]
from gunicorn.http import message  # type: ignore[import-untyped]

from embedded.orphans import end_with_parent
from settings import load

COLLECT_AFTER_OBJECTS = 50_000
_settings = load()
_QUERY = re.compile(r"\?[^\s'\"]*")

bind = [
    f"[{_settings.host}]:{_settings.port}"
    if ":" in _settings.host
    else f"{_settings.host}:{_settings.port}"
]
worker_class = "gthread"
workers = _settings.web_workers
threads = _settings.web_threads
# A search may name 1,000 hotels in its address: 14 kB with encoded commas. gunicorn bounds request
# lines by 8 kB, or with 0 not at all; the bound is a constant of its own.
limit_request_line = message.MAX_REQUEST_LINE = 32_768
# Proxies and browsers reuse their connections for a while.
keepalive = 5
# Requests under way get this long to end, in seconds; the starter waits a moment longer.
graceful_timeout = 2
# Where workers tell the master that they live: in memory, because a slow disk is not a dead worker.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
# What is believed of X-Forwarded-*, TRUSTED_PROXIES says alone. gunicorn has an opinion of its own
# about peers on this machine, and refuses a request that two proxies wrote a scheme into.
secure_scheme_headers: dict[str, str] = {}
# It would put a socket in the user's home, the same for every Berth on this machine.
control_socket_disable = True

accesslog = "-"
# Neither query string nor referer: an order's look-up carries the customer's address there.
access_log_format = '%(h)s "%(m)s %(U)s %(H)s" %(s)s %(B)s bytes %(M)s ms'


class _Discreet(Logger):  # type: ignore[misc]
    """Logs paths as they were sent: without queries, and with line ends still encoded."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.addFilter(_without_queries)

    def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> dict[str, Any]:
        found: dict[str, Any] = super().atoms(resp, req, environ, request_time)
        # Decoded, a path could hold a line end, and after it a line that nobody logged.
        found["U"] = environ["RAW_URI"].partition("?")[0]
        return found


def _without_queries(record: logging.LogRecord) -> bool:
    # Messages about requests that could not be read or served quote them.
    record.msg = _QUERY.sub("?...", record.getMessage())
    record.args = None
    return True


logger_class = _Discreet


def on_starting(server: Any) -> None:
    """Code is read once, by the master, and its memory shared. Apps, and with them connections,
    are made in the workers: neither survives a fork."""
    import_module("web")


def post_fork(server: Any, worker: Any) -> None:
    """A worker whose master was killed would keep the port from the next master."""
    end_with_parent(worker.ppid)


def post_worker_init(worker: Any) -> None:
    """The listing of hotels is loaded before the first visitor asks for it.

    Looking for cycles of garbage among all that a worker keeps stops its threads for 30 to 100 ms
    (measured while every hotel changes). What stands at the start is looked through never again,
    the rest seldom: requests free what they make by its counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS)
    services = getattr(worker.wsgi, "extensions", {}).get("berth")
    if services is not None:
        services.listings.start()
