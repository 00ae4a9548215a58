"""Addresses of listings, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalogue.listing import Index
from catalogue.rows import Filters
from catalogue.slugs import Words, slug_of_text, type_slug
from tests.catalogue_hotels import AMENITIES, CITIES, TYPES, row

INDEX = Index([
    row(n, city, type_id=kind, type_label=TYPES[kind])
    for n, (city, kind) in enumerate((city, kind) for city in CITIES for kind in TYPES)
])
WORDS = Words(INDEX)


@pytest.mark.parametrize(("slug", "filters"), [
    ("4-star-hotels-in-lisbon", Filters(stars=(4,), cities=("lisbon",))),
    ("hotels-in-portugal", Filters(countries=("PT",))),
    ("guesthouses-with-pool-in-porto",
     Filters(types=("guesthouse",), amenities=("pool",), cities=("porto",))),
    ("hotels-with-pets", Filters(amenities=("pets",))),
    ("5-star-hostels", Filters(stars=(5,), types=("hostel",))),
    ("hotels-in-singapore", Filters(cities=("singapore",))),
])
def test_a_slug_and_its_filters(slug: str, filters: Filters) -> None:
    assert WORDS.parse(slug) == filters
    assert WORDS.slug_of(filters).path == slug
    assert WORDS.slug_of(filters).rest == Filters()


@pytest.mark.parametrize("slug", [
    "", "hotels-in-", "hotels-in-atlantis", "9-star-hotels", "castles-in-lisbon",
    "hotels-with-moat", "hotels-in-lisbon-in-porto", "hotels-in-lisbon-with-pool", "lisbon",
    "hotels-",
])
def test_a_word_that_is_not_known_lists_nothing(slug: str) -> None:
    assert WORDS.parse(slug) is None


@given(st.builds(
    Filters,
    cities=st.sets(st.sampled_from(sorted(CITIES)), max_size=2).map(tuple),
    countries=st.sets(st.sampled_from(["PT", "SG", "FR"]), max_size=2).map(tuple),
    stars=st.sets(st.integers(1, 5), max_size=2).map(tuple),
    types=st.sets(st.sampled_from(sorted(TYPES)), max_size=2).map(tuple),
    amenities=st.sets(st.sampled_from(sorted(AMENITIES)), max_size=2).map(tuple),
    rating=st.none() | st.just(8),
))
def test_slug_and_rest_together_say_all_filters_once(filters: Filters) -> None:
    slug = WORDS.slug_of(filters)
    said = WORDS.parse(slug.path) if slug.path else Filters()
    assert said is not None
    for name in Filters.__struct_fields__:
        one, other = getattr(said, name), getattr(slug.rest, name)
        assert not (one and other), f"{name} is said twice"
        assert (one or other) == getattr(filters, name)


def test_a_hotel_keeps_its_address_from_a_listing() -> None:
    index = Index([row(1), row(2, slug="hotels-in-lisbon")])
    assert Words(index).slug_of(Filters(cities=("lisbon",))).path == ""


@pytest.mark.parametrize(("slug", "meant"), [
    ("4-star-hotels-in-lisbonn", "4-star-hotels-in-lisbon"),
    ("hotels-in-potugal", "hotels-in-portugal"), ("pariss", "hotels-in-paris"),
    ("4-STAR-hotels-in-Lisbon", "4-star-hotels-in-lisbon"), ("Lisbôn", "hotels-in-lisbon"),
    ("quiet-heron-lisbon-7", "hotels-in-lisbon"), ("lisbon-7", "hotels-in-lisbon"),
    ("guesthouses-with-moat-in-porto", "guesthouses-in-porto"),
])
def test_a_slip_of_the_pen_gets_suggestions(slug: str, meant: str) -> None:
    assert meant in [path for path, _ in WORDS.suggestions(slug)]


def test_a_place_is_known_by_its_name_and_by_the_word_of_its_addresses() -> None:
    """They differ once a city is renamed, or where an operator's slugs are their own."""
    words = Words(Index([
        row(1, "lisbon", city="Lisboa"), row(2, "porto", city_slug="p-1", city="São João"),
        row(3, "porto", city_slug="p-2", city="Sao Joao"), row(4, "paris", city="Париж"),
        row(5, "singapore"),
    ]))
    for text, cities in (("Lisboa", ["lisbon"]), (" LISBON ", ["lisbon"]), ("p-2", ["p-2"]),
                         ("São João", ["p-1", "p-2"]), ("париж", ["paris"]),
                         ("Singapore", ["singapore"])):
        assert words.place(text) == Filters(cities=tuple(cities)), text
    assert words.place("Portugal") == Filters(countries=("PT",))
    assert words.place("Atlantis") is None
    assert words.place("") is None
    assert ("hotels-in-lisbon", "Hotels in Lisboa") in words.suggestions("lisboaa")


def test_titles_say_what_is_listed() -> None:
    assert WORDS.title(Filters(stars=(4,), cities=("lisbon",))) == "4-star hotels in Lisbon"
    assert WORDS.title(Filters(types=("hostel",), amenities=("pool",), countries=("PT",))) == (
        "Hostels with pool in Portugal")
    assert WORDS.title(Filters()) == "Hotels"
    inns = Words(Index([row(1, type_id="p", type_label="Property")]))
    assert inns.title(Filters(types=("p",))) == "Properties"


@pytest.mark.parametrize(("text", "slug"), [
    ("Côte d'Ivoire", "cote-d-ivoire"), ("São Paulo", "sao-paulo"), ("  A & B ", "a-b"),
])
def test_names_as_they_stand_in_addresses(text: str, slug: str) -> None:
    assert slug_of_text(text) == slug


def test_many_of_a_type() -> None:
    assert [type_slug(t) for t in ("Hostel", "Bed and breakfast", "Property", "Chalet")] == [
        "hostels", "bed-and-breakfasts", "properties", "chalets"]
