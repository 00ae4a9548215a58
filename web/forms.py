"""The forms of the pages. What is valid is said by web.types, the same as for the API."""

from __future__ import annotations

import secrets
from typing import Any

from flask_wtf import FlaskForm
from wtforms import HiddenField, StringField
from wtforms.validators import DataRequired, Length, StopValidation

from errors import BadInput
from web.types import (
    EMAIL_MAX_CHARS,
    GUEST_NAME_MAX_CHARS,
    PACKAGE_ID_MAX,
    valid_email,
    valid_idempotency_key,
)

ORDER_ID_MAX_CHARS = 200


def package_id_of(text: str | None) -> int | None:
    """A package id as people and links write it, or None."""
    if not text or len(text) > 16 or not (text.isascii() and text.isdigit()):
        return None
    number = int(text)
    return number if 1 <= number <= PACKAGE_ID_MAX else None


def new_key() -> str:
    """The idempotency key of one rendered form: sent twice, it is still one order."""
    return secrets.token_urlsafe(18)


def _strip(text: str | None) -> str | None:
    return text.strip() if text else text


def _email(form: Any, field: Any) -> None:
    try:
        field.data = valid_email(field.data)
    except BadInput as error:
        raise StopValidation(error.detail) from None


def _key(form: Any, field: Any) -> None:
    try:
        valid_idempotency_key(field.data)
    except BadInput as error:
        raise StopValidation(error.detail) from None


_NAME_LENGTH = Length(
    max=GUEST_NAME_MAX_CHARS, message=f"A name has at most {GUEST_NAME_MAX_CHARS} characters."
)


class OrderForm(FlaskForm):  # type: ignore[misc]
    """One package for one address. The package is a hidden field of the page it is chosen on."""

    email = StringField(
        "Your e-mail address",
        [DataRequired("Enter your e-mail address."), _email],
        filters=[_strip],
    )
    package = HiddenField()
    key = HiddenField(validators=[_key])


class RateForm(FlaskForm):  # type: ignore[misc]
    """A pinned rate for one address; the rate stands in the form's own address."""

    email = StringField(
        "Your e-mail address",
        [DataRequired("Enter your e-mail address."), _email],
        filters=[_strip],
    )
    given_name = StringField("First name", [_NAME_LENGTH], filters=[_strip])
    family_name = StringField("Last name", [_NAME_LENGTH], filters=[_strip])
    key = HiddenField(validators=[_key])


class LookupForm(FlaskForm):  # type: ignore[misc]
    """An order is found by both, never by one of them."""

    order_id = StringField(
        "Order id",
        [DataRequired("Enter the id of your order."),
         Length(max=ORDER_ID_MAX_CHARS, message="An order id has 26 characters.")],
        filters=[_strip],
    )
    email = StringField(
        "E-mail address",
        [DataRequired("Enter the e-mail address that you ordered with."),
         Length(max=EMAIL_MAX_CHARS,
                message=f"An e-mail address has at most {EMAIL_MAX_CHARS} characters.")],
        filters=[_strip],
    )

    def address(self) -> str:
        """The address as orders keep it; one that cannot exist stays as it is, and finds nothing.
        """
        try:
            return valid_email(self.email.data)
        except BadInput:
            return str(self.email.data)
