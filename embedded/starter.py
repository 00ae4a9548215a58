"""`python app_queue.py`: the whole of Berth on this machine, in one terminal."""

from __future__ import annotations

import argparse
import http.client
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from embedded.data_dir import leave_addresses, owned
from embedded.manager import Manager
from embedded.orphans import end_with_parent
from embedded.ports import LOOPBACK, free_port, why_not
from embedded.programs import SEEDING, WEB, Program, Stage, embedded_valkeys, programs
from embedded.servers import EnginePlan, Valkey
from errors import BerthError, EngineAway, SettingsError
from settings import Settings, load

SEEDED_WITHIN_S = 120.0
OPEN_WITHIN_S = 60.0
GIVE_UP_AFTER_ENDS = 3
_TELL_AGAIN_AFTER_S = 10.0
_LAST_LINES = 15

_VALKEY_SETTINGS = {
    Valkey.ORDERS: "redis_url",
    Valkey.SEARCH: "search_redis_url",
    Valkey.CATALOGUE: "catalogue_redis_url",
}

Choose = Callable[[Settings, EnginePlan], Sequence[Program]]


def main(arguments: Sequence[str] | None = None, *, choose: Choose = programs) -> int:
    """Run everything until SIGTERM or Ctrl-C; returns the exit code.

    `choose` says which programs that are. 0: stopped as asked; 1: could not start.
    """
    parser = argparse.ArgumentParser(
        prog="python app_queue.py",
        description="Run Berth on this machine: Valkey and MongoDB (unless REDIS_URL and MONGO_URL "
        "name others), the supplier simulator (unless SUPPLIER_URL is set), the consumers and the "
        "web server. Each is a process of its own and is started again when it dies. Ctrl-C or "
        "SIGTERM ends all of them.",
        epilog="Settings are environment variables: PORT (8888), HOST (127.0.0.1), DATA_DIR "
        "(./data), and all others that `python settings.py` lists, with their units and bounds.",
    )
    parser.add_argument(
        "--with-parent", action="store_true",
        help="end when the process that started this one ends (`make run` asks for it)",
    )
    if parser.parse_args(arguments).with_parent:
        end_with_parent(os.getppid(), signal.SIGTERM)
    try:
        settings = load(find_engines=False)
        with owned(Path(settings.data_dir)) as folder:
            return Starter(settings, folder, choose).run()
    except BerthError as error:
        _say(f"Berth did not start. {error}")
        return 1
    except KeyboardInterrupt:
        return 0  # Ctrl-C before anything was started


