"""Pages follow their documents, whoever changes them, and nothing is missing in between."""

from __future__ import annotations

import datetime as dt
import gzip
from collections.abc import Callable
from typing import Any

import pytest
import redis
from bson.datetime_ms import DatetimeMS
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError

from catalogue import documents as d
from catalogue.model import Hotel, Payload
from catalogue.shelf import Cursor, active_max_of, entry_of
from catalogue.shelf_writer import Put, ShelfWriter, ask_for_rebuild
from catalogue.source import HotelSource
from consumer import catalogue as consumer_module
from consumer.catalogue import CatalogueConsumer
from errors import CatalogueBuilding, LeaseLost
from queues.keys import CATALOGUE
from tests.catalogue_world import CatalogueWorld
from tests.waiting import eventually

Collections = Database[dict[str, Any]]


@pytest.fixture
def world(valkey: redis.Redis, mongo_database: Collections) -> CatalogueWorld:
    return CatalogueWorld(valkey, mongo_database)


@pytest.fixture
def consumer(world: CatalogueWorld) -> CatalogueConsumer:
    """One that has built everything."""
    found = world.consumer()
    found.step()
    world.settle(found)
    return found


def test_every_hotel_has_its_page_its_address_and_its_row(
    world: CatalogueWorld, consumer: CatalogueConsumer
) -> None:
    assert len(world.rows()) == 25
    lisbon = world.shown("lisbon-7")
    assert world.reader.hotel_id_of(lisbon["slug"]) == "lisbon-7"
    page = world.reader.page("lisbon-7")
    assert page is not None
    html = gzip.decompress(page.body)
    assert len(html) == page.size
    assert lisbon["name"].encode() in html
    assert min(night["date"] for night in lisbon["nights"]) == world.today.isoformat()
    assert world.reader.page("nowhere-1") is None


