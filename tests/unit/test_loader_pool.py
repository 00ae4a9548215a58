"""The rate loader pool: bounded, elastic, fair, and held up by no slow hotel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import pytest

from suppliers.loader_pool import Batch, LoaderPool
from tests.waiting import eventually


@pytest.fixture
def pool() -> Iterator[LoaderPool]:
    found = LoaderPool(low=1, high=4, name="test", idle_s=0.05)
    yield found
    found.close()


def soon() -> float:
    return time.monotonic() + 10


def run(
    pool: LoaderPool, items: Iterable[int], load: Callable[[int], int], until_s: float = 0.0
) -> Iterator[int | BaseException]:
    """What came of each, in one batch."""
    with Batch[int](pool, until_s=until_s or soon()) as batch:
        batch.add(partial(load, item) for item in items)
        for result in batch:
            if result is not None:
                yield result


def test_all_results_come_and_errors_among_them(pool: LoaderPool) -> None:
    def load(item: int) -> int:
        if item == 3:
            raise ValueError(item)
        return item * 2

    found = list(run(pool, range(10), load))
    assert sorted(one for one in found if isinstance(one, int)) == [0, 2, 4, 8, 10, 12, 14, 16, 18]
    [error] = [one for one in found if isinstance(one, ValueError)]
    assert error.args == (3,)


def test_it_grows_to_its_bound_and_shrinks_again(pool: LoaderPool) -> None:
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
    runner = threading.Thread(target=lambda: results.extend(run(pool, range(12), load)))
    runner.start()
    eventually(lambda: len(busy) == 4, 5, "all loaders are busy")
    assert pool.size == 4
    go.set()
    runner.join(5)
    assert sorted(results) == list(range(12))  # type: ignore[type-var]
    assert max(peak) == 4
    eventually(lambda: pool.size == 1, 5, "it shrinks to its lower bound")


def test_a_slow_hotel_holds_nobody_up(pool: LoaderPool) -> None:
    slow = threading.Event()

    def load(item: int) -> int:
        if item == 0:
            slow.wait(5)
        return item

    came: list[int] = []
    for one in run(pool, range(20), load):
        assert isinstance(one, int)
        came.append(one)
        if len(came) == 19:
            assert 0 not in came
            slow.set()
    assert came[-1] == 0


def test_a_small_batch_is_not_behind_a_large_one() -> None:
    pool = LoaderPool(low=1, high=1, name="test")
    begun, go = threading.Event(), threading.Event()
    order: list[int] = []

    def load(item: int) -> int:
        begun.set()
        go.wait(5)
        order.append(item)
        return item

    threads = [threading.Thread(target=lambda items=items: list(run(pool, items, load)))
               for items in (range(100), range(1_000, 1_003))]
    threads[0].start()
    begun.wait(5)
    threads[1].start()
    eventually(lambda: len(pool._batches) == 2, 5, "both wait")
    go.set()
    for thread in threads:
        thread.join(10)
    pool.close()
    assert {1_000, 1_001, 1_002} <= set(order[:8]), "they take turns"


def test_more_is_loaded_while_results_are_read(pool: LoaderPool) -> None:
    came: list[int] = []
    with Batch[int](pool, until_s=soon()) as batch:
        batch.add([lambda: 100, lambda: 200])
        for one in batch:
            if isinstance(one, int):
                came.append(one)
                if one % 100 == 0:
                    batch.add(partial(int, one + number) for number in range(1, 4))
    assert sorted(came) == [100, 101, 102, 103, 200, 201, 202, 203]


def test_a_lull_is_told_once(pool: LoaderPool) -> None:
    go = threading.Event()
    with Batch[int](pool, until_s=soon()) as batch:
        batch.add([lambda: 1, lambda: go.wait(5) and 2])
        results = iter(batch)
        assert next(results) == 1
        assert next(results) is None, "who gathers hands on what came"
        go.set()
        assert next(results) == 2, "and is not woken again before something comes"
        assert list(results) == []


def test_who_gathers_is_told_to_hand_on_while_results_keep_coming() -> None:
    pool = LoaderPool(low=1, high=1, name="test")
    with Batch[bool](pool, until_s=soon()) as batch:
        batch.add([partial(threading.Event().wait, 0.004)] * 60)
        came = list(batch)
    pool.close()
    assert None in came[:-1]
    assert len([one for one in came if one is not None]) == 60


def test_who_comes_second_is_not_behind_loaders_that_others_have_called() -> None:
    pool = LoaderPool(low=2, high=3, name="test")
    eventually(lambda: len(vars(pool._change)["_waiters"]) == 2, 5, "two wait for work")
    go = threading.Event()
    with Batch[int](pool, until_s=soon()) as slow, Batch[int](pool, until_s=soon()) as quick:
        with pool._change:  # the loaders that the first one calls take nothing before the second
            slow.add([lambda: int(go.wait(10))] * 2)
            quick.add([lambda: 2])
        assert list(quick) == [2]
        go.set()
        assert [one for one in slow if one is not None] == [1, 1]
    pool.close()


def test_what_waits_at_the_end_is_not_loaded(pool: LoaderPool) -> None:
    loaded: list[int] = []
    go = threading.Event()

    def load(item: int) -> int:
        loaded.append(item)
        go.wait(5)
        return item

    assert not list(run(pool, range(50), load, time.monotonic() + 0.05))
    go.set()
    assert list(run(pool, [100], lambda item: item)) == [100]
    assert len(loaded) <= 4
