"""Parts that their workers never ended are fetched again: as often as is sensible, and no more."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
import redis
from rq.executions import Execution
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer

import bootstrap
from consumer import fetch_queue
from consumer.fetch_queue import AGAIN_MAX, FetchQueue, job_id
from consumer.fetch_workers import FetchWorkersAlive
from queues.keys import SEARCH
from queues.keys import fetch_queue as queue_name
from settings import Settings
from suppliers.fetching import FetchPart
from suppliers.rates import Part, RateQuery

DAY = dt.date(2027, 3, 1)
PART = FetchPart(
    search_id="a" * 32, created_ms=1, deadline_ms=30_001, supplier="hotelbeds",
    query=RateQuery(destination="lisbon", check_in=DAY, check_out=DAY + dt.timedelta(2), guests=2),
    part=Part(0, ("lisbon-1",)),
)


@pytest.fixture
def client(settings: Settings, valkey: redis.Redis) -> Iterator[redis.Redis]:
    with bootstrap.connect_search_valkey(settings, connections=4) as client:
        yield client


class Road:
    """A supplier's queue, and workers that do as RQ's do until they die."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.fetches = FetchQueue(client, ["hotelbeds"])
        self.queue = Queue(queue_name("hotelbeds"), connection=client, serializer=JSONSerializer)
        self.fetches.enqueue([PART], timeout_s=60)

    def take(self) -> str:
        """The first step; the id of the job."""
        found = Queue.lmove(self.client, self.queue.key, None)
        assert found is not None, "nothing waits"
        return str(found[1].decode())

    def begin(self, worker: str) -> str:
        """Both steps."""
        name = self.take()
        job = Job.fetch(name, connection=self.client, serializer=JSONSerializer)
        with self.client.pipeline() as pipe:
            Execution.create(job, 60, pipe)
            job.prepare_for_execution(worker, pipe)
            pipe.lrem(self.queue.intermediate_queue_key, 1, name)
            pipe.execute()
        return name

    def waiting(self) -> list[str]:
        return [str(one) for one in self.queue.get_job_ids()]


@pytest.fixture
def road(client: redis.Redis) -> Road:
    return Road(client)


def test_what_a_dead_process_had_begun_is_fetched_again_each_time_and_then_given_up(
    road: Road
) -> None:
    for number in range(1, AGAIN_MAX + 1):
        begun = road.begin(f"process-{number}.hotelbeds.0.1")
        assert road.fetches.recover([f"process-{number}"], timeout_s=60) == 1
        assert road.fetches.recover([f"process-{number}"], timeout_s=60) == 0, "once for a death"
        assert begun != road.waiting()[0]
        assert road.waiting() == [f"{job_id(PART)}-again-{number}"]
    road.begin("last.hotelbeds.0.1")
    assert road.fetches.recover(["last"], timeout_s=60) == 0
    assert road.waiting() == [], "it may be what kills them"


def test_what_a_life_of_a_worker_left_is_brought_back_and_nothing_of_others(road: Road) -> None:
    road.begin("process.hotelbeds.1.1")
    assert road.fetches.recover(["process.hotelbeds.1.2", "proc"], timeout_s=60) == 0
    assert road.waiting() == []
    assert road.fetches.recover(["process.hotelbeds.1.1"], timeout_s=60) == 1
    assert len(road.waiting()) == 1


def test_who_could_not_be_heard_while_valkey_was_away_is_not_taken_for_dead(
    client: redis.Redis
) -> None:
    now_s = 100.0
    alive = FetchWorkersAlive(client, heartbeat_ms=3_000, monotonic=lambda: now_s)

    def run_out(*names: str) -> None:
        client.zadd(SEARCH.workers, dict.fromkeys(names, 1))

    assert alive.dead() == []
    alive.beat("living")
    run_out("killed")
    now_s += 1.0
    assert alive.dead() == ["killed"], "where nobody was away, it is believed at once"
    alive.forget(["killed"])
    # Valkey is away for longer than a heartbeat, and nobody can look either.
    now_s += 5.0
    run_out("living", "killed meanwhile")
    assert alive.dead() == []
    alive.beat("living")
    for _ in range(2):
        now_s += 1.0
        assert alive.dead() == []
    run_out("killed since")
    now_s += 1.0
    assert set(alive.dead()) == {"killed meanwhile", "killed since"}


def test_who_was_never_looked_for_before_has_a_heartbeat_to_be_heard(client: redis.Redis) -> None:
    """A consumer that takes over does not know whether Valkey was away."""
    now_s = 100.0
    alive = FetchWorkersAlive(client, heartbeat_ms=3_000, monotonic=lambda: now_s)
    client.zadd(SEARCH.workers, {"gone": 1})
    assert alive.dead() == []
    now_s += 3.0
    assert alive.dead() == ["gone"], "however seldom it is looked for"


def test_a_crash_while_parts_are_brought_back_brings_none_back_twice(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.begin("process.hotelbeds.0.1")

    def killed(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("rq.registry.StartedJobRegistry.remove_executions", killed)
        with pytest.raises(SystemExit):
            road.fetches.recover(["process"], timeout_s=60)
    road.fetches.recover(["process"], timeout_s=60)
    assert road.waiting() == [f"{job_id(PART)}-again-1"]


def test_what_was_taken_and_never_begun_is_fetched_again_and_a_worker_has_its_moment(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = road.take()
    between = IntermediateQueue(road.queue.key, road.client)
    assert road.fetches.rescue(timeout_s=60) == 0
    assert road.fetches.rescue(timeout_s=60) == 0, "its worker may be about to begin"
    assert between.get_job_ids() == [name]
    monkeypatch.setattr(fetch_queue, "TAKEN_S", 0.0)
    assert road.fetches.rescue(timeout_s=60) == 1
    assert between.get_job_ids() == []
    assert road.waiting() == [f"{job_id(PART)}-again-1"]
    assert road.fetches.rescue(timeout_s=60) == 0
