"""The OpenAPI document, made from the types and the functions that answer.

A view of the API is marked with `@documented`; the document is read off the marks and the app's
own routes, so that it cannot drift from them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
from flask import Flask

from web.types import Problem

View = TypeVar("View", bound=Callable[..., Any])
Json = dict[str, Any]

_REF = "#/components/schemas/{name}"
_MARK = "_berth_operation"


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of a query, a path or a header; `kind` is a type that msgspec describes."""

    name: str
    place: str
    kind: Any
    description: str
    required: bool = True


class Answer(msgspec.Struct, frozen=True):
    """One status that a view may answer with. `kind` None: a problem document, unless `empty`."""

    status: int
    description: str
    kind: Any = None
    headers: tuple[str, ...] = ()
    empty: bool = False


class Operation(msgspec.Struct, frozen=True):
    """What a view takes and gives."""

    summary: str
    answers: tuple[Answer, ...]
    parameters: tuple[Parameter, ...] = ()
    body: Any = None


def documented(operation: Operation) -> Callable[[View], View]:
    """Mark a view of the API with what it takes and gives."""

    def mark(view: View) -> View:
        setattr(view, _MARK, operation)
        return view

    return mark


def document(app: Flask) -> Json:
    """The OpenAPI 3.1 document of the marked views of this app."""
    found: list[tuple[str, str, Operation]] = []
    for rule in app.url_map.iter_rules():
        operation = getattr(app.view_functions[rule.endpoint], _MARK, None)
        if operation is not None:
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
            found += [(path, method.lower(), operation) for method in methods]
    schemas, components = _schemas([operation for _, _, operation in found])
    paths: Json = {}
    for path, method, operation in sorted(found, key=lambda item: item[:2]):
        paths.setdefault(path, {})[method] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Berth",
            "version": "1",
            "description": "Orders of scarce travel packages. An order is accepted at once (202) "
                           "and decided in its turn; its state is read at its own address. "
                           "Searches for hotel rates are asked for at one address again and "
                           "again, until they are completed.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _schemas(operations: Sequence[Operation]) -> tuple[dict[Any, Json], Json]:
    kinds: list[Any] = [Problem]
    for operation in operations:
        kinds += [operation.body] if operation.body else []
        kinds += [parameter.kind for parameter in operation.parameters]
        kinds += [answer.kind for answer in operation.answers if answer.kind]
    unique = list(dict.fromkeys(kinds))
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
    return dict(zip(unique, schemas, strict=True)), components


def _operation(operation: Operation, schemas: dict[Any, Json]) -> Json:
    found: Json = {"summary": operation.summary, "responses": {}}
    if operation.parameters:
        found["parameters"] = [
            {"name": p.name, "in": p.place, "required": p.required,
             "description": p.description, "schema": schemas[p.kind]}
            for p in operation.parameters
        ]
    if operation.body:
        found["requestBody"] = {
            "required": True, "content": {"application/json": {"schema": schemas[operation.body]}}
        }
    for answer in operation.answers:
        media = "application/json" if answer.kind else "application/problem+json"
        found["responses"][str(answer.status)] = {
            "description": answer.description,
            **({} if answer.empty
               else {"content": {media: {"schema": schemas[answer.kind or Problem]}}}),
            **({"headers": {h: {"schema": {"type": "string"}} for h in answer.headers}}
               if answer.headers else {}),
        }
    return found
