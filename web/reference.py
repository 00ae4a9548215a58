"""The OpenAPI document as people read it: a list of endpoints with their fields and examples."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import msgspec

Json = dict[str, Any]

# Examples for what a type alone does not tell; everything else is made from the schema.
_EXAMPLES: dict[str, Any] = {
    "email": "ada@example.org",
    "order_id": "01JD8YV6S2Q0M5W3ZK7C4T9XRB",
    "package_id": 7,
    "rate_id": "4f1c0d5b8e2a96374f1c0d5b8e2a9637-0a1b2c3d4e5f6071",
    "destination": "lisbon",
    "check_in": "2027-03-01",
    "check_out": "2027-03-04",
    "guests": 2,
    "Idempotency-Key": "1f0b2a9c-7d54-4a7e-9a3e-2f6f0c1d8b77",
}


# An order names a package or a rate; its example names the former.
_LEFT_OUT = frozenset({"rate_id", "guest"})


class Field(msgspec.Struct, frozen=True):
    """One parameter or one member of a body; members of members are named with dots."""

    name: str
    kind: str
    required: bool
    rules: str
    description: str
    place: str = ""


class Result(msgspec.Struct, frozen=True):
    """One status that may come back."""

    status: int
    name: str
    description: str
    media: str
    headers: list[str]
    fields: list[Field]


class Endpoint(msgspec.Struct, frozen=True):
    """One operation, ready to be set."""

    anchor: str
    method: str
    path: str
    summary: str
    parameters: list[Field]
    body: list[Field]
    results: list[Result]
    curl: str


def endpoints(document: Json, base_url: str) -> list[Endpoint]:
    """Every operation of the document, in its order. `base_url` is used by the examples."""
    schemas = document["components"]["schemas"]
    return [
        _endpoint(path, method, operation, schemas, base_url.rstrip("/"))
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def _endpoint(path: str, method: str, operation: Json, schemas: Json, base_url: str) -> Endpoint:
    parameters = [
        _field(p["name"], p["schema"], schemas, p["required"], p["description"], p["in"])
        for p in operation.get("parameters", [])
    ]
    body = _body_schema(operation)
    anchor = f"{method}-{path}".replace("/", "-").replace("{", "").replace("}", "")
    return Endpoint(
        anchor=anchor.replace("--", "-"),
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        parameters=parameters,
        body=list(_fields(body, schemas)) if body else [],
        results=[
            _result(int(status), answer, schemas)
            for status, answer in sorted(operation["responses"].items())
        ],
        curl=_curl(path, method, parameters, _example(body, schemas) if body else None, base_url),
    )


def _body_schema(operation: Json) -> Json | None:
    content = operation.get("requestBody", {}).get("content", {})
    return next((media["schema"] for media in content.values()), None)


def _result(status: int, answer: Json, schemas: Json) -> Result:
    described: dict[str, Json] = answer.get("content", {})
    media, content = next(iter(described.items()), ("", {}))
    problem = media == "application/problem+json"
    return Result(
        status=status,
        name=HTTPStatus(status).phrase,
        description=answer["description"],
        media=media,
        headers=list(answer.get("headers", {})),
        # Problem documents all look alike; they are explained once.
        fields=[] if problem or not content else list(_fields(content["schema"], schemas)),
    )


def _resolved(schema: Json, schemas: Json) -> Json:
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema


def _members(schema: Json, schemas: Json) -> Json | None:
    """The object inside a schema: itself, what its array holds, or what may stand beside null."""
    schema = _resolved(schema, schemas)
    if "properties" in schema:
        return schema
    if isinstance(schema.get("items"), dict):
        return _members(schema["items"], schemas)
    for option in schema.get("anyOf", []):
        found = _members(option, schemas)
        if found is not None:
            return found
    return None


def _fields(schema: Json, schemas: Json, prefix: str = "") -> Iterator[Field]:
    members = _members(schema, schemas)
    if members is None:
        return
    required = members.get("required", [])
    for name, inner in members["properties"].items():
        yield _field(prefix + name, inner, schemas, name in required)
        many = "[]" if _resolved(inner, schemas).get("type") == "array" else ""
        yield from _fields(inner, schemas, f"{prefix}{name}{many}.")


def _field(
    name: str, schema: Json, schemas: Json, required: bool, description: str = "", place: str = ""
) -> Field:
    full = _resolved(schema, schemas)
    return Field(name, _kind(schema, schemas), required, _rules(full),
                 description or full.get("description", ""), place)


def _kind(schema: Json, schemas: Json) -> str:
    schema = _resolved(schema, schemas)
    if "anyOf" in schema:
        return " or ".join(_kind(option, schemas) for option in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(str(value) for value in schema["enum"])
    kind = schema.get("type", "any value")
    if kind == "array" and isinstance(schema.get("items"), dict):
        return f"list of {_kind(schema['items'], schemas)}"
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def _rules(schema: Json) -> str:
    least, most = schema.get("minLength"), schema.get("maxLength")
    rules = []
    if most is not None:
        rules.append(f"{least} to {most} characters" if least else f"up to {most} characters")
    if "minimum" in schema and "maximum" in schema:
        rules.append(f"{schema['minimum']} to {schema['maximum']}")
    if "pattern" in schema:
        rules.append(f"matches {schema['pattern']}")
    return ", ".join(rules)


def _example(schema: Json, schemas: Json) -> Any:
    members = _members(schema, schemas) or {"properties": {}}
    found: Json = {}
    for name, inner in members["properties"].items():
        if name in _LEFT_OUT:
            continue
        number = _resolved(inner, schemas).get("type") in ("integer", "number")
        found[name] = _EXAMPLES.get(name, 1 if number else "text")
    return found


def _curl(path: str, method: str, parameters: list[Field], body: Any, base_url: str) -> str:
    """A command line that can be pasted; a fresh Idempotency-Key is left to the shell's user."""
    query = {p.name: _EXAMPLES.get(p.name, "text") for p in parameters
             if p.place == "query" and p.required}
    for parameter in parameters:
        if parameter.place == "path":
            value = str(_EXAMPLES.get(parameter.name, "1"))
            path = path.replace("{" + parameter.name + "}", value)
    url = base_url + path + (f"?{urlencode(query, safe='@')}" if query else "")
    lines = ["curl -i" + (f" -X {method.upper()}" if method not in ("get", "post") else "")]
    lines += [f"  -H '{p.name}: {_EXAMPLES.get(p.name, 'text')}'" for p in parameters
              if p.place == "header"]
    if body is not None:
        lines += ["  -H 'Content-Type: application/json'", f"  -d '{json.dumps(body)}'"]
    return " \\\n".join([*lines, f"  '{url}'"])
