"""Units in memory: the lowest free one, never beyond the quota, never twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from booking.allotment import Allotment


def take_all(allotment: Allotment, quota: int) -> list[int]:
    taken = []
    while (unit := allotment.next_unit(quota)) is not None:
        allotment.take(unit)
        taken.append(unit)
    return taken


def test_an_empty_allotment_gives_one_to_quota() -> None:
    allotment = Allotment()
    assert take_all(allotment, 3) == [1, 2, 3]
    assert allotment.remaining(3) == 0


def test_what_came_back_is_given_again_the_lowest_first() -> None:
    allotment = Allotment()
    take_all(allotment, 4)
    allotment.give_back(3)
    allotment.give_back(1)
    assert allotment.remaining(4) == 2
    assert take_all(allotment, 4) == [1, 3]


def test_loaded_from_live_orders_it_knows_the_gaps() -> None:
    allotment = Allotment([5, 2, 4])
    assert allotment.live == 3
    assert take_all(allotment, 6) == [1, 3, 6]


def test_a_lowered_quota_stops_sales_and_takes_nothing_back() -> None:
    allotment = Allotment([1, 2, 3, 4])
    assert allotment.next_unit(2) is None
    assert allotment.remaining(2) == 0
    allotment.give_back(1)
    allotment.give_back(2)
    assert allotment.next_unit(2) is None, "3 and 4 still fill a quota of 2"
    allotment.give_back(3)
    assert allotment.next_unit(2) == 1


def test_a_unit_above_the_quota_is_never_given() -> None:
    allotment = Allotment([1, 2, 3])
    allotment.give_back(3)
    assert allotment.next_unit(2) is None
    allotment.give_back(1)
    assert take_all(allotment, 2) == [1]


def test_a_quota_of_zero_sells_nothing() -> None:
    assert Allotment().next_unit(0) is None


@pytest.mark.parametrize("unit", [1, 3, 9])
def test_only_the_unit_that_was_named_next_can_be_taken(unit: int) -> None:
    allotment = Allotment([1])
    with pytest.raises(ValueError, match="not the next free one"):
        allotment.take(unit)


@given(st.sets(st.integers(1, 40)), st.lists(st.tuples(st.booleans(), st.integers(0, 45))))
def test_whatever_happens_units_are_unique_and_within_the_quota(
    start: set[int], steps: list[tuple[bool, int]]
) -> None:
    allotment, live = Allotment(start), set(start)
    for wants, number in steps:
        if wants:
            unit = allotment.next_unit(quota=number)
            assert (unit is None) == (len(live) >= number or not set(range(1, number + 1)) - live)
            if unit is not None:
                assert unit == min(set(range(1, number + 1)) - live)
                allotment.take(unit)
                live.add(unit)
        elif number in live:
            allotment.give_back(number)
            live.remove(number)
        assert allotment.live == len(live)
        assert allotment.remaining(50) == 50 - len(live)
