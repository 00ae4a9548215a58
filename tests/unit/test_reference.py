"""The readable reference says what the OpenAPI document says."""

from __future__ import annotations

import json
import shlex

import pytest
from flask import Flask

from web.api import api
from web.openapi import Json, document
from web.reference import Endpoint, endpoints


@pytest.fixture(scope="module")
def described() -> Json:
    app = Flask(__name__)
    app.register_blueprint(api)
    return document(app)


@pytest.fixture(scope="module")
def found(described: Json) -> dict[tuple[str, str], Endpoint]:
    listed = endpoints(described, "http://host.example/")
    return {(endpoint.method, endpoint.path): endpoint for endpoint in listed}


def test_every_operation_is_listed_with_all_its_answers(
    described: Json, found: dict[tuple[str, str], Endpoint]
) -> None:
    wanted = {
        (method.upper(), path): {int(status) for status in operation["responses"]}
        for path, methods in described["paths"].items() for method, operation in methods.items()
    }
    assert {key: {r.status for r in e.results} for key, e in found.items()} == wanted
    assert len({endpoint.anchor for endpoint in found.values()}) == len(found)


def test_a_body_is_shown_with_its_members_types_and_bounds(
    found: dict[tuple[str, str], Endpoint]
) -> None:
    body = {field.name: field for field in found["POST", "/api/orders"].body}
    assert body["package_id"].kind == "integer"
    assert body["package_id"].rules == f"1 to {2**53 - 1}"
    assert body["email"].kind == "string (email)"
    assert body["email"].required


def test_members_of_members_are_named_by_their_way(
    found: dict[tuple[str, str], Endpoint]
) -> None:
    (ok,) = [r for r in found["GET", "/api/packages"].results if r.status == 200]
    assert {"packages", "packages[].id", "packages[].remaining"} <= {f.name for f in ok.fields}
    (ok,) = [r for r in found["GET", "/api/orders/{order_id}"].results if r.status == 200]
    named = {field.name: field.kind for field in ok.fields}
    assert "package.price" in named
    assert "history[].state" in named
    assert "confirmed" in named["state"]


def test_the_example_of_an_order_is_a_command_that_sends_what_the_types_accept(
    found: dict[tuple[str, str], Endpoint]
) -> None:
    words = shlex.split(found["POST", "/api/orders"].curl.replace("\\\n", " "))
    assert words[0] == "curl"
    assert words[-1] == "http://host.example/api/orders"
    assert set(json.loads(words[words.index("-d") + 1])) == {"package_id", "email"}
    assert "Content-Type: application/json" in words


def test_the_example_of_a_look_up_names_path_and_query(
    found: dict[tuple[str, str], Endpoint]
) -> None:
    assert "{" not in found["GET", "/api/orders/{order_id}"].curl
    assert "?email=ada@example.org" in found["GET", "/api/orders/{order_id}"].curl
    assert "-X DELETE" in found["DELETE", "/api/orders/{order_id}"].curl
