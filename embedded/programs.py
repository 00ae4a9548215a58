"""Which processes make up Berth on one machine, as plain data."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from embedded.servers import EnginePlan, Valkey
from settings import Settings

ROOT = Path(__file__).resolve().parent.parent
SEEDING = "db_init"
WEB = "web"


class Stage(IntEnum):
    """When a program starts: lower ones first. They end in the opposite order."""

    ENGINES = 10
    SUPPLIERS = 20
    SEEDING = 30
    CONSUMERS = 40
    WEB = 50


# Everything is asked to end stage by stage. This many seconds after the first was asked, a program
# of the stage that has not ended is killed: what a stage does not need is left to those after it.
END_BY_S = {
    Stage.WEB: 3.0,
    Stage.CONSUMERS: 5.5,
    Stage.SEEDING: 5.5,
    Stage.SUPPLIERS: 6.0,
    Stage.ENGINES: 8.0,
}


@dataclass(frozen=True)
class Program:
    """One process. It is started again whenever it ends, unless it is there to run `once`."""

    name: str
    stage: Stage
    command: Sequence[str]
    folder: Path = ROOT
    once: bool = False


def embedded_valkeys(settings: Settings) -> list[Valkey]:
    """Those that the settings do not place elsewhere.

    Where REDIS_URL names a server, searches and the catalogue are its next databases.
    """
    if settings.redis_url:
        return []
    elsewhere = {Valkey.SEARCH: settings.search_redis_url,
                 Valkey.CATALOGUE: settings.catalogue_redis_url}
    return [role for role in Valkey if not elsewhere.get(role)]


def programs(settings: Settings, plan: EnginePlan) -> list[Program]:
    """What `python app_queue.py` runs; nothing in place of what the settings say exists."""
    python = (sys.executable, "-u")
    waited_for: list[str] = []
    chosen: list[Program] = []
    for role in embedded_valkeys(settings):
        waited_for.append(f"--valkey={plan.valkey_port(role)}")
        chosen.append(Program(
            role.folder, Stage.ENGINES, plan.valkey_command(role), plan.valkey_dir(role)
        ))
    if not settings.mongo_url:
        waited_for.append(f"--mongo={plan.mongo_port}")
        chosen.append(Program("mongo", Stage.ENGINES, plan.mongo_command(), plan.mongo_dir))
    if not settings.supplier_url:
        chosen.append(
            Program("simulator", Stage.SUPPLIERS, (*python, "-m", "suppliers.simulator"))
        )
    chosen.append(Program(
        SEEDING, Stage.SEEDING,
        (*python, "-m", "embedded.prepare", *waited_for), once=True,
    ))  # fmt: skip
    for number in range(1, settings.booking_consumers + 1):
        chosen.append(
            Program(f"booking-{number}", Stage.CONSUMERS, (*python, "-m", "consumer", "booking"))
        )
    chosen.append(Program("search", Stage.CONSUMERS, (*python, "-m", "consumer", "search")))
    chosen.append(Program("fetch", Stage.CONSUMERS, (*python, "-m", "consumer", "fetch")))
    chosen.append(
        Program("interactions", Stage.CONSUMERS, (*python, "-m", "consumer", "interactions"))
    )
    chosen.append(Program("catalogue", Stage.CONSUMERS, (*python, "-m", "consumer", "catalogue")))
    chosen.append(Program("feedback", Stage.CONSUMERS, (*python, "-m", "consumer", "feedback")))
    chosen.append(
        Program("reservation", Stage.CONSUMERS, (*python, "-m", "consumer", "reservation"))
    )
    chosen.append(Program(
        WEB, Stage.WEB,
        (*python, "-m", "gunicorn", "-c", "embedded/gunicorn_conf.py", "app_queue:create_app()"),
    ))  # fmt: skip
    return chosen
