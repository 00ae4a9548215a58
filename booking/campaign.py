"""A campaign file: the packages of a sale, checked as a whole before anything is changed.

    {"packages": [{"id": 1, "flight": "LIS-NRT BE204", "stay": "2027-01-09",
                   "price": "149.00", "currency": "EUR", "quota": 4}]}

Optional: `currency` (USD), `sale_starts_at` and `sale_ends_at` (RFC 3339 with an offset),
`limit_per_customer`, `about` (see PackageAbout); null says the same as leaving them out. Text in,
packages out: nothing here reads a file, a clock or an engine.
"""

from __future__ import annotations

import datetime as dt
import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

import msgspec

from booking import json_places
from booking.json_places import Number, Path, Place
from booking.model import (
    LIMIT_MAX,
    MOMENT_END_MS,
    PACKAGE_ID_MAX,
    PRICE_DIGITS_MAX,
    QUOTA_MAX,
    Package,
    PackageAbout,
    PackageFacts,
)
from errors import BadInput

DEFAULT_CURRENCY = "USD"
PACKAGES_MAX = 10_000
TEXT_MAX = 80
PROBLEMS_SHOWN = 20

_SHOWN_CHARACTERS = 60
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_PRICE_TEXT = re.compile(rf"\d{{1,{PRICE_DIGITS_MAX}}}(\.\d{{1,6}})?", re.ASCII)
_PRICE_NUMBER = re.compile(_PRICE_TEXT.pattern + r"([eE][+-]?\d{1,2})?", re.ASCII)
_IATA = re.compile(r"[A-Z]{3}", re.ASCII)
_HOTEL_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
# Control characters, halves of characters, line separators and what only moves other text about.
_UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class Problem(msgspec.Struct, frozen=True):
    """One thing to mend. `field` is the way to it, like `packages[2].quota`."""

    place: Place
    field: str
    detail: str

    def __str__(self) -> str:
        where = f"{self.field}: " if self.field else ""
        return f"line {self.place.line}, column {self.place.column}: {where}{self.detail}"


class CampaignRefused(BadInput):
    """The file is refused as a whole. `problems` has all of them, in the order of the text."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.place)
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """What to mend, a line each, and how much more there is."""
        shown = [str(problem) for problem in self.problems[:PROBLEMS_SHOWN]]
        more = len(self.problems) - len(shown)
        return [*shown, f"and {more} more"] if more else shown


def parse_bytes(raw: bytes) -> list[Package]:
    """The packages of a file's bytes: UTF-8, with or without the mark that some editors put."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        lines = raw[: error.start].split(b"\n")
        place = Place(len(lines), len(lines[-1]) + 1)
        raise CampaignRefused([Problem(place, "", "not UTF-8 text")]) from None
    return parse(text)


def parse(text: str) -> list[Package]:
    """The packages in the order of the file. Raises CampaignRefused with all problems."""
    try:
        located = json_places.read(text)
    except json_places.NotJson as error:
        problem = Problem(error.place, "", f"not JSON: {error.detail}")
        raise CampaignRefused([problem]) from None
    reading = _Reading(located)
    packages = reading.packages()
    if reading.problems:
        raise CampaignRefused(reading.problems)
    return packages


