"""The frame of every page, outside Flask: the same templates, links and addresses of files.

Pages of hotels are made where no request is: in the consumer. What base.html asks of Flask, a link
or which page this is, is answered here from a table, which a test compares with the app.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT / "templates"
STATIC = ROOT / "static"
STATIC_PATH = "/static"
# Fonts are named by the style sheet, which cannot ask for a version: theirs stands in their name.
VERSIONED_BY_NAME = "fonts/"
# What base.html and the pages of the catalogue link to.
ENDPOINTS = {
    "pages.order": "/order",
    "search_pages.search": "/search",
    "pages.query": "/query",
    "api.docs": "/api/docs",
    "hotels.listing": "/hotels",
}


def file_versions(folder: Path) -> dict[str, str]:
    """A word for the content of each file, by its path in the folder."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for path in sorted(folder.rglob("*")) if path.is_file()
    }


def addresses(base: str, versions: dict[str, str]) -> dict[str, str]:
    """Addresses that change with the content, so that browsers may keep what they name."""
    return {
        name: f"{base}/{name}" + ("" if name.startswith(VERSIONED_BY_NAME) else f"?v={version}")
        for name, version in versions.items()
    }


def link(endpoint: str, **parameters: object) -> str:
    """The address of a page; KeyError for one that is not in the table."""
    path = ENDPOINTS[endpoint]
    return f"{path}?{urlencode(parameters)}" if parameters else path


@cache
def environment() -> Environment:
    """Jinja with what the templates call; a name that nobody gave is an error."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, auto_reload=False,
    )
    found.globals.update(
        asset=addresses(STATIC_PATH, file_versions(STATIC)).__getitem__,
        url_for=link,
        refresh_s=0,
        request={"endpoint": "hotels.listing"},
    )
    return found


@cache
def pictures() -> frozenset[str]:
    """The names of all pictures in static/art."""
    return frozenset(path.stem for path in (STATIC / "art").glob("*.svg"))


@cache
def version() -> str:
    """A word that changes with any template, file or code that a finished page is made of."""
    digest = hashlib.sha256()
    for folder in (TEMPLATES, STATIC):
        for name, word in file_versions(folder).items():
            digest.update(f"{name} {word}\n".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.stem in _MAKERS:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


_MAKERS = {"model", "rows", "shell", "facade", "payloads", "words", "slugs"}
