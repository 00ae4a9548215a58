"""The JSON API: parse, call, answer. No rule of booking lives here."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from flask import Blueprint, Response, current_app, render_template, request
from msgspec import UNSET, Meta
from werkzeug.exceptions import UnsupportedMediaType

import shapes
from booking import intake
from booking.lookup import OrderView
from booking.model import LIVE, State
from booking.projection import PackageList
from errors import BadInput
from web.openapi import Answer, Operation, Parameter, document, documented
from web.rates import order_rate
from web.services import found_order, services
from web.types import (
    EMAIL_MAX_CHARS,
    IDEMPOTENCY_KEY_MAX_CHARS,
    GuestRequest,
    OrderAccepted,
    OrderRequest,
    valid_email,
    valid_guest,
    valid_idempotency_key,
)

api = Blueprint("api", __name__, url_prefix="/api")
Body = TypeVar("Body")

_NOT_FOUND = Answer(404, "No order with this id and this e-mail")
_THROTTLED = Answer(429, "Too many look-ups that found nothing", headers=("Retry-After",))
_AWAY = Answer(503, "Nothing was done; try again", headers=("Retry-After",))
_ORDER_PARAMETERS = (
    Parameter("order_id", "path", Annotated[str, Meta(min_length=1, max_length=200)],
              "Id of the order"),
    Parameter("email", "query", Annotated[str, Meta(max_length=EMAIL_MAX_CHARS)],
              "E-mail that the order was placed with"),
)
_KEY = Annotated[
    str, Meta(min_length=1, max_length=IDEMPOTENCY_KEY_MAX_CHARS, pattern=r"^[!-~]+$")
]


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer that nobody keeps."""
    response = Response(msgspec.json.encode(value), status=status, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    response.headers.update(headers or {})
    return response


def body_of(kind: type[Body]) -> Body:
    """The body as `kind`. Raises BadInput with a JSON pointer, or 415."""
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("Send the body as application/json.")
    raw = request.get_data(cache=False)
    try:
        return shapes.decode(raw, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        pointer = path.rstrip("`").replace(".", "/")
        raise BadInput(text, field=pointer or "/") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"The body is not JSON: {error}", status=400) from None


@api.get("/packages")
@documented(Operation(
    "The packages and what is left of them",
    (Answer(200, "All packages by id", PackageList),
     Answer(503, "The packages are not known yet", headers=("Retry-After",))),
))
def packages() -> Response:
    found = services().shelf.packages()
    if not found:
        raise intake.NotReady("no packages yet")
    return answer(PackageList(found))


@api.post("/orders")
@documented(Operation(
    "Order one unit of a package, or a hotel rate",
    (Answer(202, "Accepted: the order will reach a final state", OrderAccepted,
            headers=("Location",)),
     Answer(400, "Not JSON, or a bad Idempotency-Key"),
     Answer(404, "No such package, or a rate whose search has expired: search again"),
     Answer(409, "The sale is not open, or the Idempotency-Key came with another order"),
     Answer(413, "The body is too large"),
     Answer(415, "The body is not application/json"),
     Answer(422, "A field is missing, unknown or wrong"),
     Answer(503, "Too many orders wait; nothing was queued", headers=("Retry-After",))),
    parameters=(Parameter("Idempotency-Key", "header", _KEY,
                          "The same key and body give the first answer again, for 24 hours, to "
                          "whoever sends them: make it one that nobody guesses, such as a UUID",
                          required=False),),
    body=OrderRequest,
))
def place_order() -> Response:
    key = valid_idempotency_key(request.headers.get("Idempotency-Key"))
    order = body_of(OrderRequest)
    email = valid_email(order.email, field="/email")
    package_id, rate_id = order.package_id, order.rate_id
    if (package_id is UNSET) == (rate_id is UNSET):
        raise BadInput("Name either package_id or rate_id, and not both.", field="/package_id")
    if rate_id is not UNSET:
        guest = GuestRequest() if order.guest is UNSET else order.guest
        accepted = order_rate(
            rate_id, email,
            valid_guest(guest.given_name, guest.family_name, "/guest/"), key,
        )
    elif order.guest is not UNSET:
        raise BadInput("Only for an order of a rate.", field="/guest")
    else:
        assert package_id is not UNSET
        accepted = services().intake.accept(package_id, email, key)
    return answer(
        OrderAccepted(accepted.order_id, State.QUEUED), 202,
        # An order stands below the address that it was sent to.
        {"Location": f"{request.script_root}{request.path}/{accepted.order_id}"},
    )


@api.get("/orders/<order_id>")
@documented(Operation(
    "An order, by its id and its e-mail",
    (Answer(200, "The order as it stands", OrderView), _NOT_FOUND, _THROTTLED, _AWAY),
    parameters=_ORDER_PARAMETERS,
))
def order(order_id: str) -> Response:
    return answer(found_order(order_id, request.args.get("email", "")))


@api.delete("/orders/<order_id>")
@documented(Operation(
    "Cancel an order",
    (Answer(202, "The cancellation is queued behind the order", OrderAccepted),
     _NOT_FOUND, Answer(409, "The order has already ended"), _THROTTLED, _AWAY),
    parameters=_ORDER_PARAMETERS,
))
def cancel_order(order_id: str) -> Response:
    found = found_order(order_id, request.args.get("email", ""))
    if found.state not in LIVE | {State.QUEUED, State.CANCELLED}:
        raise BadInput(f"This order has ended: it is {found.state}.", status=409)
    if found.state is not State.CANCELLED:
        services().intake.cancel(found.order_id)
    return answer(OrderAccepted(found.order_id, found.state), 202)


@api.get("/openapi.json")
def openapi() -> Response:
    return Response(msgspec.json.format(msgspec.json.encode(document(current_app))),
                    content_type="application/json")


@api.get("/docs")
def docs() -> str:
    return render_template("docs.html", document=document(current_app))