class _Reading:
    """One pass over what was read; problems are gathered, so that all are told at once."""

    def __init__(self, located: json_places.Located) -> None:
        self._root = located.value
        self._places = located.places
        self._line_of_id: dict[int, int] = {}
        self.problems: list[Problem] = [
            Problem(place, _name(path), "is there twice") for path, place in located.repeated
        ]

    def packages(self) -> list[Package]:
        """Whatever could be read; it only counts when there are no problems."""
        found = self._members((), self._root, {"packages": _packages}, {"packages"})
        read = (
            self._package(("packages", index), value)
            for index, value in enumerate(found.get("packages", ()))
        )
        return [package for package in read if package is not None]

    def _package(self, path: Path, value: object) -> Package | None:
        problems_before = len(self.problems)
        found = self._members(path, value, _PACKAGE_RULES, _PACKAGE_REQUIRED)
        if "id" in found:
            self._check_id((*path, "id"), found["id"])
        about = found.get("about")
        if about is not None:
            about = self._members((*path, "about"), about, _ABOUT_RULES, _ABOUT_REQUIRED)
        starts_ms, ends_ms = found.get("sale_starts_at"), found.get("sale_ends_at")
        if starts_ms is not None and ends_ms is not None and starts_ms >= ends_ms:
            self._problem((*path, "sale_ends_at"), "must be after sale_starts_at")
        currency = found.get("currency", DEFAULT_CURRENCY)
        price = ""
        # A currency that was refused says nothing about digits; its own problem is enough.
        if "price" in found and ("currency" in found or self._absent(value, "currency")):
            try:
                price = _price_text(found["price"], currency)
            except BadInput as error:
                self._problem((*path, "price"), error.detail)
        if len(self.problems) > problems_before:
            return None
        return Package(
            facts=PackageFacts(found["id"], found["flight"], found["stay"], price, currency),
            quota=found["quota"],
            sale_starts_ms=starts_ms,
            sale_ends_ms=ends_ms,
            limit_per_customer=found.get("limit_per_customer"),
            about=None if about is None else PackageAbout(**about),
        )

    def _check_id(self, path: Path, package_id: int) -> None:
        before = self._line_of_id.get(package_id)
        if before is not None:
            self._problem(path, f"{package_id} is the id of another package (line {before})")
        self._line_of_id[package_id] = self._places[path].line

    def _members(
        self, path: Path, value: object, rules: Mapping[str, Rule], required: set[str]
    ) -> dict[str, Any]:
        """The members that kept their rule."""
        if not isinstance(value, dict):
            self._problem(path, f"must be an object, not {_shown(value)}")
            return {}
        for name in value:
            if name not in rules:
                self._problem((*path, name), _unknown(name, rules))
        found: dict[str, Any] = {}
        for name, rule in rules.items():
            if self._absent(value, name) and (name not in required or name not in value):
                if name in required:
                    self._problem(path, f"{name} is missing")
                continue
            try:
                found[name] = rule(value[name])
            except BadInput as error:
                self._problem((*path, name), error.detail)
        return found

    @staticmethod
    def _absent(value: object, name: str) -> bool:
        return isinstance(value, dict) and value.get(name) is None

    def _problem(self, path: Path, detail: str) -> None:
        self.problems.append(Problem(self._places[path], _name(path), detail))


def _name(path: Path) -> str:
    """`packages[2].quota`"""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            plain = part if part.isidentifier() and part.isascii() else _shown(part)
            text += f".{plain}" if text else plain
    return text


def _unknown(name: str, rules: Mapping[str, Rule]) -> str:
    close = difflib.get_close_matches(name.casefold(), rules, n=1)
    if close:
        return f"there is no such field; did you mean {close[0]}?"
    return f"there is no such field; there are {', '.join(rules)}"


