"""python -m tests.simulation.mutants: is the simulation able to fail?

Each mutant is the real code with one protection taken out, in a copy of the tree. A mutant that no
seed catches means that a check is worthless, or that a protection is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
COPIED = ("booking", "consumer", "queues", "suppliers", "tests/simulation")
SEEDS = 1_000
TIMEOUT_S = 600  # for one mutant


class Edit(NamedTuple):
    """Replace `old`, which stands exactly once in `file`."""

    file: str
    old: str
    new: str


class Mutant(NamedTuple):
    """What is taken out, and how."""

    name: str
    edits: tuple[Edit, ...]


class StaleMutant(Exception):  # noqa: N818 (it names the mutant, not an error of the system)
    """The text that a mutant replaces is no longer there: the mutant has to be written anew."""


class Caught(NamedTuple):
    """By which rule a mutant was caught, at which seed; None when it was not."""

    mutant: str
    rule: str | None
    seed: int | None
    seeds: int


def one(name: str, file: str, old: str, new: str = "") -> Mutant:
    """A mutant of one edit."""
    return Mutant(name, (Edit(file, old, new),))


# Not here, because no promise rests on them alone: docs/proof.md says which checks these are, and
# what stands behind each.

# The code as it is: if a seed breaks it, nothing is said by the others that this seed breaks.
CONTROL = Mutant("(nothing is taken out)", ())

MUTANTS: tuple[Mutant, ...] = (
    one("no duplicate check in decide", "booking/decisions.py",
        """            if order is not None:
                return Outcome(Verdict.ALREADY_APPLIED, order)
            return Outcome(Verdict.APPLIED, _place(ledger""",
        """            return Outcome(Verdict.APPLIED, _place(ledger"""),
    one("acknowledged and told before it is written", "consumer/booking.py",
        """            return
        self._store.write(batch.writes)
        self._tell(lease, batch)
""",
        """            return
        self._tell(lease, batch)
        self._store.write(batch.writes)
"""),
    one("no lease check in tell", "queues/lua/tell.lua",
        """if redis.call('GET', KEYS[1]) ~= ARGV[1]
    or redis.call""",
        """if redis.call"""),
    one("no batch number check in tell", "queues/lua/tell.lua",
        """
    or redis.call('HGET', KEYS[2], 'oldest') ~= ARGV[2] then""",
        """ then"""),
    one("no lease check in take", "queues/lua/take.lua",
        """if redis.call('GET', KEYS[1]) ~= ARGV[1] then
    return {'lost'}
end
redis.call('PEXPIRE'""",
        """redis.call('PEXPIRE'"""),
    Mutant("updates are not guarded by the state that they leave", (
        Edit("booking/store.py",
             """{"_id": change.order_id, "state": change.from_state, **_NOT_SETTLED}""",
             """{"_id": change.order_id}"""),
        Edit("booking/store.py",
             """{"_id": {"$in": ids}, "state": alike[0].from_state, **_NOT_SETTLED}""",
             """{"_id": {"$in": ids}}"""),
    )),
    one("no unique index on units", "booking/store.py",
        """"unit": ([("unit", ASCENDING)], {"unique": True, "sparse": True})""",
        """"unit": ([("unit", ASCENDING)], {"sparse": True})"""),
    one("no unique index on slots", "booking/store.py",
        """"slot": ([("slot", ASCENDING)], {"unique": True, "sparse": True})""",
        """"slot": ([("slot", ASCENDING)], {"sparse": True})"""),
    one("take pops without an inflight list", "queues/lua/take.lua",
        """        redis.call('RPUSH', KEYS[3], unpack(jobs))
""", """        local _ = jobs
"""),
    one("report and acknowledgement in two steps", "queues/shared_work.py",
        """                [job, report, dead_letter, most_letters],
            )
        )""",
        """                [job, b"", dead_letter, most_letters],
            )
            and (not report or Script(self._client, "push")(
                [keys.jobs, keys.bell, keys.counters], [0, report]
            ))
        )"""),
    one("no tombstone at the supplier", "tests/simulation/outside.py",
        """            self.entries[road, key] = Entry("cancelled")
        else:""",
        """            pass
        else:"""),
    Mutant("counts of writes are not checked", (
        Edit("booking/store.py", "if done.matched_count != len(changes):", "if False:"),
        Edit("booking/store.py", "if done.inserted_count != len(inserts):", "if False:"),
    )),
    one("refused inserts are taken for done", "booking/store.py",
        """        with mongo_errors():
            done = self._orders.bulk_write(inserts, ordered=False)
        if done.inserted_count != len(inserts):
            raise Surprise(f"{done.inserted_count} of {len(inserts)} inserts counted")""",
        """        with __import__("contextlib").suppress(Surprise), mongo_errors():
            self._orders.bulk_write(inserts, ordered=False)"""),
    one("memory is kept after a surprise", "consumer/booking.py",
        """        self._memory.forget()
        self._recovering = True""",
        """        self._recovering = True"""),
    one("a batch is decided although it touches the one being written", "consumer/batches.py",
        """if before is not None and not before.names.order_ids.isdisjoint(names.order_ids):""",
        """if False:"""),
    Mutant("no unique index on slots, and none awaited", (
        Edit("booking/store.py",
             """"slot": ([("slot", ASCENDING)], {"unique": True, "sparse": True})""",
             """"slot": ([("slot", ASCENDING)], {"sparse": True})"""),
        Edit("consumer/batches.py",
             """if before is not None and any(_limit(p) for p in packages.values()):""",
             """if False:"""),
    )),
    one("units are read before the orders of the batch", "consumer/batches.py",
        """        orders = self._store.read_orders(names.known_ids if fresh else names.order_ids)
        self._load_if_forgotten()
""",
        """        self._load_if_forgotten()
        orders = self._store.read_orders(names.known_ids if fresh else names.order_ids)
"""),
    one("the write under way is not awaited", "consumer/booking.py",
        """                written.exception()
                called.exception()
            written.result()
""",
        """                called.exception()
"""),
    one("only the part that the report names is owed", "booking/decisions.py",
        """    return order.bookable if may_exist else ()""",
        """    return may_exist"""),
    one("a cancelled order owes nothing", "booking/decisions.py",
        """State.CANCELLED, Reason.CUSTOMER_REQUEST, order.bookable, now_ms""",
        """State.CANCELLED, Reason.CUSTOMER_REQUEST, (), now_ms"""),
    one("a hold that was written before is not reserved again", "booking/batch.py",
        """        if type(command) is PlaceOrder or type(command) is PlaceRateOrder:
            placed.add""",
        """        if type(command) is PlaceOrder and outcome.verdict is Verdict.APPLIED:
            placed.add"""),
    one("jobs of dead workers stay with them", "queues/lua/work_take.lua",
        """        local job = redis.call('RPOPLPUSH', ARGV[4] .. worker, KEYS[1])
""", """        local job = false
"""),
    one("jobs of living workers are taken from them", "queues/lua/work_take.lua",
        """KEYS[3], '-inf', now_ms)""", """KEYS[3], '-inf', '+inf')"""),
    one("an idempotency key is not kept", "queues/lua/accept.lua",
        """if KEYS[7] then
    redis.call('SET'""",
        """if false then
    redis.call('SET'"""),
    one("a lowered quota stops nothing", "booking/allotment.py",
        """        if self.live >= quota:
            return None
""", ""),
    one("under a lowered limit, slots above it are not counted", "booking/allotment.py",
        """        if len(taken) >= limit:
            return None
        return next(n for n in range(1, limit + 1) if n not in taken)
""", """        return next((n for n in range(1, limit + 1) if n not in taken), None)
"""),
    one("slots are looked for up to the limit only", "consumer/batches.py",
        """range(1, max(limit, self._allotments[package_id].highest_slot) + 1)""",
        """range(1, limit + 1)"""),
    one("who takes over does not ask for the highest slots", "consumer/batches.py",
        """        highest = self._store.highest_slots(keep)
""", """        highest: dict[int, int] = {}
"""),
    one("owed cancellations are not sent again", "consumer/batches.py",
        """        if overdue and self._queue.reservations_waiting() < SWEEP_MOST:""",
        """        if False:"""),
    one("holds do not run out", "consumer/batches.py",
        """for order_id in self._store.expired_holds(taken.now_ms, SWEEP_MOST)""",
        """for order_id in ()"""),
    one("a rate is booked without its check", "consumer/stays.py",
        """supplier, supplier.book, check.rate,""",
        """supplier, supplier.book, rate_of(job.rate),"""),
    one("a rate is booked at whatever it costs now", "consumer/stays.py",
        """if check.outcome != "available" or check.rate is None:""",
        """if check.rate is None:"""),
    one("a stay is cancelled by no key", "consumer/stays.py",
        """supplier.cancel, job.order_id, email,""", """supplier.cancel, "", email,"""),
    one("a rate that failed owes no stay", "consumer/stays.py",
        """reason=reason, may_exist=STAY_ONLY,""", """reason=reason,"""),
    one("that nothing is there is believed at once", "consumer/stays.py",
        """            settled = self._now_ms() - order.owed_since_ms >= self._settled_after_ms""",
        """            settled = True"""),
)  # fmt: skip


def mutated_tree(mutant: Mutant, folder: Path) -> None:
    """A copy of what the simulation needs, mutated. Raises StaleMutant."""
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.glob("*.py"):
        shutil.copy(file, folder)
    for edit in mutant.edits:
        file = folder / edit.file
        text = file.read_text(encoding="utf-8")
        if text.count(edit.old) != 1:
            raise StaleMutant(
                f"{mutant.name}: its text stands {text.count(edit.old)} times in {edit.file}, "
                "not once; write the mutant anew"
            )
        file.write_text(text.replace(edit.old, edit.new), encoding="utf-8")


def hunt(mutant: Mutant, *, seeds: int, processes: int) -> Caught:
    """Run seeds on the mutant until one fails. Raises StaleMutant."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        mutated_tree(mutant, folder)
        return Caught(mutant.name, **run_in(folder, "--seeds", str(seeds),
                                            "--processes", str(processes)))


def run_in(folder: Path, *args: str) -> dict[str, Any]:
    """The simulation in another tree: rule, failed seed, seeds run."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *args],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, capture_output=True,
        text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    lines = done.stdout.strip().splitlines()
    if done.returncode not in (0, 1) or not lines:
        raise RuntimeError(f"the simulation itself failed in {folder}\n{done.stderr[-2_000:]}")
    said: dict[str, Any] = json.loads(lines[-1])
    return {"rule": said["rule"], "seed": said["failed_seed"], "seeds": said["seeds"]}


def main(argv: Sequence[str] | None = None) -> int:
    """Hunt all mutants, or those whose name contains the argument. One line of JSON last; 1 when
    one got away, or when the code as it is was caught too: then the hunt says nothing.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants")
    parser.add_argument("names", nargs="*", help="parts of names; none: all of them")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="seeds to try on each")
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args(argv)
    chosen = [m for m in MUTANTS if not args.names or any(n in m.name for n in args.names)]
    for mutant in chosen:  # before the long hunt, not in the middle of it
        with tempfile.TemporaryDirectory(prefix="mutant-") as name:
            mutated_tree(mutant, Path(name))
    started_s = time.monotonic()
    found: list[Caught] = []
    print(f"{'mutant':<64} {'caught by':<28} seed")
    for mutant in (CONTROL, *chosen):
        caught = hunt(mutant, seeds=args.seeds, processes=args.processes)
        found.append(caught)
        print(f"{mutant.name:<64} {caught.rule or 'NOTHING':<28} {caught.seed}", flush=True)
    control, *hunted = found
    escaped = [caught.mutant for caught in hunted if caught.rule is None]
    print(json.dumps({
        "mutants": len(hunted), "caught": len(hunted) - len(escaped), "escaped": escaped,
        "seeds_each": args.seeds, "latest_seed": max((c.seed or 0 for c in hunted), default=0),
        "control_broken": control.rule, "took_s": round(time.monotonic() - started_s),
    }))  # fmt: skip
    return int(bool(escaped) or control.rule is not None)


if __name__ == "__main__":
    sys.exit(main())
