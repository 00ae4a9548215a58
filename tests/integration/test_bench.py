"""Each scenario of the bench, small: all fields are there, and a lie is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from bench import plot
from bench.booking import median_ratio
from bench.world import BenchError, World, offer
from booking.documents import Document, package_document
from settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PEERS = ("raw", "direct", "lock", "celery", "dramatiq", "rq")

Report = dict[str, Any]


def bench(*arguments: str) -> Report:
    """The report of a run, from its last line."""
    done = subprocess.run([sys.executable, "-m", "bench", *arguments, "--json"], cwd=ROOT,
                          capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    found: Report = json.loads(done.stdout.splitlines()[-1])
    return found


def assert_drawn(picture: Path, report: Report, *fields: str) -> None:
    """The picture is SVG, and shows each of these figures."""
    texts = [text.strip() for text in ElementTree.parse(picture).getroot().itertext()]  # noqa: S314
    for field in fields:
        assert f"{report[field]:,.0f}" in texts, field
    where = texts[-2]
    assert f"Python {report['machine']['python']}" in where
    assert f"Valkey {report['machine']['valkey']}" in where


def test_booking_beside_all_peers(tmp_path: Path) -> None:
    report = bench("booking", "--orders", "200", "--rounds", "1", "--plot", str(tmp_path))
    for name in ("held", "settled", *PEERS):
        assert report[f"{name}_per_s"] > 0
    for name in PEERS:
        ratio = report["held_per_s"] / report[f"{name}_per_s"]
        assert report[f"ratio_{name}"] == pytest.approx(ratio, rel=0.01, abs=0.001)
    assert_drawn(tmp_path / "bench-booking.svg", report, "held_per_s", "rq_per_s")


def test_latency_from_accepted_to_decided_and_told() -> None:
    report = bench("booking", "--rate", "100", "--seconds", "1")
    assert (report["orders"], report["live"], report["quota"]) == (100, 20, 20)
    for name in ("decided_ms", "told_ms"):
        assert 0 <= report[f"{name}_p50"] <= report[f"{name}_p99"] <= report[f"{name}_max"]
    # The database writes in between.
    assert report["told_ms_max"] > 0


def test_accept_beside_two_smaller_apps(tmp_path: Path) -> None:
    report = bench("accept", "--rounds", "1", "--seconds", "1", "--rate", "50",
                   "--plot", str(tmp_path))
    for name in ("accept", "minimal_producer", "bare_flask", "accept_keyed"):
        assert report[f"{name}_per_s"] > 0
    assert report["ratio"] > 0
    assert report["ratio_bare"] > 0
    assert 0 < report["p50_ms"] <= report["p99_ms"]
    assert_drawn(tmp_path / "bench-accept.svg", report, "accept_per_s", "bare_flask_per_s")


def test_freshness_of_changes_one_by_one_and_all_at_once(tmp_path: Path) -> None:
    report = bench("freshness", "--hotels", "60", "--rounds", "1", "--seconds", "1",
                   "--rate", "20", "--plot", str(tmp_path))
    assert (report["hotels"], report["changes"]) == (60, 50)
    for name in ("page", "listing"):
        assert 0 < report[f"change_to_{name}_ms_p50"] <= report[f"change_to_{name}_ms_p99"]
    assert 0 < report["bulk_written_s"] <= report["bulk_change_s"]
    assert min(report["seed_s"], report["rebuild_s"], report["valkey_mb"]) > 0
    assert report["page_p99_ratio"] == pytest.approx(
        report["page_p99_bulk_ms"] / report["page_p99_ms"], rel=0.05)
    assert_drawn(tmp_path / "bench-freshness.svg", report, "change_to_page_ms_p99")


def test_growth_builds_and_asks_for_few_and_many() -> None:
    report = bench("growth", "--few", "60", "--many", "120", "--seconds", "1", "--rate", "20")
    for size in ("few", "many"):
        assert min(report[f"{name}_{size}"] for name in (
            "rebuild_s", "consumer_mb", "valkey_mb", "web_worker_mb", "listing_p99_ms")) > 0
    # More hotels are there, and not the same again.
    assert report["valkey_mb_many"] > report["valkey_mb_few"]
    assert report["listing_p99_ratio"] == pytest.approx(
        report["listing_p99_ms_many"] / report["listing_p99_ms_few"], rel=0.05)


def test_without_wrk_it_says_how_to_get_it(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "bench", "accept"], cwd=ROOT, timeout=30,
                          capture_output=True, text=True, check=False, env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert "apt-get install wrk" in done.stderr
    assert done.stdout == ""


def test_a_picture_without_a_folder_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "pages", "--plot", str(tmp_path / "none")], cwd=ROOT,
        timeout=30, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no folder" in done.stderr


@pytest.fixture
def place(settings: Settings, mongo_database: Any) -> World:
    return World(settings, {})


def sold(*units: int) -> list[Document]:
    return [{"unit": f"1:{unit}"} for unit in units]


@pytest.mark.parametrize(
    ("documents", "what"),
    [(sold(1, 2), "one is missing"), (sold(1, 2, 2), "one unit was given twice"),
     (sold(1, 2, 4), "there is no such unit"), (sold(1, 2, 3, 3), "one more than was ordered")],
)
def test_a_figure_that_would_be_a_lie_is_refused(
    place: World, documents: list[Document], what: str
) -> None:
    place.database.sale.insert_many(sold(1, 2, 3))
    place.check_sold("sale", orders=3, quota=3)
    place.database.sale.delete_many({})
    place.database.sale.insert_many(documents)
    with pytest.raises(BenchError, match="would be a lie"):
        place.check_sold("sale", orders=3, quota=3)


def test_the_package_on_sale_is_one_that_berth_sells(place: World) -> None:
    place.sell(5)
    assert place.store.read_packages() == {1: offer(5)}
    assert place.database.packages.find_one() == package_document(offer(5))


def test_a_ratio_is_the_median_of_each_rounds_own() -> None:
    # The machine was ten times slower in the second round; both sides felt it.
    assert median_ratio([10.0, 1.0, 12.0], [5.0, 0.5, 4.0]) == 2.0


@pytest.mark.parametrize("highest", [0.4, 7, 99, 100, 1_234, 31_400, 43_600.5])
def test_an_axis_starts_at_zero_and_has_round_even_steps(highest: float) -> None:
    ends = plot.axis(highest)
    steps = {round(b - a, 9) for a, b in pairwise(ends)}
    assert ends[0] == 0
    assert ends[-2] < highest <= ends[-1]
    assert len(steps) == 1
    assert f"{steps.pop():e}"[0] in "125"
