"""docker-compose.yml without Docker: each service's own command as a process of this machine.

A container becomes a process with a loopback address and folders of its own. What it runs, what it
finds in its environment, what asks for its health and what it waits for are taken from the file;
the only thing that is changed is where things are, and `Container.here` is the one place for that.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import yaml

from embedded import binaries
from embedded.orphans import end_with_parent
from embedded.ports import free_port
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docker-compose.yml"
READY_WITHIN_S = 60.0
# Ports that the containers listen on, as the file has them.
PORTS = ("6379", "27017", "8080")
_NAME_SERVER = "127.0.0.11:53"  # Docker's own, in every container
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::([-?])([^}]*))?\}")

Spec = dict[str, Any]


def services(environ: Mapping[str, str]) -> dict[str, Spec]:
    """The services of the file by name, with the variables in it replaced from `environ`."""
    found: dict[str, Spec] = _interpolated(yaml.safe_load(FILE.read_text()), environ)["services"]
    return found


def environment(spec: Spec, environ: Mapping[str, str]) -> dict[str, str]:
    """What the processes of a service find in their environment.

    A name without a value is passed on from outside, if it is set there.
    """
    named = {
        name: environ.get(name) if value is None else str(value)
        for name, value in spec.get("environment", {}).items()
    }
    return {name: value for name, value in named.items() if value is not None}


def _interpolated(node: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _interpolated(value, environ) for key, value in node.items()}
    if isinstance(node, list):
        return [_interpolated(value, environ) for value in node]
    return _VARIABLE.sub(lambda m: _value(m, environ), node) if isinstance(node, str) else node


def _value(match: re.Match[str], environ: Mapping[str, str]) -> str:
    name, kind, rest = match.groups()
    if name is None:
        return "$"
    if kind == "?" and not environ.get(name):
        raise KeyError(f"{name}: {rest}")
    return environ.get(name) or rest or ""


class LocalCompose:
    """The file, brought up on this machine. `environ` is what an operator would set for it."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self.environ = environ
        self.specs = services(environ)
        self.containers: dict[str, list[Container]] = {name: [] for name in self.specs}
        self.ports = {written: str(free_port()) for written in PORTS}
        self._block = f"127.{random.randint(16, 250)}.{random.randint(1, 250)}"
        self.programs = _programs(folder)
        self.name_server = NameServer(f"{self._block}.11", self._running)

    def address(self, service: str, number: int = 1) -> str:
        """The loopback address of a container, known before it exists, as its name is."""
        return f"{self._block}.{20 + 10 * list(self.specs).index(service) + number}"

    def url(self, service: str) -> str:
        """Where the first container of a service serves HTTP."""
        return f"http://{self.address(service)}:{self.ports['8080']}"

    def up(self, service: str, scale: int | None = None) -> list[Container]:
        """`docker compose up --scale`: what it depends on first; returns when all are healthy."""
        spec = self.specs[service]
        for needed, how in spec.get("depends_on", {}).items():
            if not self.containers[needed]:
                self.up(needed)
            for container in self.containers[needed]:
                container.wait_for(how["condition"])
        running = self.containers[service]
        for number in range(len(running) + 1, (scale or int(spec.get("scale", 1))) + 1):
            running.append(Container(self, service, number))
            running[-1].start()
        if not spec["healthcheck"].get("disable"):
            for container in running:
                container.wait_for("service_healthy")
        return running

    def close(self) -> None:
        """End everything."""
        for service in self.containers.values():
            for container in service:
                container.kill()
        self.name_server.close()

    def _running(self, service: str) -> list[str]:
        return [found.address for found in self.containers.get(service, []) if found.running()]


