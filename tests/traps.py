"""Crashes on demand: a queue and a store whose calls can be cut off before, after or halfway."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from booking.store import BookingStore
from queues.reliable import BookingQueue, Lease, Taken, Told
from tests.booking_world import World

QUEUE_CALLS = ("acquire", "renew", "wait", "take", "take_behind", "tell", "known_packages",
               "reservations_waiting")  # fmt: skip
STORE_CALLS = ("read_packages", "read_orders", "live_units", "all_live_units", "highest_slots",
               "taken_slots", "expired_holds", "owed_before", "_update", "_insert")  # fmt: skip
# Of these a part can be done when their caller dies.
BULK_WRITES = ("_update", "_insert", "_enqueue")


class Killed(BaseException):
    """`kill -9` at this point: nothing of the process runs any more."""


class Point(msgspec.Struct, frozen=True):
    """The n-th call of one name, and where in it: before, half (of a bulk write) or after."""

    call: str
    nth: int
    when: str


class Trap:
    """Watches the calls of one consumer, and springs at one of them.

    Raising Killed it lets no call through afterwards; any other error it raises once.
    """

    def __init__(self, at: Point | None = None, error: type[BaseException] = Killed) -> None:
        self.calls: Counter[str] = Counter()
        self.sprung = False
        self._at = at
        self._error = error
        self._lock = threading.Lock()

    def points(self, *whens: str) -> list[Point]:
        """Every point of what was watched."""
        return [
            Point(call, nth, when)
            for call, count in self.calls.items()
            for nth in range(1, count + 1)
            for when in whens
            if when != "half" or call in BULK_WRITES
        ]

    def guard(self, call: str, run: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run the call, or cut it off."""
        with self._lock:
            if self.sprung and self._error is Killed:
                raise Killed(call)
            self.calls[call] += 1
            here = Point(call, self.calls[call], self._at.when if self._at else "")
            springs = here == self._at and not self.sprung
            self.sprung = self.sprung or springs
        if not springs:
            return run(*args, **kwargs)
        if here.when == "half":
            items = args[0]
            if len(items) > 1:
                run(items[: len(items) // 2], *args[1:], **kwargs)
        elif here.when == "after":
            run(*args, **kwargs)
        raise self._error(f"{here}")


def trapped_queue(world: World, trap: Trap) -> BookingQueue:
    """A queue whose calls go through the trap, and that checks that telling comes after writing."""

    class Queue(BookingQueue):
        pass

    for name in QUEUE_CALLS:
        setattr(Queue, name, _guarded(trap, name, getattr(BookingQueue, name)))
    guarded_tell = Queue.tell

    def tell(self: BookingQueue, lease: Lease, taken: Taken, told: Told) -> int:
        if not trap.sprung:
            check_written(world, told)
        return guarded_tell(self, lease, taken, told)

    Queue.tell = tell  # type: ignore[method-assign]
    return world.new_queue(Queue)


def check_written(world: World, told: Told) -> None:
    """Nothing is told before it is written."""
    orders = world.orders()
    for order_id, state, reason, _ in told.statuses:
        order = orders.get(order_id)
        assert order is not None, f"{order_id} was told and is not written"
        assert (state, reason) == (order.state, order.reason or "")


def trapped_store(world: World, trap: Trap) -> BookingStore:
    """A store whose reads and bulk writes go through the trap."""

    class Store(BookingStore):
        pass

    for name in STORE_CALLS:
        setattr(Store, name, _guarded(trap, name, getattr(BookingStore, name)))
    return Store(world.database)


def trap_calls(trap: Trap, target: object, *names: str) -> None:
    """Let these calls of one object go through the trap."""
    for name in names:
        setattr(target, name, partial(trap.guard, name, getattr(target, name)))


def _guarded(trap: Trap, name: str, run: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: object, *args: Any, **kwargs: Any) -> Any:
        return trap.guard(name, run.__get__(self), *args, **kwargs)

    return call


class Hurried(threading.Event):
    """A stop signal on which nobody waits: pauses between tries take no time in tests."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()
