"""The wires between processes and servers, where every fault happens.

A call leaves its process, arrives at the server some time later, is worked off there in steps, and
its answer travels back. Each of these moments is one at which others may come first, at which the
caller may be killed, and at which the call or its answer may be lost, held up or doubled.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Generator
from enum import StrEnum
from typing import Any, Protocol

from tests.simulation.kernel import US_PER_MS, US_PER_S, Kernel, Process, Task, Violation

Steps = Generator[None, None, Any]
SHOWN = 110


class Fault(StrEnum):
    """What happens to one call."""

    NONE = "none"
    CRASH_BEFORE = "crash before"  # the caller is killed, nothing arrives
    CRASH_HALF = "crash halfway"  # the caller is killed, and the server stops in the middle
    CRASH_AFTER = "crash after"  # the caller is killed, all is done
    STOPPED = "stopped"  # the caller is stopped, and only when it goes on does the call leave
    LOST_REQUEST = "lost request"  # nothing arrives, the caller gets an error
    CUT = "cut"  # half is done, the caller gets an error
    LOST_ANSWER = "lost answer"  # all is done, the caller gets an error
    LATE = "late"  # the caller gets an error, then all is done
    LATE_TWICE = "late twice"  # the same, and done once more later
    TWICE = "twice"  # done and answered, and done once more later


CRASHES = frozenset({Fault.CRASH_BEFORE, Fault.CRASH_HALF, Fault.CRASH_AFTER})
HALFWAY = frozenset({Fault.CRASH_HALF, Fault.CUT})
UNANSWERED = frozenset({Fault.LOST_ANSWER, Fault.CUT})
DELAYED = frozenset({Fault.LATE, Fault.LATE_TWICE})


class Weather(Protocol):
    """What the wires do: the latency of each leg, and the fate of each call."""

    def latency_us(self, server: Server) -> int: ...
    def lateness_us(self, server: Server) -> int: ...
    def patience_us(self, server: Server) -> int: ...
    def stop_us(self) -> int: ...
    def others_first(self) -> bool: ...
    def fate(self, process: Process, server: Server, label: str) -> Fault: ...


class Server:
    """Something that is called. `generation` changes when its connections are dropped."""

    name = ""

    def __init__(self) -> None:
        self.up = True
        self.generation = 0

    def refusal(self) -> Exception | None:
        """What a call gets that arrives now; None when the server works."""
        return None if self.up else self.away("connection refused")

    def away(self, why: str, label: str = "") -> Exception:
        """The error of the client's library for a call without an answer."""
        raise NotImplementedError

    def settle(self) -> None:
        """Called after each step that it worked off."""

    def blocks(self, answer: object) -> bool:
        """Whether this answer says that the caller has to wait."""
        return False

    def block(self, call: Call) -> None:
        """Keep a call until its answer is there."""

    def stop(self) -> None:
        """`kill -9`: what was acknowledged stays, connections and what is under way do not."""
        self.up = False
        self.generation += 1

    def start(self) -> None:
        """It is back."""
        self.up = True


class Network:
    """All wires of one simulated world."""

    def __init__(self, kernel: Kernel, weather: Weather, rng: random.Random) -> None:
        self.kernel = kernel
        self.weather = weather
        self.rng = rng
        self.faults: Counter[str] = Counter()
        self.calls = 0
        self.under_way = 0

    def call(
        self, process: Process, server: Server, label: str, work: Callable[[], Steps],
        asked: Any = None,
    ) -> Any:
        """From a thread of `process`: have `work` done at the server, and wait for its answer.

        `asked` is for the server, should it keep the call until there is an answer.
        """
        task = process.here()
        self.calls += 1
        fault = self.weather.fate(process, server, label)
        if fault is not Fault.NONE:
            self.faults[fault.value] += 1
            self.kernel.say(process.name, f"! {fault.value}: {server.name} {label[:SHOWN]}")
        Call(self, task, server, label, work, fault, task.next_ticket(), asked).leave()
        return task.park()


