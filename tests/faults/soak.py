"""python -m tests.faults.soak: real processes, real engines, real kills; and then the count.

A load orders and cancels all the while, and three booking consumers run, two of them behind
proxies that lose answers. Each round does one thing to one process, then waits until all is well
again: an order that was placed afterwards is final, the process is replaced, and every part
answers. With a number of orders, the rounds are spread over them. At the end every order that was
ever answered with 202 is looked up in MongoDB, and the audit is run. The last line is JSON; the
exit code is 1 when anything was lost, duplicated or oversold.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlparse

import psutil
import redis
import requests
from pymongo import MongoClient

from queues.keys import BOOKING
from tests.faults.load import Load
from tests.faults.proxy import LossyProxy
from tests.system import FINAL, PARTS, ROOT, System, running_system
from tests.waiting import eventually

STARTED_S = time.monotonic()
PROXIED_CONSUMERS = 2
RECOVERED_WITHIN_S = 30.0
SETTLED_WITHIN_S = 180.0
ORDERS_WITHIN_S = 600.0
LOOK_S = 0.1
STOPPED_S = 3.0  # longer than the lease
LOSING_S = 0.5
QUOTAS = (1, 2, 5, 20, 100)
PACKAGES = 64
# Never sold out: what is ordered to see whether all is well goes the whole way.
PROBED, PROBED_QUOTA = PACKAGES + 1, 100_000
THREADS = 16


class Faults:
    """One fault a round, drawn from a seed; remembers how long it took until all was well."""

    def __init__(
        self, system: System, proxies: dict[str, LossyProxy], others: Consumers, seed: int
    ) -> None:
        self._system = system
        self._valkey = redis.Redis.from_url(addresses(system)["redis_url"])
        self._proxies = proxies
        self._others = others
        self._chance = random.Random(seed)
        self._probes = 0
        self.kills: Counter[str] = Counter()
        self.recovery_ms: list[tuple[float, str]] = []
        self._deck: list[str] = []

    def round(self) -> str:
        """Do one thing, and wait until all is well again."""
        if not self._deck:
            self._deck = [*PARTS, "stopped consumer", "lost answers"]
            self._chance.shuffle(self._deck)
        kind = self._deck.pop()
        before = self._pids(kind)
        begun_s = time.monotonic()
        if kind == "stopped consumer":
            self._stop_the_holder()
        elif kind == "lost answers":
            self._lose_answers()
        elif kind == "booking":
            os.kill(self._holder(), signal.SIGKILL)
        else:
            self._system.kill(kind)
        self.kills[kind] += 1
        self._probe()
        if before:
            eventually(lambda: len(self._pids(kind)) >= len(before) and self._pids(kind) - before,
                       RECOVERED_WITHIN_S, f"{kind} runs again", poll_s=LOOK_S)
        eventually(self._system.whole, RECOVERED_WITHIN_S, f"all is well after {kind}",
                   poll_s=LOOK_S)
        self.recovery_ms.append(((time.monotonic() - begun_s) * 1_000, kind))
        return kind

    def _pids(self, kind: str) -> set[int]:
        """The processes of what is killed; none where nothing is."""
        mine = self._system.pids(kind) if kind in PARTS else []
        return {*mine, *(self._others.pids() if kind == "booking" else ())}

    def _holder(self) -> int:
        """The booking consumer that holds the lease: to lose another one proves little."""
        token = eventually(lambda: cast("bytes | None", self._valkey.get(BOOKING.lease)),
                           RECOVERED_WITHIN_S, "a consumer holds the lease")
        return int(token.decode().split("-")[-2])

    def _stop_the_holder(self) -> None:
        """SIGSTOP past the lease: it wakes in the middle of a batch that is not its own any more.
        """
        pid = self._holder()
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(STOPPED_S, _continue, [pid]).start()

    def _lose_answers(self) -> None:
        proxy = self._chance.choice(list(self._proxies.values()))
        proxy.losing.set()
        threading.Timer(LOSING_S, proxy.losing.clear).start()

    def _probe(self) -> None:
        self._probes += 1
        email = f"probe{self._probes}@example.com"

        def accepted() -> str | None:
            try:
                answer = self._system.order(PROBED, email, key=email)
            except requests.RequestException:
                return None
            return answer.json()["order_id"] if answer.status_code == 202 else None

        order_id = eventually(accepted, RECOVERED_WITHIN_S, "an order is accepted again")
        eventually(lambda: self._system.look(order_id, email)["state"] in FINAL,
                   RECOVERED_WITHIN_S, "an order is final again")


def _continue(pid: int) -> None:
    if psutil.pid_exists(pid):
        os.kill(pid, signal.SIGCONT)


class Consumers:
    """Booking consumers behind lossy proxies; a dead one is started again."""

    def __init__(self, environment: dict[str, str], count: int) -> None:
        self._environment = environment
        self._processes: list[subprocess.Popen[bytes]] = []
        self._count = count
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep)

    def __enter__(self) -> Consumers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        for process in self._processes:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._processes:
            process.wait(20)

    def pids(self) -> list[int]:
        """Those that run."""
        return [p.pid for p in self._processes if p.poll() is None]

    def _keep(self) -> None:
        while not self._stop.is_set():
            self._processes = [p for p in self._processes if p.poll() is None]
            while len(self._processes) < self._count:
                self._processes.append(subprocess.Popen(
                    [sys.executable, "-m", "consumer", "booking"], cwd=ROOT,
                    env=self._environment, stderr=subprocess.DEVNULL,
                ))
            self._stop.wait(0.2)


def addresses(system: System) -> dict[str, str]:
    """Where its engines are."""
    found: dict[str, str] = json.loads(
        (Path(system.environment["DATA_DIR"]) / "engines.json").read_text()
    )
    return found


@contextmanager
def stage(folder: Path) -> Iterator[tuple[System, dict[str, LossyProxy], Consumers]]:
    """The whole system, with one consumer of its own and two behind lossy proxies."""
    campaign = folder / "campaign.json"
    campaign.write_text(json.dumps({"packages": [
        {"id": n, "flight": f"Flight-{n}", "stay": "2027-03-01", "price": 100,
         "quota": PROBED_QUOTA if n == PROBED else QUOTAS[n % len(QUOTAS)]}
        for n in range(1, PROBED + 1)
    ]}))
    with ExitStack() as stack:
        system = stack.enter_context(running_system(
            folder / "data", BOOKING_CONSUMERS="1", HOLD_S="90", RATE_BOOK_TIMEOUT_S="4",
        ))
        seeded = system.run("db_init.py", "--packages", str(campaign))
        assert seeded.returncode == 0, seeded.stderr
        proxies = {
            name: stack.enter_context(LossyProxy(urlparse(url).port or 0))
            for name, url in addresses(system).items()
        }
        consumers = stack.enter_context(Consumers({
            **system.environment,
            "REDIS_URL": f"redis://127.0.0.1:{proxies['redis_url'].port}/0",
            "MONGO_URL":
                f"mongodb://127.0.0.1:{proxies['mongo_url'].port}/?directConnection=true",
        }, PROXIED_CONSUMERS))
        yield system, proxies, consumers


def count(system: System, load: Load) -> dict[str, Any]:
    """Wait until every accepted order is final, and count what came of them."""
    with MongoClient(addresses(system)["mongo_url"]) as client:
        orders = client["berth"]["orders"]

        def settled() -> bool:
            # Counted one by one: what MongoDB remembers of the count is wrong after kill -9.
            final = orders.count_documents({"state": {"$in": list(FINAL)}})
            return final >= len(load.accepted) and final == orders.count_documents({})

        with suppress(AssertionError):  # what never became final is counted as lost
            eventually(settled, SETTLED_WITHIN_S, "every order is final", poll_s=5 * LOOK_S)
        states = {d["_id"]: d["state"] for d in orders.find({}, {"state": 1})}
        twice = orders.aggregate([
            {"$group": {"_id": "$email", "n": {"$sum": 1}}}, {"$match": {"n": {"$gt": 1}}},
        ])
        live = Counter(d["package_id"] for d in orders.find({"unit": {"$exists": True}},
                                                             {"package_id": 1}))
        quotas = {d["_id"]: d["quota"] for d in client["berth"]["packages"].find()}
        duplicated = len(list(twice))
    lost = [o for o in load.accepted if states.get(o) not in FINAL]
    by_state = Counter(states.values())
    return {
        "accepted": len(load.accepted), "refused": dict(load.refused),
        "cancellations": load.cancellations,
        **{state: by_state[state] for state in sorted(FINAL)},
        "lost": len(lost), "duplicated": duplicated,
        "oversold": sum(1 for p, n in live.items() if n > quotas.get(p, 0)),
    }


def soak(
    folder: Path, *, rounds: int, seed: int, orders: int, rate_per_s: float
) -> dict[str, object]:
    """Rounds of faults, and load until `orders` were accepted; then the count and the audit."""
    with stage(folder) as (system, proxies, consumers):
        faults = Faults(system, proxies, consumers, seed)
        begun_s = time.monotonic()
        with Load(system.url, packages=PACKAGES, threads=THREADS, rate_per_s=rate_per_s,
                  seed=seed) as load:
            for done in range(1, rounds + 1):
                _wait_for_orders(load, max(20, orders * (done - 1) // rounds))
                kind = faults.round()
                _tell(f"round {done} of {rounds}: {kind}, over in {faults.recovery_ms[-1][0]:.0f} "
                      f"ms; {len(load.accepted)} orders accepted")
            _wait_for_orders(load, orders)
            took_s = time.monotonic() - begun_s
        _tell("the load has stopped; every order becomes final")
        counted = count(system, load)
        eventually(system.whole, RECOVERED_WITHIN_S, "the system is whole at the end")
        _tell("the audit looks")
        audit = system.run("-m", "audit", "--json", timeout_s=300)
    recovery = sorted(faults.recovery_ms)
    p99_ms, slowest = recovery[min(len(recovery) - 1, int(0.99 * len(recovery)))]
    return {
        "rounds": rounds, "seed": seed, "kills": dict(sorted(faults.kills.items())), **counted,
        "accepted_per_s": round(counted["accepted"] / took_s, 1),
        "lost_answers": sum(proxy.lost for proxy in proxies.values()),
        "recovery_ms_p50": round(recovery[len(recovery) // 2][0]),
        "recovery_ms_p99": round(p99_ms), "recovery_p99_of": slowest,
        "recovery_ms_max": round(recovery[-1][0]),
        "audit_ok": audit.returncode == 0,
        **({} if audit.returncode == 0 else {"audit": audit.stdout[-2_000:]}),
    }


def _wait_for_orders(load: Load, wanted: int) -> None:
    eventually(lambda: len(load.accepted) >= wanted, ORDERS_WITHIN_S, f"{wanted} orders",
               poll_s=LOOK_S)


def _tell(line: str) -> None:
    print(f"{time.monotonic() - STARTED_S:6.1f} s  {line}", file=sys.stderr, flush=True)


def sound(report: dict[str, object]) -> bool:
    """Whether nothing was lost, duplicated or oversold, and the audit agrees."""
    return (report["lost"], report["duplicated"], report["oversold"]) == (0, 0, 0) and bool(
        report["audit_ok"]
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="so many faults (%(default)s)")
    parser.add_argument("--seed", type=int, default=1,
                        help="which faults, in which order (%(default)s)")
    parser.add_argument("--orders", type=int, default=0,
                        help="at least so many orders, the faults spread over them (%(default)s)")
    parser.add_argument("--rate", type=float, default=1_000,
                        help="orders per second, at most (%(default)s)")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="berth-soak-") as folder:
        report = soak(Path(folder), rounds=chosen.rounds, seed=chosen.seed, orders=chosen.orders,
                      rate_per_s=chosen.rate)
    print(json.dumps(report))
    return 0 if sound(report) else 1


if __name__ == "__main__":
    sys.exit(main())
