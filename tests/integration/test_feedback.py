"""Looks and bookings are kept once, and the model that is learned from them is shown."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from pymongo.database import Database

import bootstrap
from bench.visitors import invent
from catalogue.feedback import FeedbackStore, FeedbackTeller, Kind, TasteShelf
from catalogue.interest import Interest
from catalogue.taste import Seen
from catalogue.training import train
from consumer import feedback as module
from consumer.feedback import FeedbackConsumer, Trainer
from queues.keys import CATALOGUE, FEEDBACK
from queues.reliable import ReliableQueue
from settings import Settings
from tests.catalogue_world import CatalogueWorld

AT_MS = 1_796_000_000_000
TODAY = dt.datetime.fromtimestamp(AT_MS / 1_000, dt.UTC).date()


class Road:
    """The whole road on this test's engines."""

    def __init__(
        self, settings: Settings, valkey: redis.Redis, database: Database[dict[str, Any]],
        search: redis.Redis,
    ) -> None:
        self.valkey = valkey
        self.events = database["feedback"]
        self.store = FeedbackStore(database)
        self.shelf = TasteShelf(valkey)
        self.interest = Interest(valkey)
        self.teller = FeedbackTeller(valkey, most_waiting=1_000)
        self.stop = threading.Event()
        self.settings = settings
        self.search = search

    def consumer(self, name: str = "one", train_every_s: float = 0) -> FeedbackConsumer:
        return FeedbackConsumer(
            ReliableQueue(self.valkey, FEEDBACK, lease_ms=5_000), self.store, self.shelf,
            self.interest, Trainer(self.search, name=name, timeout_s=60, stop=self.stop),
            name=name, train_every_s=train_every_s, stop=self.stop, today=lambda: TODAY,
        )

    def tell(self, visitor: str, hotel_id: str, kind: Kind = Kind.VIEW) -> bool:
        return self.teller.tell(visitor, hotel_id, kind, at_ms=AT_MS)

    def work(self, consumer: FeedbackConsumer) -> None:
        for _ in range(20):
            consumer.step()
            if not self.valkey.llen(FEEDBACK.jobs) and not self.valkey.llen(FEEDBACK.inflight):
                return
        raise AssertionError("events wait")


@pytest.fixture
def road(
    settings: Settings, mongo_database: Database[dict[str, Any]], valkey: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Road]:
    monkeypatch.setattr(module, "BEAT_S", 0.01)
    # The forked training finds the engines as any process does: by its environment.
    for name in ("data_dir", "redis_url", "mongo_url", "mongo_database", "catalogue_redis_url"):
        monkeypatch.setenv(name.upper(), getattr(settings, name) or settings.redis_url)
    with bootstrap.connect_search_valkey(settings) as search:
        yield Road(settings, valkey, mongo_database, search)


def test_events_are_kept_and_none_twice(road: Road) -> None:
    for _ in range(3):
        road.tell("ann", "lisbon-7")
    road.tell("ann", "lisbon-7", Kind.BOOKING)
    road.tell("bob", "porto-1")
    raw = road.valkey.lrange(FEEDBACK.jobs, 0, -1)
    ReliableQueue(road.valkey, FEEDBACK, lease_ms=5_000).push(raw)  # the same, delivered again
    road.work(road.consumer())
    assert road.events.count_documents({}) == 5
    weights = {(one.visitor, one.hotel_id): one.weight for one in road.store.seen()}
    assert weights[("bob", "porto-1")] == 1.0
    assert weights[("ann", "lisbon-7")] == pytest.approx(3**0.5 + 5.0)


