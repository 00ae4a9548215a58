"""Reading input and refusing it, as problem documents (RFC 9457) with one word of reason."""

from __future__ import annotations

from http import HTTPStatus
from typing import TypeVar

import msgspec
from flask import Response, request

import shapes
from errors import BadInput

T = TypeVar("T")


class Refused(BadInput):
    """A clear no of this supplier. `reason` is the word that its clients decide by."""

    def __init__(self, reason: str, detail: str, *, field: str = "", status: int = 422) -> None:
        super().__init__(detail, field=field, status=status)
        self.reason = reason


def problem(status: int, reason: str, detail: str, headers: dict[str, str] | None = None
            ) -> Response:
    """A problem document; `reason` is its extension member."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status,
                "detail": detail, "reason": reason}
    return Response(msgspec.json.encode(document), status, headers,
                    mimetype="application/problem+json")


def json_answer(status: int, document: object) -> Response:
    """An ordinary JSON answer."""
    return Response(msgspec.json.encode(document), status, mimetype="application/json")


def body_as(shape: type[T]) -> T:
    """The request's JSON body as `shape`. Raises BadInput with what to mend."""
    if request.mimetype != "application/json":
        raise BadInput("send application/json", field="Content-Type", status=415)
    try:
        return shapes.decode(request.get_data(), shape)
    except msgspec.ValidationError as error:
        raise BadInput(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"not JSON: {error}", status=400) from None


def checked(value: object, shape: type[T], field: str) -> T:
    """A header, path or query value as `shape`. Raises BadInput that names `field`."""
    try:
        return shapes.convert(value, shape, strict=False)
    except msgspec.ValidationError as error:
        raise BadInput(str(error), field=field) from None
