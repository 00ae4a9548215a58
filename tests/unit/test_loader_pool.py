"""The rate loader pool: bounded, elastic, fair, and held up by no slow hotel."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from suppliers.loader_pool import LoaderPool
from tests.waiting import eventually

Pool = LoaderPool[int, int]


@pytest.fixture
def pool() -> Iterator[Pool]:
    found = Pool(low=1, high=4, name="test", idle_s=0.05)
    yield found
    found.close()


def soon() -> float:
    return time.monotonic() + 10


def test_all_results_come_and_errors_among_them(pool: Pool) -> None:
    def load(item: int) -> int:
        if item == 3:
            raise ValueError(item)
        return item * 2

    found = [one for one in pool.run(range(10), load, until_s=soon()) if one is not None]
    assert sorted(one for one in found if isinstance(one, int)) == [0, 2, 4, 8, 10, 12, 14, 16, 18]
    [error] = [one for one in found if isinstance(one, ValueError)]
    assert error.args == (3,)


def test_it_grows_to_its_bound_and_shrinks_again(pool: Pool) -> None:
    busy, peak, go = [], [], threading.Event()
    counting = threading.Lock()

    def load(item: int) -> int:
        with counting:
            busy.append(item)
            peak.append(len(busy))
        go.wait(5)
        with counting:
            busy.remove(item)
        return item

    results: list[object] = []
    runner = threading.Thread(target=lambda: results.extend(
        one for one in pool.run(range(12), load, until_s=soon()) if one is not None))
    runner.start()
    eventually(lambda: len(busy) == 4, 5, "all loaders are busy")
    assert pool.size == 4
    go.set()
    runner.join(5)
    assert sorted(results) == list(range(12))  # type: ignore[type-var]
    assert max(peak) == 4
    eventually(lambda: pool.size == 1, 5, "it shrinks to its lower bound")


def test_a_slow_hotel_holds_nobody_up(pool: Pool) -> None:
    slow = threading.Event()

    def load(item: int) -> int:
        if item == 0:
            slow.wait(5)
        return item

    came: list[int] = []
    for one in pool.run(range(20), load, until_s=soon()):
        if one is None:
            continue
        assert isinstance(one, int)
        came.append(one)
        if len(came) == 19:
            assert 0 not in came
            slow.set()
    assert came[-1] == 0


def test_a_small_batch_is_not_behind_a_large_one() -> None:
    pool = Pool(low=1, high=1, name="test")
    begun, go = threading.Event(), threading.Event()
    order: list[int] = []

    def load(item: int) -> int:
        begun.set()
        go.wait(5)
        order.append(item)
        return item

    threads = [threading.Thread(target=lambda items=items: list(
        pool.run(items, load, until_s=soon()))) for items in (range(100), range(1_000, 1_003))]
    threads[0].start()
    begun.wait(5)
    threads[1].start()
    eventually(lambda: len(pool._batches) == 2, 5, "both wait")
    go.set()
    for thread in threads:
        thread.join(10)
    pool.close()
    assert {1_000, 1_001, 1_002} <= set(order[:8]), "they take turns"


def test_a_batch_has_no_more_loaders_than_its_supplier_takes_calls(pool: Pool) -> None:
    busy, peak, counting = [], [], threading.Lock()

    def load(item: int) -> int:
        with counting:
            busy.append(item)
            peak.append(len(busy))
        threading.Event().wait(0.005)
        with counting:
            busy.remove(item)
        return item

    found = [one for one in pool.run(range(30), load, until_s=soon(), at_once=2) if one is not None]
    assert sorted(found) == list(range(30))  # type: ignore[type-var]
    assert max(peak) == 2


def test_what_waits_at_the_end_is_not_loaded(pool: Pool) -> None:
    loaded: list[int] = []
    go = threading.Event()

    def load(item: int) -> int:
        loaded.append(item)
        go.wait(5)
        return item

    assert not [one for one in pool.run(range(50), load, until_s=time.monotonic() + 0.05)
                if one is not None]
    go.set()
    assert list(pool.run([100], lambda item: item, until_s=soon()))[-1] == 100
    assert len(loaded) <= 4
