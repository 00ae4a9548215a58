"""One suite over the simulated engines and the real ones: what the simulation proves is worth as
much as they are alike. The Lua scripts are compared in test_queue_scripts.py, in the same way.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import pytest
import redis
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.decimal128 import Decimal128
from pymongo import ASCENDING, InsertOne, UpdateMany, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, OperationFailure
from redis.exceptions import NoScriptError, RedisError, ResponseError

from booking.documents import Document, slot_key
from booking.model import LIMIT_MAX, Order, State
from booking.store import ORDER_INDEXES, BookingStore
from errors import EngineUnfit, Surprise
from tests.simulation.direct import simulated_mongo, simulated_valkey

ENGINES = ["real", "simulated"]
CODEC: CodecOptions[Document] = CodecOptions(datetime_conversion=DatetimeConversion.DATETIME_MS)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, valkey: redis.Redis) -> redis.Redis:
    """A Valkey, real or simulated."""
    return valkey if request.param == "real" else simulated_valkey()


@pytest.fixture(params=ENGINES)
def database(
    request: pytest.FixtureRequest, mongo_database: Database[Document]
) -> Database[Document]:
    """A MongoDB, real or simulated."""
    if request.param == "real":
        return mongo_database
    return cast(Database[Document], simulated_mongo())


@pytest.fixture
def orders(database: Database[Document]) -> Collection[Document]:
    """The collection of orders with the indexes of production."""
    BookingStore(database).ensure_indexes()
    return database.get_collection("orders", codec_options=CODEC)


# --- Valkey: commands -----------------------------------------------------------------------------


class Case(NamedTuple):
    """What is said, and what is answered; an error by its beginning."""

    name: str
    talk: list[tuple[tuple[Any, ...], Any]]


WRONG = "WRONGTYPE"
CASES = [
    Case("strings", [
        (("GET", "k"), None), (("SET", "k", "v"), True), (("GET", "k"), b"v"),
        (("INCR", "n"), 1), (("INCR", "n"), 2), (("INCR", "k"), "value is not an integer"),
        (("EXISTS", "k", "n", "no"), 2), (("DEL", "k", "no"), 1), (("UNLINK", "n"), 1),
    ]),
    Case("expiry", [
        (("PTTL", "k"), -2), (("SET", "k", "v"), True), (("PTTL", "k"), -1),
        (("PEXPIRE", "k", 100_000), True), (("TTL", "k"), 100), (("SET", "k", "w"), True),
        (("TTL", "k"), -1), (("SET", "k", "w", "PX", 50_000), True), (("TTL", "k"), 50),
        (("PEXPIRE", "k", 0), True), (("EXISTS", "k"), 0), (("PEXPIRE", "k", 10), False),
        (("SET", "k", "v", "PX", 0), "invalid expire"), (("SET", "k", "v", "PX", "x"), "value is"),
    ]),
    Case("an expiry stays with a hash that is written, and goes with its last field", [
        (("HSET", "h", "a", "1"), 1), (("PEXPIRE", "h", 100_000), True),
        (("HSET", "h", "b", "1"), 1), (("TTL", "h"), 100), (("HDEL", "h", "a", "b"), 2),
        (("EXISTS", "h"), 0), (("HSET", "h", "a", "1"), 1), (("TTL", "h"), -1),
    ]),
    Case("hashes", [
        (("HGET", "h", "a"), None), (("HMGET", "h", "a", "b"), [None, None]),
        (("HGETALL", "h"), {}), (("HSET", "h", "a", "1", "b", "2"), 2),
        (("HSET", "h", "a", "3"), 0), (("HGETALL", "h"), {b"a": b"3", b"b": b"2"}),
        (("HMGET", "h", "b", "c"), [b"2", None]), (("HVALS", "h"), [b"3", b"2"]),
        (("HINCRBY", "h", "a", -5), -2), (("HINCRBY", "h", "n", 4), 4),
        (("HSET", "h", "t", "text"), 1), (("HINCRBY", "h", "t", 1), "hash value is not"),
        (("HINCRBY", "h", "a", "x"), "value is not an integer"),
        (("HEXISTS", "h", "a"), True), (("HDEL", "h", "a", "no"), 1), (("HDEL", "no", "a"), 0),
        (("HSET", "h", "odd"), "wrong number of arguments"),
    ]),
    Case("lists", [
        (("RPOP", "l"), None), (("RPOP", "l", 3), None), (("LPUSH", "l", "a", "b", "c"), 3),
        (("LRANGE", "l", 0, -1), [b"c", b"b", b"a"]), (("RPOP", "l", 2), [b"a", b"b"]),
        (("RPUSH", "l", "x", "y"), 3), (("LLEN", "l"), 3), (("LTRIM", "l", 1, -1), True),
        (("LRANGE", "l", 0, -1), [b"x", b"y"]), (("LTRIM", "l", 5, -1), True),
        (("EXISTS", "l"), 0), (("LTRIM", "l", 0, -1), True), (("RPUSH", "l", "z"), 1),
        (("RPOP", "l", 0), []), (("RPOP", "l", -1), "value is out of range"),
        (("LRANGE", "l", -100, 100), [b"z"]), (("LRANGE", "l", 3, 1), []),
        (("LPOP", "l"), b"z"), (("LPOP", "l"), None), (("LLEN", "l"), 0),
    ]),
    Case("moving between lists", [
        (("RPOPLPUSH", "a", "b"), None), (("RPUSH", "a", "1", "2"), 2),
        (("RPOPLPUSH", "a", "b"), b"2"), (("RPOPLPUSH", "a", "b"), b"1"),
        (("LRANGE", "b", 0, -1), [b"1", b"2"]), (("EXISTS", "a"), 0),
        (("LREM", "b", 1, "2"), 1), (("LREM", "b", 1, "2"), 0), (("LREM", "no", 1, "2"), 0),
        (("RPOPLPUSH", "b", "b"), b"1"), (("SET", "s", "v"), True),
        (("RPOPLPUSH", "b", "s"), WRONG), (("LRANGE", "b", 0, -1), [b"1"]),
    ]),
    Case("waiting", [
        (("RPUSH", "l", "1"), 1), (("BRPOP", "l", 1), (b"l", b"1")),
        (("BRPOP", "l", 0.01), None), (("BRPOP", "l", -1), "timeout is negative"),
        (("BRPOP", "l", "x"), "timeout is not a float"),
    ]),
    Case("sorted sets", [
        (("ZADD", "z", 5, "a"), 1), (("ZADD", "z", 7, "a"), 0), (("ZADD", "z", 6, "b"), 1),
        (("ZADD", "z", 7, "0"), 1), (("ZRANGEBYSCORE", "z", "-inf", "+inf"), [b"b", b"0", b"a"]),
        (("ZRANGEBYSCORE", "z", "(6", 7), [b"0", b"a"]), (("ZRANGEBYSCORE", "z", 6, "(7"), [b"b"]),
        (("ZRANGEBYSCORE", "no", 0, 1), []), (("ZSCORE", "z", "a"), 7.0),
        (("ZSCORE", "z", "no"), None), (("ZREM", "z", "a"), 1), (("ZREM", "z", "a"), 0),
        (("ZADD", "z", "x", "a"), "value is not a valid float"),
        (("ZRANGEBYSCORE", "z", "x", 1), "min or max is not a float"),
    ]),
    Case("one key, one kind", [
        (("SET", "k", "v"), True), (("LPUSH", "k", "1"), WRONG), (("HSET", "k", "a", "1"), WRONG),
        (("HGET", "k", "a"), WRONG), (("LLEN", "k"), WRONG), (("RPOP", "k"), WRONG),
        (("ZADD", "k", 1, "a"), WRONG), (("LTRIM", "k", 0, 1), WRONG), (("BRPOP", "k", 1), WRONG),
        (("RPUSH", "l", "1"), 1), (("GET", "l"), WRONG), (("INCR", "l"), WRONG),
        (("SET", "l", "now text"), True), (("GET", "l"), b"now text"),
    ]),
    Case("what is no command", [
        (("NOSUCH", "a"), "unknown command"), (("GET",), "wrong number of arguments"),
        (("GET", "a", "b"), "wrong number of arguments"),
        (("LPUSH", "a"), "wrong number of arguments"),
        (("EVALSHA", "0" * 40, 0), NoScriptError),
    ]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_commands(engine: redis.Redis, case: Case) -> None:
    for said, wanted in case.talk:
        if isinstance(wanted, str):
            with pytest.raises(ResponseError, match=f".*{wanted}") as refused:
                engine.execute_command(*said)
            assert type(refused.value) is ResponseError
        elif isinstance(wanted, type):
            with pytest.raises(wanted):
                engine.execute_command(*said)
        else:
            heard = engine.execute_command(*said)
            heard = tuple(heard) if isinstance(wanted, tuple) and heard else heard
            assert heard == wanted, said


def test_time_is_seconds_and_micros(engine: redis.Redis) -> None:
    seconds, micros = engine.time()
    assert seconds > 1_700_000_000
    assert 0 <= micros < 1_000_000


def test_the_settings_that_the_promises_rest_on_are_told(engine: redis.Redis) -> None:
    found = engine.config_get("appendonly", "appendfsync", "maxmemory-policy")
    assert found == {
        "appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction",
    }  # fmt: skip
    memory = engine.info("memory")
    assert memory["used_memory"] > 0
    assert memory["maxmemory"] > 0


def test_a_pipeline_brings_all_answers_in_order(engine: redis.Redis) -> None:
    pipe = engine.pipeline(transaction=False)
    pipe.hset("h", "a", "1")
    pipe.hgetall("h")
    pipe.llen("no")
    assert pipe.execute() == [1, {b"a": b"1"}, 0]


# --- Valkey: scripts ------------------------------------------------------------------------------

SCRIPTS = [
    ("return 1", [], [], 1),
    ("return 3.99", [], [], 3),
    ("return -3.99", [], [], -3),
    ("return true", [], [], 1),
    ("return false", [], [], None),
    ("return nil", [], [], None),
    ("return {1, 'two', {3}, nil, 5}", [], [], [1, b"two", [3]]),
    ("return {false, true}", [], [], [None, 1]),
    ("return {KEYS[1], ARGV[1], #ARGV}", ["k"], ["a", "b"], [b"k", b"a", 2]),
    ("return redis.call('SET', KEYS[1], 'v')", ["k"], [], b"OK"),
    ("return redis.call('GET', 'no') == false", [], [], 1),
    ("return type(redis.call('LLEN', 'no'))", [], [], b"number"),
    ("return redis.call('RPOP', 'no', 3) == false", [], [], 1),
    ("return #redis.call('LRANGE', 'no', 0, -1)", [], [], 0),
    ("redis.call('HSET', 'h', 'a', 1) return redis.call('HGETALL', 'h')", [], [], [b"a", b"1"]),
    ("return redis.call('HMGET', 'no', 'a')[1] == false", [], [], 1),
    ("redis.call('SET', 'f', 2^40) return redis.call('GET', 'f')", [], [], b"1099511627776"),
    ("redis.call('SET', 'f', 1.5) return redis.call('GET', 'f')", [], [], b"1.5"),
    ("return {string.format('%d', 2^52), 5 .. '', 10 / 2}", [], [],
     [b"4503599627370496", b"5", 5]),
    ("return tonumber(' 12 ') + tonumber('0x10')", [], [], 28),
    ("return string.match('ab cd', '^(%S+) (%S+)$')", [], [], b"ab"),
    ("return cmsgpack.unpack(ARGV[1]).a[2]", [], [b"\x81\xa1a\x92\x01\xa3two"], b"two"),
    ("return #cmsgpack.unpack(ARGV[1])", [], [b"\x90"], 0),
    ("local t = redis.call('TIME') return #t", [], [], 2),
    ("return redis.status_reply and 1 or 1", [], [], 1),
]
BROKEN = [
    "return redis.call('NOSUCH')",
    "return redis.call('GET')",
    "redis.call('SET', 'k', 'v') return redis.call('LPUSH', 'k', '1')",
    "here = 1",
    "return there",
    "return nil + 1",
    "return {} .. 'a'",
    "return redis.call('SET', 'k', {})",
    "return redis.call('SET', 'k', true)",
    "return io.open('x')",
    "return require('os')",
]


@pytest.mark.parametrize(("text", "keys", "args", "wanted"), SCRIPTS)
def test_scripts(
    engine: redis.Redis, text: str, keys: list[str], args: list[Any], wanted: Any
) -> None:
    script = engine.register_script(f"#!lua flags=allow-oom\n{text}")
    assert script(keys=keys, args=args) == wanted
    assert script(keys=keys, args=args) == wanted


@pytest.mark.parametrize("text", BROKEN)
def test_a_script_that_fails_says_so_and_keeps_what_it_wrote(
    engine: redis.Redis, text: str
) -> None:
    script = engine.register_script(f"#!lua\nredis.call('SET', 'before', '1')\n{text}")
    with pytest.raises(ResponseError):
        script(keys=[], args=[])
    assert engine.get("before") == b"1"


def test_a_script_is_forgotten_and_given_again(engine: redis.Redis) -> None:
    script = engine.register_script("#!lua\nreturn 1")
    assert script(keys=[], args=[]) == 1
    engine.script_flush()
    with pytest.raises(NoScriptError):
        engine.evalsha(script.sha, 0)
    assert script(keys=[], args=[]) == 1


# --- Valkey: by chance ----------------------------------------------------------------------------

_KEYS = ("a", "b", "c")
_WORDS = ("x", "y", "1", "-2", "")


def _anything(rng: random.Random) -> tuple[Any, ...]:
    key, other = rng.choice(_KEYS), rng.choice(_KEYS)
    word, number = rng.choice(_WORDS), rng.randint(-3, 3)
    return rng.choice((
        ("SET", key, word), ("GET", key), ("INCR", key), ("DEL", key), ("EXISTS", key, other),
        ("HSET", key, word, number), ("HGET", key, word), ("HDEL", key, word),
        ("HINCRBY", key, word, number), ("HMGET", key, word, "x"), ("HEXISTS", key, word),
        ("LPUSH", key, word), ("RPUSH", key, word, number), ("RPOP", key), ("RPOP", key, number),
        ("LPOP", key), ("LLEN", key), ("LRANGE", key, number, rng.randint(-3, 3)),
        ("LTRIM", key, number, rng.randint(-3, 3)), ("LREM", key, 1, word),
        ("RPOPLPUSH", key, other), ("ZADD", key, number, word), ("ZREM", key, word),
        ("ZRANGEBYSCORE", key, number, "+inf"), ("ZRANGEBYSCORE", key, "-inf", f"({number}"),
        ("PEXPIRE", key, 1_000_000), ("PTTL", key), ("ZSCORE", key, word), ("UNLINK", key),
    ))  # fmt: skip


def _heard(client: redis.Redis, said: tuple[Any, ...]) -> Any:
    try:
        heard = client.execute_command(*said)
    except RedisError as refused:
        return f"{type(refused).__name__} {refused}"
    return heard > 0 if said[0] == "PTTL" else heard


def test_any_conversation_goes_the_same_way(valkey: redis.Redis) -> None:
    fake, rng = simulated_valkey(), random.Random(1)
    for number in range(6_000):
        said = _anything(rng)
        real = _heard(valkey, said)
        assert _heard(fake, said) == real, f"{number}: {said}"


# --- MongoDB --------------------------------------------------------------------------------------


def written(orders: Collection[Document], *requests: Any) -> dict[str, Any]:
    """The counts of an unordered bulk write, and index and code of what it refused."""
    try:
        done = orders.bulk_write(list(requests), ordered=False).bulk_api_result
    except BulkWriteError as error:
        done = error.details
    return {
        "errors": [(e["index"], e["code"], e.get("keyPattern")) for e in done["writeErrors"]],
        **{name: done[name] for name in ("nInserted", "nMatched", "nModified", "nUpserted")},
    }


def counts(inserted: int = 0, matched: int = 0, modified: int = 0, errors: Any = ()) -> Any:
    return {"errors": list(errors), "nInserted": inserted, "nMatched": matched,
            "nModified": modified, "nUpserted": 0}  # fmt: skip


class TestMongo:
    def test_a_unique_sparse_index_refuses_only_what_carries_the_same(
        self, orders: Collection[Document]
    ) -> None:
        assert written(
            orders, InsertOne({"_id": "A", "unit": "1:1"}), InsertOne({"_id": "B"}),
            InsertOne({"_id": "C"}), InsertOne({"_id": "D", "unit": "1:1"}),
            InsertOne({"_id": "E", "unit": "1:2"}), InsertOne({"_id": "A"}),
        ) == counts(4, errors=[(3, 11_000, {"unit": 1}), (5, 11_000, {"_id": 1})])  # fmt: skip
        assert sorted(d["_id"] for d in orders.find({})) == ["A", "B", "C", "E"]

    def test_a_null_is_a_value_for_a_sparse_index(self, orders: Collection[Document]) -> None:
        assert written(
            orders, InsertOne({"_id": "A", "unit": None}), InsertOne({"_id": "B", "unit": None})
        ) == counts(1, errors=[(1, 11_000, {"unit": 1})])

    def test_an_update_counts_what_it_matches_and_what_it_changes(
        self, orders: Collection[Document]
    ) -> None:
        written(orders, *[InsertOne({"_id": n, "state": "held", "n": n}) for n in range(4)])
        assert written(
            orders,
            UpdateOne({"_id": 0, "state": "held"}, {"$set": {"state": "confirmed"}}),
            UpdateOne({"_id": 1, "state": "gone"}, {"$set": {"state": "confirmed"}}),
            UpdateOne({"_id": 2, "state": "held"}, {"$set": {"state": "held"}}),
            UpdateMany({"_id": {"$in": [0, 2, 3, 9]}, "state": "held"}, {"$unset": {"n": ""}}),
        ) == counts(matched=4, modified=3)
        assert {d["_id"]: d.get("n") for d in orders.find({})} == {0: 0, 1: 1, 2: None, 3: None}

    def test_none_means_a_field_that_is_missing_too(self, orders: Collection[Document]) -> None:
        written(orders, InsertOne({"_id": 1}), InsertOne({"_id": 2, "done": None}),
                InsertOne({"_id": 3, "done": True}))  # fmt: skip
        assert written(
            orders, UpdateMany({"_id": {"$in": [1, 2, 3]}, "done": None}, {"$set": {"n": 1}}),
            UpdateOne({"_id": 3, "done": None}, {"$set": {"n": 1}}),
        ) == counts(matched=2, modified=2)

    def test_an_update_that_doubles_a_unit_is_refused_and_the_others_go_on(
        self, orders: Collection[Document]
    ) -> None:
        written(orders, InsertOne({"_id": "A", "unit": "1:1"}), InsertOne({"_id": "B"}))
        assert written(
            orders, UpdateOne({"_id": "B"}, {"$set": {"unit": "1:1"}}),
            UpdateOne({"_id": "A"}, {"$set": {"n": 1}}),
        ) == counts(matched=1, modified=1, errors=[(0, 11_000, {"unit": 1})])

    def test_a_unit_that_was_given_up_is_free_again(self, orders: Collection[Document]) -> None:
        written(orders, InsertOne({"_id": "A", "unit": "1:1"}))
        written(orders, UpdateOne({"_id": "A"}, {"$unset": {"unit": ""}}))
        assert written(orders, InsertOne({"_id": "B", "unit": "1:1"})) == counts(1)

    def test_operators(self, orders: Collection[Document]) -> None:
        written(orders, InsertOne({"_id": 1, "h": [["a"]], "x": 1}))
        written(orders, UpdateOne({"_id": 1}, {
            "$set": {"y": 2}, "$unset": {"x": "", "no": ""}, "$push": {"h": {"$each": [["b"]]}},
        }))  # fmt: skip
        assert list(orders.find({})) == [{"_id": 1, "h": [["a"], ["b"]], "y": 2}]

    def test_what_is_no_operator(self, orders: Collection[Document]) -> None:
        with pytest.raises(OperationFailure) as refused:
            list(orders.find({"_id": {"$nosuch": 1}}))
        assert refused.value.code == 2
        with pytest.raises(OperationFailure) as refused:
            list(orders.find({"unit": "1"}).hint("nosuch"))
        assert refused.value.code == 2

    def test_ranges_compare_values_of_one_kind(self, orders: Collection[Document]) -> None:
        written(orders, *[InsertOne({"_id": n, "unit": unit}) for n, unit in enumerate(
            ("1:1", "1:10", "1:2", "10:1", "2:1", 5)
        )], InsertOne({"_id": 9}))  # fmt: skip

        def found(wanted: Document) -> list[Any]:
            asked = orders.find(wanted, {"_id": 0, "unit": 1}, batch_size=2).hint("unit")
            return [d.get("unit") for d in asked]

        assert found({"unit": {"$gte": "1:", "$lt": "1;"}}) == ["1:1", "1:10", "1:2"]
        assert found({"unit": {"$gt": ""}}) == ["10:1", "1:1", "1:10", "1:2", "2:1"]
        assert found({"unit": {"$in": ["2:1", "1:2", "no"]}}) == ["1:2", "2:1"]

    def test_moments_sort_upwards_and_end_at_the_limit(
        self, orders: Collection[Document]
    ) -> None:
        moments = (30, 10, 20, 40)
        written(orders, *[
            InsertOne({"_id": ms, "owed_since": DatetimeMS(ms)}) for ms in moments
        ], InsertOne({"_id": 0}))  # fmt: skip
        asked = orders.find({"owed_since": {"$lte": DatetimeMS(30)}}, {"_id": 1})
        assert [d["_id"] for d in asked.sort("owed_since", ASCENDING).limit(2)] == [10, 20]

    def test_values_come_back_as_they_are_kept(self, orders: Collection[Document]) -> None:
        document = {
            "_id": "A", "at": DatetimeMS(253_402_300_800_001), "n": 2**40, "f": 1.5,
            "price": Decimal128("49.90"), "d": {"b": 1, "a": None}, "l": [1, "x"],
        }  # fmt: skip
        written(orders, InsertOne(document))
        [found] = orders.find({"_id": {"$in": ["A", "B"]}})
        assert found == document
        assert list(found["d"]) == ["b", "a"]

    def test_indexes(self, database: Database[Document]) -> None:
        store, orders = BookingStore(database), database.get_collection(
            "orders", codec_options=CODEC
        )
        assert orders.index_information() == {}
        with pytest.raises(EngineUnfit, match="lacks the index"):
            store.check_indexes()
        store.ensure_indexes()
        store.ensure_indexes()
        store.check_indexes()
        found = orders.index_information()
        for name, (keys, options) in ORDER_INDEXES.items():
            assert list(found[name]["key"]) == keys
            assert {k: found[name].get(k) for k in options} == options
        with pytest.raises(OperationFailure) as refused:
            orders.create_index([("unit", ASCENDING)], name="unit")
        assert refused.value.code == 86


def placed(order_id: str, unit: int | None, **changes: Any) -> Order:
    """An order as the store writes it."""
    return Order(**{
        "order_id": order_id, "email": "a@example.org", "package_id": 1, "package": None,
        "state": State.HELD, "reason": None, "accepted_ms": 1, "decided_ms": 2, "history": (),
        "unit": unit, "quota_seen": 9, "hold_expires_ms": 50, **changes,
    })  # fmt: skip


class TestStore:
    @pytest.fixture
    def store(self, database: Database[Document]) -> BookingStore:
        store = BookingStore(database, parallel_from=3)
        store.ensure_indexes()
        return store

    def test_orders_are_written_and_read(self, store: BookingStore) -> None:
        orders = [placed(f"O{n}", n) for n in range(1, 6)]
        store.write([(None, order) for order in orders])
        assert sorted(store.read_orders([o.order_id for o in orders]), key=str) == orders
        assert store.live_units(1) == [1, 2, 3, 4, 5]
        assert {k: list(v) for k, v in store.all_live_units(lambda: None).items()} == {
            1: [1, 2, 3, 4, 5]
        }
        assert store.expired_holds(60, 3) == ["O1", "O2", "O3"]
        assert store.expired_holds(40, 3) == []

    def test_slots_are_found_by_their_keys_and_the_highest_of_each_package(
        self, store: BookingStore, orders: Collection[Document]
    ) -> None:
        assert store.highest_slots(lambda: None) == {}
        assert store.taken_slots([]) == []
        carried = [("ann@x.org", 1, 2), ("Bob@X.org", 1, 12), ("ann@x.org", 1, 9),
                   ("ann@x.org:77", 11, 1), ("ann@x.org", 2, LIMIT_MAX)]  # fmt: skip
        store.write([
            (None, placed(f"O{n}", n, email=email, package_id=package_id, slot=slot))
            for n, (email, package_id, slot) in enumerate(carried, 1)
        ])
        by_hand = ("1:ann@x.org:many", "eve@x.org:50", f"2:eve@x.org:{LIMIT_MAX + 1}", "", 7)
        written(orders, *[InsertOne({"_id": f"H{key}", "slot": key}) for key in by_hand])
        kept: list[int] = []
        assert store.highest_slots(lambda: kept.append(1)) == {1: 12, 11: 1, 2: LIMIT_MAX}
        assert kept
        keys = [slot_key(1, email, n) for email in ("ann@x.org", "bob@x.org") for n in (1, 2, 12)]
        assert sorted(store.taken_slots(keys)) == ["1:ann@x.org:2", "1:bob@x.org:12"]

    def test_whoever_meets_another_writer_is_surprised(self, store: BookingStore) -> None:
        held = placed("O1", 1)
        store.write([(None, held)])
        with pytest.raises(Surprise):
            store.write([(None, placed("O2", 1))])
        with pytest.raises(Surprise):
            store.write([(None, held)])
        failed = placed("O1", None, state=State.FAILED, hold_expires_ms=None)
        store.write([(held, failed)])
        with pytest.raises(Surprise, match="0 of 1 updates"):
            store.write([(held, failed)])
        assert store.live_units(1) == []


def _any_request(rng: random.Random) -> Any:
    key, unit = rng.randint(1, 6), f"1:{rng.randint(1, 4)}"
    change: Callable[[], Document] = lambda: rng.choice((  # noqa: E731
        {"$set": {"unit": unit}}, {"$unset": {"unit": ""}},
        {"$set": {"state": rng.choice("hc"), "n": rng.randint(0, 2)}},
        {"$push": {"h": {"$each": [rng.randint(0, 3)]}}},
    ))  # fmt: skip
    return rng.choice((
        lambda: InsertOne({"_id": key, "unit": unit, "state": "h"}),
        lambda: InsertOne({"_id": key, "state": "h"}),
        lambda: UpdateOne({"_id": key}, change()),
        lambda: UpdateOne({"_id": key, "state": "h"}, change()),
        lambda: UpdateMany({"_id": {"$in": [key, 1, 2]}, "state": "h"}, change()),
    ))()  # fmt: skip


def test_any_writes_end_the_same_way(mongo_database: Database[Document]) -> None:
    fake = cast(Database[Document], simulated_mongo())
    both: list[Collection[Document]] = []
    for one in (mongo_database, fake):
        BookingStore(one).ensure_indexes()
        both.append(one.get_collection("orders", codec_options=CODEC))
    rng = random.Random(1)
    for number in range(400):
        requests = [_any_request(rng) for _ in range(rng.randint(1, 4))]
        real, simulated = (written(orders, *requests) for orders in both)
        assert simulated == real, f"{number}: {requests}"
        assert _all_of(both[1]) == _all_of(both[0]), f"{number}: {requests}"


def _all_of(orders: Collection[Document]) -> list[Document]:
    return sorted(orders.find({}), key=lambda document: document["_id"])