class Container:
    """One process in the place of a container."""

    def __init__(self, compose: LocalCompose, service: str, number: int) -> None:
        self.spec = compose.specs[service]
        self.name = f"{service}-{number}"
        self.address = compose.address(service, number)
        self.folder = compose.folder / self.name
        self.folder.mkdir()
        self.log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        # As in the file -> as it is here. Longer ones go first; nothing is replaced twice.
        self._places = {
            "0.0.0.0": self.address,  # noqa: S104 (what the file says)
            "127.0.0.1": self.address,
            _NAME_SERVER: compose.name_server.address,
            **compose.ports,
        }
        for other in compose.specs:
            for written, port in compose.ports.items():
                # web is found by its name, which only proxy asks for: there are many of it.
                host = other if other == "web" else compose.address(other)
                self._places[f"{other}:{written}"] = f"{host}:{port}"
        self._mount(compose.folder / "volumes")
        self._folder = ROOT if "build" in self.spec else self.folder
        self._environment = {
            "PATH": compose.programs,
            "HOME": str(self.folder),
            **{name: self.here(value)
               for name, value in environment(self.spec, compose.environ).items()},
        }

    def here(self, text: str) -> str:
        """A command, address or path of the container, as it is on this machine."""
        written = "|".join(map(re.escape, sorted(self._places, key=len, reverse=True)))
        return re.sub(written, lambda found: self._places[found[0]], text)

    def start(self) -> None:
        """Run the service's command, as in a new container on the same volumes."""
        for target in self.spec.get("tmpfs", []):
            # A start finds it empty. A beat of the life before would pass for one of this life.
            for left in Path(self._places[target]).iterdir():
                left.unlink()
        us = os.getpid()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.here(argument) for argument in self.spec["command"]],
                cwd=self._folder, env=self._environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                preexec_fn=lambda: end_with_parent(us),
            )

    def running(self) -> bool:
        """Whether its process has not ended."""
        return self._process is not None and self._process.poll() is None

    def healthy(self) -> bool:
        """What its own health check says."""
        if not self.running():
            return False
        kind, *command = self.spec["healthcheck"]["test"]
        if kind == "CMD-SHELL":
            command = ["sh", "-c", *command]
        try:
            return subprocess.run(
                [self.here(argument) for argument in command],
                cwd=self._folder, env=self._environment, capture_output=True,
                timeout=float(self.spec["healthcheck"]["timeout"].removesuffix("s")),
            ).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def wait_for(self, condition: str) -> None:
        """Return when a condition of depends_on holds; fail with the log when it does not."""
        held = {
            "service_started": self.running,
            "service_healthy": self.healthy,
            "service_completed_successfully": lambda: self.exit_code() == 0,
        }[condition]
        try:
            # What has ended will not get there by itself.
            reached = eventually(
                lambda: "held" if held() else "" if self.running() else "ended",
                READY_WITHIN_S, self.name,
            )
            assert reached == "held", f"{self.name} ended with {self.exit_code()} before it"
        except AssertionError as error:
            raise AssertionError(f"{error}; its log ends with:\n{self.last_words()}") from None

    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll() if self._process else None

    def send(self, number: signal.Signals) -> None:
        """Signal its first process, as `docker kill --signal` does."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> int:
        """`docker stop`: SIGTERM, and stop_grace_period to end in; returns the exit code."""
        self.send(signal.SIGTERM)
        assert self._process is not None
        grace = self.spec.get("stop_grace_period", "10s").removesuffix("s")
        return self._process.wait(float(grace))

    def kill(self) -> None:
        """`docker kill`: everything in it is gone at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-2_000:] if self.log.exists() else ""

    def _mount(self, volumes: Path) -> None:
        for target in self.spec.get("tmpfs", []):
            self._places[target] = str(_made(self.folder / target.strip("/").replace("/", "-")))
        for volume in self.spec.get("volumes", []):
            source, target = volume.split(":")[:2]
            if source.startswith("."):
                copy = self.folder / Path(target).name
                copy.write_text(self.here((ROOT / source).read_text()))
                self._places[target] = str(copy)
            else:
                self._places[target] = str(_made(volumes / source))


class NameServer:
    """Stands for Docker's: the name of a service has the addresses of its running containers."""

    def __init__(self, host: str, addresses: Any) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self.address = f"{host}:{self._socket.getsockname()[1]}"
        self._addresses = addresses
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        # Its own empty datagram ends the wait for the next one.
        host, port = self._socket.getsockname()
        self._socket.sendto(b"", (host, port))
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            wire, client = self._socket.recvfrom(65_535)
            if not wire:
                return
            query = dns.message.from_wire(wire)
            answer = dns.message.make_response(query)
            answer.flags |= dns.flags.RA
            asked = query.question[0]
            addresses = self._addresses(asked.name.to_text(omit_final_dot=True))
            if addresses:
                answer.answer.append(dns.rrset.from_text(asked.name, 1, "IN", "A", *addresses))
            else:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            self._socket.sendto(answer.to_wire(), client)


def _programs(folder: Path) -> str:
    """A PATH that has the programs of all images: packaged engines, ours, and the system's."""
    ours = _made(folder / "bin")
    packaged = {
        "valkey-server": binaries.valkey_server(),
        "mongod": binaries.mongod(folder / "lib"),
        # Valkey's client is Redis's under another name; Debian 12 has it under the old one.
        "valkey-cli": [_installed("valkey-cli", "redis-cli", package="redis-tools")],
    }
    for name, command in packaged.items():
        program = ours / name
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        program.chmod(0o755)
    system = Path(_installed("haproxy", package="haproxy")).parent
    return f"{ours}:{Path(sys.executable).parent}:{system}:/usr/bin:/bin"


def _installed(*names: str, package: str) -> str:
    everywhere = os.environ["PATH"] + ":/usr/sbin"  # where Debian keeps servers, for root alone
    for name in names:
        path = shutil.which(name, path=everywhere)
        if path:
            return path
    raise AssertionError(f"{names[-1]} is missing: apt-get install {package}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
