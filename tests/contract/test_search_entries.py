"""The search entry's contract on a real Valkey: one search, one entry, one price."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
import redis

from queues.keys import SEARCH
from search.entries import SearchEntries, TooManySearches
from search.model import Cursor, OfferedRate, SupplierState
from search.query import SearchQuery
from tests.waiting import eventually

QUERY = SearchQuery("lisbon", dt.date(2027, 3, 1), dt.date(2027, 3, 4), 2)


def rate(number: int, supplier: str = "fast", price: str = "100.00") -> OfferedRate:
    return OfferedRate(rate_id=f"r{number}", hotel_id=f"h{number}", supplier=supplier,
                       room="Double", price=price, currency="EUR", refundable=True)


def opened(valkey: redis.Redis, **changes: float) -> SearchEntries:
    return SearchEntries(valkey, SEARCH, **{"deadline_s": 30, "life_s": 60, "max_waiting": 100,
                                            **changes})


@pytest.fixture
def entries(valkey: redis.Redis) -> SearchEntries:
    return opened(valkey)


def test_many_who_ask_begin_one_search(entries: SearchEntries, valkey: redis.Redis) -> None:
    first = entries.begin(QUERY)
    for _ in range(5):
        again = entries.begin(msgspec.structs.replace(QUERY))
        assert (again.search_id, again.expires_ms) == (first.search_id, first.expires_ms)
    assert valkey.llen(SEARCH.jobs) == 1
    assert valkey.hget(SEARCH.counters, "pushed") == b"1"
    entries.begin(msgspec.structs.replace(QUERY, guests=1))
    assert valkey.llen(SEARCH.jobs) == 2


def test_rates_are_readable_in_the_order_of_arrival_and_from_a_cursor(
    entries: SearchEntries,
) -> None:
    search_id = entries.begin(QUERY).search_id
    assert entries.plan(search_id, {"fast": 1, "slow": 2})
    assert entries.append(search_id, "fast", "fast:1", [rate(1), rate(2)], finished=True)
    first = entries.begin(QUERY)
    assert [r.rate_id for r in first.rates] == ["r1", "r2"]
    assert first.cursor == Cursor(first.created_ms, 2)
    assert first.suppliers["fast"].state is SupplierState.DONE
    assert first.suppliers["slow"].state is SupplierState.PENDING
    assert not first.is_completed
    assert entries.append(search_id, "slow", "slow:1", [rate(3, "slow")])
    later = entries.read(search_id, since=first.cursor)
    assert [r.rate_id for r in later.rates] == ["r3"]
    assert later.cursor == Cursor(first.created_ms, 3)
    assert later.revision > first.revision


def test_it_is_complete_when_all_parts_are_done(entries: SearchEntries) -> None:
    search_id = entries.begin(QUERY).search_id
    entries.plan(search_id, {"fast": 1, "slow": 2})
    for supplier, chunk in (("fast", "f1"), ("slow", "s1")):
        entries.append(search_id, supplier, chunk, [], finished=True)
        assert not entries.read(search_id).is_completed
    entries.append(search_id, "slow", "s2", [], finished=True)
    assert entries.read(search_id).is_completed


def test_a_repeated_chunk_changes_nothing(entries: SearchEntries) -> None:
    search_id = entries.begin(QUERY).search_id
    entries.plan(search_id, {"fast": 2})
    assert entries.append(search_id, "fast", "one", [rate(1)], finished=True)
    before = entries.read(search_id)
    assert not entries.append(search_id, "fast", "one", [rate(1)], finished=True)
    assert entries.read(search_id) == before


def test_a_late_chunk_changes_nothing(entries: SearchEntries) -> None:
    search_id = entries.begin(QUERY).search_id
    entries.plan(search_id, {"fast": 1})
    entries.append(search_id, "fast", "one", [rate(1)], finished=True)
    before = entries.read(search_id)
    assert not entries.append(search_id, "fast", "two", [rate(2, price="1.00")])
    assert not entries.append("0" * 32, "fast", "one", [rate(1)])
    assert entries.read(search_id) == before
    assert entries.read("0" * 32) is None


def test_after_the_deadline_it_says_who_is_missing(valkey: redis.Redis) -> None:
    entries = opened(valkey, deadline_s=0.15)
    search_id = entries.begin(QUERY).search_id
    entries.plan(search_id, {"fast": 1, "slow": 1})
    entries.append(search_id, "fast", "one", [rate(1)], finished=True)
    found = eventually(lambda: (e := entries.read(search_id)).is_completed and e, 2.0)
    assert found.suppliers["slow"].state is SupplierState.TIMED_OUT
    assert found.suppliers["fast"].state is SupplierState.DONE
    assert not entries.append(search_id, "slow", "two", [rate(2, "slow")], finished=True)
    assert [r.rate_id for r in entries.read(search_id).rates] == ["r1"]


def test_a_supplier_that_brings_only_an_error_has_failed(entries: SearchEntries) -> None:
    search_id = entries.begin(QUERY).search_id
    entries.plan(search_id, {"bad": 1, "half": 1})
    entries.append(search_id, "bad", "b1", [], finished=True, error="no answer")
    entries.append(search_id, "half", "h1", [rate(1, "half")], finished=True, error="one hotel")
    found = entries.read(search_id)
    assert found.suppliers["bad"].state is SupplierState.FAILED
    assert found.suppliers["bad"].error == "no answer"
    assert found.suppliers["half"].state is SupplierState.DONE
    assert found.suppliers["half"].error == "one hotel"


def test_a_second_plan_changes_nothing(entries: SearchEntries) -> None:
    search_id = entries.begin(QUERY).search_id
    assert entries.plan(search_id, {"fast": 1})
    entries.append(search_id, "fast", "one", [rate(1)])
    assert entries.plan(search_id, {"fast": 5, "slow": 5})
    found = entries.read(search_id)
    assert found.suppliers["fast"].parts == 1
    assert found.suppliers["fast"].rates == 1
    assert "slow" not in found.suppliers
    assert not entries.plan("0" * 32, {"fast": 1})


def test_all_keys_of_a_search_go_together(valkey: redis.Redis) -> None:
    entries = opened(valkey, life_s=60)
    search_id = entries.begin(QUERY).search_id
    entries.plan(search_id, {"fast": 1})
    entries.append(search_id, "fast", "one", [rate(1)], finished=True)
    keys = valkey.keys(SEARCH.entry(search_id) + "*")
    assert len(keys) == 5
    assert len({valkey.pexpiretime(key) for key in keys}) == 1


def test_too_many_waiting_searches_are_refused(valkey: redis.Redis) -> None:
    entries = opened(valkey, max_waiting=1)
    entries.begin(QUERY)
    with pytest.raises(TooManySearches):
        entries.begin(msgspec.structs.replace(QUERY, guests=1))
    assert entries.begin(QUERY).search_id == QUERY.search_id
    assert valkey.llen(SEARCH.jobs) == 1


def test_a_reader_that_knows_the_revision_is_sent_nothing_again(entries: SearchEntries) -> None:
    search_id = entries.begin(QUERY).search_id
    entries.plan(search_id, {"fast": 1})
    entries.append(search_id, "fast", "one", [rate(1)])
    seen = entries.read(search_id)
    again = entries.read(search_id, known=seen.version)
    assert again.unchanged
    assert again.stored == []
    assert (again.revision, again.expires_ms) == (seen.revision, seen.expires_ms)
    entries.append(search_id, "fast", "two", [rate(2)])
    changed = entries.read(search_id, known=seen.version)
    assert not changed.unchanged
    assert [r.rate_id for r in changed.rates] == ["r1", "r2"]
    other = changed.version._replace(created_ms=changed.created_ms - 1)
    assert not entries.read(search_id, known=other).unchanged, "a version of another search"


def test_a_cursor_of_an_expired_search_continues_no_other(
    entries: SearchEntries, valkey: redis.Redis
) -> None:
    search_id = entries.begin(QUERY).search_id
    entries.plan(search_id, {"fast": 1})
    entries.append(search_id, "fast", "one", [rate(1), rate(2)])
    cursor = entries.read(search_id).cursor
    entry_keys = valkey.keys(SEARCH.entry(search_id) + "*")
    valkey.delete(*entry_keys)
    assert entries.read(search_id, since=cursor) is None
    # The server's clock has moved on by a millisecond at least, as after any expiry.
    eventually(lambda: _began_later(entries, valkey, cursor.created_ms), 2.0)
    assert entries.read(search_id, since=cursor) is None
    assert entries.read(search_id).rates == []


def _began_later(entries: SearchEntries, valkey: redis.Redis, than_ms: int) -> bool:
    valkey.delete(SEARCH.entry(QUERY.search_id))
    return entries.begin(QUERY).created_ms > than_ms


def test_a_search_that_exists_is_read_at_the_memory_limit_and_none_begins(
    entries: SearchEntries, valkey: redis.Redis
) -> None:
    search_id = entries.begin(QUERY).search_id
    before = valkey.config_get("maxmemory")["maxmemory"]
    valkey.config_set("maxmemory", 1)
    try:
        assert entries.read(search_id).search_id == search_id
        with pytest.raises(TooManySearches):
            entries.begin(msgspec.structs.replace(QUERY, guests=1))
    finally:
        valkey.config_set("maxmemory", before)
def named(query: SearchQuery, number: int, price: str = "100.00") -> OfferedRate:
    return msgspec.structs.replace(rate(number, price=price),
                                   rate_id=f"{query.search_id}-{number:016x}")


def test_one_rate_of_many_is_found_by_its_id(entries: SearchEntries) -> None:
    search = entries.begin(QUERY)
    entries.plan(search.search_id, {"fast": 5})
    for chunk in range(5):
        rates = [named(QUERY, chunk * 3_000 + n, f"{n + 1}.00") for n in range(3_000)]
        assert entries.append(search.search_id, "fast", f"f{chunk}", rates)
    for number, price in ((0, "1.00"), (2_999, "3000.00"), (3_000, "1.00"), (14_999, "3000.00")):
        found = entries.find_rate(f"{search.search_id}-{number:016x}")
        assert found is not None
        assert found.rate == named(QUERY, number, price)
        assert found.query == QUERY
        assert found.expires_ms == search.expires_ms
    assert entries.find_rate(f"{search.search_id}-{15_000:016x}") is None


def test_chunks_that_come_together_count_each_for_itself(entries: SearchEntries) -> None:
    search_id = entries.begin(QUERY).search_id
    entries.plan(search_id, {"fast": 1})
    assert entries.append(search_id, "fast", "two", [rate(2)])
    many = [rate(number) for number in range(100, 1_600)]
    together = [("one", [rate(1)]), ("two", [rate(2)]), ("none", []), ("many", many),
                ("end", [rate(3)])]
    assert entries.append_many(search_id, "fast", together[:-1])
    assert not entries.append_many(search_id, "fast", together[:-1]), "all of it came before"
    assert not entries.begin(QUERY).is_completed
    # The answer to this one is lost, so it is said again; the part ends once.
    assert entries.append_many(search_id, "fast", together, finished=True)
    assert not entries.append_many(search_id, "fast", together, finished=True)
    found = entries.begin(QUERY)
    assert [r.rate_id for r in found.rates] == ["r2", "r1", *(r.rate_id for r in many), "r3"]
    assert found.is_completed
    assert found.suppliers["fast"].rates == len(many) + 3


def test_a_last_chunk_that_came_before_ends_no_part(entries: SearchEntries) -> None:
    search_id = entries.begin(QUERY).search_id
    entries.plan(search_id, {"fast": 2})
    assert entries.append(search_id, "fast", "end:0", (), finished=True)
    assert entries.append_many(search_id, "fast", [("one", [rate(1)]), ("end:0", ())],
                               finished=True)
    assert entries.begin(QUERY).suppliers["fast"].state is SupplierState.PENDING
    assert entries.append(search_id, "fast", "end:1", (), finished=True)
    assert entries.begin(QUERY).is_completed


def test_no_other_id_finds_a_rate(entries: SearchEntries, valkey: redis.Redis) -> None:
    search = entries.begin(QUERY)
    entries.plan(search.search_id, {"fast": 1})
    entries.append(search.search_id, "fast", "f", [named(QUERY, 1)], finished=True)
    good = f"{search.search_id}-{1:016x}"
    assert entries.find_rate(good) is not None
    for other in ("", "1", search.search_id, good.upper(), good + "\n", good[1:], "é" * 49,
                  f"{'0' * 32}-{1:016x}", f"{search.search_id}-*"):
        assert entries.find_rate(other) is None, other
    # The places are forgotten with the search that they belong to.
    assert valkey.pexpiretime(SEARCH.places(search.search_id)) == search.expires_ms
    valkey.delete(SEARCH.entry(search.search_id))
    assert entries.find_rate(good) is None
