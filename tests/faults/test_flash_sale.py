"""200 people want 7 units at the same moment: the seed's campaign, on the whole system."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.system import System, fire, running_system
from tests.waiting import eventually

QUOTAS = {1: 1, 2: 2, 3: 2, 4: 2}
# A campaign takes seconds; a machine with other work takes its time, which is no finding.
FINAL_WITHIN_S = 60.0


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    with running_system(tmp_path_factory.mktemp("flash") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def outcome(system: System) -> list[dict]:
    """Every order of the rush with its final state."""
    wanted = [(1 + n % 4, f"customer{n}@example.com") for n in range(200)]
    placed = fire(system, wanted)
    return [
        system.final(order["order_id"], order["email"], within_s=FINAL_WITHIN_S)
        for order in placed
    ]


def test_every_order_is_final_and_nothing_is_oversold(
    system: System, outcome: list[dict]
) -> None:
    assert len(outcome) == 200
    live = Counter(o["package"]["id"] for o in outcome if o["state"] == "confirmed")
    assert all(live[package_id] <= quota for package_id, quota in QUOTAS.items()), live
    for order in outcome:
        assert order["state"] in {"confirmed", "failed", "rejected"}
        if order["state"] == "confirmed":
            assert order["flight_ticket_number"]
            assert order["hotel_reservation_number"]
        else:
            assert order["reason"] in {"sold_out", "flight_declined"}
    left = system.packages()
    for package_id, quota in QUOTAS.items():
        eventually(
            lambda package_id=package_id, quota=quota:
            system.packages()[package_id]["remaining"] == quota - live[package_id],
            2.0, f"what is left of package {package_id}, seen {left[package_id]}",
        )


def test_a_declined_flight_returns_its_unit_to_a_later_order(
    system: System, outcome: list[dict]
) -> None:
    """Half of the flights are declined, so ordering again and again fills each quota in the end."""
    for package_id, quota in QUOTAS.items():
        for attempt in range(60):
            if system.packages()[package_id]["remaining"] == 0:
                break
            email = f"late{package_id}-{attempt}@example.com"
            placed = system.order(package_id, email).json()
            system.final(placed["order_id"], email)
        assert system.packages()[package_id]["remaining"] == 0, f"package {package_id}, {quota}"


def test_the_audit_finds_nothing(system: System, outcome: list[dict]) -> None:
    found = system.audit()
    assert found["ok"] is True
    assert found["orders"] >= 200
