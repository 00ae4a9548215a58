"""The audit finds each defect that is planted in the catalogue, and none where none is."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
import redis
from pymongo.database import Database

from audit.__main__ import main
from booking.store import BookingStore
from catalogue import documents as d
from catalogue import listing, payloads
from catalogue.shelf_writer import ask_for_rebuild
from catalogue.source import HotelSource
from embedded import RunningEngines
from embedded.ports import free_port
from queues.keys import CATALOGUE
from tests.catalogue_world import CatalogueWorld
from tests.integration.test_catalogue_consumer import CHANGES, ODD, name_alike

COUNTS = ("pages_missing", "pages_stale", "pages_left", "listing_wrong")
HOTEL = "lisbon-7"


class Audited:
    """A small catalogue whose pages are all built, and the audit of it."""

    def __init__(self, world: CatalogueWorld, capsys: pytest.CaptureFixture[str]) -> None:
        self.world = world
        self.valkey = world.valkey
        self.documents = world.database
        self._capsys = capsys
        self.consumer = world.consumer()
        self.build()

    def build(self) -> None:
        self.consumer.step()
        self.world.settle(self.consumer)
        self.generation = self.world.reader.standing().generation

    def again(self) -> None:
        """Go on with a consumer that begins now."""
        self.consumer.leave()
        self.consumer = self.world.consumer("successor")
        self.build()

    def look(self, *arguments: str, quiet: float = 0) -> tuple[int, dict[str, Any]]:
        """Exit code and answer; the answer is the one line on stdout."""
        self._capsys.readouterr()
        code = main(["--json", "--only", "catalogue", "--quiet-within", str(quiet), *arguments])
        out = self._capsys.readouterr()
        assert out.err == ""
        assert out.out.count("\n") == 1
        return code, json.loads(out.out)

    def sees(self, *words: str, kinds: str) -> dict[str, Any]:
        """The audit finds these kinds of defects and no other, and says so in these words."""
        code, answer = self.look()
        told = "\n".join(answer["findings"])
        assert {name for name in COUNTS if answer[name]} == set(kinds.split()), told
        assert code == 1
        assert not answer["ok"]
        for word in words:
            assert word in told, told
        return answer

    def page(self, **fields: bytes | str) -> None:
        self.valkey.hset(CATALOGUE.hotel(self.generation, HOTEL), mapping=fields)

    def missed(self) -> None:
        """Make the shelf believe that it has seen all changes."""
        feed = HotelSource(self.documents).changes()
        self.valkey.hset(CATALOGUE.state, "token", feed.token)
        feed.close()

    def everything(self) -> dict[bytes, bytes | None]:
        return {key: self.valkey.dump(key) for key in self.valkey.scan_iter()}


@pytest.fixture
def audited(
    engines: RunningEngines, valkey: redis.Redis, mongo_database: Database[dict[str, Any]],
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> Audited:
    for name, value in (("REDIS_URL", engines.redis_url), ("MONGO_URL", engines.mongo_url),
                        ("CATALOGUE_REDIS_URL", engines.redis_url),
                        ("MONGO_DATABASE", mongo_database.name)):
        monkeypatch.setenv(name, value)
    BookingStore(mongo_database).ensure_indexes()
    world = CatalogueWorld(valkey, mongo_database)
    world.today = dt.datetime.now(dt.UTC).date()
    return Audited(world, capsys)


# --- nothing is wrong -------------------------------------------------------------------------


def test_a_clean_catalogue_passes_and_nothing_is_changed(audited: Audited) -> None:
    before = audited.everything()
    code, answer = audited.look()
    assert code == 0, answer
    assert (answer["ok"], answer["catalogue"], answer["hotels"]) == (True, "looked at", 25)
    assert [answer[name] for name in COUNTS] == [0, 0, 0, 0]
    assert answer["orders"] is None
    assert audited.everything() == before


def test_whatever_was_changed_and_followed_passes(
    audited: Audited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Odd documents too: recount and builder agree on what is fit."""
    real = payloads.build

    def build(hotel: Any) -> Any:
        if hotel.name == "Trap":
            raise KeyError("nobody thought of it")
        return real(hotel)

    monkeypatch.setattr(payloads, "build", build)
    changes = [change for change, _ in (*CHANGES.values(), *ODD.values())]
    for number, change in enumerate(changes, start=3):
        change(_Renamed(audited.documents, HOTEL, f"lisbon-{number}"))
    audited.documents[d.HOTELS].update_one(
        {"_id": "lisbon-2"}, {"$set": {"created_at": "2024-05-05T10:00:00Z"}})
    audited.world.settle(audited.consumer)
    code, answer = audited.look(quiet=5)
    assert code == 0, answer
    assert answer["hotels_broken"] == 3
    assert answer["hotels"] == 20


