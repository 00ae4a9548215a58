"""The catalogue's shelf on a real Valkey: who may write, what is seen, what is left behind."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence

import pytest
import redis

from catalogue import shelf_writer
from catalogue.model import Payload
from catalogue.shelf import CatalogueReader, Change, Cursor, Standing, entry_of
from catalogue.shelf_writer import OlderThanShown, Put, ShelfWriter, ask_for_rebuild
from errors import CatalogueBuilding, LeaseLost, Surprise
from queues.keys import CATALOGUE


def hotel(hotel_id: str, words: str, *, slug: str = "") -> Put:
    text = words.encode()
    made = Payload(page=b"<p>" + text, json=b"{}" + text, card=b"card " + text,
                   brief=b"brief " + text, row=b"row " + text)  # fmt: skip
    return Put(hotel_id, slug or f"at-{hotel_id}", entry_of(made))


def gone(hotel_id: str, why: str = "") -> Put:
    return Put(hotel_id, "", None, why)


class Writer(ShelfWriter):
    """A writer that has the lease, and what it knows of the shelf."""

    def __init__(self, client: redis.Redis, name: str = "me") -> None:
        super().__init__(client, consumer=name, lease_ms=60_000)
        assert self.acquire()

    def build(self, puts: Sequence[Put], version: str = "1") -> Standing:
        generation = self.begin()
        self.put(generation, puts, version=version, seq=None)
        self.swap(generation, token="t0", version="v", day="2027-01-01")
        return self.now()

    def change(self, puts: Sequence[Put], version: str = "2", *, since: Standing | None = None
               ) -> Standing:
        known = since or self.now()
        self.put(known.generation, puts, version=version, seq=known.seq, token="t1")
        return self.now()

    def now(self) -> Standing:
        standing, _ = self.standing()
        assert standing is not None
        return standing

    def tidy_all(self) -> None:
        while self.tidy():
            pass


@pytest.fixture
def writer(valkey: redis.Redis) -> Writer:
    return Writer(valkey)


@pytest.fixture
def reader(valkey: redis.Redis) -> CatalogueReader:
    return CatalogueReader(valkey)


def everything(client: redis.Redis) -> dict[bytes, bytes | None]:
    """All that stands there, but for the lease."""
    return {key: client.dump(key) for key in client.scan_iter()
            if key.decode() not in (CATALOGUE.lease, CATALOGUE.epoch)}


class TestBuilding:
    def test_nothing_is_there_before_the_swap(
        self, writer: Writer, reader: CatalogueReader
    ) -> None:
        with pytest.raises(CatalogueBuilding):
            reader.page("a-1")
        generation = writer.begin()
        writer.put(generation, [hotel("a-1", "one")], version="1", seq=None)
        with pytest.raises(CatalogueBuilding):
            reader.cards(["a-1"])
        writer.swap(generation, token="t0", version="v", day="2027-01-01")
        found = reader.page("a-1")
        assert found is not None
        assert gzip.decompress(found.body) == b"<p>one"
        assert found.size == 6
        assert reader.standing().token == "t0"

    def test_a_swap_shows_all_of_the_new_and_nothing_of_the_old(
        self, writer: Writer, reader: CatalogueReader, valkey: redis.Redis
    ) -> None:
        first = writer.build([hotel("a-1", "one"), hotel("a-2", "two"), gone("a-3", "no city")])
        assert reader.briefs(["a-2", "a-1"]) == [b"brief two", b"brief one"]
        second = writer.build([hotel("a-1", "uno", slug="new")])
        assert second.generation > first.generation
        assert reader.briefs(["a-2", "a-1"]) == [None, b"brief uno"]
        assert reader.page("a-2") is None
        assert (reader.hotel_id_of("new"), reader.hotel_id_of("at-a-1")) == ("a-1", None)
        writer.tidy_all()
        assert not [key for key in valkey.scan_iter() if str(first.generation).encode() in key]
        assert reader.page("a-1") is not None

    def test_a_build_that_was_given_up_is_removed_too(
        self, writer: Writer, valkey: redis.Redis
    ) -> None:
        given_up = writer.begin()
        writer.put(given_up, [hotel("a-1", "one")], version="1", seq=None)
        writer.build([hotel("a-1", "one")])
        with pytest.raises(Surprise):
            writer.put(given_up, [hotel("a-1", "late")], version="2", seq=None)
        writer.tidy_all()
        assert not [key for key in valkey.scan_iter() if str(given_up).encode() in key]

    def test_a_wish_for_a_rebuild_lasts_until_one_is_shown(
        self, writer: Writer, valkey: redis.Redis
    ) -> None:
        writer.build([])
        ask_for_rebuild(valkey)
        assert writer.standing()[1]
        writer.begin()  # and dies
        assert writer.standing()[1]
        writer.build([])
        assert not writer.standing()[1]


class TestChanging:
    def test_changes_are_seen_told_and_followed(
        self, writer: Writer, reader: CatalogueReader
    ) -> None:
        standing = writer.build([hotel("a-1", "one"), hotel("a-2", "two")])
        cursor = Cursor(standing.generation, standing.seq)
        assert reader.changes(cursor, block_ms=1) == (cursor, [])
        standing = writer.change([hotel("a-1", "uno"), gone("a-2"), hotel("a-3", "tres")])
        assert reader.standing().token == "t1"
        assert reader.cards(["a-1", "a-2", "a-3"]) == [b"card uno", None, b"card tres"]
        assert reader.hotel_id_of("at-a-2") is None
        assert reader.changes(cursor, block_ms=1) == (Cursor(standing.generation, 3), [
            Change("a-1", b"row uno"), Change("a-2", b""), Change("a-3", b"row tres"),
        ])  # fmt: skip
        rows = {key: row for part in reader.rows(standing.generation) for key, row in part.items()}
        assert rows == {"a-1": b"row uno", "a-3": b"row tres"}

    def test_what_did_not_change_is_told_to_nobody(
        self, writer: Writer, reader: CatalogueReader
    ) -> None:
        before = writer.build([hotel("a-1", "one")])
        assert writer.change([hotel("a-1", "one"), gone("b-1")]).seq == before.seq
        assert reader.standing().token == "t1"

    def test_addresses_change_hands_in_one_batch(
        self, writer: Writer, reader: CatalogueReader
    ) -> None:
        writer.build([hotel("a-1", "1", slug="x"), hotel("a-2", "2", slug="y")])
        writer.change([hotel("a-1", "1b", slug="y"), hotel("a-2", "2b", slug="x")])
        assert (reader.hotel_id_of("x"), reader.hotel_id_of("y")) == ("a-2", "a-1")

    def test_an_address_of_who_is_gone_is_free_in_the_same_batch(
        self, writer: Writer, reader: CatalogueReader
    ) -> None:
        writer.build([hotel("a-1", "1", slug="x"), hotel("a-2", "2", slug="y")])
        writer.change([gone("a-1", why="x"), hotel("a-2", "2b", slug="x")])
        assert (reader.hotel_id_of("x"), reader.hotel_id_of("y")) == ("a-2", None)

    def test_broken_hotels_are_named_until_they_are_mended(
        self, writer: Writer, valkey: redis.Redis
    ) -> None:
        standing = writer.build([gone("a-1", why="no city")])
        assert valkey.hgetall(CATALOGUE.broken(standing.generation)) == {b"a-1": b"no city"}
        assert writer.known(standing.generation) == (frozenset(), {"a-1"})
        writer.change([hotel("a-1", "one")])
        assert not valkey.exists(CATALOGUE.broken(standing.generation))
        assert not valkey.exists(CATALOGUE.gone(standing.generation))


class TestFencing:
    def test_a_writer_that_slept_changes_nothing(
        self, writer: Writer, reader: CatalogueReader, valkey: redis.Redis
    ) -> None:
        standing = writer.build([hotel("a-1", "one")])
        valkey.delete(CATALOGUE.lease)
        other = Writer(valkey, "other")
        other.change([hotel("a-1", "two")])
        late: list[Callable[[], object]] = [
            lambda: writer.change([hotel("a-1", "one")], "3"), writer.begin, writer.keep,
            lambda: writer.swap(standing.generation, token="t2", version="v", day=""),
        ]
        for write in late:
            with pytest.raises(LeaseLost):
                write()
        assert reader.cards(["a-1"]) == [b"card two"]
        assert reader.standing().token == "t1"

    def test_a_call_that_was_delayed_does_nothing(
        self, writer: Writer, reader: CatalogueReader
    ) -> None:
        before = writer.build([hotel("a-1", "one")])
        writer.change([hotel("a-1", "two")])
        with pytest.raises(Surprise):
            writer.change([hotel("a-1", "three")], "3", since=before)
        assert reader.cards(["a-1"]) == [b"card two"]

    @pytest.mark.parametrize(("newer", "older"), [
        (hotel("a-1", "new"), hotel("a-1", "old", slug="elsewhere")),
        (hotel("a-1", "new"), gone("a-1")),
        (hotel("a-1", "new"), gone("a-1", why="no city")),
        (gone("a-1"), hotel("a-1", "old")),
        (gone("a-1", why="no city"), hotel("a-1", "old")),
        (gone("b-9"), hotel("b-9", "never shown")),
    ], ids=["page page", "page gone", "page broken", "gone page", "broken page", "unknown page"])
    def test_nothing_older_undoes_what_is_newer(
        self, writer: Writer, valkey: redis.Redis, newer: Put, older: Put
    ) -> None:
        writer.build([hotel("a-1", "first"), hotel("a-2", "first")])
        writer.change([newer], "3")
        stands = everything(valkey)
        with pytest.raises(OlderThanShown):
            # Not even what could be taken by itself: the call is one.
            writer.change([hotel("a-2", "second"), older], "2")
        assert everything(valkey) == stands
        writer.change([older], "3")
        assert everything(valkey) != stands


class TestFollowing:
    @pytest.mark.parametrize("what", ["swapped", "flushed", "trimmed", "stream gone"])
    def test_who_cannot_follow_is_told_to_load_anew(
        self, valkey: redis.Redis, writer: Writer, reader: CatalogueReader, what: str
    ) -> None:
        standing = writer.build([hotel("a-1", "one")])
        cursor = Cursor(standing.generation, standing.seq)
        if what == "trimmed":
            writer.change([hotel("a-1", "two")])
            writer.change([hotel("a-1", "three")])
            valkey.xtrim(CATALOGUE.changes, maxlen=1, approximate=False)
        elif what == "stream gone":
            writer.change([hotel("a-1", "two")])
            valkey.delete(CATALOGUE.changes)
        else:
            if what == "flushed":
                valkey.flushdb()
                with pytest.raises(CatalogueBuilding):
                    reader.changes(cursor, block_ms=1)
                writer = Writer(valkey)
            writer.build([hotel("a-1", "one")])
        assert reader.changes(cursor, block_ms=1) is None

    def test_as_many_changes_are_kept_as_is_said(
        self, valkey: redis.Redis, writer: Writer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(shelf_writer, "CHANGES_KEPT", 10)
        writer.build([])
        for first in range(0, 400, 100):
            writer.change([hotel(f"a-{n}", "one") for n in range(first, first + 100)])
        # Whole nodes of the stream are dropped, of a hundred entries each.
        assert valkey.xlen(CATALOGUE.changes) <= 110
