"""The simulator's Flask app: its sections, its settings, its health, its problem documents."""

from __future__ import annotations

import logging
import sqlite3
from typing import Annotated, Any

import msgspec
from flask import Flask, Response, request
from msgspec import Meta
from werkzeug.exceptions import HTTPException

from errors import BadInput
from settings import Settings
from suppliers.simulator import reservations, vendors
from suppliers.simulator.book import Book
from suppliers.simulator.conduct import Conduct, ConductSwitch
from suppliers.simulator.problems import Refused, body_as, checked, json_answer, problem
from suppliers.simulator.vendors.conduct import VendorSwitch
from suppliers.simulator.vendors.stay_book import StayBook

BODY_MAX_BYTES = 8_192
PAGE_DEFAULT = 1_000
Limit = Annotated[int, Meta(ge=1, le=5_000)]

log = logging.getLogger(__name__)


def create_app(settings: Settings, book: Book) -> Flask:
    """The app over an open book. Its conduct starts as the settings say."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = BODY_MAX_BYTES
    switch = ConductSwitch(Conduct.from_settings(settings))
    app.register_blueprint(reservations.blueprint(book, switch))

    vendor_switch = VendorSwitch(settings)
    stays = StayBook(book, settings.simulator_seed)
    sections, gates = vendors.blueprints(settings, stays, vendor_switch)
    for section in sections:
        app.register_blueprint(section)

    @app.get("/api/simulator/settings")
    def show_settings() -> Response:
        return json_answer(200, msgspec.structs.asdict(switch.now)
                           | {"vendors": vendor_switch.now})

    @app.patch("/api/simulator/settings")
    def change_settings() -> Response:
        fields = body_as(dict[str, Any])
        changes = checked(fields.pop("vendors", {}), dict[str, dict[str, Any]], "vendors")
        vendor_switch.change(changes, first=lambda: switch.change(fields))
        return show_settings()

    @app.get("/api/simulator/calls")
    def show_calls() -> Response:
        return json_answer(200, {name: gate.counts() for name, gate in gates.items()})

    @app.get("/api/simulator/stays")
    def show_stays() -> Response:
        limit = checked(request.args.get("limit", PAGE_DEFAULT), Limit, "limit")
        after = (request.args.get("after_vendor", ""), request.args.get("after_reference", ""))
        return json_answer(200, {"stays": stays.page(after, limit)})

    @app.get("/healthz")
    def health() -> Response:
        book.check()
        return json_answer(200, {"status": "ok"})

    _answer_errors_with_problems(app)
    return app


def _answer_errors_with_problems(app: Flask) -> None:
    @app.errorhandler(BadInput)
    def refuse(error: BadInput) -> Response:
        reason = error.reason if isinstance(error, Refused) else "invalid_request"
        return problem(error.status, reason, str(error))

    @app.errorhandler(sqlite3.Error)
    @app.errorhandler(TimeoutError)
    def book_is_away(error: Exception) -> Response:
        log.error("The book cannot be written: %s", error)
        return problem(503, "book_unavailable", "the book cannot be written now")

    @app.errorhandler(HTTPException)
    def refuse_http(error: HTTPException) -> Response:
        # Flask hands over its own refusals here, and every unforeseen error as a logged 500.
        status = error.code or 500
        reason = "invalid_request" if status < 500 else "internal_error"
        return problem(status, reason, error.description or "")
