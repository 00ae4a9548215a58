"""What is built of a hotel: the same bytes each time, complete, and safe whatever its name is."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import msgspec
import pytest

from catalogue import payloads, shell
from catalogue.model import Image
from catalogue.rows import Row
from tests.catalogue_hotels import hotel, row

EVIL = "</script><script>alert(1)</script>\"'&"


class _Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[dict[str, str | None]] = []
        self.images: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.scripts.append(dict(attrs))
        elif tag == "img":
            self.images.append(dict(attrs))


def test_the_same_hotel_gives_the_same_bytes() -> None:
    assert payloads.build(hotel()) == payloads.build(hotel())


def test_a_page_says_all_of_the_hotel_and_leads_on() -> None:
    page = payloads.build(hotel()).page.decode()
    for text in ("Quiet Heron 7", "4 stars", "8.7", "212 ratings", "Pets welcome", "€101.50",
                 "€120", "A calm house", 'href="/hotels/hotels-in-lisbon"',
                 'name="hotel_ids" value="lisbon-7"', 'name="destination" value="lisbon"',
                 'name="check_in" type="date" value="2026-12-30"',
                 'name="check_out" type="date" value="2026-12-31"',
                 '<link rel="canonical" href="/hotels/quiet-heron-lisbon-7">'):
        assert text in page, text


def test_structured_data_can_be_read_by_machines() -> None:
    page = payloads.build(hotel()).page.decode()
    found = re.search(r'<script type="application/ld\+json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert data["@type"] == "Hotel"
    assert data["name"] == "Quiet Heron 7"
    assert data["starRating"]["ratingValue"] == 4


def test_no_name_can_become_a_script() -> None:
    payload = payloads.build(hotel(name=EVIL, city=EVIL, description=EVIL, country=EVIL,
                                   type_label=EVIL, images=(Image("dusk", EVIL),)))
    plain = payloads.build(hotel()).page.decode()
    assert _Tags(payload.page.decode()).scripts == _Tags(plain).scripts
    assert _Tags(payload.card.decode()).scripts == []


def test_pictures_have_their_size_and_those_below_wait() -> None:
    images = _Tags(payloads.build(hotel()).page.decode()).images
    assert all(image["width"] and image["height"] and "alt" in image for image in images)
    scenes = [image for image in images if "/art/" in (image["src"] or "")]
    assert [image.get("loading") for image in scenes] == [None, "lazy"]


def test_a_hotel_of_which_little_is_known_has_a_page_too() -> None:
    payload = payloads.build(hotel(rating=None, rating_count=0, nights=(), price_from=None,
                                   images=(), amenities=()))
    assert b"Ask for rates" in payload.page
    assert b"ask for rates" in payload.card
    assert json.loads(payload.json)["price_from"] is None
    found = msgspec.json.decode(payload.row, type=Row)
    assert (found.price_cents, found.rating_tenths) == (None, None)


def test_a_row_is_what_the_listing_reads() -> None:
    found = msgspec.json.decode(payloads.build(hotel()).row, type=Row)
    assert msgspec.structs.replace(found, score=8.1) == row()


def test_few_ratings_are_doubted() -> None:
    few, many = hotel(rating="9.8", rating_count=2), hotel(rating="9.0", rating_count=900)
    assert payloads.general_score(few) < payloads.general_score(many)


def test_a_picture_that_is_not_there_is_left_out() -> None:
    known, unknown = Image("dusk", "The house"), Image("nowhere", "")
    assert payloads.build(hotel(images=(unknown, known))) == payloads.build(hotel(images=(known,)))


def test_a_file_that_is_not_there_is_an_error_not_a_broken_link() -> None:
    with pytest.raises(KeyError):
        shell.environment().from_string("{{ asset('art/nowhere.svg') }}").render()
    assert len(shell.version()) == 16
