"""Virtual time, processes and their threads: one thing happens at a time, in an order of the seed.

Threads are greenlets. One gives the turn away only where it waits: for an engine, a clock, an event
or another thread. Whoever is due next goes on, so nothing here depends on the machine that it
runs on. A process that is killed never runs another line: each of its threads is thrown out of
where it waits, and whatever its `finally` blocks would still ask for throws it out again.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from heapq import heappop, heappush
from typing import Any

from greenlet import greenlet

US_PER_MS = 1_000
US_PER_S = 1_000_000
LINES_KEPT = 60


class Killed(BaseException):
    """`kill -9`: the process of this thread is gone."""


class Violation(AssertionError):
    """A promise was broken. `rule` is its name, the text says what was seen."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule


class Trace:
    """What happened, a line each: all of it as a digest, the end of it as text."""

    def __init__(self, say: Callable[[str], object] | None = None) -> None:
        self.last: deque[str] = deque(maxlen=LINES_KEPT)
        self._say = say
        self._hash = hashlib.blake2b(digest_size=16)

    def line(self, text: str) -> None:
        """Add one line."""
        self.last.append(text)
        self._hash.update(text.encode())
        if self._say is not None:
            self._say(text)

    def digest(self) -> str:
        """Equal for equal traces, byte for byte."""
        return self._hash.hexdigest()


class Kernel:
    """The clock, and what is due next. Built and run by the greenlet that drives the simulation."""

    def __init__(self, trace: Trace) -> None:
        self.now_us = 0
        self.trace = trace
        self.running: Task | None = None
        self.failure: BaseException | None = None
        self.processes: list[Process] = []
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.hub = greenlet.getcurrent()

    def after(self, delay_us: int, action: Callable[[], None]) -> None:
        """Do `action` in the hub, `delay_us` from now; what is due together goes in this order."""
        self._count += 1
        heappush(self._due, (self.now_us + delay_us, self._count, action))

    def run(self, until: Callable[[], bool], limit_us: int) -> bool:
        """Let time pass until `until` is true; False when the clock reaches `limit_us` before."""
        while not until():
            if not self._due or self._due[0][0] > limit_us:
                self.now_us = max(self.now_us, limit_us)
                return False
            self.now_us, _, action = heappop(self._due)
            action()
            if self.failure is not None:
                raise self.failure
        return True

    def say(self, who: str, text: str) -> None:
        """One line of the trace, with its moment."""
        self.trace.line(f"{self.now_us / US_PER_S:11.6f} {who:<16} {text}")

    def close(self) -> None:
        """End every process, so that no greenlet is left to the garbage collector."""
        for process in self.processes:
            process.kill()
        self._due.clear()


class Task:
    """One thread of a process."""

    def __init__(self, process: Process, target: Callable[[], None]) -> None:
        self.process = process
        self.ticket = 0
        self.parked = False
        self.ended = False
        self._kernel = process.kernel
        self._target = target
        self._greenlet = greenlet(self._body, self._kernel.hub)
        self._kernel.after(0, self._start)

    def _start(self) -> None:
        if self.process.paused:
            self.process.missed.append(self._start)
        elif self.process.alive:
            self._switch(None)

    def _body(self, _: object) -> None:
        try:
            self._target()
        except Killed:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again by the hub
            self._kernel.failure = error
        self.ended = True
        self.process.tasks.remove(self)

    def _switch(self, outcome: object) -> None:
        self._kernel.running = self
        self._greenlet.switch(outcome)
        self._kernel.running = None

    def park(self) -> Any:
        """Give the turn away until `wake` is called with the ticket of this wait."""
        self.parked = True
        error, value = self._kernel.hub.switch()
        if error is not None:
            raise error
        return value

    def next_ticket(self) -> int:
        """The ticket of the wait that follows; older ones wake nobody any more."""
        self.ticket += 1
        return self.ticket

    def wake(self, ticket: int, value: Any = None, error: BaseException | None = None) -> None:
        """In the hub: go on with a value or an error, unless something else woke it before."""
        if ticket != self.ticket or not self.parked:
            return
        if self.process.paused:
            self.process.missed.append(lambda: self.wake(ticket, value, error))
            return
        self.parked = False
        self._switch((error, value))

    def throw_out(self) -> None:
        """In the hub: end it where it waits."""
        if self.parked:
            self.parked = False
            self._kernel.running = self
            self._greenlet.throw(Killed)
            self._kernel.running = None


