"""A stencil gives what its template gives, whatever the texts are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import Markup

from catalogue import shell
from web.stencil import Stencil

PAGE = (
    "title", "later", "places", "canonical", "unlisted", "prev", "next", "page_no", "page_count",
    "numbers", "chips", "chip_count", "orders", "where", "currency", "price_min", "price_max",
    "facets_first", "facets_then", "cards",
)
PARTS = {
    "option": ("kind", "name", "value", "selected", "label", "count"),
    "facet": ("title", "name", "options", "any", "unset"),
    "chip": ("text", "href"),
    "number": ("number", "href", "here"),
    "order": ("value", "text", "chosen"),
}
_plain = st.sampled_from(["", "", "Lisbon", "<b>&\"'", "\x02title\x03", "{{ title }}", "é 名"])
_text = _plain | _plain.map(Markup)


def _renders() -> list[tuple[str, Callable[..., str], tuple[str, ...]]]:
    environment = shell.environment()
    parts: Any = environment.get_template("_listing_parts.html").module
    return [("page", environment.get_template("hotels.html").render, PAGE),
            *((name, getattr(parts, name), names) for name, names in PARTS.items())]


@pytest.mark.parametrize(("render", "names"), [one[1:] for one in _renders()],
                         ids=[one[0] for one in _renders()])
def test_a_part_of_the_listing_comes_out_as_its_template_renders_it(
    render: Callable[..., str], names: tuple[str, ...]
) -> None:
    stencil = Stencil(render)

    @settings(max_examples=60, deadline=None)
    @given(st.fixed_dictionaries(dict.fromkeys(names, _text)))
    def same(texts: dict[str, str]) -> None:
        assert stencil.render(**texts) == render(**texts)

    same()


def test_text_is_escaped_and_what_is_finished_is_not() -> None:
    stencil = Stencil(_renders()[0][1])
    page = stencil.render(**{**dict.fromkeys(PAGE, ""), "title": "<Porto>",
                             "cards": Markup("<li>one</li>")})
    assert "<h1>&lt;Porto&gt;</h1>" in page
    assert "<li>one</li>" in page