def test_what_a_consumer_had_taken_when_it_died_is_kept_by_the_next(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.tell("ann", "lisbon-7")
    with monkeypatch.context() as patch:
        # It dies between MongoDB's answer and `done`: everything is written, nothing told.
        patch.setattr(ReliableQueue, "done", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            road.consumer("first").step()
    road.valkey.delete(FEEDBACK.lease)
    road.work(road.consumer("second"))
    assert road.events.count_documents({}) == 1


def test_garbage_stops_nobody_and_a_full_list_drops(road: Road) -> None:
    ReliableQueue(road.valkey, FEEDBACK, lease_ms=5_000).push([b"{", b'{"type": "feedback"}'])
    road.tell("ann", "lisbon-7")
    road.work(road.consumer())
    assert road.events.count_documents({}) == 1
    narrow = FeedbackTeller(road.valkey, most_waiting=2)
    told = [narrow.tell("ann", f"h-{n}", Kind.VIEW, at_ms=AT_MS) for n in range(4)]
    assert told == [True, True, False, False]


def test_a_model_is_trained_by_itself_and_shown(
    road: Road, mongo_database: Database[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = CatalogueWorld(road.valkey, mongo_database, hotels=60)
    world.consumer().step()
    monkeypatch.setattr(module, "FIRST_AT", 100)
    monkeypatch.setattr(module, "DUE_EVERY_S", 0.0)
    consumer = road.consumer(train_every_s=3_600)
    for number in range(30):
        # Half of them like Lisbon, the others Porto.
        city = "lisbon" if number % 2 else "porto"
        for n in range(1, 6):
            road.tell(f"v{number}", f"{city}-{(number + n) % 20 + 1}")
    road.work(consumer)
    for _ in range(5):
        consumer.step()
        if road.shelf.version():
            break
    model = road.shelf.load()
    assert model is not None
    assert road.shelf.learned_from() == 150
    taste = road.shelf.taste(model, "v1")
    assert taste is not None
    scores = dict(zip(model.hotel_ids, model.factors @ taste, strict=True))
    mean = {city: sum(score for one, score in scores.items() if one.startswith(city)) / 20
            for city in ("lisbon", "porto")}
    assert mean["lisbon"] > mean["porto"]
    assert road.shelf.taste(model, "stranger") is None
    # The next one waits for its time, and for more feedback.
    version = road.shelf.version()
    for number in range(50):
        road.tell("v1", f"lisbon-{number % 20 + 1}")
    road.work(consumer)
    consumer.step()
    assert road.shelf.version() == version


def test_a_reader_of_the_last_model_still_finds_its_tastes(road: Road) -> None:
    world = invent(hotels=60, cities=4, visitors=40, seed=1)
    first, second = (train(world.seen, world.hotels, version=name) for name in ("a", "b"))
    road.shelf.put(first.model, first.tastes, learned_from=1)
    read = road.shelf.load()
    road.shelf.put(second.model, second.tastes, learned_from=2)
    assert read is not None
    assert road.shelf.taste(read, "v1") is not None
    assert 0 < road.valkey.ttl(FEEDBACK.tastes("a")) <= 60
    assert road.shelf.version() == "b"


def test_two_ask_for_one_training(road: Road) -> None:
    one, two = (Trainer(road.search, name=name, timeout_s=60, stop=road.stop)
                for name in ("one", "two"))
    one.enqueue()
    two.enqueue()
    assert road.search.llen("rq:queue:training") == 1


def test_little_feedback_trains_nothing(road: Road, mongo_database: Database[Any]) -> None:
    world = CatalogueWorld(road.valkey, mongo_database, hotels=2)
    world.consumer().step()
    road.tell("ann", "lisbon-1")
    consumer = road.consumer()
    road.work(consumer)
    from consumer.training import train as job
    assert job() == 0
    assert road.shelf.version() is None
    assert list(road.store.seen()) == [Seen("ann", "lisbon-1", 1.0)]


# --- how many people looked at a hotel today ------------------------------------------------------


def looked(road: Road, visitor: str, hotel_id: str) -> int:
    """What the web does at a visit."""
    road.tell(visitor, hotel_id)
    return road.interest.look(hotel_id, visitor, today=TODAY)


def test_after_a_flush_interest_comes_back_from_what_mongodb_keeps(road: Road) -> None:
    consumer = road.consumer()
    for visitor in ("ann", "bob", "bob", "cid"):
        looked(road, visitor, "lisbon-7")
    road.tell("dan", "lisbon-7", Kind.BOOKING)
    yesterday = AT_MS - 86_400_000
    road.teller.tell("eve", "lisbon-7", Kind.VIEW, at_ms=yesterday)
    road.work(consumer)
    road.valkey.flushdb()
    assert looked(road, "ann", "lisbon-7") == 1, "the visitor does not wait for it"
    assert looked(road, "fay", "lisbon-7") == 2
    road.work(consumer)
    assert looked(road, "ann", "lisbon-7") == 4, "ann, bob, cid and fay"
    assert looked(road, "gil", "porto-1") == 1
    key = CATALOGUE.interest(TODAY.isoformat(), "lisbon-7")
    assert 0 < road.valkey.ttl(key) <= 86_400


def test_interest_is_put_back_by_the_next_one_when_a_consumer_dies_at_it(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOKS_AT_ONCE", 2)
    first = road.consumer("first")
    for visitor in "abcde":
        looked(road, visitor, "lisbon-7")
    road.work(first)
    road.valkey.flushdb()
    with monkeypatch.context() as patch:
        patch.setattr(ReliableQueue, "renew", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            road.consumer("second").step()
    road.valkey.delete(FEEDBACK.lease)
    road.work(road.consumer("third"))
    assert looked(road, "a", "lisbon-7") == 5


def test_interest_that_is_whole_is_not_read_again(
    road: Road, monkeypatch: pytest.MonkeyPatch
) -> None:
    road.work(road.consumer("first"))
    road.valkey.delete(FEEDBACK.lease)
    asked: list[object] = []
    monkeypatch.setattr(FeedbackStore, "looks", lambda *since: asked.append(since) or iter(()))
    road.work(road.consumer("second"))
    assert asked == []
