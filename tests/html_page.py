"""What a test asks of an HTML page: its forms, its headings, its links, its text."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

Attributes = dict[str, str]
_VOID = {"meta", "link", "input", "img", "br", "hr"}
_UNSEEN = {"script", "style", "title"}


class Page(HTMLParser):
    """A parsed page. `forms` are {"action", "method", "fields": {name: value}} in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.forms: list[dict[str, Any]] = []
        self.elements: list[tuple[str, Attributes]] = []
        self.title = ""
        self._inside: list[str] = []
        self._words: list[str] = []
        self.headings: list[tuple[str, str]] = []
        self.feed(text)

    @property
    def text(self) -> str:
        """All text that is shown, with single spaces."""
        return " ".join(" ".join(self._words).split())

    def all(self, tag: str, **wanted: str) -> list[Attributes]:
        """The attributes of all elements with this tag and these attributes."""
        return [
            attributes for name, attributes in self.elements
            if name == tag and all(attributes.get(key) == value for key, value in wanted.items())
        ]

    def by_id(self, wanted: str) -> Attributes:
        """The attributes of the one element with this id."""
        found = [attributes for _, attributes in self.elements if attributes.get("id") == wanted]
        assert len(found) == 1, f"{len(found)} elements have the id {wanted!r}"
        return found[0]

    def form(self, action: str) -> dict[str, str]:
        """The fields of the form that is sent there, as they would be sent now."""
        found = [form for form in self.forms if form["action"] == action]
        assert len(found) == 1, f"{len(found)} forms go to {action}"
        return dict(found[0]["fields"])

    def heads(self, level: str) -> list[str]:
        """The texts of the headings of this level."""
        return [text.strip() for tag, text in self.headings if tag == level]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        if tag not in _VOID:
            self._inside.append(tag)
        if tag in ("h1", "h2", "h3"):
            self.headings.append((tag, ""))
        if tag == "form":
            self.forms.append({**attributes, "fields": {}})
        if tag in ("input", "select") and attributes.get("name") and self.forms:
            self.forms[-1]["fields"][attributes["name"]] = attributes.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "title" in self._inside:
            self.title += data
        if not _UNSEEN & set(self._inside):
            self._words.append(data)
        if self.headings and {"h1", "h2", "h3"} & set(self._inside):
            tag, text = self.headings[-1]
            self.headings[-1] = (tag, text + data)
