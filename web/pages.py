"""The pages: they work without JavaScript. Parse, call, show; no rule of booking lives here."""

from __future__ import annotations

import datetime as dt
import time
from functools import lru_cache
from typing import Any

from flask import (
    Blueprint,
    Response,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from markupsafe import Markup
from werkzeug.exceptions import NotFound, TooManyRequests
from werkzeug.wrappers import Response as BaseResponse

from booking import intake
from booking.lookup import OrderView
from booking.model import FINAL, LIVE, State
from errors import BadInput, EngineAway
from web import shopwindow, visitor, visits, words
from web.forms import LookupForm, OrderForm, new_key, package_id_of
from web.hotel_links import city_address
from web.problems import problem_of
from web.reference import endpoints
from web.search_window import art_of, board_text
from web.services import found_order, services

pages = Blueprint("pages", __name__)

# The window shows nobody's data, and lags behind by a batch anyway: a proxy may show one copy to
# everybody who comes within the same second.
WINDOW_CACHE = "public, max-age=1"
CANCELLABLE = LIVE | {State.QUEUED}
# How long the result page says that a cancellation is on its way; then it shows what is.
CANCEL_NEWS_S = 60
MISS = "We find no order with this id and this e-mail address."


@pages.after_request
def keep_private(response: Response) -> Response:
    """Pages carry people's orders and form keys: nobody keeps them unless a view says so."""
    response.headers.setdefault("Cache-Control", "no-store")
    return response


@lru_cache(maxsize=2_048)
def card_html(card: shopwindow.Card) -> Markup:
    """A card of the window. It is set once for as long as the package stays as it is: in a rush
    everybody looks at the window, and hardly anything in it changes between two looks.
    """
    return Markup(render_template("_card.html", card=card))  # noqa: S704 (a template's own text)


@pages.app_context_processor
def helpers() -> dict[str, Any]:
    """What templates call."""
    return {
        "card_html": card_html,
        "city_address": city_address,
        "clock": shopwindow.clock_text,
        "endpoints": endpoints,
        "moment": shopwindow.moment_text,
        "price": shopwindow.price_text,
        "date": shopwindow.date_text,
        "state_words": words.STATES,
        "rate_steps": words.RATE_STEPS,
        "reason_words": words.REASONS,
    }


@pages.get("/")
@pages.get("/order-queue")
def to_order() -> BaseResponse:
    """The front door, and the order page's name in the seed."""
    return redirect(url_for("pages.order"))


@pages.get("/order")
def order() -> Response:
    """The shop window, or the order form of `?package=`."""
    wanted = request.args.get("package")
    if wanted is not None:
        package_id = package_id_of(wanted)
        if package_id is None:
            raise intake.UnknownPackage("not a package id")
        form = OrderForm(formdata=None, package=str(package_id), key=new_key(),
                         email=_latest_email())
        return _order_page(form, package_id)
    now = dt.datetime.now(dt.UTC)
    cards = [shopwindow.card_of(view, now) for view in services().shelf.packages()]
    if not cards:
        raise intake.NotReady("no packages yet")
    wish = _wish()
    page = make_response(render_template(
        "order.html", groups=shopwindow.groups(cards, wish), wish=wish, cards=cards,
        origins=shopwindow.origins(cards), group_titles=shopwindow.GROUP_TITLES,
        sortings=shopwindow.SORTING_TITLES, open_now=shopwindow.Sale.OPEN,
    ))
    page.headers["Cache-Control"] = WINDOW_CACHE
    return page


@pages.post("/order")
def place_order() -> Response | BaseResponse:
    """Queue the order and lead to its result; refused, the form comes back as it was."""
    form = OrderForm()
    package_id = package_id_of(form.package.data)
    if package_id is None:
        raise BadInput("Choose a package first.", field="package")
    if not form.validate():
        if form.key.errors:
            form.key.data = new_key()
        return _order_page(form, package_id, status=422)
    email = form.email.data
    try:
        accepted = services().intake.accept(package_id, email, form.key.data)
    except intake.UnknownPackage:
        raise
    except (intake.Refusal, EngineAway) as error:
        return _refused(form, package_id, error)
    visitor.remember(accepted.order_id, email, accepted.place)
    response = redirect(url_for("pages.result", order_id=accepted.order_id), 303)
    visits.is_buyer(response, email)
    return response


@pages.get("/orders/<order_id>")
def result(order_id: str) -> Response:
    """The order, to the browser that knows its e-mail; else the question for it."""
    known = visitor.known(order_id)
    if known is None:
        return _query_page(LookupForm(formdata=None, order_id=order_id[:200]), asked=True)
    found = services().lookup.find(known.order_id, known.email)
    if found is None:
        form = LookupForm(formdata=None, order_id=known.order_id, email=known.email)
        return _query_page(form, trouble=MISS, status=404)
    return _result_page(found, known)


@pages.route("/orders/<order_id>/cancel", methods=["GET", "POST"])
def cancel(order_id: str) -> Response | BaseResponse:
    """GET asks whether it is meant, POST queues the cancellation behind the order."""
    known = visitor.known(order_id)
    there = url_for("pages.result", order_id=order_id)
    if known is None:
        return redirect(there, 303)
    found = services().lookup.find(known.order_id, known.email)
    if found is None or found.state not in CANCELLABLE:
        return redirect(there, 303)
    if request.method == "GET":
        return _page("cancel.html", order=found, card=_card(found))
    try:
        services().intake.cancel(found.order_id)
    except (intake.Overloaded, EngineAway) as error:
        problem, headers = problem_of(error, services().settings.retry_after_s)
        return _page("cancel.html", 503, headers, order=found, card=_card(found),
                     trouble=words.for_people(problem)[0] + ". Please try again in a moment.")
    visitor.asked_to_cancel(found.order_id)
    return redirect(there, 303)


@pages.route("/query", methods=["GET", "POST"])
def query() -> Response | BaseResponse:
    """Find an order by its id and its e-mail; a miss never says which of them was wrong."""
    if request.method == "GET":
        given = request.args.get("order_id", "")[:200]
        return _query_page(LookupForm(formdata=None, order_id=given))
    form = LookupForm()
    if not form.validate():
        return _query_page(form, status=422)
    email = form.address()
    try:
        found = found_order(form.order_id.data, email)
    except NotFound:
        return _query_page(form, trouble=MISS, status=404)
    except TooManyRequests as error:
        _, headers = problem_of(error, services().settings.retry_after_s)
        return _query_page(form, trouble=str(error.description), status=429, headers=headers)
    visitor.remember(found.order_id, email, found.position)
    return redirect(url_for("pages.result", order_id=found.order_id), 303)


def _page(
    template: str, status: int = 200, headers: dict[str, str] | None = None, **context: Any
) -> Response:
    return make_response(render_template(template, **context), status, headers or {})


def _wish() -> shopwindow.Wish:
    """Unknown orders and origins are as good as none: a link that aged still shows packages."""
    sorting = request.args.get("sort", "")
    return shopwindow.Wish(
        to=request.args.get("to", "")[:80],
        origin=request.args.get("from", "")[:3].upper(),
        sorting=shopwindow.Sorting(sorting) if sorting in list(shopwindow.Sorting)
        else shopwindow.Sorting.STAY,
    )


def _latest_email() -> str:
    return next((known.email for known in visitor.orders()), "")


def _order_page(
    form: OrderForm, package_id: int, *, status: int = 200,
    headers: dict[str, str] | None = None, trouble: tuple[str, str] | None = None,
) -> Response:
    shelf = services().shelf
    view = shelf.package(package_id)
    if view is None:
        if not shelf.packages():
            raise intake.NotReady("no packages yet")
        raise intake.UnknownPackage("no such package")
    card = shopwindow.card_of(view, dt.datetime.now(dt.UTC))
    return _page("package.html", status, headers, card=card, form=form, trouble=trouble,
                 on_sale=card.sale is shopwindow.Sale.OPEN)


def _refused(form: OrderForm, package_id: int, error: Exception) -> Response:
    """The form once more, with what was typed and what went wrong.

    Its key stays the same while it is not known whether the order was taken, so that pressing
    the button again can never order twice. Only a key that is used up is replaced.
    """
    problem, headers = problem_of(error, services().settings.retry_after_s)
    title, detail = words.for_people(problem)
    if isinstance(error, intake.KeyReused):
        form.key.data = new_key()
    if isinstance(error, EngineAway):
        detail = words.NEVER_TWICE
    try:
        return _order_page(form, package_id, status=problem.status, headers=headers,
                           trouble=(title, detail))
    except (EngineAway, intake.NotReady):
        # What the package looks like is not known either; the form can be sent all the same.
        return _page("package.html", 503, headers, card=None, form=form, on_sale=True,
                     trouble=(title, detail))


def _query_page(
    form: LookupForm, *, trouble: str = "", asked: bool = False, status: int = 200,
    headers: dict[str, str] | None = None,
) -> Response:
    return _page("query.html", status, headers, form=form, trouble=trouble, asked=asked,
                 known=visitor.orders())


def _card(found: OrderView) -> shopwindow.Card | None:
    """The package of the order as the window shows it; None for a rate, or when it is gone."""
    view = services().shelf.package(found.package.id) if found.package else None
    return shopwindow.card_of(view, dt.datetime.now(dt.UTC)) if view else None


def _result_page(found: OrderView, known: visitor.KnownOrder) -> Response:
    now_s = time.time()
    cancelling = found.state not in FINAL - {State.CONFIRMED} and (
        now_s - known.cancel_s < CANCEL_NEWS_S)
    wait_s = None
    if found.position is not None:
        wait_s = words.estimate_s(known.place, known.seen_s, found.position, now_s)
    return _page(
        "result.html",
        order=found,
        said=words.words_of(found),
        board=board_text(found.rate.board) if found.rate else "",
        art_name=art_of(found.rate.hotel_id) if found.rate else "dawn",
        card=_card(found),
        cancelling=cancelling,
        cancellable=found.state in CANCELLABLE and not cancelling,
        wait=words.wait_text(wait_s) if wait_s is not None else "",
        refresh_s=_refresh_s(found, now_s) if cancelling or found.state not in FINAL else 0,
        live=found.state in LIVE,
    )


def _refresh_s(found: OrderView, now_s: float) -> int:
    """Seconds until the page looks again: soon while it is fresh, seldom when it takes long."""
    age_s = now_s - found.accepted_at.timestamp()
    if age_s < 30:
        return 2
    return 5 if age_s < 300 else 20

