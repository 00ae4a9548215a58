"""What a seed makes of a world: its sizes, and how often which fault hits.

Seeds differ widely on purpose: some have one consumer and no fault but lost answers, some have
three consumers, batches of two and a crash every few calls.
"""

from __future__ import annotations

import random

import msgspec

from consumer.batches import Limits
from tests.simulation.kernel import US_PER_S, Process
from tests.simulation.network import CRASHES, Fault, Server, ms
from tests.simulation.vendors import VENDORS

PATIENCE_MS = 10_000  # the clients' own timeout
VENDOR_PATIENCE_MS = 2_000  # the same for calls to vendors of rates
# Kinds of calls: a seed may leave one in peace, or hit it at every other turn.
FOCUSES = ("take", "read", "insert", "update", "tell", "supplier", "idle", "other")
RATE_MAX = 0.15  # above it nothing gets done that could go wrong
# What comes late finds out more than what is merely lost.
_OFTEN = {
    Fault.CRASH_BEFORE: 1, Fault.CRASH_HALF: 1, Fault.CRASH_AFTER: 1, Fault.STOPPED: 3,
    Fault.LOST_REQUEST: 1, Fault.CUT: 2, Fault.LOST_ANSWER: 1, Fault.LATE: 4,
    Fault.LATE_TWICE: 2, Fault.TWICE: 2,
}  # fmt: skip
_KINDS = {
    "take": "take", "tell": "tell", "find": "read", "bulk_write": "insert", "BRPOP": "idle",
    "acquire": "idle", "INFO": "idle", "POST": "supplier", "DELETE": "supplier",
    "GET": "supplier",
}  # fmt: skip


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One world, as drawn from a seed. Rates are per call, or mean seconds between two."""

    limits: Limits
    status_ttl_s: int
    customers: int
    arrive_within_s: float
    packages: int
    booking_consumers: int
    reservation_workers: int
    threads: int
    heartbeat_ms: int
    parallel_from: int
    backlog_max_jobs: int
    supplier_attempts: int
    flight_failure_rate: float
    room_failure_rate: float
    rate_share: float
    vendor_timeout_s: float
    storm_s: float
    second_road: bool
    fault_rate: float
    focus: dict[str, float]
    fates: dict[Fault, int]
    split_rate: float
    leg_ms: dict[str, float]
    slow_rate: float
    slow_ms: float
    late_ms: float
    kill_every_s: float
    pause_every_s: float
    jump_every_s: float
    restart_every_s: float
    operator_every_s: float
    operator_moves: tuple[str, ...]
    quotas: tuple[int, ...]
    limits_per_customer: tuple[int | None, ...]
    market_every_s: float


def draw_profile(rng: random.Random) -> Profile:
    """A profile; every draw of it comes from `rng`."""
    lease_ms = rng.choice((500, 1_000, 2_000))
    fates = {fate: often * rng.choice((0, 1, 1, 3)) for fate, often in _OFTEN.items()}
    fates[rng.choice(list(fates))] += 10  # one at least, and often one above all others
    profile = Profile(
        limits=Limits(
            batch_max=rng.choice((1, 2, 2, 3, 4, 5, 8, 1_000)),
            beat_ms=rng.choice((50, 100, 250)) * lease_ms // 500,
            lease_ms=lease_ms,
            sweep_every_ms=rng.choice((200, 1_000, 2_000)),
            hold_s=rng.choice((1, 3, 8, 20)),
            owed_after_s=rng.choice((2, 5, 10)),
            singles_after_deliveries=rng.choice((2, 2, 3)),
            bury_after_deliveries=rng.choice((3, 5, 5)),
            memory_max_percent=75,
            dead_letters_max=10_000,
        ),
        status_ttl_s=3_600,
        customers=rng.randint(25, 70),
        arrive_within_s=rng.choice((0.02, 0.5, 4.0, 10.0)),
        packages=rng.randint(1, 3),
        booking_consumers=rng.choice((1, 2, 2, 3)),
        reservation_workers=rng.choice((1, 2, 2)),
        threads=rng.choice((1, 2, 4)),
        heartbeat_ms=rng.choice((500, 1_000, 3_000)),
        parallel_from=rng.choice((2, 6, 100)),
        backlog_max_jobs=rng.choice((8, 60, 1_000)),
        supplier_attempts=rng.choice((1, 2, 4)),
        flight_failure_rate=rng.choice((0.0, 0.3, 0.5)),
        room_failure_rate=rng.choice((0.0, 0.0, 0.3)),
        rate_share=rng.choice((0.0, 0.3, 0.6)),
        # Three of these must outlast the calls of a check and a booking, and the pauses between.
        vendor_timeout_s=10.0,
        storm_s=rng.choice((6.0, 12.0, 20.0)),
        second_road=rng.random() < 0.3,
        fault_rate=rng.choice((0.005, 0.02, 0.05)),
        focus={name: rng.choice((0.0, 0.3, 1.0, 1.0, 4.0, 10.0)) for name in FOCUSES},
        fates=fates,
        split_rate=rng.choice((0.0, 0.1, 0.5)),
        leg_ms={
            "valkey": rng.choice((0.2, 0.2, 3.0)),
            "second valkey": 0.2,
            "mongo": rng.choice((0.3, 3.0, 20.0)),
            "supplier": rng.choice((1.0, 40.0, 250.0)),
            **{vendor: rng.choice((1.0, 40.0, 250.0)) for vendor in VENDORS},
        },
        slow_rate=rng.choice((0.0, 0.02, 0.1)),
        slow_ms=rng.choice((20.0, 200.0, 1_500.0)),
        late_ms=rng.choice((20.0, 200.0, 3_000.0)),
        kill_every_s=rng.choice((3.0, 10.0, 1_000.0)),
        pause_every_s=rng.choice((1.0, 4.0, 1_000.0)),
        jump_every_s=rng.choice((5.0, 1_000.0)),
        restart_every_s=rng.choice((5.0, 15.0, 1_000.0)),
        operator_every_s=rng.choice((0.3, 2.0, 1_000.0)),
        operator_moves=("quota", "quota", "quota", "pause", "limit", "window", "withdraw"),
        quotas=(0, 1, 2, 3, 5, 8),
        limits_per_customer=(None, None, 1, 2),
        market_every_s=rng.choice((0.3, 1.0, 5.0)),
    )
    if profile.second_road:
        return _two_writers_meet(profile)
    storm = rng.random()
    for share, special in ((0.25, _twin_jobs), (0.4, _limits_are_lowered), (0.6, _ends_come_late)):
        if storm < share:
            return special(profile)
    return profile


def _twin_jobs(profile: Profile) -> Profile:
    """Orders that arrive twice are reserved twice, by two workers at once, and one of the two may
    find a supplier that does not answer while the other one books.
    """
    return msgspec.structs.replace(
        profile,
        arrive_within_s=4.0, supplier_attempts=1, threads=4, reservation_workers=2,
        flight_failure_rate=0.0, room_failure_rate=0.0, fault_rate=0.05,
        focus={**dict.fromkeys(FOCUSES, 0.3), "other": 10.0, "supplier": 3.0},
        fates={Fault.TWICE: 10, Fault.LOST_REQUEST: 3, Fault.LATE: 3},
        leg_ms={**profile.leg_ms, "supplier": 250.0}, late_ms=20.0,
    )  # fmt: skip


def _limits_are_lowered(profile: Profile) -> Profile:
    """Few customers, who have what they may have, and a limit that goes up and down."""
    return msgspec.structs.replace(
        profile,
        packages=1, quotas=(40,), limits_per_customer=(3,), operator_moves=("limit",),
        operator_every_s=0.5, rate_share=0.0, arrive_within_s=4.0,
    )  # fmt: skip


def _ends_come_late(profile: Profile) -> Profile:
    """Writes that arrive while their sender, who has given them up, reads what to write: what an
    order was when it was read, it may not be any more.
    """
    return msgspec.structs.replace(
        profile,
        limits=msgspec.structs.replace(profile.limits, lease_ms=2_000, beat_ms=200),
        booking_consumers=1, packages=1, quotas=(40,), rate_share=0.0, flight_failure_rate=0.5,
        arrive_within_s=4.0, storm_s=6.0, fault_rate=0.05,
        focus={**dict.fromkeys(FOCUSES, 0.0), "update": 3.0}, fates={Fault.LATE: 1},
        leg_ms={**profile.leg_ms, "valkey": 0.2, "mongo": 60.0, "supplier": 40.0}, late_ms=70.0,
        slow_rate=0.0, kill_every_s=1_000.0, pause_every_s=1_000.0, jump_every_s=1_000.0,
        restart_every_s=1_000.0,
    )  # fmt: skip


def _two_writers_meet(profile: Profile) -> Profile:
    """Holds that run out about when their reservation is reported, and a slow database: what one
    road ends, the other has just read.
    """
    return msgspec.structs.replace(
        profile,
        limits=msgspec.structs.replace(profile.limits, hold_s=1, sweep_every_ms=200),
        leg_ms={**profile.leg_ms, "mongo": 20.0, "supplier": 180.0},
        threads=4, reservation_workers=2, flight_failure_rate=0.0, arrive_within_s=10.0,
    )  # fmt: skip


class Calm:
    """Weather in which nothing happens, and every leg takes the same time."""

    def latency_us(self, server: Server) -> int:
        """One leg."""
        return 200

    def lateness_us(self, server: Server) -> int:
        """How late a late call is."""
        return 300_000

    def patience_us(self, server: Server) -> int:
        """When the caller of a late call gives up."""
        return 1_000

    def stop_us(self) -> int:
        """How long a process is stopped."""
        return 0

    def others_first(self) -> bool:
        """Each call is one step."""
        return False

    def fate(self, process: Process, server: Server, label: str) -> Fault:
        """All goes well."""
        return Fault.NONE


class Storm:
    """Weather by chance, until it is calm."""

    def __init__(self, profile: Profile, rng: random.Random) -> None:
        self.calm = False
        self._profile = profile
        self._rng = rng
        self._fates = list(profile.fates)
        self._weights = list(profile.fates.values())
        self._leg_us = {name: ms(leg_ms) for name, leg_ms in profile.leg_ms.items()}
        self._rates = {
            name: min(RATE_MAX, profile.fault_rate * factor)
            for name, factor in profile.focus.items()
        }

    def latency_us(self, server: Server) -> int:
        """One leg: mostly as always, at times much more."""
        rng, profile = self._rng, self._profile
        if not self.calm and rng.random() < profile.slow_rate:
            return ms(profile.slow_ms * rng.random())
        return 20 + int(2 * self._leg_us[server.name] * rng.random())

    def lateness_us(self, server: Server) -> int:
        """How long a late call stays in the network: about until its caller has come back with
        the next try, or for some time, or for ages.
        """
        rng, leg_ms = self._rng, self._profile.leg_ms[server.name]
        if server.name not in VENDORS and rng.random() < 0.4:
            # A booking consumer pauses, takes, and reads four times before it decides again.
            return ms((200 + 10 * leg_ms) * (0.5 + 0.5 * rng.random()))
        scale_ms = rng.choice((self._profile.late_ms, 10 * self._profile.late_ms))
        if server.name in VENDORS:
            # What is not settled by a tombstone is settled by time: no call is on its way longer.
            scale_ms = min(scale_ms, VENDOR_PATIENCE_MS)
        return ms(scale_ms * rng.random())

    def patience_us(self, server: Server) -> int:
        """When the caller of a late call gives up: its connection breaks, or its time is up."""
        rng = self._rng
        time_out_ms = VENDOR_PATIENCE_MS if server.name in VENDORS else PATIENCE_MS
        return ms(time_out_ms if rng.random() < 0.1 else 100 * rng.random())

    def stop_us(self) -> int:
        """How long a process is stopped: often until just after its lease has run out."""
        rng, lease_ms = self._rng, self._profile.limits.lease_ms
        just_after = rng.random() < 0.7
        return ms(lease_ms * (0.9 + 0.5 * rng.random() if just_after else 4 * rng.random()))

    def others_first(self) -> bool:
        """Whether others come between two steps of one call."""
        return self._rng.random() < self._profile.split_rate

    def fate(self, process: Process, server: Server, label: str) -> Fault:
        """What happens to this call."""
        if self.calm:
            return Fault.NONE
        kind = _KINDS.get(label.partition(" ")[0], "other")
        if kind == "insert" and "update" in label:
            kind = "update"
        if self._rng.random() >= self._rates[kind]:
            return Fault.NONE
        [fate] = self._rng.choices(self._fates, self._weights)
        if fate in CRASHES and self._rng.random() < 0.3:
            return Fault.LOST_ANSWER
        return fate

    def in_a_while_us(self, mean_s: float) -> int:
        """When something that comes every `mean_s` seconds comes next."""
        return int(US_PER_S * self._rng.expovariate(1 / mean_s))
