"""python -m tests.faults.soak: real processes, real engines, real kills; and then the count.

A load orders, looks and cancels all the while. Each round does one thing to one process, then
waits until an order that was placed after it is decided. At the end every order that was ever
answered with 202 is looked up in MongoDB, and the audit is run. The last line is JSON; the exit
code is 1 when anything was lost, duplicated or oversold.
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
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlparse

import psutil
import requests
from pymongo import MongoClient

from tests.faults.proxy import LossyProxy
from tests.system import FINAL, PARTS, ROOT, System, running_system
from tests.waiting import eventually

PROXIED_CONSUMERS = 2
RECOVERED_WITHIN_S = 30.0
SETTLED_WITHIN_S = 180.0
STOPPED_S = 3.0  # longer than the lease
LOSING_S = 0.5
QUOTAS = (1, 2, 5, 20, 100)


class Load:
    """Threads that order with a key each, ask again until an answer comes, and cancel some."""

    def __init__(self, system: System, *, threads: int, rate_per_s: float, seed: int) -> None:
        self._system = system
        self._pause_s = threads / rate_per_s
        self._stop = threading.Event()
        self.accepted: dict[str, str] = {}
        self.refused = 0
        self.cancelled = 0
        self._threads = [
            threading.Thread(target=self._run, args=(n, random.Random(f"{seed}-{n}")))
            for n in range(threads)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, number: int, chance: random.Random) -> None:
        http = requests.Session()
        mine: list[tuple[str, str]] = []
        count = 0
        while not self._stop.is_set():
            begun_s = time.monotonic()
            count += 1
            email = f"soak{number}-{count}@example.com"
            self._order(http, 1 + chance.randrange(64), email, mine)
            if mine and chance.random() < 0.2:
                self._cancel(http, *mine.pop(chance.randrange(len(mine))))
            self._stop.wait(max(0.0, self._pause_s - (time.monotonic() - begun_s)))

    def _order(
        self, http: requests.Session, package_id: int, email: str, mine: list[tuple[str, str]]
    ) -> None:
        while not self._stop.is_set():
            try:
                answer = http.post(
                    f"{self._system.url}/api/orders",
                    json={"package_id": package_id, "email": email},
                    headers={"Idempotency-Key": email}, timeout=10,
                )
            except requests.RequestException:
                self._stop.wait(0.05)  # not known whether it was taken: the same key asks again
                continue
            if answer.status_code == 202:
                order_id = answer.json()["order_id"]
                self.accepted[order_id] = email
                mine.append((order_id, email))
                return
            if answer.status_code != 503:
                self.refused += 1
                return
            self._stop.wait(0.1)

    def _cancel(self, http: requests.Session, order_id: str, email: str) -> None:
        try:
            answer = http.delete(f"{self._system.url}/api/orders/{order_id}",
                                 params={"email": email}, timeout=10)
        except requests.RequestException:
            return
        if answer.status_code == 202:
            self.cancelled += 1


class Faults:
    """One fault a round, drawn from a seed; remembers how long each took to get over."""

    def __init__(
        self, system: System, proxies: dict[str, LossyProxy], others: Consumers, seed: int
    ) -> None:
        self._system = system
        self._proxies = proxies
        self._others = others
        self._chance = random.Random(seed)
        self._probes = 0
        self.kills: Counter[str] = Counter()
        self.recovery_ms: list[float] = []
        self._kinds = [*PARTS, "proxied consumer", "stopped consumer", "lost answers"]

    def round(self) -> str:
        """Do one thing, and wait until an order placed afterwards is decided."""
        kind = self._chance.choice(self._kinds)
        begun_s = time.monotonic()
        if kind == "proxied consumer":
            self._others.kill(self._chance)
        elif kind == "stopped consumer":
            self._stop_a_consumer()
        elif kind == "lost answers":
            self._lose_answers()
        else:
            self._system.kill(kind)
        self.kills[kind] += 1
        self._probe()
        self.recovery_ms.append((time.monotonic() - begun_s) * 1_000)
        return kind

    def _stop_a_consumer(self) -> None:
        """SIGSTOP past the lease: it wakes in the middle of a batch that is not its own any more.
        """
        pids = self._system.pids("booking") + self._others.pids()
        pid = self._chance.choice(pids)
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
                answer = self._system.order(5, email, key=email)
            except requests.RequestException:
                return None
            return answer.json()["order_id"] if answer.status_code == 202 else None

        order_id = eventually(accepted, RECOVERED_WITHIN_S, "an order is accepted again")
        eventually(
            lambda: self._system.look(order_id, email)["state"] != "queued",
            RECOVERED_WITHIN_S, "an order is decided again",
        )


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

    def kill(self, chance: random.Random) -> None:
        """kill -9 of one of them."""
        if pids := self.pids():
            os.kill(chance.choice(pids), signal.SIGKILL)

    def _keep(self) -> None:
        while not self._stop.is_set():
            self._processes = [p for p in self._processes if p.poll() is None]
            while len(self._processes) < self._count:
                self._processes.append(subprocess.Popen(
                    [sys.executable, "-m", "consumer", "booking"], cwd=ROOT,
                    env=self._environment, stderr=subprocess.DEVNULL,
                ))
            self._stop.wait(0.2)


@contextmanager
def stage(folder: Path) -> Iterator[tuple[System, dict[str, LossyProxy], Consumers]]:
    """The whole system, with one consumer of its own and two behind lossy proxies."""
    campaign = folder / "campaign.json"
    campaign.write_text(json.dumps({"packages": [
        {"id": n, "flight": f"Flight-{n}", "stay": "2027-03-01", "price": 100,
         "quota": QUOTAS[n % len(QUOTAS)]}
        for n in range(1, 65)
    ]}))
    with ExitStack() as stack:
        system = stack.enter_context(running_system(
            folder / "data", BOOKING_CONSUMERS="1", HOLD_S="90", RATE_BOOK_TIMEOUT_S="4",
        ))
        seeded = system.run("db_init.py", "--packages", str(campaign))
        assert seeded.returncode == 0, seeded.stderr
        addresses = json.loads((folder / "data" / "engines.json").read_text())
        proxies = {
            name: stack.enter_context(LossyProxy(urlparse(url).port or 0))
            for name, url in addresses.items()
        }
        consumers = stack.enter_context(Consumers({
            **system.environment,
            "REDIS_URL": f"redis://127.0.0.1:{proxies['redis_url'].port}/0",
            "MONGO_URL":
                f"mongodb://127.0.0.1:{proxies['mongo_url'].port}/?directConnection=true",
        }, PROXIED_CONSUMERS))
        yield system, proxies, consumers


def count(system: System, load: Load) -> dict[str, int]:
    """Wait until every accepted order is final, and count what came of them."""
    addresses = json.loads((Path(system.environment["DATA_DIR"]) / "engines.json").read_text())
    with MongoClient(addresses["mongo_url"]) as client:
        orders = client["berth"]["orders"]

        def settled() -> bool:
            live = orders.count_documents({"state": "held"})
            return live == 0 and orders.estimated_document_count() >= len(load.accepted)

        eventually(settled, SETTLED_WITHIN_S, "every order is final")
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
        "accepted": len(load.accepted), "refused": load.refused,
        "cancellations": load.cancelled,
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
        with Load(system, threads=8, rate_per_s=rate_per_s, seed=seed) as load:
            eventually(lambda: len(load.accepted) >= 20, 20, "the load runs")
            done = 0
            while done < rounds or len(load.accepted) < orders:
                kind = faults.round()
                done += 1
                print(f"round {done}: {kind}, over in {faults.recovery_ms[-1]:.0f} ms, "
                      f"{len(load.accepted)} accepted", file=sys.stderr, flush=True)
        counted = count(system, load)
        eventually(system.whole, 20, "the system is whole at the end")
        audit = system.run("-m", "audit", "--json", timeout_s=300)
    recovery = sorted(faults.recovery_ms)
    return {
        "rounds": done, "seed": seed, "kills": dict(sorted(faults.kills.items())), **counted,
        "lost_answers": sum(proxy.lost for proxy in proxies.values()),
        "recovery_ms_p50": round(recovery[len(recovery) // 2]),
        "recovery_ms_p99": round(recovery[min(len(recovery) - 1, int(0.99 * len(recovery)))]),
        "audit_ok": audit.returncode == 0,
        **({} if audit.returncode == 0 else {"audit": audit.stdout[-2_000:]}),
    }


def sound(report: dict[str, object]) -> bool:
    """Whether nothing was lost, duplicated or oversold, and the audit agrees."""
    return (report["lost"], report["duplicated"], report["oversold"]) == (0, 0, 0) and bool(
        report["audit_ok"]
    )


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.soak", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="at least so many faults")
    parser.add_argument("--seed", type=int, default=1, help="which faults, in which order")
    parser.add_argument("--orders", type=int, default=0, help="and at least so many orders")
    parser.add_argument("--rate", type=float, default=200, help="orders per second, at most")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="berth-soak-") as folder:
        report = soak(Path(folder), rounds=chosen.rounds, seed=chosen.seed, orders=chosen.orders,
                      rate_per_s=chosen.rate)
    print(json.dumps(report))
    return 0 if sound(report) else 1


if __name__ == "__main__":
    sys.exit(main())