def _shown(value: object) -> str:
    """A value in a message: short, on one line, without anything that a terminal obeys."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case dict():
            return "an object"
        case list():
            return "a list"
        case str():
            text = repr(value[: _SHOWN_CHARACTERS + 1])
        case Number():
            text = value.text
        case _:
            text = str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."


# --- the rules: a JSON value in, what a package keeps out; BadInput says what is wanted ---------

Rule = Callable[[Any], Any]


def _packages(value: object) -> list[object]:
    if not isinstance(value, list):
        raise BadInput(f"must be a list, not {_shown(value)}")
    if not 1 <= len(value) <= PACKAGES_MAX:
        raise BadInput(f"must have 1 to {PACKAGES_MAX} packages, not {len(value)}")
    return value


def _about(value: object) -> object:
    return value  # its members have rules of their own


def _whole(least: int, most: int) -> Rule:
    def rule(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise BadInput(f"must be a whole number from {least} to {most}, not {_shown(value)}")
        return value

    return rule


def _text(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= TEXT_MAX or not value.strip():
        raise BadInput(f"must be a text of 1 to {TEXT_MAX} characters, not {_shown(value)}")
    if any(unicodedata.category(character) in _UNSHOWN for character in value):
        raise BadInput(f"must be a text of characters that show, not {_shown(value)}")
    if value != value.strip():
        raise BadInput(f"must be a text without spaces around it, not {_shown(value)}")
    return value


def _hotel_id(value: object) -> str:
    if not isinstance(value, str) or not _HOTEL_ID.fullmatch(value):
        raise BadInput(f"must be the id of a hotel, such as tokyo-1, not {_shown(value)}")
    return value


def _iata(value: object) -> str:
    if not isinstance(value, str) or not _IATA.fullmatch(value):
        raise BadInput(f"must be an airport's three capital letters, not {_shown(value)}")
    return value


def _day(value: object) -> str:
    try:
        # Python also reads weeks and days without dashes; one way to write a day is enough.
        if isinstance(value, str) and dt.date.fromisoformat(value).isoformat() == value:
            return value
    except ValueError:
        pass  # the refusal below says what is wanted
    raise BadInput(f"must be a real day like 2027-01-09, not {_shown(value)}")


def _moment(value: object) -> int:
    """Milliseconds since 1970."""
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        try:
            ms = (dt.datetime.fromisoformat(value.upper()) - _EPOCH) // dt.timedelta(milliseconds=1)
        except (ValueError, OverflowError):
            ms = -1
        if 0 <= ms < MOMENT_END_MS:
            return ms
    raise BadInput(
        f"must be a moment with an offset, like 2027-01-09T09:00:00Z, not {_shown(value)}"
    )


def _price(value: object) -> Decimal:
    """With the digits that were written, never by way of a float."""
    text = ""
    if isinstance(value, Number) and _PRICE_NUMBER.fullmatch(value.text):
        text = value.text
    elif isinstance(value, str) and _PRICE_TEXT.fullmatch(value):
        text = value
    elif isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        text = str(value)
    price = Decimal(text) if text else Decimal(-1)
    if price < 0 or price.adjusted() >= PRICE_DIGITS_MAX:
        raise BadInput(f"must be a price like 100 or \"99.50\", not {_shown(value)}")
    return price


def _price_text(price: Decimal, currency: str) -> str:
    """With just as many digits as the currency has."""
    digits = currencies()[currency]
    written = max(0, -int(price.as_tuple().exponent))
    if written > digits:
        raise BadInput(f"{price} has {written} digits after the point; {currency} has {digits}")
    return f"{price:.{digits}f}"


def _currency(value: object) -> str:
    if isinstance(value, str) and value in currencies():
        return value
    hint = ""
    if isinstance(value, str) and value.upper() in currencies():
        hint = f"; did you mean {value.upper()}?"
    raise BadInput(f"must be a currency of ISO 4217, not {_shown(value)}{hint}")


@cache
def currencies() -> dict[str, int]:
    """Every currency that some country uses today, and its digits after the decimal point.

    The digits are those of the Unicode locale data, by which pages write prices: a price that is
    accepted is shown in full.
    """
    # Only a run that seeds needs these tables, and most runs find everything seeded.
    from babel.core import get_global
    from babel.numbers import get_currency_precision

    codes = {
        code
        for history in get_global("territory_currencies").values()
        for code, _start, end, is_tender in history
        if is_tender and end is None
    }
    return {code: get_currency_precision(code) for code in sorted(codes)}


_PACKAGE_RULES: dict[str, Rule] = {
    "id": _whole(1, PACKAGE_ID_MAX),
    "flight": _text,
    "stay": _day,
    "price": _price,
    "quota": _whole(0, QUOTA_MAX),
    "currency": _currency,
    "sale_starts_at": _moment,
    "sale_ends_at": _moment,
    "limit_per_customer": _whole(1, LIMIT_MAX),
    "about": _about,
}
_PACKAGE_REQUIRED = {"id", "flight", "stay", "price", "quota"}
_ABOUT_RULES: dict[str, Rule] = {
    "origin_city": _text,
    "origin_iata": _iata,
    "destination_city": _text,
    "destination_iata": _iata,
    "destination_country": _text,
    "hotel": _text,
    "hotel_id": _hotel_id,
}
_ABOUT_REQUIRED = _ABOUT_RULES.keys() - {"hotel_id"}
