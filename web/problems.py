"""Every error that leaves the house: a problem document for programs, a page for people."""

from __future__ import annotations

import logging

import msgspec
from flask import Flask, Response, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from booking import intake
from booking.lookup import moment
from errors import BadInput, CatalogueBuilding, EngineAway
from search.entries import TooManySearches
from web.search_api import SearchExpired
from web.types import FieldError, Problem
from web.words import for_people

log = logging.getLogger(__name__)


def problem_of(error: Exception, retry_after_s: int) -> tuple[Problem, dict[str, str]]:
    """The problem document and the headers of an error."""
    again = {"Retry-After": str(retry_after_s)}
    match error:
        case BadInput():
            found = FieldError(error.detail, error.field)
            return _problem("bad-input", "The request cannot be used", error.status,
                            error.detail, [found] if error.field else []), {}
        case intake.UnknownPackage():
            return _problem("unknown-package", "No such package", 404,
                            "There is no package with this id on sale.",
                            [FieldError("Choose an id of GET /api/packages.", "/package_id")]), {}
        case intake.RateGone():
            return _problem("rate-gone", "This rate can no longer be ordered", 404,
                            "Rates keep their price only while their search lives. Search again "
                            "and order a rate of the new answer.",
                            [FieldError("Choose a rate_id of GET /api/search.", "/rate_id")]), {}
        case intake.SaleClosed():
            return _problem("sales-closed", "The sale is not open", 409, closed_text(error)), {}
        case intake.KeyReused():
            return _problem("idempotency-key-reused", "Idempotency-Key was used before", 409,
                            "This key came with another order. Use a new key for a new order.",
                            [FieldError("A new key for each order.", "Idempotency-Key")]), {}
        case intake.Overloaded():
            return _problem("overloaded", "Too many orders wait", 503,
                            "Nothing was queued. Please try again in a moment."), again
        case intake.NotReady():
            return _problem("not-ready", "The sale is being prepared", 503,
                            "The packages are not known yet. Please try again in a moment."), again
        case TooManySearches():
            return _problem("searches-overloaded", "Too many searches wait", 503,
                            "Nothing was begun. Please try again in a moment."), again
        case SearchExpired():
            return _problem("search-expired", "This search has expired", 410,
                            "Its prices hold no longer. Ask again without since for new ones.",
                            [FieldError("Leave it out.", "since")]), {}
        case CatalogueBuilding():
            return _problem("catalogue-building", "The catalogue is being built", 503,
                            "Hotels will be here in a moment. Please try again."), again
        case EngineAway():
            log.warning("an engine is away: %s", error)
            return _problem("engine-away", "A part of the system does not answer", 503,
                            "Please try again in a moment. With the same Idempotency-Key an "
                            "order is never taken twice."), again
        case CSRFError():
            return _problem("csrf", "The form cannot be trusted", 400, error.description), {}
        case HTTPException():
            status = error.code or 500
            title = error.name
            headers = {k: v for k, v in error.get_headers() if k in ("Allow", "Retry-After")}
            return _problem("http", title, status, error.description or title), headers
    log.error("unexpected error at %s", request.url_rule, exc_info=error)
    return _problem("internal-error", "Something went wrong here", 500,
                    "It has been recorded. Trying again will not charge you twice."), {}


def closed_text(error: intake.SaleClosed) -> str:
    """When the sale opens or closed, in words."""
    if error.starts_ms is not None and error.ends_ms is None:
        return f"The sale opens at {moment(error.starts_ms):%Y-%m-%d %H:%M} UTC."
    if error.ends_ms is not None and error.starts_ms is None:
        return f"The sale ended at {moment(error.ends_ms):%Y-%m-%d %H:%M} UTC."
    if error.starts_ms is not None and error.ends_ms is not None:
        return (f"The sale is open from {moment(error.starts_ms):%Y-%m-%d %H:%M} "
                f"to {moment(error.ends_ms):%Y-%m-%d %H:%M} UTC.")
    return "The sale of this package is paused."


def _problem(
    kind: str, title: str, status: int, detail: str, errors: list[FieldError] | None = None
) -> Problem:
    return Problem(type=f"/problems/{kind}", title=title, status=status, detail=detail,
                   errors=errors or [])


def install(app: Flask, retry_after_s: int) -> None:
    """Answer every error of this app with a problem document, or a page outside /api."""

    def answer(error: Exception) -> Response:
        problem, headers = problem_of(error, retry_after_s)
        if request.path.startswith("/api/") or request.blueprint in ("api", "health"):
            response = Response(msgspec.json.encode(problem), status=problem.status,
                                content_type="application/problem+json")
        else:
            title, detail = for_people(problem)
            page = render_template("problem.html", title=title, detail=detail,
                                   status=problem.status)
            response = Response(page, status=problem.status,
                                content_type="text/html; charset=utf-8")
        response.headers.update(headers)
        response.headers["Cache-Control"] = "no-store"
        return response

    app.register_error_handler(Exception, answer)
