"""What holds for every page: protection, structure, no outside host, no way in."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.booking_world import World, package
from tests.html_page import Page
from tests.visitor import (
    ABOUT,
    ANN,
    EVIL,
    UNKNOWN_ID,
    Visitor,
    stay,
    waiting,
)


def test_every_page_has_its_landmarks_one_heading_and_names(
    every_page: dict[str, TestResponse]
) -> None:
    for name, answer in every_page.items():
        page = Page(answer.text)
        assert len(page.heads("h1")) == 1, name
        assert page.title.endswith("· Berth"), name
        assert page.all("html", lang="en"), name
        assert page.all("a", href="#main"), name
        for tag in ("header", "main", "footer"):
            assert len(page.all(tag)) == 1, f"{name}: {tag}"
        ids = [a["id"] for _, a in page.elements if "id" in a]
        assert len(ids) == len(set(ids)), f"{name}: an id twice"
        labelled = {label["for"] for label in page.all("label")}
        for field in [*page.all("input"), *page.all("select")]:
            if field.get("type") != "hidden":
                assert field["id"] in labelled, f"{name}: {field}"
        assert all("alt" in image for image in page.all("img")), name


def test_every_page_is_protected_and_only_the_window_is_kept(
    every_page: dict[str, TestResponse]
) -> None:
    for name, answer in every_page.items():
        headers = answer.headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy, name
        assert "unsafe" not in policy, name
        assert "frame-ancestors 'none'" in policy, name
        assert headers["X-Content-Type-Options"] == "nosniff", name
        assert headers["X-Frame-Options"] == "DENY", name
        assert headers["Referrer-Policy"] == "same-origin", name
        if name not in ("window", "docs"):
            assert headers["Cache-Control"] == "no-store", name


def test_no_page_has_a_script_or_a_style_inside_or_names_another_host(
    every_page: dict[str, TestResponse]
) -> None:
    for name, answer in every_page.items():
        page = Page(answer.text)
        assert not page.all("style"), name
        for script in page.all("script"):
            assert script["src"].startswith("/static/"), name
        for tag, attributes in page.elements:
            assert "style" not in attributes, f"{name}: {tag} {attributes}"
            assert not [key for key in attributes if key.startswith("on")], f"{name}: {tag}"
            for key in ("src", "href", "action", "srcset", "poster", "data"):
                where = urlsplit(attributes.get(key, ""))
                assert not where.scheme, f"{name}: {tag} {attributes}"
                assert not where.netloc, f"{name}: {tag} {attributes}"


def test_no_static_file_names_another_host(app: Flask) -> None:
    files = [path for suffix in ("css", "js", "svg")
             for path in Path(str(app.static_folder)).rglob(f"*.{suffix}")]
    assert len(files) > 10
    for path in files:
        text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"(https?:)?//[a-z0-9-]+\.", text), path
        assert "@import" not in text, path


def test_static_files_are_kept_for_long_by_their_version(
    ann: Visitor, every_page: dict[str, TestResponse]
) -> None:
    used: set[str] = set()
    for answer in every_page.values():
        for _, attributes in Page(answer.text).elements:
            used |= {attributes[key] for key in ("src", "href")
                     if attributes.get(key, "").startswith("/static/")}
    assert len(used) > 5
    for path in used:
        answer = ann.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable", path
    assert "immutable" not in ann.get("/static/berth.css?v=old").headers["Cache-Control"]
    assert ann.get("/static/none.css").status_code == 404


def test_the_docs_list_the_whole_api(ann: Visitor) -> None:
    page = ann.page("/api/docs")
    for path in ann.get("/api/openapi.json").json["paths"]:
        assert path in page.text
    assert "curl -i" in page.text


def test_what_people_type_is_shown_as_text(ann: Visitor, road: World) -> None:
    form = ann.order_form()
    order_id = ann.order()
    answers = [
        ann.get("/order", query_string={"to": EVIL, "from": EVIL, "sort": EVIL}),
        ann.get("/order", query_string={"package": EVIL}),
        ann.get("/query", query_string={"order_id": EVIL}),
        ann.get(f"/orders/{EVIL}"),
        ann.get(f"/orders/{order_id}", query_string={"x": EVIL}),
        ann.get(f"/{EVIL}", query_string={"x": EVIL}),
        ann.client.post("/order", data={**form, "email": EVIL}),
        ann.client.post("/order", data={**form, "email": ANN, "key": EVIL}),
        ann.client.post("/order", data={**form, "email": ANN, "package": EVIL}),
        ann.query(EVIL, EVIL),
        *(ann.get("/search", query_string={**stay(), name: EVIL})
          for name in (*stay(), "hotel_ids", "order", "show")),
    ]
    for answer in answers:
        assert answer.status_code < 500, answer.text
        page = Page(answer.text)
        assert "<script>alert" not in answer.text
        assert not page.all("img", src="x")
        assert [script for script in page.all("script") if not script.get("src")] == []


def test_what_operators_type_is_shown_as_text(app: Flask, road: World) -> None:
    hostile = msgspec.structs.replace(
        ABOUT, **dict.fromkeys(ABOUT.__struct_fields__, EVIL))
    one = package(7, quota=2, about=hostile)
    facts = msgspec.structs.replace(one.facts, flight=EVIL, stay=EVIL, currency=EVIL)
    road.sell(msgspec.structs.replace(one, facts=facts))
    consumer = road.consumer()
    for _ in range(3):
        consumer.step()
    consumer.leave()
    ann = Visitor(app)
    order_id = ann.order(7)
    for path in ("/order", "/order?package=7", f"/orders/{order_id}"):
        answer = ann.get(path)
        assert answer.status_code == 200
        assert "&lt;script&gt;" in answer.text
        assert "<script>alert" not in answer.text
        assert not Page(answer.text).all("img", src="x")


@pytest.mark.parametrize(("method", "path", "sent"), [
    ("POST", "/order", {"data": b"\xff\xfe=\x00", "content_type": "text/plain"}),
    ("POST", "/order", {"json": {"email": ANN}}),
    ("POST", "/order", {"data": {"email": "x" * 100_000}}),
    ("POST", "/query", {"data": b"a" * 100_000,
                        "content_type": "application/x-www-form-urlencoded"}),
    ("POST", "/query", {"data": b"--x\r\nbroken",
                        "content_type": "multipart/form-data; boundary=x"}),
    ("PUT", "/order", {}), ("DELETE", "/orders/1", {}), ("POST", "/orders/1", {}),
    ("GET", "/order?package=%00", {}), ("GET", "/order?package=%FF%FE", {}),
    ("GET", "/order?to=%00%FF", {}), ("GET", "/orders/%00", {}), ("GET", "/orders/%FF%FE", {}),
    ("GET", "/orders/" + "x" * 1_000, {}), ("GET", "/orders/1/cancel", {}),
    ("GET", "/query?order_id=%00%FF", {}), ("GET", "/static/../settings.py", {}),
    ("GET", "/static/%2e%2e/settings.py", {}), ("GET", "/order?package=1&package=2", {}),
])
def test_odd_requests_get_no_5xx_and_queue_nothing(
    ann: Visitor, road: World, method: str, path: str, sent: dict[str, Any]
) -> None:
    answer = ann.client.open(path, method=method, **sent)
    assert answer.status_code < 500, answer.text
    assert "Traceback" not in answer.text
    assert waiting(road) == 0


@pytest.mark.parametrize("field", ["email", "order_id"])
def test_odd_texts_in_fields_get_no_5xx(ann: Visitor, road: World, field: str) -> None:
    for text in ("\x00", "\ud7ff\uffff", "a\u202eb@example.org", "𝔸@example.org", "{{7*7}}", "%s"):
        if field == "order_id":
            answers = [ann.query(text, ANN)]
        else:
            answers = [ann.query(UNKNOWN_ID, text),
                       ann.client.post("/order", data={**ann.order_form(), "email": text})]
        for answer in answers:
            assert answer.status_code in (303, 404, 422), (text, answer.text)
            assert ">49<" not in answer.text
