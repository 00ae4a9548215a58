"""The OpenAPI document tells the truth: whatever is sent, the answer is one that it allows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

import bootstrap
from booking.model import Package, PackageFacts
from booking.projection import project
from queues.keys import BOOKING
from settings import Settings
from tests.catalogue_hotels import hotel
from tests.catalogue_shelf import shelve
from web import build_app

EXAMPLES = 30


@pytest.fixture
def app(settings: Settings, valkey: redis.Redis) -> Iterator[Flask]:
    for package_id in range(1, 4):
        facts = PackageFacts(package_id, "Flight-1", "2022-08-09", "100.00", "USD")
        key, view, door = project(Package(facts=facts, quota=5), 5)
        valkey.hset(BOOKING.packages, key, view)
        valkey.hset(BOOKING.doors, key, door)
    with bootstrap.connect_catalogue_valkey(settings) as catalogue:
        shelve(catalogue, [hotel(n) for n in range(30)])
    built = build_app(settings)
    yield built
    built.extensions["berth"].listings.stop()


OPERATIONS = [
    ("GET", "/api/packages"),
    ("POST", "/api/orders"),
    ("GET", "/api/orders/{order_id}"),
    ("DELETE", "/api/orders/{order_id}"),
    ("GET", "/api/search"),
    ("GET", "/api/hotels"),
    ("GET", "/api/hotels/{hotel_id}"),
]


# GET /api/packages takes nothing, so there is nothing to send it that is wrong.
TRIALS = [(GenerationMode.POSITIVE, *operation) for operation in OPERATIONS] + [
    (GenerationMode.NEGATIVE, *operation) for operation in OPERATIONS[1:]
]


@pytest.mark.parametrize(("mode", "method", "path"), TRIALS)
def test_no_answer_but_those_of_the_document(
    app: Flask, mode: GenerationMode, method: str, path: str
) -> None:
    operation = schemathesis.openapi.from_wsgi("/api/openapi.json", app)[path][method]

    @given(case=operation.as_strategy(generation_mode=mode))
    @hypothesis_settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
                         suppress_health_check=list(HealthCheck))
    def holds(case: schemathesis.Case) -> None:
        # The client for WSGI says that it takes gzip, and cannot read it.
        answer = case.call(headers={"Accept-Encoding": "identity"})
        case.validate_response(answer, checks=[
            not_a_server_error, status_code_conformance, content_type_conformance,
            response_schema_conformance,
        ])

    holds()


def test_every_operation_is_tried(app: Flask) -> None:
    """The list above is whole: a new operation of the document belongs into it."""
    document = app.test_client().get("/api/openapi.json").json
    named = {(m.upper(), path) for path, methods in document["paths"].items() for m in methods}
    assert named == set(OPERATIONS)


def test_every_route_of_the_api_is_in_the_document(app: Flask) -> None:
    paths = app.test_client().get("/api/openapi.json").json["paths"]
    undocumented = {
        rule.rule for rule in app.url_map.iter_rules()
        if rule.rule.startswith("/api/")
        and rule.rule.replace("<", "{").replace(">", "}") not in paths
    }
    assert undocumented == {"/api/openapi.json", "/api/docs"}


def test_the_document_names_what_validates(app: Flask) -> None:
    found = app.test_client().get("/api/openapi.json").json
    order = found["components"]["schemas"]["OrderRequest"]
    assert order["required"] == ["email"]
    assert order["additionalProperties"] is False
    assert order["properties"]["package_id"]["minimum"] == 1


def test_the_reference_is_readable_without_another_host(app: Flask) -> None:
    answer = app.test_client().get("/api/docs")
    assert answer.status_code == 200
    assert "/api/orders" in answer.text
    assert "http://" not in answer.text.replace("http://localhost", "").replace(
        "http://127.0.0.1", "")
