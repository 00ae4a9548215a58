"""Settings that would break a promise are refused by the name that people set."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from errors import SettingsError
from settings import Settings, load


def loaded(**environ: str) -> Settings:
    return load(environ, find_engines=False)


def test_an_empty_environment_gives_the_defaults() -> None:
    assert loaded() == Settings()
    assert loaded(HOLD_S="", UNKNOWN="x") == Settings()


def test_a_variable_is_its_field_in_capitals() -> None:
    assert loaded(HOLD_S="999", FLIGHT_FAILURE_RATE="0.25", WEB_HTTPS="true") == (
        msgspec.structs.replace(Settings(), hold_s=999, flight_failure_rate=0.25, web_https=True)
    )


@pytest.mark.parametrize(("name", "value"), [
    ("BATCH_MAX", "2001"), ("BATCH_MAX", "0"), ("BATCH_MAX", "many"), ("PORT", "70000"),
    ("LEASE_MS", "499"), ("BURY_AFTER_DELIVERIES", "1"), ("MONGO_DATABASE", "No Name"),
])  # fmt: skip
def test_a_value_out_of_its_bounds_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        loaded(**{name: value})


def test_a_hold_outlasts_the_longest_reservation() -> None:
    worst = Settings().saga_worst_case_s
    assert loaded(HOLD_S=str(int(worst) + 1)).hold_s > worst
    with pytest.raises(SettingsError, match="HOLD_S"):
        loaded(HOLD_S=str(int(worst)))
    with pytest.raises(SettingsError, match="HOLD_S"):
        loaded(SUPPLIER_ATTEMPTS="10", SUPPLIER_TIMEOUT_S="60")


def test_a_lease_outlasts_two_beats() -> None:
    loaded(LEASE_MS="1000", BEAT_MS="500")
    with pytest.raises(SettingsError, match="LEASE_MS"):
        loaded(LEASE_MS="999", BEAT_MS="500")


def test_the_simulators_latencies_have_an_order() -> None:
    with pytest.raises(SettingsError, match="SIMULATOR_LATENCY_MS_MIN"):
        loaded(SIMULATOR_LATENCY_MS_MIN="200", SIMULATOR_LATENCY_MS_MAX="100")


def test_searches_and_the_catalogue_stand_beside_a_redis_url_unless_told_otherwise() -> None:
    def urls(**environ: str) -> tuple[str, str]:
        found = load(environ, find_engines=False)
        return found.search_valkey_url, found.catalogue_valkey_url

    assert urls() == ("", "")
    assert urls(REDIS_URL="redis://:pw@h:1/3?timeout=2") == (
        "redis://:pw@h:1/4?timeout=2", "redis://:pw@h:1/5?timeout=2")
    assert urls(REDIS_URL="rediss://h") == ("rediss://h/1", "rediss://h/2")
    assert urls(REDIS_URL="redis://h", SEARCH_REDIS_URL="redis://s/7") == (
        "redis://s/7", "redis://h/2")


def test_a_running_starters_valkeys_are_found_together(tmp_path: Path) -> None:
    (tmp_path / "engines.json").write_text(
        '{"redis_url": "redis://e:1/0", "search_redis_url": "redis://e:2/0",'
        ' "catalogue_redis_url": "redis://e:3/0", "mongo_url": "mongodb://e"}')
    found = load({"DATA_DIR": str(tmp_path)})
    assert (found.search_valkey_url, found.catalogue_valkey_url) == (
        "redis://e:2/0", "redis://e:3/0")
    # With orders elsewhere, the starter's other Valkeys are not ours to use.
    found = load({"DATA_DIR": str(tmp_path), "REDIS_URL": "redis://own/0"})
    assert (found.search_valkey_url, found.mongo_url) == ("redis://own/1", "mongodb://e")


def test_the_simulator_is_found_where_the_starter_had_to_put_it(tmp_path: Path) -> None:
    (tmp_path / "engines.json").write_text(
        '{"redis_url": "redis://e:1/0", "mongo_url": "mongodb://e", "simulator_port": "23456"}')
    found = load({"DATA_DIR": str(tmp_path)})
    assert found.supplier_base_url == "http://127.0.0.1:23456"
    found = load({"DATA_DIR": str(tmp_path), "SIMULATOR_PORT": "8891"})
    assert found.supplier_base_url == "http://127.0.0.1:8891", "who says it means it"
