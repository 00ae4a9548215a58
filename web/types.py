"""Types of the JSON API that belong to HTTP: what validates is what the document shows."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated

import msgspec
from email_validator import EmailNotValidError, validate_email
from msgspec import Meta

from booking.model import Guest, State
from errors import BadInput

PACKAGE_ID_MAX = 2**53 - 1
EMAIL_MAX_CHARS = 254
IDEMPOTENCY_KEY_MAX_CHARS = 255

PackageId = Annotated[int, Meta(ge=1, le=PACKAGE_ID_MAX, description="Id of the package")]
Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=EMAIL_MAX_CHARS,
        description="Where the order belongs to; needed to look it up again",
        extra_json_schema={"format": "email"},
    ),
]


RateId = Annotated[
    str,
    Meta(min_length=1, max_length=100,
         description="Id of a rate of GET /api/search, while that search lives"),
]
GUEST_NAME_MAX_CHARS = 60
GuestName = Annotated[
    str, Meta(max_length=GUEST_NAME_MAX_CHARS, description="In whose name the hotel is booked")
]


class GuestRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who arrives at the hotel; what is left out is made of the e-mail address."""

    given_name: GuestName = ""
    family_name: GuestName = ""


class OrderRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One unit of a package, or one hotel rate, for one customer."""

    email: Email
    package_id: PackageId | msgspec.UnsetType = msgspec.UNSET
    rate_id: RateId | msgspec.UnsetType = msgspec.UNSET
    guest: GuestRequest | msgspec.UnsetType = msgspec.UNSET


class OrderAccepted(msgspec.Struct, frozen=True):
    """The order is durable and waits for its turn."""

    order_id: str
    state: State


class FieldError(msgspec.Struct, frozen=True):
    """What to mend, and where (a JSON pointer, or the name of a parameter or header)."""

    detail: str
    pointer: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] = []


def valid_email(text: str, field: str = "email") -> str:
    """The address in its normal form. Raises BadInput that names `field`."""
    if len(text) > EMAIL_MAX_CHARS:
        raise BadInput(f"An e-mail address has at most {EMAIL_MAX_CHARS} characters.",
                       field=field)
    local, _, domain = text.rpartition("@")
    try:
        if _PLAIN_LOCAL.fullmatch(local) and _PLAIN_DOMAIN.fullmatch(domain):
            return f"{local}@{_domain(domain)}"
        return validate_email(text, check_deliverability=False).normalized
    except EmailNotValidError as error:
        raise BadInput(str(error), field=field) from None


# Nearly every address. The library gives such a local part back as it came, whatever the domain,
# and such a domain in lower case, whatever the local part; names in Punycode are left to it.
_PLAIN_LOCAL = re.compile(r"(?=.{1,64}\Z)[a-z0-9_+-]+(?:\.[a-z0-9_+-]+)*")
_PLAIN_DOMAIN = re.compile(r"(?!.*--)[A-Za-z0-9.-]+")


@lru_cache(maxsize=1_024)
def _domain(text: str) -> str:
    """The domain in its normal form. Most customers share a few, and checking it is most of the
    work. Raises EmailNotValidError, and keeps nothing then.
    """
    return validate_email(f"a@{text}", check_deliverability=False).domain


def valid_guest(given_name: str, family_name: str, field: str = "") -> Guest:
    """Names as people write them. Raises BadInput that names the part."""
    parts = {"given_name": " ".join(given_name.split()),
             "family_name": " ".join(family_name.split())}
    for name, text in parts.items():
        if len(text) > GUEST_NAME_MAX_CHARS or not text.isprintable():
            raise BadInput(f"at most {GUEST_NAME_MAX_CHARS} characters that can be printed",
                           field=f"{field}{name}")
    return Guest(**parts)


def valid_idempotency_key(text: str | None) -> str | None:
    """The header as it came. Raises BadInput unless it is 1 to 255 visible ASCII characters."""
    if text is None:
        return None
    if not 1 <= len(text) <= IDEMPOTENCY_KEY_MAX_CHARS or not all("!" <= c <= "~" for c in text):
        raise BadInput(
            f"1 to {IDEMPOTENCY_KEY_MAX_CHARS} visible ASCII characters, without spaces.",
            field="Idempotency-Key", status=400,
        )
    return text
