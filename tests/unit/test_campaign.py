"""A campaign file is taken as a whole, exactly, or refused with every line to mend."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from booking import campaigns, documents, json_places
from booking.campaign import CampaignRefused, Problem, currencies, parse, parse_bytes
from booking.json_places import Place
from booking.model import Package, PackageAbout, PackageFacts
from suppliers import places
from suppliers.places.named import NAMED

GOOD: dict[str, str] = {
    "id": "7",
    "flight": '"LIS-NRT BE204"',
    "stay": '"2027-02-28"',
    "price": '"149.90"',
    "quota": "4",
    "currency": '"EUR"',
    "sale_starts_at": '"2026-12-01T09:00:00+01:00"',
    "sale_ends_at": '"2027-01-31T23:59:59.5Z"',
    "limit_per_customer": "2",
    "about": "null",
}
FIRST_FIELD_LINE = 3
ABOUT = {
    "origin_city": "Lisbon",
    "origin_iata": "LIS",
    "destination_city": "Tokyo",
    "destination_iata": "NRT",
    "destination_country": "Japan",
    "hotel": "Quiet Heron House",
}


def campaign_of(**values: str | None) -> str:
    """One package, a field on each line from the third on; None leaves the field out."""
    fields = {**GOOD, **values}
    lines = [f'    "{name}": {value}' for name, value in fields.items() if value is not None]
    return '{"packages": [\n  {\n' + ",\n".join(lines) + "\n  }\n]}\n"


def one(**values: str | None) -> Package:
    (package,) = parse(campaign_of(**values))
    return package


def refused(text: str | bytes) -> list[Problem]:
    with pytest.raises(CampaignRefused) as caught:
        parse_bytes(text if isinstance(text, bytes) else text.encode())
    return caught.value.problems


def line_of(field: str) -> int:
    return FIRST_FIELD_LINE + list(GOOD).index(field)


# --- what is taken ------------------------------------------------------------------------------


def test_the_original_campaign() -> None:
    packages = parse_bytes(campaigns.ORIGINAL.read_bytes())
    assert [(p.facts, p.quota) for p in packages] == [
        (PackageFacts(1, "Flight-1", "2022-08-09", "100.00", "USD"), 1),
        (PackageFacts(2, "Flight-2", "2022-08-09", "100.00", "USD"), 2),
        (PackageFacts(3, "Flight-3", "2022-08-10", "100.00", "USD"), 2),
        (PackageFacts(4, "Flight-3", "2022-08-11", "100.00", "USD"), 2),
    ]


def test_every_field() -> None:
    assert one(about=json.dumps(ABOUT)) == Package(
        facts=PackageFacts(7, "LIS-NRT BE204", "2027-02-28", "149.90", "EUR"),
        quota=4,
        sale_starts_ms=1_796_112_000_000,
        sale_ends_ms=1_801_439_999_500,
        limit_per_customer=2,
        about=PackageAbout(**ABOUT),
    )


@pytest.mark.parametrize(("hotel_id", "kept"), [("tokyo-1", "tokyo-1"), (None, "")])
def test_the_hotel_of_a_package_may_be_one_of_the_catalogue(
    hotel_id: str | None, kept: str
) -> None:
    package = one(about=json.dumps({**ABOUT, "hotel_id": hotel_id}))
    assert package.about == PackageAbout(**ABOUT, hotel_id=kept)
    assert documents.read_package(documents.package_document(package)) == package


@pytest.mark.parametrize("hotel_id", ["Tokyo 1", 7, "", "x" * 65, "-1"])
def test_what_is_no_id_of_a_hotel_is_refused(hotel_id: object) -> None:
    [problem] = refused(campaign_of(about=json.dumps({**ABOUT, "hotel_id": hotel_id})))
    assert "id of a hotel" in str(problem)


@pytest.mark.parametrize("nothing", ["null", None])
def test_an_optional_field_may_be_null_or_absent(nothing: str | None) -> None:
    package = one(
        currency=nothing, sale_starts_at=nothing, sale_ends_at=nothing,
        limit_per_customer=nothing, about=nothing,
    )
    assert package == Package(
        facts=PackageFacts(7, "LIS-NRT BE204", "2027-02-28", "149.90", "USD"), quota=4
    )


@pytest.mark.parametrize(("written", "currency", "kept"), [
    ("100", "USD", "100.00"),
    ('"100"', "USD", "100.00"),
    ("99.5", "EUR", "99.50"),
    ("1e2", "EUR", "100.00"),
    ("1.5E+1", "EUR", "15.00"),
    ("0", "EUR", "0.00"),
    ("100", "JPY", "100"),
    ('"1.234"', "KWD", "1.234"),
    ("1.5", "KWD", "1.500"),
    ("999999999999.99", "USD", "999999999999.99"),
    ("123456789012.345", "KWD", "123456789012.345"),
])
def test_a_price_keeps_its_value_with_the_digits_of_its_currency(
    written: str, currency: str, kept: str
) -> None:
    assert one(price=written, currency=f'"{currency}"').facts.price == kept


@settings(deadline=None)  # a slow machine is no finding
@given(cents=st.integers(0, 10**14 - 1), form=st.sampled_from(["number", "text"]))
def test_no_price_is_ever_rounded(cents: int, form: str) -> None:
    exact = str(Decimal(cents).scaleb(-2).quantize(Decimal("0.01")))
    written = exact if form == "number" else json.dumps(exact)
    assert one(price=written).facts.price == exact


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm() -> None:
    text = campaign_of().replace("\n", "\r\n").encode("utf-8-sig")
    assert [p.facts.id for p in parse_bytes(text)] == [7]
    assert refused(text.replace(b'"2027-02-28"', b'"2027-02-29"'))[0].place.line == line_of("stay")


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(("field", "value", "says"), [
    ("id", "0", "whole number from 1 to 9007199254740991, not 0"),
    ("id", "9007199254740992", "whole number"),
    ("id", "9" * 5_000, "whole number"),
    ("id", "1.0", "whole number"),
    ("id", '"1"', "whole number from 1 to 9007199254740991, not '1'"),
    ("id", "true", "not true"),
    ("id", "null", "not null"),
    ("flight", '""', "1 to 80 characters"),
    ("flight", '"   "', "1 to 80 characters"),
    ("flight", json.dumps("x" * 81), "1 to 80 characters"),
    ("flight", "7", "1 to 80 characters, not 7"),
    ("flight", '" LIS"', "without spaces around it"),
    ("flight", '"a\\u0000b"', "characters that show"),
    ("flight", '"a\\u001b[31mb"', "characters that show"),
    ("flight", '"a\\nb"', "characters that show"),
    ("flight", '"a\\u0085b"', "characters that show"),
    ("flight", '"a\\u202eb"', "characters that show"),  # turns the text behind it round
    ("flight", '"a\\ud800b"', "characters that show"),  # no database takes half a character
    ("stay", '"2027-02-29"', "real day like 2027-01-09, not '2027-02-29'"),
    ("stay", '"20270228"', "real day"),
    ("stay", '"2027-W08-7"', "real day"),
    ("stay", '"2027-02-28T00:00:00"', "real day"),
    ("stay", "20270228", "real day"),
    ("price", "-1", "price like 100 or"),
    ("price", "-0.01", "price like"),
    ("price", '"-1"', "price like"),
    ("price", '"1,50"', "price like"),
    ("price", '"1_000"', "price like"),
    ("price", '"\\u0661"', "price like"),  # a digit, but not one that everybody can read
    ("price", '"1e3"', "price like"),
    ("price", '""', "price like"),
    ("price", "NaN", "not NaN"),
    ("price", "Infinity", "not Infinity"),
    ("price", "1e999999999", "price like"),
    ("price", "1e99", "price like"),
    ("price", "0.1000000000000000055", "price like"),  # as a float it would be 0.1
    ("price", "1000000000000", "price like"),
    ("price", "true", "price like"),
    ("price", "[]", "not a list"),
    ("price", "1.005", "1.005 has 3 digits after the point; EUR has 2"),
    ("price", '"1.500"', "3 digits"),  # somewhere that means fifteen hundred
    ("price", "1e-3", "3 digits"),
    ("quota", "-1", "whole number from 0 to 10000000, not -1"),
    ("quota", "10000001", "whole number"),
    ("quota", "2.5", "not 2.5"),
    ("quota", '"2"', "not '2'"),
    ("currency", '"eur"', "not 'eur'; did you mean EUR?"),
    ("currency", '"DEM"', "currency of ISO 4217"),  # the German mark ended in 2001
    ("currency", '"XXX"', "currency of ISO 4217"),
    ("currency", "1", "currency of ISO 4217"),
    ("sale_starts_at", '"2026-12-01T09:00:00"', "moment with an offset"),
    ("sale_starts_at", '"2026-12-01 09:00:00Z"', "moment with an offset"),
    ("sale_starts_at", '"2026-13-01T09:00:00Z"', "moment"),
    ("sale_starts_at", '"1969-12-31T23:59:59Z"', "moment"),
    ("sale_starts_at", "1796112000", "moment"),
    ("sale_ends_at", '"9999-12-31T23:59:59-00:01"', "moment"),  # in the year 10000, by UTC
    ("sale_ends_at", '"tomorrow"', "moment"),
    ("sale_ends_at", '"2026-12-01T08:00:00Z"', "after sale_starts_at"),  # the same moment
    ("limit_per_customer", "0", "whole number from 1 to 100"),
    ("limit_per_customer", "101", "whole number from 1 to 100"),
    ("about", "7", "an object, not 7"),
])
def test_a_wrong_value_is_named_with_its_line_and_field(
    field: str, value: str, says: str
) -> None:
    (problem,) = refused(campaign_of(**{field: value}))
    assert problem.field == f"packages[0].{field}"
    assert problem.place == Place(line_of(field), 5)
    assert says in problem.detail
    assert str(problem).startswith(f"line {line_of(field)}, column 5: packages[0].{field}: ")


@pytest.mark.parametrize("field", ["id", "flight", "stay", "price", "quota"])
def test_a_missing_field_is_named_with_the_line_of_its_package(field: str) -> None:
    (problem,) = refused(campaign_of(**{field: None}))
    assert (problem.place, problem.field) == (Place(2, 3), "packages[0]")
    assert problem.detail == f"{field} is missing"


@pytest.mark.parametrize(("name", "hint"), [
    ("qouta", "did you mean quota?"),
    ("Price", "did you mean price?"),
    ("sale_start_at", "did you mean sale_starts_at?"),
    ("zzz", "there are id, flight, stay, price, quota, currency,"),
])
def test_an_unknown_field_is_refused_with_a_suggestion(name: str, hint: str) -> None:
    (problem,) = refused(campaign_of(**{name: "1"}))
    assert problem.place == Place(FIRST_FIELD_LINE + len(GOOD), 5)
    assert problem.field == f"packages[0].{name}"
    assert hint in problem.detail


def test_an_unknown_field_cannot_write_to_the_terminal() -> None:
    (problem,) = refused('{"packages": [{"id": 1, "flight": "F", "stay": "2027-01-01", '
                         '"price": 1, "quota": 1, "\\u001b[2J": 1}]}')
    assert problem.field == r"packages[0].'\x1b[2J'"


def test_an_about_names_its_own_fields() -> None:
    about = {**ABOUT, "origin_iata": "lis", "hotle": "x"}
    del about["hotel"]
    problems = refused(campaign_of(about=json.dumps(about, indent=0)))
    start = line_of("about")
    assert [(p.place.line, p.field) for p in problems] == [
        (start, "packages[0].about"),
        (start + 2, "packages[0].about.origin_iata"),
        (start + 6, "packages[0].about.hotle"),
    ]


def test_an_id_may_stand_only_once_even_beside_another_mistake() -> None:
    text = json.dumps({"packages": [
        {"id": 3, "flight": "A", "stay": "2027-01-01", "price": "x", "quota": 1},
        {"id": 3, "flight": "A", "stay": "2027-01-01", "price": 1, "quota": 1},
    ]}, indent=1)
    problems = refused(text)
    assert [(p.place.line, p.field) for p in problems] == [
        (7, "packages[0].price"), (11, "packages[1].id"),
    ]
    assert "3 is the id of another package (line 4)" in problems[1].detail


def test_a_field_may_stand_only_once() -> None:
    text = campaign_of().replace('"quota": 4', '"quota": 4,\n    "quota": 5')
    (problem,) = refused(text)
    assert (problem.place.line, problem.field) == (line_of("quota") + 1, "packages[0].quota")
    assert problem.detail == "is there twice"


@pytest.mark.parametrize(("text", "place", "says"), [
    ("", Place(1, 1), "not JSON"),
    ('{"packages": [\n  {"id": 1,}\n]}', Place(2, 12), "not JSON"),
    ('{"packages": [\n\n  {"id" 1}]}', Place(3, 9), "not JSON"),
    ('{"packages": ["a\tb"]}', Place(1, 17), "not JSON: Invalid control character"),
    ("[" * 100_000, Place(1, 1), "nested too deeply"),
    (b'{"packages":\n ["\xff"]}', Place(2, 4), "not UTF-8"),
    ("[]", Place(1, 1), "an object, not a list"),
    ("{}", Place(1, 1), "packages is missing"),
    ('{"packages": {}}', Place(1, 2), "a list, not an object"),
    ('{"packages": []}', Place(1, 2), "1 to 10000 packages, not 0"),
    ('{"packages": [1]}', Place(1, 15), "an object, not 1"),
    (json.dumps({"packages": [0] * 10_001}), Place(1, 2), "not 10001"),
])
def test_a_text_that_is_no_campaign(text: str | bytes, place: Place, says: str) -> None:
    (problem,) = refused(text)
    assert problem.place == place
    assert says in problem.detail


def test_all_problems_are_told_at_once_in_the_order_of_the_file_but_not_endlessly() -> None:
    text = json.dumps({"packages": [{"id": 0, "flight": "", "stay": "", "price": -1, "quota": -1}
                                    for _ in range(10)]}, indent=1)
    with pytest.raises(CampaignRefused) as caught:
        parse(text)
    assert len(caught.value.problems) == 50
    lines = [problem.place.line for problem in caught.value.problems]
    assert lines == sorted(lines)
    told = caught.value.lines()
    assert len(told) == 21
    assert told[-1] == "and 30 more"


# --- whatever comes -----------------------------------------------------------------------------

SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
ANY_JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(value=ANY_JSON, indent=st.none() | st.integers(0, 3), ascii_only=st.booleans())
@example(value={"a\"b\\": [{}, [], {"é\n": ":,}"}]}, indent=1, ascii_only=False)
def test_places_point_at_what_they_name(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    located = json_places.read(text)
    lines = text.split("\n")

    def written_at(path: json_places.Path) -> str:
        place = located.places[path]
        return "\n".join([lines[place.line - 1][place.column - 1:], *lines[place.line:]])

    def check(path: json_places.Path, inner: Any) -> None:
        if len(path) >= 6:
            return
        if isinstance(inner, dict):
            for name, member in inner.items():
                assert json.JSONDecoder().raw_decode(written_at((*path, name)))[0] == name
                check((*path, name), member)
        elif isinstance(inner, list):
            for index, element in enumerate(inner):
                assert json.JSONDecoder().raw_decode(written_at((*path, index)))[0] == element
                check((*path, index), element)

    check((), value)
    assert located.repeated == []


@settings(deadline=None)
@given(raw=st.binary(max_size=200) | st.text(max_size=200).map(
    lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_are_a_campaign_or_are_refused(raw: bytes) -> None:
    with pytest.raises(CampaignRefused):
        parse_bytes(raw)


@settings(deadline=None)
@given(changes=st.dictionaries(st.sampled_from(sorted(GOOD)), ANY_JSON, min_size=1))
def test_any_value_is_refused_or_can_be_kept_and_read_again(changes: dict[str, Any]) -> None:
    text = campaign_of(**{name: json.dumps(value) for name, value in changes.items()})
    try:
        (package,) = parse(text)
    except CampaignRefused:
        return
    assert documents.read_package(documents.package_document(package)) == package


# --- the campaigns that are shipped -------------------------------------------------------------


def test_the_default_campaign_begins_with_the_original_and_shows_every_state_of_a_sale() -> None:
    original = parse_bytes(campaigns.ORIGINAL.read_bytes())
    packages = parse_bytes(campaigns.DEFAULT.read_bytes())
    assert packages[:4] == original
    new = packages[4:]
    assert len(new) == 60
    assert all(p.about is not None and p.facts.currency == "EUR" for p in new)
    assert all(p.facts.stay > "2026-12-01" and 1 <= p.quota <= 20 for p in new)
    assert len({p.about.hotel for p in new if p.about}) == len(new)
    assert {p.limit_per_customer for p in new} == {None, 1, 2}
    assert sum(p.sale_starts_ms is not None for p in new) == 1
    assert sum(p.sale_ends_ms is not None for p in new) == 1


def test_packages_of_the_default_campaign_lead_to_their_hotels() -> None:
    """All but those in cities of which the default catalogue knows nothing."""
    packages = parse_bytes(campaigns.DEFAULT.read_bytes())
    named = {}
    for about in (package.about for package in packages if package.about):
        city = next((one for one in places.cities().values() if (one.name, one.country_name) == (
            about.destination_city, about.destination_country)), None)
        assert bool(about.hotel_id) == (city is not None), about
        if city is not None:
            hotel = places.hotel(about.hotel_id)
            assert hotel is not None
            assert (hotel.name, hotel.city) == (about.hotel, city)
            named[about.hotel_id] = about.hotel
    assert named == NAMED
    assert len(named) > 40


def test_the_default_campaign_is_what_its_script_makes_of_the_facts() -> None:
    from booking.campaigns import make_default

    assert make_default.text() == campaigns.DEFAULT.read_text(encoding="utf-8")


def test_a_city_that_is_not_at_its_airport_is_noticed() -> None:
    from booking.campaigns.make_default import Facts

    with pytest.raises(LookupError, match="NRT is not the airport of Osaka"):
        Facts().country("NRT", "Osaka", "JP")


def test_currencies_have_the_digits_of_their_smallest_coin() -> None:
    digits = currencies()
    assert (digits["USD"], digits["EUR"], digits["JPY"], digits["KWD"]) == (2, 2, 0, 3)
