"""JSON that remembers where everything stood, so that a person can be shown what to mend."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import msgspec

from errors import BadInput

Path = tuple[str | int, ...]

# A text that is known to be JSON falls apart into these; colons and white space say nothing new.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],]|[^\s{}\[\],:"]+')
# Deeper places are not remembered: nobody nests campaigns, and paths grow with their depth.
_DEEPEST = 6
_PLAIN_DIGITS = 20


class Number(msgspec.Struct, frozen=True):
    """A number as it is written, where it is not a plain whole one: no digit is lost."""

    text: str


class Place(msgspec.Struct, frozen=True, order=True):
    """Where something stands in the text. Both count from 1, columns in characters."""

    line: int
    column: int


class NotJson(BadInput):
    """The text is not JSON, from `place` on."""

    def __init__(self, detail: str, place: Place) -> None:
        super().__init__(detail)
        self.place = place


class Located(msgspec.Struct, frozen=True):
    """`value` is what was read; `places` knows members by their name, elements by their start.

    `repeated` are names that stand twice in one object, where only the last would count.
    """

    value: Any
    places: dict[Path, Place]
    repeated: list[tuple[Path, Place]]


def read(text: str) -> Located:
    """Whole numbers become int, other numbers `Number`. Raises NotJson."""
    try:
        value = json.loads(text, parse_int=_whole, parse_float=Number, parse_constant=Number)
    except json.JSONDecodeError as error:
        raise NotJson(error.msg, Place(error.lineno, error.colno)) from None
    except RecursionError:
        raise NotJson("nested too deeply", Place(1, 1)) from None
    places: dict[Path, Place] = {}
    repeated: list[tuple[Path, Place]] = []
    ends = [match.start() for match in re.finditer("\n", text)]
    for path, offset in _offsets(text):
        lines_before = bisect_left(ends, offset)
        line_start = ends[lines_before - 1] + 1 if lines_before else 0
        place = Place(lines_before + 1, offset - line_start + 1)
        if path in places and isinstance(path[-1], str):
            repeated.append((path, place))
        places[path] = place
    return Located(value, places, repeated)


def _whole(text: str) -> int | Number:
    """Python refuses to read thousands of digits at once; nobody needs them as an int."""
    return int(text) if len(text) <= _PLAIN_DIGITS else Number(text)


class _Frame:
    """One object or array that is open: where in it the next value goes."""

    __slots__ = ("at", "is_object")

    def __init__(self, opener: str) -> None:
        self.is_object = opener == "{"
        self.at: str | int | None = None if self.is_object else 0


def _offsets(text: str) -> Iterator[tuple[Path, int]]:
    """(path, offset) of every member's name and every element, in the order of the text."""
    frames: list[_Frame] = []
    for token in _TOKEN.finditer(text):
        opener = token.group()[0]
        inside = frames[-1] if frames else None
        if opener in "}]":
            frames.pop()
        elif opener == "," and inside is not None:
            inside.at = None if inside.is_object else int(inside.at or 0) + 1
        elif inside is not None and inside.at is None:
            inside.at = json.loads(token.group())
            yield from _known(frames, token.start())
        else:
            if inside is None or not inside.is_object:
                yield from _known(frames, token.start())
            if opener in "{[":
                frames.append(_Frame(opener))


def _known(frames: list[_Frame], offset: int) -> Iterator[tuple[Path, int]]:
    if len(frames) <= _DEEPEST:
        yield tuple(frame.at for frame in frames if frame.at is not None), offset
