"""JSON as vendors write it: the same kind of amount comes as a number here, as a string there."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import msgspec
from flask import Response

_ENCODER = msgspec.json.Encoder(decimal_format="number")


class VendorRefusal(Exception):  # noqa: N818 - named for what happened
    """A vendor's no. Each vendor writes it into an error document of its own shape."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.status = status
        self.code = code


def answer(document: object, status: int = 200, headers: Mapping[str, str] | None = None
           ) -> Response:
    """A JSON answer in which a Decimal is a number, digit by digit as it is."""
    return Response(_ENCODER.encode(document), status, dict(headers or {}),
                    mimetype="application/json")


def either(amount: Decimal, as_text: bool) -> Decimal | str:
    """The amount as a number or as a string."""
    return str(amount) if as_text else amount
