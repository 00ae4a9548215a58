"""The settings of a process: read from the environment once, checked against each other, printed.

This is the only module that reads `os.environ`. A process calls `load()` at its start and hands
the frozen `Settings` on; nothing else asks the environment. The environment variable of a field
is its name in capitals (`hold_s` is `HOLD_S`). Each is declared in tunables.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

import shapes
from errors import SettingsError
from tunables import Settings

__all__ = ["ENGINES_FILE", "ENGINE_ADDRESSES", "Settings", "load", "table"]

ENGINES_FILE = "engines.json"
# The settings that a running starter leaves in that file.
ENGINE_ADDRESSES = ("redis_url", "search_redis_url", "catalogue_redis_url", "mongo_url")


def load(
    environ: Mapping[str, str] | None = None, *, find_engines: bool = True
) -> Settings:
    """Read the settings from the environment.

    Without REDIS_URL or MONGO_URL, the addresses that a running `python app_queue.py` left in
    DATA_DIR are taken, so that `python -m operate` and its like find the embedded engines, and the
    simulator where its port was taken and it had to choose another. The
    starter itself passes `find_engines=False`: an address left there by a killed starter would
    otherwise look like an engine that somebody else runs.

    Raises SettingsError with the name of the variable that is wrong.
    """
    source = os.environ if environ is None else environ
    fields = {name: source[name.upper()] for name in Settings.__struct_fields__
              if source.get(name.upper(), "") != ""}
    try:
        settings = shapes.convert(fields, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(_explain(str(error))) from None
    if settings.hold_s <= settings.saga_worst_case_s:
        raise SettingsError(
            f"HOLD_S is {settings.hold_s} s, but a reservation may take "
            f"{settings.saga_worst_case_s:.0f} s: a hold would expire under one that is still "
            "under way. Raise HOLD_S, or lower SUPPLIER_TIMEOUT_S, SUPPLIER_ATTEMPTS or "
            "RATE_BOOK_TIMEOUT_S."
        )
    if settings.lease_ms < 2 * settings.beat_ms:
        raise SettingsError(
            f"LEASE_MS is {settings.lease_ms}, and an idle consumer renews its lease only every "
            f"BEAT_MS, which is {settings.beat_ms}: it would lose it again and again. Let the "
            "lease last at least two beats."
        )
    if settings.search_life_s <= settings.search_deadline_s:
        raise SettingsError(
            f"SEARCH_LIFE_S is {settings.search_life_s} s, and suppliers may bring rates for "
            f"{settings.search_deadline_s:.0f} s (SEARCH_DEADLINE_S): they would expire as they "
            "come. Let a search live longer than it takes."
        )
    if settings.simulator_latency_ms_min > settings.simulator_latency_ms_max:
        raise SettingsError("SIMULATOR_LATENCY_MS_MIN is above SIMULATOR_LATENCY_MS_MAX.")
    return _with_embedded_engines(settings, fields) if find_engines else settings


def _with_embedded_engines(settings: Settings, told: Collection[str]) -> Settings:
    if settings.redis_url and settings.mongo_url:
        return settings
    # Beside a REDIS_URL from outside, searches and pages are its next databases.
    names = {"mongo_url"} if settings.redis_url else set(ENGINE_ADDRESSES)
    try:
        found = shapes.decode((Path(settings.data_dir) / ENGINES_FILE).read_bytes(),
                                    dict[str, str])
    except (FileNotFoundError, msgspec.MsgspecError):
        return settings
    addresses = {name: getattr(settings, name) or found.get(name, "") for name in names}
    port = found.get("simulator_port", "")
    # Where SIMULATOR_PORT was taken, the starter chose another one.
    if "simulator_port" in told or not port.isdecimal():
        return msgspec.structs.replace(settings, **addresses)
    return msgspec.structs.replace(settings, **addresses, simulator_port=int(port))


def _explain(message: str) -> str:
    """msgspec names the field as `$.hold_s`; people set HOLD_S."""
    text, _, path = message.partition(" - at `$.")
    return f"{path.rstrip('`').upper()}: {text}" if path else text


def table() -> str:
    """All settings as the Markdown table of the README: variable, default, bounds, meaning."""
    lines = ["| variable | default | bounds | what it is |", "|---|---|---|---|"]
    for field in msgspec.inspect.type_info(Settings).fields:  # type: ignore[attr-defined]
        kind = field.type
        extra = {}
        if isinstance(kind, msgspec.inspect.Metadata):
            extra, kind = kind.extra_json_schema or {}, kind.type
        low, high = getattr(kind, "ge", None), getattr(kind, "le", None)
        bounds = f"{low:,} to {high:,}" if low is not None and high is not None else ""
        default = "" if field.default == "" else f"`{field.default}`"
        lines.append(
            f"| `{field.name.upper()}` | {default} | {bounds} | {extra.get('description', '')} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