class Process:
    """A process: its threads live and die together. `on_death` is told when it is killed."""

    def __init__(self, kernel: Kernel, name: str) -> None:
        self.kernel = kernel
        self.name = name
        self.alive = True
        self.paused = False
        self.missed: list[Callable[[], None]] = []
        self.tasks: list[Task] = []
        self.on_death: list[Callable[[], None]] = []
        self.stop = Event(self)
        kernel.processes.append(self)

    def spawn(self, target: Callable[[], None]) -> Task:
        """Start a thread."""
        task = Task(self, target)
        self.tasks.append(task)
        return task

    def check(self) -> None:
        """Throw the caller out when its process is gone."""
        if not self.alive:
            raise Killed

    def here(self) -> Task:
        """The thread that asks."""
        self.check()
        task = self.kernel.running
        if task is None or task.process is not self:
            raise RuntimeError(f"{self.name}: a wait outside of its own threads")
        return task

    def sleep(self, delay_us: int) -> None:
        """Let virtual time pass."""
        task = self.here()
        ticket = task.next_ticket()
        self.kernel.after(delay_us, lambda: task.wake(ticket))
        task.park()

    def monotonic(self) -> float:
        """This process's clock, in seconds."""
        return self.kernel.now_us / US_PER_S

    def kill(self) -> None:
        """In the hub: `kill -9`."""
        if not self.alive:
            return
        self.alive = False
        for task in list(self.tasks):
            task.throw_out()
        self.tasks.clear()
        self.missed.clear()
        for tell in self.on_death:
            tell()

    def pause(self, duration_us: int) -> None:
        """In the hub: SIGSTOP, and SIGCONT after a while."""
        if self.alive and not self.paused:
            self.paused = True
            self.kernel.after(duration_us, self._go_on)

    def _go_on(self) -> None:
        self.paused = False
        missed, self.missed = self.missed, []
        for go_on in missed:
            if self.alive:
                go_on()


class Event:
    """threading.Event in virtual time, for the threads of one process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._set = False
        self._waiting: list[tuple[Task, int]] = []

    def is_set(self) -> bool:
        """Whether it was set and not cleared since."""
        return self._set

    def set(self) -> None:
        """Wake all who wait."""
        self._set = True
        waiting, self._waiting = self._waiting, []
        for task, ticket in waiting:
            self._process.kernel.after(0, lambda t=task, n=ticket: t.wake(n, True))

    def clear(self) -> None:
        """Forget that it was set."""
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, `timeout` seconds at most."""
        task = self._process.here()
        if self._set:
            return True
        ticket = task.next_ticket()
        self._waiting.append((task, ticket))
        if timeout is not None:
            self._process.kernel.after(
                max(0, int(timeout * US_PER_S)), lambda: task.wake(ticket, False)
            )
        rang = bool(task.park())
        self._waiting = [waiter for waiter in self._waiting if waiter[0] is not task]
        return rang


class TaskFuture(Future[Any]):
    """A Future whose waiting gives the turn away."""

    def __init__(self, waits: Process) -> None:
        super().__init__()
        self._waits = waits

    def _settled(self) -> None:
        self._waits.check()
        if not self.done():
            event = Event(self._waits)
            self.add_done_callback(lambda _: event.set())
            event.wait()

    def result(self, timeout: float | None = None) -> Any:
        """As Future.result; without a timeout, for nobody here asks for one."""
        self._settled()
        return super().result(timeout=0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As Future.exception."""
        self._settled()
        return super().exception(timeout=0)


class Pool(Executor):
    """ThreadPoolExecutor with threads of a simulated process."""

    def __init__(self, process: Process, threads: int) -> None:
        self._process = process
        self._threads = threads
        self._busy = 0
        self._queue: deque[tuple[TaskFuture, Callable[[], Any]]] = deque()
        self._idle = Event(process)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskFuture:  # type: ignore[override]
        """Run `fn` as soon as a thread is free."""
        self._process.check()
        future = TaskFuture(self._process)
        self._queue.append((future, lambda: fn(*args, **kwargs)))
        self._fill()
        return future

    def _fill(self) -> None:
        while self._queue and self._busy < self._threads:
            future, work = self._queue.popleft()
            if future.set_running_or_notify_cancel():
                self._busy += 1
                self._process.spawn(lambda f=future, w=work: self._run(f, w))

    def _run(self, future: TaskFuture, work: Callable[[], Any]) -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - handed to whoever asks for the result
            future.set_exception(error)
        self._busy -= 1
        self._fill()
        if not self._busy:
            self._idle.set()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait until nothing runs; with `cancel_futures` nothing new is begun."""
        if cancel_futures:
            while self._queue:
                self._queue.popleft()[0].cancel()
        while wait and self._busy:
            self._idle.clear()
            self._idle.wait()
