"""The rules of the house: who may import whom, who may touch what. Read from the source itself.

Each rule is a function from source to complaints, and each has a test that shows it complaining.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from booking.model import Reason
from queues.keys import BOOKING, CATALOGUE, FEEDBACK, INTERACTIONS, SEARCH, WorkKeys

ROOT = Path(__file__).resolve().parents[2]
LUA = ROOT / "queues" / "lua"
NOT_OURS = {"tests", "data", "node_modules", "static", "templates"}

DOMAINS = {"booking", "search", "catalogue"}
# What each room may import, besides itself. The modules of the root are rooms of their own.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "shapes": set(),
    "engine_errors": {"errors"},
    # Declared in the one, read by the other; who needs a setting asks the latter.
    "tunables": set(),
    "settings": {"errors", "tunables"},
    "queues": {"errors", "engine_errors"},
    "booking": {"errors", "engine_errors", "queues"},
    "search": {"errors", "engine_errors", "queues"},
    "catalogue": {"errors", "engine_errors", "queues"},
    # What all fetch workers share (limits, breakers, tokens) stands in Valkey.
    "suppliers": {"errors", "engine_errors", "settings", "search", "queues"},
    "bootstrap": DOMAINS | {"errors", "engine_errors", "queues", "settings", "suppliers"},
    # RQ talks to Valkey by itself, so whoever calls it translates its errors.
    "consumer": DOMAINS | {"errors", "engine_errors", "queues", "settings", "suppliers",
                           "bootstrap"},
    "web": DOMAINS | {"errors", "engine_errors", "queues", "settings", "bootstrap"},
    "audit": {"errors", "engine_errors", "queues", "catalogue", "settings", "bootstrap"},
    "operate": DOMAINS | {"errors", "engine_errors", "queues", "settings", "bootstrap"},
    "embedded": {"errors", "settings", "db_init"},
    # The default hotels are those that suppliers know.
    "db_init": DOMAINS | {"errors", "engine_errors", "queues", "settings", "bootstrap",
                          "embedded", "suppliers"},
    "bench": DOMAINS | {"errors", "queues", "settings", "bootstrap", "embedded", "suppliers"},
    "app_queue": {"errors", "settings", "embedded", "web"},
}  # fmt: skip
# Whoever reads JSON or plain values into types does it through this one.
ANYWHERE = {"shapes"}
# Deciding is pure: what it needs of the world comes as an argument.
DECIDING = {"booking.model", "booking.commands", "booking.decisions", "booking.allotment",
            "booking.batch"}  # fmt: skip
PURE = {"__future__", "collections", "enum", "functools", "heapq", "itertools", "msgspec",
        "typing", "errors"} | DECIDING  # fmt: skip
# What the audit may share with the catalogue, and where. Reading, following, writing: nothing.
AUDITS_PAGES = {"audit.catalogue", "audit.hotels", "audit.pages", "audit.listing"}
MAKES_PAGES = {"catalogue.assembly", "catalogue.documents", "catalogue.finishing",
               "catalogue.listing", "catalogue.payloads", "catalogue.rows"}  # fmt: skip
# Who builds clients of an engine. All others receive theirs.
BUILDERS = {"bootstrap", "embedded", "bench"}
CLIENTS = {"MongoClient", "Redis", "StrictRedis", "Valkey", "from_url", "storage_from_string",
           "BlockingConnectionPool", "ConnectionPool"}  # fmt: skip


class Source(NamedTuple):
    """One file of production code, as `booking.store` and its tree."""

    module: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.module.partition(".")[0]


def source(module: str, text: str) -> Source:
    return Source(module, ast.parse(text))


@cache
def production() -> tuple[Source, ...]:
    """Every file of ours but the tests."""
    tops = [top for top in sorted(ROOT.iterdir())
            if top.name not in NOT_OURS and not top.name.startswith(".")]  # fmt: skip
    paths = [path for top in tops for path in ([top] if top.is_file() else top.rglob("*.py"))
             if path.suffix == ".py"]  # fmt: skip
    return tuple(
        source(module_name(path), path.read_text(encoding="utf-8")) for path in sorted(paths)
    )


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(one: Source) -> set[str]:
    """Every module that is named in an import, wherever it stands."""
    found: set[str] = set()
    for node in ast.walk(one.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{one.module}: say the whole name of what is imported"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


# --- the rules ------------------------------------------------------------------------------------


def stays_in_its_rooms(one: Source) -> list[str]:
    """Who may import whom. Nobody imports web or consumer, but what starts them."""
    may = MAY_IMPORT.get(one.room)
    if may is None:
        return [f"{one.module}: the room is not in the table of this test"]
    ours = {name.partition(".")[0] for name in imports(one)} & MAY_IMPORT.keys()
    return [f"{one.module} imports {room}" for room in sorted(ours - may - ANYWHERE - {one.room})]


def decides_purely(one: Source) -> list[str]:
    """No Redis, MongoDB, Flask or clock where it is decided, and nothing that leads to them."""
    if one.module not in DECIDING:
        return []
    return [
        f"{one.module} imports {name}" for name in sorted(imports(one))
        if name.partition(".")[0] not in PURE and not any(
            name == pure or name.startswith(pure + ".") for pure in DECIDING
        ) and name != "booking"
    ]  # fmt: skip


def asks_no_environment(one: Source) -> list[str]:
    """Only settings.py reads a variable. To hand all of them on to a child is no reading."""
    if one.module == "settings":
        return []
    complaint = f"{one.module} reads the environment"
    handed_on = {
        id(node.value)
        for parent in ast.walk(one.tree)
        for node in _double_starred(parent)
    }  # fmt: skip
    for node in ast.walk(one.tree):
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            if {"environ", "getenv"} & {alias.name for alias in node.names}:
                return [complaint]
        elif isinstance(node, ast.Attribute) and _is_os(node.value):
            if node.attr == "getenv":
                return [complaint]
            if node.attr == "environ" and id(node) not in handed_on | _updated(one.tree):
                return [complaint]
    return []


class _Starred(NamedTuple):
    value: ast.expr


def _double_starred(node: ast.AST) -> list[_Starred]:
    if isinstance(node, ast.Dict):
        return [_Starred(value) for key, value in zip(node.keys, node.values, strict=True)
                if key is None]  # fmt: skip
    return []


def _updated(tree: ast.Module) -> set[int]:
    """`os.environ` in `os.environ.update(...)`."""
    return {
        id(node.func.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        and node.func.attr == "update"
    }  # fmt: skip


def _is_os(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "os"


def builds_no_client(one: Source) -> list[str]:
    """Clients of the engines come from the composition root."""
    if one.room in BUILDERS:
        return []
    return [
        f"{one.module}:{node.lineno} builds a client by {name}"
        for node in ast.walk(one.tree)
        if isinstance(node, ast.Call)
        and (name := _called(node)) in CLIENTS
    ]


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def names_no_key(one: Source) -> list[str]:
    """Keys have one builder."""
    if one.module == "queues.keys":
        return []
    return [
        f"{one.module}:{node.lineno} spells a key"
        for node in ast.walk(one.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        and re.match(r"\{(booking|search|catalogue)\}:", node.value)
    ]  # fmt: skip


def audits_by_itself(one: Source) -> list[str]:
    """The auditor shares no code with what it checks: of the queues, only the names of keys; of
    the catalogue, what makes a page, since a page is right when a rebuild gives the same.
    """
    if one.room != "audit":
        return []
    shared = {name for name in imports(one) if name.startswith(("queues", "catalogue."))}
    allowed = {"queues.keys"} | (MAKES_PAGES if one.module in AUDITS_PAGES else set())
    return [f"{one.module} imports {name}" for name in sorted(shared)
            if ".".join(name.split(".")[:2]) not in allowed]


def swallows_nothing(one: Source) -> list[str]:
    """No bare `except`, and none that catches everything and passes."""
    return [
        f"{one.module}:{node.lineno} swallows errors"
        for node in ast.walk(one.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (
            isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            and all(isinstance(line, ast.Pass) for line in node.body)
        ))
    ]  # fmt: skip


def reads_into_types_safely(one: Source) -> list[str]:
    """msgspec works a type out at its first use, and not safely when two threads begin together:
    shapes.py does it under a lock, and a decoder is made where no thread is yet.
    """
    if one.module == "shapes":
        return []
    late = {id(node) for function in ast.walk(one.tree)
            if isinstance(function, ast.FunctionDef) and function.name != "__init__"
            for node in ast.walk(function)}  # fmt: skip
    return [
        f"{one.module}:{node.lineno} lets msgspec work a type out by {_called(node)}"
        for node in ast.walk(one.tree)
        if isinstance(node, ast.Call) and "msgspec" in ast.unparse(node.func) and (
            _called(node) == "convert"
            or (_called(node) == "decode" and any(word.arg == "type" for word in node.keywords))
            or (_called(node) == "Decoder" and id(node) in late)
        )
    ]  # fmt: skip


RULES: list[Callable[[Source], list[str]]] = [
    stays_in_its_rooms, decides_purely, asks_no_environment, builds_no_client, names_no_key,
    audits_by_itself, swallows_nothing, reads_into_types_safely,
]  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_house_keeps_its_rules(rule: Callable[[Source], list[str]]) -> None:
    seen = production()
    assert len(seen) > 40, "the sources were not found"
    assert {one.module for one in seen} >= DECIDING | {"settings", "bootstrap"}
    assert [complaint for one in seen for complaint in rule(one)] == []


@pytest.mark.parametrize(("rule", "module", "text"), [
    (stays_in_its_rooms, "booking.store", "import web"),
    (stays_in_its_rooms, "booking.store", "from consumer.booking import BookingConsumer"),
    (stays_in_its_rooms, "booking.store", "def f():\n    from search import entries"),
    (stays_in_its_rooms, "booking.store", "import settings"),
    (stays_in_its_rooms, "web.api", "from tunables import Settings"),
    (asks_no_environment, "tunables", "import os\nx = os.environ['PORT']"),
    (stays_in_its_rooms, "search.entries", "from booking.model import Order"),
    (stays_in_its_rooms, "queues.reliable", "import booking.commands"),
    (stays_in_its_rooms, "web.api", "import consumer"),
    (stays_in_its_rooms, "audit.orders", "from booking import decisions"),
    (stays_in_its_rooms, "suppliers.simulator.app", "from booking.model import Order"),
    (stays_in_its_rooms, "new_room.thing", "import json"),
    (decides_purely, "booking.decisions", "import time"),
    (decides_purely, "booking.decisions", "from datetime import datetime"),
    (decides_purely, "booking.batch", "import redis"),
    (decides_purely, "booking.batch", "from booking.store import BookingStore"),
    (decides_purely, "booking.batch", "from booking import store"),
    (decides_purely, "booking.allotment", "def f():\n    import pymongo"),
    (decides_purely, "booking.model", "import random"),
    (decides_purely, "booking.commands", "from queues.keys import BOOKING"),
    (asks_no_environment, "web.api", "import os\nx = os.environ['PORT']"),
    (asks_no_environment, "web.api", "import os\nx = os.environ.get('PORT')"),
    (asks_no_environment, "web.api", "import os\nx = 'PORT' in os.environ"),
    (asks_no_environment, "web.api", "import os\nx = os.getenv('PORT')"),
    (asks_no_environment, "web.api", "from os import environ"),
    (builds_no_client, "web.api", "import redis\nx = redis.Redis()"),
    (builds_no_client, "web.api", "import redis\nx = redis.Redis.from_url('')"),
    (builds_no_client, "booking.store", "from pymongo import MongoClient\nx = MongoClient()"),
    (names_no_key, "web.health", "x = '{booking}:jobs'"),
    (names_no_key, "web.health", "x = f'{{booking}}:status:{1}'"),
    (audits_by_itself, "audit.orders", "from queues.reliable import BookingQueue"),
    (audits_by_itself, "audit.orders", "from catalogue.assembly import assemble"),
    (audits_by_itself, "audit.hotels", "from catalogue.source import HotelSource"),
    (audits_by_itself, "audit.pages", "from catalogue import shelf_writer"),
    (swallows_nothing, "web.api", "try:\n    x\nexcept:\n    y"),
    (swallows_nothing, "web.api", "try:\n    x\nexcept Exception:\n    pass"),
    (reads_into_types_safely, "web.api", "import msgspec\nx = msgspec.convert(y, Z)"),
    (reads_into_types_safely, "web.api", "import msgspec\nx = msgspec.json.decode(y, type=Z)"),
    (reads_into_types_safely, "web.api", "import msgspec\ndef f(): msgspec.json.Decoder(Z)"),
])  # fmt: skip
def test_a_broken_rule_is_found(
    rule: Callable[[Source], list[str]], module: str, text: str
) -> None:
    assert rule(source(module, text)) != []


@pytest.mark.parametrize(("rule", "module", "text"), [
    (stays_in_its_rooms, "web.api", "from booking import intake\nimport os, flask"),
    (stays_in_its_rooms, "app_queue", "from web import build_app"),
    (decides_purely, "booking.batch", "from booking.model import Order\nimport msgspec"),
    (decides_purely, "booking.store", "import pymongo"),
    (asks_no_environment, "settings", "import os\nx = os.environ['PORT']"),
    (asks_no_environment, "bench.world", "import os\nx = {**os.environ, 'A': 'b'}"),
    (asks_no_environment, "embedded.manager", "import os\nos.environ.update({'A': 'b'})"),
    (audits_by_itself, "audit.catalogue", "from catalogue.finishing import finish"),
    (audits_by_itself, "audit.hotels", "from catalogue import documents as d"),
    (builds_no_client, "bootstrap", "import redis\nx = redis.Redis()"),
    (builds_no_client, "web.api", "import redis\ndef f(client: redis.Redis): ..."),
    (swallows_nothing, "web.api", "try:\n    x\nexcept KeyError:\n    pass"),
    (reads_into_types_safely, "web.api", "import msgspec\nd = msgspec.json.Decoder(Z)"),
    (reads_into_types_safely, "web.api", "import shapes\nx = shapes.convert(y, Z)"),
    (reads_into_types_safely, "web.api", "import msgspec\nx = msgspec.json.decode(y)"),
])  # fmt: skip
def test_what_is_allowed_is_not_complained_about(
    rule: Callable[[Source], list[str]], module: str, text: str
) -> None:
    assert rule(source(module, text)) == []


# --- words, keys and scripts ----------------------------------------------------------------------


def test_every_reason_is_given_by_somebody() -> None:
    used = {
        node.attr
        for one in production() if one.module != "booking.model"
        for node in ast.walk(one.tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        and node.value.id == "Reason"
    }  # fmt: skip
    assert used == {reason.name for reason in Reason}


def built_keys() -> set[str]:
    """Every key that the builders can build, a variable end as `<`."""
    found: set[str] = set()
    for keys in (BOOKING, BOOKING.reservations, SEARCH, CATALOGUE, FEEDBACK, INTERACTIONS):
        for name, value in vars(keys).items():
            if isinstance(value, str) and name != "prefix":
                found.add(value + "<" if value.endswith(":") else value)
        for name in dir(type(keys)):
            builder = getattr(keys, name)
            if callable(builder) and not name.startswith("_"):
                built = builder(*["?"] * len(inspect.signature(builder).parameters))
                found.add(built.replace("?", "<") if "?" in built
                          else built.rpartition(":")[0] + ":<")
    return found


def test_the_page_of_keys_lists_every_key_and_no_other() -> None:
    page = (ROOT / "docs" / "keys.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\{[a-z]+\}:[^`]+)`", page, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert {re.sub(r"<[^>]*>", "<", key) for key in listed} == built_keys()
    assert isinstance(BOOKING.reservations, WorkKeys)


def lua() -> dict[str, str]:
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted(LUA.glob("*.lua"))}


def test_every_script_says_its_keys_arguments_and_answers() -> None:
    for name, text in lua().items():
        head = text[: text.index("\nif") if "\nif" in text else None]
        for word in ("KEYS ", "ARGV ", "Returns"):
            assert f"-- {word}" in text or f"  {word}" in head, f"{name}.lua does not say {word}"


def test_only_the_door_is_refused_at_the_memory_limit() -> None:
    # A script that writes nothing is never refused there.
    allowed = {name for name, text in lua().items()
               if text.splitlines()[0] in ("#!lua flags=allow-oom", "#!lua flags=no-writes")}
    assert set(lua()) - allowed == {
        "accept", "search_begin", "search_plan", "search_append", "catalogue_put",
        "interactions_push"}
    assert lua()["accept"].splitlines()[0] == "#!lua"


def test_every_script_is_called_by_somebody() -> None:
    called = {
        node.args[1].value
        for one in production()
        for node in ast.walk(one.tree)
        if isinstance(node, ast.Call) and _called(node) == "Script"
        and len(node.args) == 2 and isinstance(node.args[1], ast.Constant)
    }  # fmt: skip
    assert called == set(lua())


def test_all_keys_of_a_road_share_one_hash_tag() -> None:
    assert {key[: key.index("}") + 1] for key in built_keys()} == {
        "{booking}", "{search}", "{catalogue}", "{feedback}", "{interactions}"}
