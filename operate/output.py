"""Plain tables for people, JSON for programs, e-mails for nobody."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

import msgspec

EXIT_DONE, EXIT_REFUSED, EXIT_UNABLE = 0, 1, 2

_EMAIL = re.compile(r"([^\s\"'<>(){}\[\],:;@])[^\s\"'<>(){}\[\],:;@]*@([^\s\"'<>(){}\[\],:;@])"
                    r"[^\s\"'<>(){}\[\],:;@]*")


class Result(msgspec.Struct, frozen=True):
    """What a command says: `data` as JSON for programs, `lines` for people."""

    data: dict[str, Any]
    lines: list[str]


class Part(msgspec.Struct, frozen=True):
    """What one road adds to the overview: data, rows of its table, and what is wrong; `lines` are
    tables of its own below.
    """

    data: dict[str, Any]
    rows: list[tuple[str, object]]
    remarks: list[str]
    lines: Sequence[str] = ()


class Refused(Exception):  # noqa: N818 (an answer to the operator, not a fault)
    """The command cannot be done as asked; the words say why and what can be done instead."""


def masked(text: str) -> str:
    """The text with every e-mail cut to its first letters."""
    return _EMAIL.sub(r"\1***@\2***", text)


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Columns as wide as what stands in them."""
    cells = [[str(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells]


def age(ms: int) -> str:
    """A span of time as people say it: the two largest units."""
    seconds = max(0, ms) / 1_000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def moment(ms: int) -> str:
    """RFC 3339, UTC, to the second."""
    at = dt.datetime.fromtimestamp(ms // 1_000, tz=dt.UTC)
    return at.isoformat().replace("+00:00", "Z")
