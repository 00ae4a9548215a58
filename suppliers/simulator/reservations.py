"""The section of flights and rooms: reserve by key, cancel by key, page through the book."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from flask import Blueprint, Response, request
from msgspec import Meta

from suppliers.simulator.book import Book, Road
from suppliers.simulator.conduct import ConductSwitch
from suppliers.simulator.problems import body_as, checked, json_answer, problem

Key = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.:-]{0,99}\Z")]
After = Annotated[str, Meta(max_length=100)]
Limit = Annotated[int, Meta(ge=1, le=5_000)]
Text = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*\Z")]

PAGE_DEFAULT = 1_000


class FlightOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /api/flights/reservations."""

    flight: Text
    stay: Text


class RoomOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of POST /api/hotels/reservations."""

    flight_ticket_number: Text
    stay: Text


def blueprint(book: Book, switch: ConductSwitch) -> Blueprint:
    """The section's routes, over a book and under a conduct."""
    section = Blueprint("reservations", __name__)

    @section.before_request
    def be_slow_or_fail() -> Response | None:
        if request.method not in ("POST", "DELETE"):
            return None
        switch.sleep()
        if not switch.faults():
            return None
        pause = {"Retry-After": "1"} if switch.names_a_pause() else None
        return problem(503, "fault", "nothing was done; try again", pause)

    @section.after_request
    def lose_the_answer(answer: Response) -> Response:
        # The work is done and on disk by now: this is the case in which a client cannot know.
        if request.method in ("POST", "DELETE") and answer.status_code < 500 \
                and switch.loses_answer():
            return problem(504, "lost_answer", "the answer was lost on its way")
        return answer

    @section.post("/api/flights/reservations")
    def reserve_flight() -> Response:
        order = body_as(FlightOrder)
        return _reserve(Road.FLIGHTS, order, None, switch.now.flight_failure_rate)

    @section.post("/api/hotels/reservations")
    def reserve_room() -> Response:
        order = body_as(RoomOrder)
        return _reserve(Road.HOTELS, order, order.flight_ticket_number,
                        switch.now.room_failure_rate)

    def _reserve(road: Road, order: FlightOrder | RoomOrder, ticket: str | None,
                 failure_rate: float) -> Response:
        key = checked(request.headers.get("Idempotency-Key"), Key, "Idempotency-Key")
        entry = book.reserve(road, key, msgspec.json.encode(order), ticket=ticket,
                             failure_rate=failure_rate)
        if entry.state == "declined":
            return problem(409, road.declined, "nothing is left of what was asked for")
        return json_answer(201, {road.number_field: entry.number})

    @section.delete("/api/<any(flights, hotels):word>/reservations/<key>")
    def cancel(word: str, key: str) -> Response:
        # A flight is cancelled whether or not its room is: the caller keeps that order.
        book.cancel(Road[word.upper()], checked(key, Key, "key"))
        return Response(status=204)

    @section.get("/api/<any(flights, hotels):word>/reservations")
    def page(word: str) -> Response:
        after = checked(request.args.get("after", ""), After, "after")
        limit = checked(request.args.get("limit", PAGE_DEFAULT), Limit, "limit")
        entries = book.page(Road[word.upper()], after, limit)
        document: dict[str, Any] = {
            "reservations": entries,
            "next_after": entries[-1].key if len(entries) == limit else None,
        }
        return json_answer(200, document)

    return section