class Call:
    """One call on its way. Without a ticket nobody waits for its answer any more."""

    def __init__(
        self, network: Network, task: Task, server: Server, label: str,
        work: Callable[[], Steps], fault: Fault, ticket: int | None, asked: Any = None,
    ) -> None:
        self.task = task
        self.label = label
        self.asked = asked
        self._ticket = ticket
        self._network = network
        self._kernel = network.kernel
        self._server = server
        self._generation = server.generation
        self._work = work
        self._fault = fault
        self._steps: Steps | None = None

    # --- on its way ---------------------------------------------------------------------------

    def leave(self) -> None:
        """In the caller's thread: send it off."""
        weather, fault = self._network.weather, self._fault
        if fault is Fault.LOST_REQUEST:
            self._answer_error("lost")
        elif fault in DELAYED:
            error = self._server.away("timed out", self.label)
            self._kernel.after(weather.patience_us(self._server), lambda: self._wake(error=error))
            self._once_more()
            if fault is Fault.LATE_TWICE:
                self._once_more()
        elif fault is Fault.STOPPED:
            stopped_us = weather.stop_us()
            self.task.process.pause(stopped_us)
            self._kernel.after(stopped_us + weather.latency_us(self._server), self._arrive)
        else:
            self._kernel.after(weather.latency_us(self._server), self._arrive)

    def _once_more(self) -> None:
        """The same call arrives later, on a connection of its own, and nobody hears the answer."""
        network = self._network
        copy = Call(network, self.task, self._server, self.label, self._work, Fault.NONE, None)

        def arrive() -> None:
            network.under_way -= 1
            copy._generation = copy._server.generation
            copy._arrive()

        network.under_way += 1
        self._kernel.after(network.weather.lateness_us(self._server), arrive)

    def _arrive(self) -> None:
        if self._fault is Fault.STOPPED and not self.task.process.alive:
            return  # it was killed before it went on
        if self._fault is Fault.CRASH_BEFORE:
            self._crash()
            return
        refusal = self._server.refusal()
        if refusal is None and self._generation != self._server.generation:
            refusal = self._server.away("connection dropped", self.label)
        if refusal is not None:
            self._say(refusal)
            self._wake(error=refusal)
            return
        self._steps = self._work()
        self._advance()

    # --- at the server ------------------------------------------------------------------------

    def _advance(self) -> None:
        """Work off steps until others come first, or nothing is left."""
        if self._generation != self._server.generation:
            self._answer_error("the server went away in the middle")
            return
        steps = self._steps
        assert steps is not None
        while True:
            try:
                next(steps)
            except StopIteration as end:
                self._server.settle()
                self._done(end.value, None)
                return
            except Violation:
                raise
            except Exception as error:  # noqa: BLE001 - an answer of the server
                self._server.settle()
                self._done(None, error)
                return
            self._server.settle()
            if self._fault in HALFWAY:
                steps.close()
                self._say("half of it")
                self._crash() if self._fault in CRASHES else self._answer_error("cut")
                return
            if self._network.weather.others_first():
                self._kernel.after(self._network.weather.latency_us(self._server), self._advance)
                return

    def _done(self, value: Any, error: Exception | None) -> None:
        if self._server.blocks(value):
            if self._ticket is None:
                return
            if self._fault not in CRASHES and self._fault not in UNANSWERED:
                self._server.block(self)
                return
        self._say(error if error is not None else value)
        if self._fault is Fault.TWICE:
            self._once_more()
        if self._fault in CRASHES:
            self._crash()
        elif self._fault in UNANSWERED:
            self._answer_error("the answer is lost")
        else:
            self.answer(value, error)

    # --- on its way back ----------------------------------------------------------------------

    def answer(self, value: Any, error: Exception | None = None) -> None:
        """Send the answer back; a connection that drops meanwhile loses it."""
        self._kernel.after(
            self._network.weather.latency_us(self._server), lambda: self._return(value, error)
        )

    def _return(self, value: Any, error: Exception | None) -> None:
        if self._generation != self._server.generation:
            error = self._server.away("connection dropped", self.label)
        self._wake(value, error)

    def _answer_error(self, why: str) -> None:
        error = self._server.away(why, self.label)
        self._kernel.after(
            self._network.weather.latency_us(self._server), lambda: self._wake(error=error)
        )

    def _wake(self, value: Any = None, error: Exception | None = None) -> None:
        if self._ticket is not None:
            self.task.wake(self._ticket, value, error)

    def _crash(self) -> None:
        self._kernel.say(self.task.process.name, "killed")
        self.task.process.kill()

    def _say(self, answer: object) -> None:
        who = self.task.process.name + (" late" if self._ticket is None else "")
        self._kernel.say(
            who, f"{self._server.name} {self.label[:SHOWN]} -> {_short(answer)}"
        )


def _short(answer: object) -> str:
    text = f"{type(answer).__name__}: {answer}" if isinstance(answer, Exception) else repr(answer)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


def ms(value: float) -> int:
    """Milliseconds as the kernel's microseconds."""
    return int(value * US_PER_MS)


def seconds(value: float) -> int:
    """Seconds as the kernel's microseconds."""
    return int(value * US_PER_S)