class _Renamed:
    """The same changes, for another hotel."""

    def __init__(self, found: Any, old: str, new: str) -> None:
        self._found, self._old, self._new = found, old, new

    def __getitem__(self, name: str) -> Any:
        return _Renamed(self._found[name], self._old, self._new)

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            text = [json.dumps(one, default=str) for one in arguments]
            moved = [json.loads(one.replace(self._old, self._new)) for one in text]
            kept = [one if '"created_at"' in words else other
                    for one, other, words in zip(arguments, moved, text, strict=True)]
            return getattr(self._found, name)(*kept)

        return call


def test_a_new_generation_passes_while_the_old_one_is_removed(audited: Audited) -> None:
    ask_for_rebuild(audited.valkey)
    audited.consumer.step()
    audited.world.settle(audited.consumer)
    assert audited.valkey.exists(CATALOGUE.old)
    assert audited.look()[0] == 0


@pytest.mark.parametrize("shell", ["7", "1000"])
def test_the_limit_is_that_of_the_consumer_whatever_this_shell_has(
    audited: Audited, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    monkeypatch.setenv("CATALOGUE_ACTIVE_MAX", shell)
    audited.consumer.leave()
    audited.consumer = audited.world.consumer("few", active_max=24)
    audited.build()
    code, answer = audited.look()
    assert (code, answer["hotels"]) == (0, 24), answer


def test_no_hotels_and_no_catalogue_pass(audited: Audited) -> None:
    audited.valkey.flushdb()
    audited.documents[d.HOTELS].delete_many({})
    code, answer = audited.look()
    assert (code, answer["catalogue"], answer["hotels"]) == (0, "no hotels", 0)


# --- a defect ---------------------------------------------------------------------------------

Plant = Callable[[Audited], Any]
PLANTED: dict[str, tuple[Plant, str, tuple[str, ...]]] = {
    "no page": (
        lambda a: a.valkey.delete(CATALOGUE.hotel(a.generation, HOTEL)),
        "pages_missing", ("hotel lisbon-7 has no page",)),
    "no card and no brief": (
        lambda a: (a.valkey.hdel(CATALOGUE.cards(a.generation), HOTEL),
                   a.valkey.hdel(CATALOGUE.briefs(a.generation), HOTEL)),
        "pages_missing", ("no card, no brief",)),
    "another page": (
        lambda a: a.page(page=gzip.compress(b"<p>another")),
        "pages_stale", ("hotel lisbon-7", "documents say: page",)),
    "a page that cannot be unpacked": (lambda a: a.page(page=b"no gzip"), "pages_stale", ("page",)),
    "another JSON": (
        lambda a: a.page(json=gzip.compress(b"{}"), json_size="2"), "pages_stale",
        ("json, json_size",)),
    "another name of what is shown": (lambda a: a.page(etag='"old"'), "pages_stale", ("etag",)),
    "another size": (lambda a: a.page(page_size="1"), "pages_stale", ("page_size",)),
    "another card": (
        lambda a: a.valkey.hset(CATALOGUE.cards(a.generation), HOTEL, "<article>"),
        "pages_stale", ("card",)),
    "another brief": (
        lambda a: a.valkey.hset(CATALOGUE.briefs(a.generation), HOTEL, "{}"), "pages_stale",
        ("brief",)),
    "a change that was missed": (
        lambda a: (a.documents[d.HOTELS].update_one({"_id": HOTEL}, {"$set": {"name": "New"}}),
                   a.missed()),
        "pages_stale", ("page, json", "hotel lisbon-7")),
    "a city that was renamed, missed": (
        lambda a: (a.documents[d.CITIES].update_one({"_id": "lisbon"}, {"$set": {"name": "L"}}),
                   a.missed()),
        "pages_stale listing_wrong", ("hotel lisbon-",)),
    "prices that were missed": (
        lambda a: (a.documents[d.PRICES].delete_many({"hotel_id": HOTEL}), a.missed()),
        "pages_stale listing_wrong", ("is not listed as its documents say", "by price_asc")),
    "a hotel that is no longer active, missed": (
        lambda a: (a.documents[d.HOTELS].update_one({"_id": HOTEL}, {"$set": {"active": False}}),
                   a.missed()),
        "pages_left listing_wrong", ("not to be shown, and has a page, a card, a brief, a row",)),
    "a hotel that is gone, missed": (
        lambda a: (a.documents[d.HOTELS].delete_one({"_id": HOTEL}), a.missed()),
        "pages_left listing_wrong", ("hotel lisbon-7 is not to be shown",)),
    "a hotel that came, missed": (
        lambda a: (a.documents[d.HOTELS].insert_one(
            {**a.documents[d.HOTELS].find_one({"_id": HOTEL}), "_id": "new-1", "slug": "new-1"}),
            a.missed()),
        "pages_missing listing_wrong",
        ("hotel new-1 has no page, no card, no brief", "hotel new-1 is not in the listing",
         "25 hotels are listed; by the documents 26")),
    "a page of nobody": (
        lambda a: a.valkey.hset(CATALOGUE.hotel(a.generation, "ghost-1"), "etag", "x"),
        "pages_left", ("hotel ghost-1 is not to be shown, and has a page",)),
    "no row": (
        lambda a: a.valkey.hdel(CATALOGUE.rows(a.generation), HOTEL),
        "listing_wrong", ("hotel lisbon-7 is not in the listing", "24 hotels are listed",
                          "city lisbon counts 19 hotels; by the documents 20")),
    "a row too much": (
        lambda a: a.valkey.hset(CATALOGUE.rows(a.generation), "ghost-1", "[]"),
        "pages_left", ("hotel ghost-1 is not to be shown, and has a row",)),
    "another row": (
        lambda a: a.valkey.hset(CATALOGUE.rows(a.generation), HOTEL, a.valkey.hget(
            CATALOGUE.rows(a.generation), "lisbon-8")),
        "listing_wrong", ("hotel lisbon-7 is not listed as", "by the documents")),
    "a row that cannot be read": (
        lambda a: a.valkey.hset(CATALOGUE.rows(a.generation), HOTEL, "[1]"),
        "listing_wrong", ("the row of hotel lisbon-7 cannot be read",)),
    "no address": (
        lambda a: a.valkey.hdel(CATALOGUE.slugs(a.generation), a.world.shown(HOTEL)["slug"]),
        "listing_wrong", ("of hotel lisbon-7 leads nowhere",)),
    "an address that leads elsewhere": (
        lambda a: a.valkey.hset(CATALOGUE.slugs(a.generation), a.world.shown(HOTEL)["slug"],
                                "lisbon-8"),
        "listing_wrong", ("leads to hotel lisbon-8; by the documents to lisbon-7",)),
    "an address too much": (
        lambda a: a.valkey.hset(CATALOGUE.slugs(a.generation), "old-address", HOTEL),
        "listing_wrong", ("the address old-address leads to hotel lisbon-7; by the documents to "
                          "none",)),
    "an address of two": (
        lambda a: (name_alike(a.world, HOTEL, "lisbon-8"), a.again()),
        "listing_wrong", ("have the same address corner-house, and only the first is shown",)),
    "the wrong one at an address of two": (
        lambda a: (name_alike(a.world, HOTEL, "lisbon-8"), a.again(), a.valkey.hset(
            CATALOGUE.slugs(a.generation), "corner-house", "lisbon-9")),
        "listing_wrong", ("have the same address", "leads to hotel lisbon-9; by the documents")),
    "a reason that does not hold": (
        lambda a: a.valkey.hset(CATALOGUE.broken(a.generation), HOTEL, "no city"),
        "listing_wrong", ("hotel lisbon-7: kept as not to be shown because of 'no city'",)),
    "a reason that is missing": (
        lambda a: (a.documents[d.HOTELS].update_one({"_id": HOTEL}, {"$set": {"city": "none"}}),
                   a.build(), a.valkey.delete(CATALOGUE.broken(a.generation))),
        "listing_wrong", ("because of 'nothing'", "city 'none' is not in")),
    "a generation that nobody removes": (
        lambda a: a.valkey.hset(CATALOGUE.rows(17), "x", "y"),
        "pages_left", ("1 keys of generation 17, which nobody shows or removes",)),
    "changes that were not told": (
        lambda a: a.valkey.delete(CATALOGUE.changes),
        "listing_wrong", ("the last change that was told is none",)),
}  # fmt: skip


@pytest.mark.parametrize("what", PLANTED)
def test_a_defect_is_found(audited: Audited, what: str) -> None:
    plant, kinds, words = PLANTED[what]
    plant(audited)
    audited.sees(*words, kinds=kinds)


@pytest.mark.parametrize("what", ["score", "facet", "filter"])
def test_a_fault_of_the_builder_or_the_listing_excuses_nobody(
    audited: Audited, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The same fault at building and at auditing: only the recount can know."""
    if what == "score":
        monkeypatch.setattr(payloads, "general_score", lambda hotel: float(hotel.stars))
        words = "by reco is hotel"
    elif what == "facet":
        real = listing.Index._values
        monkeypatch.setattr(listing.Index, "_values", lambda self, row: real(
            self, msgspec.structs.replace(row, stars=3)))
        words = "stars 3 counts"
    else:
        bits = listing.Index._any
        monkeypatch.setattr(listing.Index, "_any", lambda self, facet, codes: bits(
            self, facet, list(codes)[:0]))
        words = "of three stars and more"
    ask_for_rebuild(audited.valkey)
    audited.build()
    audited.sees(words, kinds="listing_wrong")


def test_all_defects_are_counted_and_written_to_a_file(audited: Audited, tmp_path: Any) -> None:
    for key in audited.valkey.scan_iter(match=CATALOGUE.hotel(audited.generation, "*")):
        audited.valkey.hset(key, "etag", "old")
    file = tmp_path / "findings"
    code, answer = audited.look("--findings", str(file))
    assert (code, answer["pages_stale"], len(answer["findings"])) == (1, 25, 20)
    assert len(file.read_text().splitlines()) == 25


# --- it cannot be told ------------------------------------------------------------------------

BEHIND: dict[str, tuple[Plant, str]] = {
    "a price": (
        lambda a: a.documents[d.PRICES].delete_many({"hotel_id": HOTEL}),
        "changes behind MongoDB, and its consumer is at it"),
    "a hotel, and nobody is there": (
        lambda a: (a.documents[d.HOTELS].delete_one({"_id": HOTEL}), a.consumer.leave()),
        "the catalogue is 1 changes behind MongoDB, and no consumer of it runs"),
    "a city": (
        lambda a: a.documents[d.CITIES].update_one({"_id": "lisbon"}, {"$set": {"name": "L"}}),
        "the catalogue is 1 changes behind"),
    "flushed": (lambda a: a.valkey.flushdb(), "the catalogue is not built"),
    "another release": (
        lambda a: a.valkey.hset(CATALOGUE.state, "version", "old EUR"), "another release"),
    "yesterday": (
        lambda a: a.valkey.hset(CATALOGUE.state, "day", "2026-01-01"), "those of 2026-01-01"),
    "asked for a rebuild": (lambda a: ask_for_rebuild(a.valkey), "a rebuild of the catalogue"),
    "a rebuild that was cut short": (
        lambda a: a.valkey.hset(CATALOGUE.state, "building", "17"), "a rebuild of the catalogue"),
    "a token that is too old": (
        lambda a: a.valkey.hset(CATALOGUE.state, "token", '{"_data": "8262F1000000000001"}'),
        "the catalogue"),
    "no token": (lambda a: a.valkey.hset(CATALOGUE.state, "token", "?"), "does not reach back"),
}


@pytest.mark.parametrize("what", BEHIND)
def test_a_shelf_that_is_behind_is_said_to_be_and_no_defect(audited: Audited, what: str) -> None:
    plant, words = BEHIND[what]
    plant(audited)
    code, answer = audited.look()
    assert code == 2, answer
    assert answer["findings"] == []
    assert any(words in one for one in answer["under_way"]), answer
    audited.consumer = audited.world.consumer("successor")
    audited.valkey.delete(CATALOGUE.lease)
    audited.build()
    assert audited.look(quiet=5)[0] == 0


def test_it_is_waited_for_until_it_has_caught_up(audited: Audited) -> None:
    audited.documents[d.PRICES].delete_many({})
    stop = threading.Event()

    def follow() -> None:
        while not stop.is_set():
            audited.consumer.step()

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        code, answer = audited.look(quiet=20)
    finally:
        stop.set()
        thread.join()
    assert code == 0, answer


def test_a_defect_is_found_beside_a_change_that_is_still_to_come(audited: Audited) -> None:
    audited.documents[d.PRICES].delete_many({"hotel_id": "lisbon-8"})
    audited.page(etag='"old"')
    answer = audited.sees("hotel lisbon-7", kinds="pages_stale")
    assert answer["pages_stale"] == 1
    assert answer["under_way"]


# --- one part alone ---------------------------------------------------------------------------


def test_only_the_bookings(audited: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    audited.page(etag='"old"')
    assert main(["--json", "--only", "bookings", "--quiet-within", "0", "--no-supplier"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["orders"], answer["hotels"]) == (0, None)
    assert answer["catalogue"] == "not looked at: --only bookings"


def test_both_by_default_and_words_for_people(
    audited: Audited, capsys: pytest.CaptureFixture[str]
) -> None:
    audited.page(etag='"old"')
    assert main(["--quiet-within", "0", "--no-supplier"]) == 1
    out = capsys.readouterr()
    answer = json.loads(out.out)
    assert (answer["orders"], answer["hotels"], answer["pages_stale"]) == (0, 25, 1)
    assert "The catalogue: looked at, 25 hotels with their pages" in out.err
    assert "Something is wrong." in out.err


def test_a_valkey_that_is_away_hides_no_order(
    audited: Audited, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CATALOGUE_REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    assert main(["--json", "--quiet-within", "0", "--no-supplier"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["orders"], answer["hotels"], answer["ok"]) == (0, None, False)
    assert answer["catalogue"].startswith("not looked at: Valkey")
    assert main(["--json", "--only", "catalogue"]) == 2
    assert json.loads(capsys.readouterr().out)["error"].startswith("EngineAway")
