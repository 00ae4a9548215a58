"""Does this Valkey keep what it was told? Asked before the first job is taken."""

from __future__ import annotations

import redis

from engine_errors import valkey_errors
from errors import EngineUnfit

_WANTED = {
    "appendonly": ("yes", "an accepted order must survive a restart"),
    "appendfsync": ("always", "an accepted order must be on disk before it is answered"),
    "maxmemory-policy": ("noeviction", "no job may be thrown away for memory"),
}


def check_valkey(client: redis.Redis) -> None:
    """Raises EngineUnfit with every setting that is wrong, and why it matters."""
    with valkey_errors():
        found = client.config_get(*_WANTED)
    wrong = [
        f"{name} is '{found.get(name)}' and must be '{wanted}': {why}"
        for name, (wanted, why) in _WANTED.items()
        if found.get(name) != wanted
    ]
    if wrong:
        raise EngineUnfit("Valkey cannot keep the promises: " + "; ".join(wrong) + ".")


def memory_percent(client: redis.Redis) -> int:
    """How full Valkey is, in percent of its maxmemory; 0 without a limit."""
    with valkey_errors():
        memory = client.info("memory")
    limit = int(memory.get("maxmemory", 0))
    return int(100 * int(memory["used_memory"]) / limit) if limit else 0