class Starter:
    """One run: checks, launch, and what is told meanwhile."""

    def __init__(self, settings: Settings, folder: Path, choose: Choose) -> None:
        self._settings = settings
        self._folder = folder
        self._shown_folder = settings.data_dir.rstrip("/")
        self._begun = time.monotonic()
        self._told_at: dict[str, float] = {}
        self._ends: Counter[str] = Counter()
        _require_port("PORT", settings.host, settings.port)
        plan = EnginePlan(
            folder,
            maxmemory_mb=settings.valkey_maxmemory_mb,
            search_mb=settings.search_maxmemory_mb,
            catalogue_mb=settings.catalogue_maxmemory_mb,
        )
        # Only those of the embedded engines: an address from outside may hold a password.
        self._embedded = {
            _VALKEY_SETTINGS[role]: plan.valkey_url(role) for role in embedded_valkeys(settings)
        }
        if not settings.mongo_url:
            self._embedded["mongo_url"] = plan.mongo_url
        # `python -m audit` in another shell must read this system's book, and no other's.
        self._embedded["simulator_port"] = str(self._simulator_port())
        self._programs = choose(settings, plan)

    def run(self) -> int:
        """Start everything, stay until told to stop; 0, or 1 when the start failed."""
        leave_addresses(self._folder, self._embedded)
        manager = Manager(
            self._programs,
            self._folder,
            launch=self._launch,
            on_end=self._ended,
            environment=self._environment(),
        )
        manager.run_until_stopped()
        if manager.failure:
            _say(f"Berth did not start. {manager.failure}")
            return 1
        _say(f"Berth has ended. What was ordered stays in {self._shown_folder}.")
        return 0

    def _environment(self) -> dict[str, str]:
        return {
            "DATA_DIR": str(self._folder),
            **{name.upper(): address for name, address in self._embedded.items()},
        }

    def _simulator_port(self) -> int:
        wanted = self._settings.simulator_port
        # Nobody outside has to find the simulator, so two systems on one machine need not fight.
        return free_port() if why_not(self._settings.host, wanted) else wanted

    def _launch(self, manager: Manager) -> Iterator[None]:
        """Stage by stage. Resumed ten times a second; each `yield` is a look later."""
        _say(f"Berth starts. Its data are in {self._shown_folder}.")
        for stage in (Stage.ENGINES, Stage.SUPPLIERS, Stage.SEEDING):
            manager.start(stage)
        yield from self._until(
            lambda: manager.exit_code(Stage.SEEDING, SEEDING) is not None, SEEDED_WITHIN_S, SEEDING
        )
        if manager.exit_code(Stage.SEEDING, SEEDING) != 0:
            raise EngineAway(f"{SEEDING} failed.{self._log_of(SEEDING)}")
        _say(f"  {self._elapsed()}  engines are ready, packages are there")
        for stage in (Stage.CONSUMERS, Stage.WEB):
            manager.start(stage)
        yield from self._until(self._web_answers, OPEN_WITHIN_S, WEB)
        base = f"http://{_url_host(self._settings.host)}:{self._settings.port}"
        _say(
            f"  {self._elapsed()}  consumers run, the web server answers\n\n"
            f"  Order          {base}/order\n"
            f"  Hotels         {base}/hotels\n"
            f"  Live rates     {base}/search\n"
            f"  Find an order  {base}/query\n"
            f"  The API        {base}/api/docs\n"
            f"  Logs           {self._shown_folder}/logs\n\n"
            "Ctrl-C ends it."
        )

    def _until(
        self, condition: Callable[[], bool], within_s: float, part: str
    ) -> Iterator[None]:
        deadline = time.monotonic() + within_s
        while not condition():
            for name, count in self._ends.items():
                if count >= GIVE_UP_AFTER_ENDS:
                    raise EngineAway(f"{name} ended {count} times.{self._log_of(name)}")
            if time.monotonic() > deadline:
                raise EngineAway(
                    f"{part} was not ready within {within_s:.0f} s.{self._log_of(part)}"
                )
            yield

    def _web_answers(self) -> bool:
        host = _url_host(self._settings.host).strip("[]")
        connection = http.client.HTTPConnection(host, self._settings.port, timeout=0.5)
        try:
            connection.request("GET", "/livez")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

    def _ended(self, name: str) -> None:
        self._ends[name] += 1
        now = time.monotonic()
        if now - self._told_at.get(name, float("-inf")) > _TELL_AGAIN_AFTER_S:
            self._told_at[name] = now
            _say(
                f"  {self._elapsed()}  {name} ended and is started again "
                f"({self._shown_folder}/logs/{name}.log)"
            )

    def _log_of(self, name: str) -> str:
        path = f"{self._shown_folder}/logs/{name}.log"
        try:
            text = (self._folder / "logs" / f"{name}.log").read_text(errors="replace")
        except OSError:
            return f" There is no log in {path}."
        last = "\n".join(f"    {line[:300]}" for line in text.splitlines()[-_LAST_LINES:])
        return f" Its log, {path}, ends with:\n{last}"

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self._begun:5.1f} s"


def _require_port(name: str, host: str, port: int) -> None:
    reason = why_not(host, port)
    if reason:
        raise SettingsError(
            f"{name} {port} on {host} cannot be used: {reason}. Choose another one, "
            f"for example {name}={port + 1 if port < 65_535 else 8_888}."
        )


def _url_host(host: str) -> str:
    """The host as this machine's own browser reaches it."""
    reachable = {"": LOOPBACK, "0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104
    return f"[{reachable}]" if ":" in reachable else reachable


def _say(text: str) -> None:
    # The terminal may be gone. What runs here must not end because nobody listens.
    with suppress(OSError):
        print(text, flush=True)
