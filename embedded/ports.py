"""Free loopback ports, and the memory of those that an embedded engine had last time."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Iterable
from pathlib import Path

import msgspec

import shapes
from errors import EngineUnfit

LOOPBACK = "127.0.0.1"
_LOWEST = 10_000
_TRIES = 200


def why_not(host: str, port: int) -> str:
    """Why nobody can listen on this address now, in words; empty when it is free."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            # As servers do it: without this, connections that a previous run closed a moment
            # ago would make the port look taken for a minute.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return "another program listens there"
        return error.strerror or str(error)
    return ""


def free_port() -> int:
    """A free loopback port below those that the system hands to outgoing connections.

    A server that is being restarted leaves its port for a second. Were it one of the outgoing
    ports, a client that tries to reconnect to it could be given that very port as its own, be
    connected to itself, and keep the server from ever coming back.

    Raises EngineUnfit when none is found.
    """
    highest = _first_outgoing_port() - 1
    for _ in range(_TRIES):
        port = random.randint(_LOWEST, highest)  # noqa: S311 (not a secret)
        if not why_not(LOOPBACK, port):
            return port
    raise EngineUnfit(f"No free port found between {_LOWEST} and {highest} on {LOOPBACK}.")


def remembered_ports(memory: Path, names: Iterable[str]) -> dict[str, int]:
    """A free port for each name: last time's where that is still free. Written to `memory`."""
    try:
        last = shapes.decode(memory.read_bytes(), dict[str, int])
    except (FileNotFoundError, msgspec.MsgspecError):
        last = {}  # no memory, or one cut short by a full disk: any free port serves
    chosen: dict[str, int] = {}
    for name in names:
        port = last.get(name, 0)
        while port == 0 or port in chosen.values() or why_not(LOOPBACK, port):
            port = free_port()
        chosen[name] = port
    memory.write_bytes(msgspec.json.encode(last | chosen))
    return chosen


def _first_outgoing_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768  # what Linux has unless told otherwise; macOS starts higher
