"""Templates at the price of joining texts, for what is put together on most requests.

A part that only prints texts, and asks at most whether one is there, comes out the same for all
texts of one shape (which of them are empty) but for the texts themselves. So Jinja renders it once
for each shape, with marks in their places, and from then on it is cut along these marks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from threading import Lock

from markupsafe import Markup, escape

# Control characters that no template and no address holds.
_MARK = re.compile("\x02(\\w+)\x03")

Render = Callable[..., str]


class Stencil:
    """A template, or a macro, by its function that renders. Safe to use from many threads."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self._lock = Lock()
        # By shape: what is constant and, between, the names of texts.
        self._cuts: dict[tuple[str, ...], list[str]] = {}

    def render(self, **texts: str) -> Markup:
        """With these texts, escaped unless they are Markup. Always the same names."""
        shape = tuple(name for name, text in texts.items() if text)
        cut = self._cuts.get(shape)
        if cut is None:
            cut = self._cut(shape, texts)
        parts = cut.copy()
        for place in range(1, len(parts), 2):
            parts[place] = escape(texts[parts[place]])
        return Markup("".join(parts))  # noqa: S704 (the template's own text and escaped ones)

    def _cut(self, shape: tuple[str, ...], texts: dict[str, str]) -> list[str]:
        marks = {name: Markup(f"\x02{name}\x03" if name in shape else "")  # noqa: S704 (names)
                 for name in texts}
        with self._lock:  # Jinja makes a module, which holds macros, once
            cut = _MARK.split(self._render(**marks))
        self._cuts[shape] = cut
        return cut