CHANGES: dict[str, tuple[Callable[[Collections], Any], Callable[[dict[str, Any]], bool]]] = {
    "its name": (
        lambda db: db[d.HOTELS].update_one({"_id": "lisbon-7"}, {"$set": {"name": "New"}}),
        lambda shown: shown["name"] == "New"),
    "its city's name": (
        lambda db: db[d.CITIES].update_one({"_id": "lisbon"}, {"$set": {"name": "Lisboa"}}),
        lambda shown: shown["city"]["name"] == "Lisboa"),
    "an amenity's label": (
        lambda db: db[d.AMENITIES].update_many({}, {"$set": {"label": "Something"}}),
        lambda shown: shown["amenities"][0]["label"] == "Something"),
    "its type's label": (
        lambda db: db[d.TYPES].update_many({}, {"$set": {"label": "Palace"}}),
        lambda shown: True),
    "its prices": (
        lambda db: db[d.PRICES].update_one(
            {"_id": "lisbon-7:2026-12"}, {"$set": {"nights": {"2026-12-24": "1.50"}}}),
        lambda shown: shown["price_from"] == "1.50"),
    "prices that are gone": (
        lambda db: db[d.PRICES].delete_many({"hotel_id": "lisbon-7"}),
        lambda shown: shown["price_from"] is None and shown["nights"] == []),
    "its pictures": (
        lambda db: db[d.IMAGES].delete_many({"hotel_id": "lisbon-7"}),
        lambda shown: shown["images"] == []),
    "its rating": (
        lambda db: db[d.RATINGS].replace_one(
            {"_id": "lisbon-7"}, {"average_tenths": 91, "count": 7}),
        lambda shown: (shown["rating"], shown["rating_count"]) == ("9.1", 7)),
    "it is no longer active": (
        lambda db: db[d.HOTELS].update_one({"_id": "lisbon-7"}, {"$set": {"active": False}}),
        lambda shown: shown == {}),
    "it is gone": (
        lambda db: db[d.HOTELS].delete_one({"_id": "lisbon-7"}),
        lambda shown: shown == {}),
    "it makes no sense any more": (
        lambda db: db[d.HOTELS].update_one({"_id": "lisbon-7"}, {"$set": {"stars": "many"}}),
        lambda shown: shown == {}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_by_anyone_is_followed(
    world: CatalogueWorld, consumer: CatalogueConsumer, what: str
) -> None:
    change, expected = CHANGES[what]
    before = world.shown("lisbon-7")
    change(world.database)
    world.settle(consumer)
    assert expected(world.shown("lisbon-7")), what
    if world.shown("lisbon-7") == {}:
        assert "lisbon-7" not in world.rows()
        assert world.reader.hotel_id_of(before["slug"]) is None


ODD: dict[str, tuple[Callable[[Collections], Any], bool]] = {
    "a night on a day that does not exist": (
        lambda db: db[d.PRICES].update_one(
            {"_id": "lisbon-7:2026-12"}, {"$set": {"nights": {"2026-12-40": "1.50"}}}), True),
    "a night on the last day of time": (
        lambda db: db[d.PRICES].update_many(
            {"hotel_id": "lisbon-7"}, {"$set": {"nights": {"9999-12-31": "1.50"}}}), True),
    "a picture that nobody drew": (
        lambda db: db[d.IMAGES].update_many({"hotel_id": "lisbon-7"}, {"$set": {"art": "odd"}}),
        True),
    "a picture of several hotels": (
        lambda db: db[d.IMAGES].update_many(
            {"hotel_id": "lisbon-7"}, {"$set": {"hotel_id": ["lisbon-7"]}}), True),
    "a date that Python does not know": (
        lambda db: db[d.HOTELS].update_one(
            {"_id": "lisbon-7"}, {"$set": {"created_at": DatetimeMS(10**15)}}), False),
    "a text in place of the document's parts": (
        lambda db: db[d.RATINGS].update_one(
            {"_id": "lisbon-7"}, {"$set": {"average_tenths": "high", "count": [1]}}), True),
    "a fault of our own": (
        lambda db: db[d.HOTELS].update_one({"_id": "lisbon-7"}, {"$set": {"name": "Trap"}}), False),
}


@pytest.mark.parametrize("what", ODD)
def test_an_odd_document_stops_nobody_else(
    world: CatalogueWorld, consumer: CatalogueConsumer, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = consumer_module.payloads.build

    def build(hotel: Hotel) -> Payload:
        if hotel.name == "Trap":
            raise KeyError("nobody thought of it")
        return real(hotel)

    monkeypatch.setattr(consumer_module.payloads, "build", build)
    change, is_shown = ODD[what]
    change(world.database)
    world.settle(consumer)
    assert (world.shown("lisbon-7") != {}) == is_shown
    generation = world.reader.standing().generation
    broken = world.valkey.hgetall(CATALOGUE.broken(generation))
    assert (b"lisbon-7" in broken) == (not is_shown)
    assert len(world.rows()) == 24 + is_shown


def test_many_changes_of_one_hotel_are_one_page_and_one_line(
    world: CatalogueWorld, consumer: CatalogueConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[str] = []
    real = consumer_module.payloads.build
    monkeypatch.setattr(consumer_module.payloads, "build",
                        lambda hotel: (built.append(hotel.hotel_id), real(hotel))[1])
    standing = world.reader.standing()
    for count in range(50):
        world.database[d.RATINGS].update_one({"_id": "lisbon-9"}, {"$set": {"count": count + 500}})
    world.settle(consumer)
    assert 1 <= built.count("lisbon-9") < 10, "changes of a moment are built together"
    found = world.reader.changes(Cursor(standing.generation, standing.seq), block_ms=10)
    assert found is not None
    told = [change.hotel_id for change in found[1]]
    assert told.count("lisbon-9") == built.count("lisbon-9")


def test_a_city_that_is_renamed_is_a_new_page_of_each_of_its_hotels_once(
    world: CatalogueWorld, consumer: CatalogueConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "READ_AT_ONCE", 7)
    built: list[Hotel] = []
    real = consumer_module.payloads.build
    monkeypatch.setattr(consumer_module.payloads, "build",
                        lambda hotel: (built.append(hotel), real(hotel))[1])
    world.database[d.CITIES].update_one({"_id": "lisbon"}, {"$set": {"name": "Lisboa"}})
    world.settle(consumer)
    of_it = [one.hotel_id for one in built if one.hotel_id != "lisbon-1"]  # settle changes that
    assert sorted(of_it) == sorted(f"lisbon-{n}" for n in range(2, 21))
    for hotel_id in of_it:
        assert world.shown(hotel_id)["city"]["name"] == "Lisboa"
    assert world.shown("porto-1")["city"]["name"] == "Porto"


def test_what_comes_out_the_same_is_told_to_nobody(
    world: CatalogueWorld, consumer: CatalogueConsumer
) -> None:
    seq = world.reader.standing().seq
    world.database[d.HOTELS].update_one({"_id": "lisbon-7"}, {"$set": {"internal_note": "x"}})
    world.settle(consumer)
    assert world.reader.standing().seq == seq + 1, "only the change that settle makes"


def test_a_consumer_that_comes_later_goes_on_where_the_last_one_was(
    world: CatalogueWorld, consumer: CatalogueConsumer
) -> None:
    generation = world.reader.standing().generation
    world.database[d.HOTELS].update_one({"_id": "lisbon-7"}, {"$set": {"name": "Meanwhile"}})
    world.valkey.delete(CATALOGUE.lease)  # the first one is dead
    world.settle(world.consumer("two"))
    assert world.shown("lisbon-7")["name"] == "Meanwhile"
    assert world.reader.standing().generation == generation, "nothing was built anew"


@pytest.mark.parametrize("why", ["flushed", "asked for", "another day", "token too old",
                                 "another version", "collection dropped"])
def test_everything_is_built_anew_when_it_must_be_and_no_page_is_missing_meanwhile(
    world: CatalogueWorld, consumer: CatalogueConsumer, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.reader.standing().generation
    if why == "flushed":
        world.valkey.flushdb()
        with pytest.raises(CatalogueBuilding):
            world.reader.page("lisbon-7")
    elif why == "asked for":
        ask_for_rebuild(world.valkey)
    elif why == "another day":
        world.today += dt.timedelta(days=1)
    elif why == "token too old":
        token = world.valkey.hget(CATALOGUE.state, "token")
        assert token is not None
        world.valkey.hset(CATALOGUE.state, "token", '{"_data": "8262F1000000000001"}')
        consumer.leave()
    elif why == "another version":
        monkeypatch.setattr(consumer_module.payloads, "VERSION", "next")
    else:
        world.database[d.PRICES].drop()
    missing = []
    real = ShelfWriter.put

    def put(self: ShelfWriter, *arguments: Any, **options: Any) -> int:
        if why != "flushed" and world.reader.page("lisbon-7") is None:
            missing.append("lisbon-7")
        return real(self, *arguments, **options)

    monkeypatch.setattr(ShelfWriter, "put", put)
    for _ in range(50):
        consumer.step()
        if world.valkey.exists(CATALOGUE.state) and world.reader.standing().generation != before:
            break
    assert world.reader.standing().generation > before
    assert missing == []
    assert len(world.rows()) == 25
    first = min(night["date"] for night in world.shown("lisbon-7")["nights"] or [{"date": "none"}])
    assert first == ("none" if why == "collection dropped" else world.today.isoformat())


def test_an_old_generation_is_removed_after_a_while(
    world: CatalogueWorld, consumer: CatalogueConsumer
) -> None:
    old = world.reader.standing().generation
    ask_for_rebuild(world.valkey)
    consumer.step()
    for _ in range(4):
        world.settle(consumer)
    left = world.valkey.keys(f"{CATALOGUE.prefix}*:{old}*")
    assert left == []
    assert not world.valkey.exists(CATALOGUE.old)
    assert len(world.rows()) == 25


def test_a_writer_that_slept_puts_no_old_page_back(
    world: CatalogueWorld, consumer: CatalogueConsumer
) -> None:
    standing = world.reader.standing()
    sleeper = ShelfWriter(world.valkey, consumer="sleeper", lease_ms=1_000)
    world.valkey.delete(CATALOGUE.lease)
    assert sleeper.acquire()
    world.valkey.delete(CATALOGUE.lease)  # it ran out while it slept
    assert consumer is not None
    successor = world.consumer("successor")
    world.settle(successor)
    page = world.reader.page("lisbon-7")
    old = entry_of(Payload(page=b"old", json=b"{}", card=b"", brief=b"", row=b"[]"))
    with pytest.raises(LeaseLost):
        sleeper.put(standing.generation, [Put("lisbon-7", "old", old)], version="0",
                    seq=world.reader.standing().seq)
    assert world.reader.page("lisbon-7") == page


def test_more_than_the_limit_may_be_stored_and_the_first_are_shown(
    valkey: redis.Redis, mongo_database: Collections
) -> None:
    world = CatalogueWorld(valkey, mongo_database, hotels=12)
    consumer = world.consumer(active_max=10)
    consumer.step()
    order = [one["_id"] for one in world.database[d.HOTELS].find({}, {"_id": 1}).sort(
        [("created_at", 1), ("_id", 1)])]
    assert set(world.rows()) == set(order[:10])
    gone = next(one for one in order[:10] if one != "lisbon-1")
    world.database[d.HOTELS].update_one({"_id": gone}, {"$set": {"active": False}})
    for _ in range(20):
        consumer.step()
        if gone not in world.rows():
            break
    assert set(world.rows()) == set(order[:11]) - {gone}


def test_a_quiet_catalogue_does_not_fall_behind_a_busy_database(
    world: CatalogueWorld, consumer: CatalogueConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "TOKEN_EVERY_S", 0.0)
    before = world.reader.standing()
    world.database["orders"].insert_one({"_id": "not a hotel"})

    def moved() -> bool:
        consumer.step()
        return world.reader.standing().token != before.token

    eventually(moved, 10, "the token moves")
    assert (world.reader.standing().generation, world.reader.standing().seq) == (
        before.generation, before.seq)


# --- two hotels with one address --------------------------------------------------------------


def test_mongodb_refuses_a_second_hotel_at_an_address(world: CatalogueWorld) -> None:
    taken = world.database[d.HOTELS].find_one({"_id": "lisbon-8"})
    assert taken is not None
    with pytest.raises(DuplicateKeyError):
        world.database[d.HOTELS].update_one({"_id": "lisbon-7"}, {"$set": {"slug": taken["slug"]}})
    # Without one they make no page, and are in nobody's way.
    world.database[d.HOTELS].insert_many([{"_id": "x", "active": True}, {"_id": "y", "slug": None}])


def name_alike(world: CatalogueWorld, *hotel_ids: str) -> list[str]:
    """Another program gives hotels one address before any index says that it must not; they are
    returned in the order in which they came.
    """
    hotels = world.database[d.HOTELS]
    hotels.drop_index("slug_1")
    hotels.update_many({"_id": {"$in": list(hotel_ids)}}, {"$set": {"slug": "corner-house"}})
    found = hotels.find({"slug": "corner-house"}).sort([("created_at", 1), ("_id", 1)])
    return [one["_id"] for one in found]


def has_index(world: CatalogueWorld) -> bool:
    return "slug_1" in world.database[d.HOTELS].index_information()


@pytest.mark.parametrize("begins", ["with a rebuild", "with the changes"])
def test_the_first_of_two_hotels_at_an_address_is_shown_and_what_to_mend_is_told(
    world: CatalogueWorld, caplog: pytest.LogCaptureFixture, begins: str
) -> None:
    if begins == "with the changes":
        before = world.consumer()
        before.step()
        world.settle(before)
        before.leave()
    first, second = name_alike(world, "lisbon-7", "lisbon-8")
    consumer = world.consumer("two")
    consumer.step()
    world.settle(consumer)
    assert not has_index(world)
    [told] = [one for one in caplog.messages if one.startswith("Several hotels")]
    assert f"corner-house ({first}, {second})" in told
    assert "a slug of its own" in told
    assert world.reader.hotel_id_of("corner-house") == first
    assert world.shown(first)["slug"] == "corner-house"
    assert world.shown(second) == {}
    assert len(world.rows()) == 24
    broken = world.valkey.hgetall(CATALOGUE.broken(world.reader.standing().generation))
    assert [*broken] == [second.encode()]
    assert first.encode() in broken[second.encode()]


@pytest.mark.parametrize("mended", ["the first goes", "the first is closed", "the first moves",
                                    "the second moves", "nobody looks meanwhile"])
def test_an_address_that_is_free_again_is_the_next_ones_and_the_index_comes(
    world: CatalogueWorld, consumer: CatalogueConsumer, mended: str
) -> None:
    first, second, third = name_alike(world, "lisbon-7", "lisbon-8", "lisbon-9")
    hotels = world.database[d.HOTELS]
    consumer.leave()  # the index was there when it began
    consumer = world.consumer("two")
    world.settle(consumer)
    assert (world.shown(second), world.shown(third)) == ({}, {})
    if mended == "nobody looks meanwhile":
        consumer.leave()
        consumer = world.consumer("three")
    change: dict[str, Any] = {"slug": "elsewhere"}
    if mended == "the first goes":
        hotels.delete_one({"_id": first})
    elif mended == "the first is closed":
        hotels.update_one({"_id": first}, {"$set": {"active": False}})
    else:
        moved = second if mended == "the second moves" else first
        hotels.update_one({"_id": moved}, {"$set": change})
    world.settle(consumer)
    owner = first if mended == "the second moves" else second
    assert world.reader.hotel_id_of("corner-house") == owner
    assert world.shown(owner)["slug"] == "corner-house"
    assert world.shown(third) == {}
    assert not has_index(world)
    hotels.delete_one({"_id": third})
    if mended == "the first is closed":
        hotels.delete_one({"_id": first})
    world.settle(consumer)
    assert has_index(world), "nothing is in its way"


def test_the_limit_is_there_for_who_asks_from_outside(world: CatalogueWorld) -> None:
    consumer = world.consumer(active_max=17)
    consumer.step()
    assert active_max_of(world.valkey) == 17
    consumer.leave()
    assert active_max_of(world.valkey) is None, "nobody holds to it"
    world.settle(world.consumer("two", active_max=18))
    assert active_max_of(world.valkey) == 18


def test_a_consumer_that_leaves_gives_its_place_to_the_next(
    world: CatalogueWorld, consumer: CatalogueConsumer
) -> None:
    consumer.leave()
    assert not world.valkey.exists(CATALOGUE.lease)


def test_another_currency_builds_everything_anew(
    world: CatalogueWorld, consumer: CatalogueConsumer
) -> None:
    consumer.leave()
    assert world.shown("lisbon-7")["price_from"] is not None
    CatalogueConsumer(
        HotelSource(world.database), ShelfWriter(world.valkey, consumer="two", lease_ms=5_000),
        active_max=100, currency="USD", stop=world.stop, today=lambda: world.today,
    ).step()
    assert world.shown("lisbon-7")["price_from"] is None, "its prices are in euro"


def test_a_change_that_no_hotel_shows_is_done_with_at_once(
    world: CatalogueWorld, consumer: CatalogueConsumer
) -> None:
    before = world.reader.standing().token
    world.database[d.CITIES].insert_one({"_id": "nowhere", "name": "Nowhere"})
    eventually(lambda: (consumer.step(), world.reader.standing().token != before)[1], 5)


def test_documents_older_than_what_is_shown_cause_a_rebuild(
    world: CatalogueWorld, consumer: CatalogueConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = world.reader.standing().generation
    with monkeypatch.context() as patched:
        patched.setattr(HotelSource, "moment", lambda self: "0000000001.0000000001")
        world.database[d.HOTELS].update_one({"_id": "lisbon-7"}, {"$set": {"name": "Restored"}})
        eventually(lambda: (consumer.step(), world.reader.standing().generation > generation)[1],
                   5, "everything is built anew")
    assert world.shown("lisbon-7")["name"] == "Restored"
    assert world.shown("lisbon-7")["slug"] == world.shown("lisbon-7")["url"].rpartition("/")[2]


def test_a_thousand_questions_after_a_flush_cause_one_rebuild(
    world: CatalogueWorld, consumer: CatalogueConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    world.valkey.flushdb()
    for _ in range(1_000):
        with pytest.raises(CatalogueBuilding):
            world.reader.page("lisbon-7")
    standby = world.consumer("standby")
    with caplog.at_level("INFO", logger="consumer.catalogue"):
        for _ in range(3):
            consumer.step()
            standby.step()
    built = [one for one in caplog.messages if one.startswith("building everything")]
    assert len(built) == 1
    assert len(world.rows()) == 25
