"""GET, POST /rates/<rate_id>: one pinned rate and its order form. It works without JavaScript."""

from __future__ import annotations

import datetime as dt
from typing import Any

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from booking import intake
from booking.lookup import moment
from errors import BadInput, EngineAway
from search.model import PinnedRate
from web import search_window, visitor, visits, words
from web.forms import RateForm, new_key
from web.problems import problem_of
from web.rates import offer_of, order_rate
from web.services import services
from web.types import valid_guest

rate_pages = Blueprint("rate_pages", __name__)

_SEARCH_FIELDS = ("destination", "check_in", "check_out", "guests")


@rate_pages.after_request
def keep_private(response: Response) -> Response:
    """The page carries the key of a form, and a price that runs out."""
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@rate_pages.get("/rates/<rate_id>")
def rate(rate_id: str) -> Response:
    """The rate and its form, or the way back to the search."""
    pinned = services().entries.find_rate(rate_id)
    if pinned is None:
        return _gone()
    email = next((known.email for known in visitor.orders()), "")
    return _rate_page(rate_id, pinned, RateForm(formdata=None, key=new_key(), email=email))


@rate_pages.post("/rates/<rate_id>")
def order(rate_id: str) -> Response | BaseResponse:
    """Queue the order and lead to its result; refused, the form comes back as it was."""
    form = RateForm()
    if not form.validate():
        if form.key.errors:
            form.key.data = new_key()
        pinned = services().entries.find_rate(rate_id)
        return _rate_page(rate_id, pinned, form, 422) if pinned else _gone()
    try:
        guest = valid_guest(form.given_name.data or "", form.family_name.data or "")
        accepted = order_rate(rate_id, form.email.data, guest, form.key.data)
    except intake.RateGone:
        return _gone()
    except (intake.Refusal, EngineAway, BadInput) as error:
        return _refused(rate_id, form, error)
    visitor.remember(accepted.order_id, form.email.data, accepted.place)
    response = redirect(url_for("pages.result", order_id=accepted.order_id), 303)
    visits.is_buyer(response, form.email.data)
    return response


def _rate_page(
    rate_id: str, pinned: PinnedRate | None, form: RateForm, status: int = 200,
    headers: dict[str, str] | None = None, trouble: tuple[str, str] | None = None,
) -> Response:
    shown: dict[str, Any] = {"rate": None, "back": _back(), "rate_id": rate_id}
    if pinned is not None:
        query, facts = pinned.query, offer_of(pinned).facts
        hotel = services().destinations.hotel(facts.hotel_id)
        shown |= {
            "rate": facts,
            "board": search_window.board_text(facts.board),
            "stars": hotel.stars if hotel else 0,
            "art_name": search_window.art_of(facts.hotel_id),
            "stay": search_window.nights_text(query.check_in, query.check_out, query.guests),
            "supplier": search_window.source_text(facts.supplier),
            "until": moment(pinned.expires_ms),
            "left_min": max(0, int((moment(pinned.expires_ms)
                                    - dt.datetime.now(dt.UTC)).total_seconds() // 60)),
            "back": {"destination": query.destination, "check_in": query.check_in.isoformat(),
                     "check_out": query.check_out.isoformat(), "guests": str(query.guests)},
        }
    return make_response(
        render_template("rate.html", form=form, trouble=trouble, **shown), status, headers or {}
    )


def _refused(rate_id: str, form: RateForm, error: Exception) -> Response:
    """The form once more. Its key stays while it is not known whether the order was taken, so
    that pressing the button again can never order twice.
    """
    problem, headers = problem_of(error, services().settings.retry_after_s)
    title, detail = words.for_people(problem)
    if isinstance(error, intake.KeyReused):
        form.key.data = new_key()
    if isinstance(error, EngineAway):
        detail = words.NEVER_TWICE
    try:
        pinned = services().entries.find_rate(rate_id)
    except EngineAway:
        pinned = None  # the form can be sent all the same
    return _rate_page(rate_id, pinned, form, problem.status, headers, (title, detail))


def _gone() -> Response:
    """404: where a new search brings the prices of now."""
    return make_response(render_template("rate_gone.html", back=_back()), 404)


def _back() -> dict[str, str]:
    """The fields of the search that the address of the form carries along."""
    return {name: request.args[name][:80] for name in _SEARCH_FIELDS if name in request.args}
