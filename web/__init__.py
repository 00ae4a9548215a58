"""The producers: Flask blueprints that parse, call or enqueue, and answer."""

from __future__ import annotations

import contextlib
import os
import secrets
from functools import partial
from pathlib import Path

from flask import Flask
from flask_wtf.csrf import CSRFProtect
from werkzeug.middleware.proxy_fix import ProxyFix

import bootstrap
from booking.intake import Intake
from booking.lookup import OrderLookup
from booking.projection import Shelf
from catalogue.feedback import FeedbackTeller, TasteShelf
from catalogue.follower import Follower
from catalogue.recommender import Recommender
from search.lowest import LowestRates
from settings import Settings
from web import assets, bodies, problems
from web.api import api
from web.copies import Copies
from web.headers import SecurityHeaders
from web.health import health
from web.hotels import hotels
from web.hotels_api import hotels_api
from web.listings import Listings
from web.pages import pages
from web.rate_pages import rate_pages
from web.search_api import search_api
from web.search_pages import search_pages
from web.search_views import SearchViews
from web.services import Services
from web.sessions import CheapSessions
from web.throttle import MissThrottle, SearchThrottle

# An order that is accepted waits no longer than this until its buyer is noted.
FEEDBACK_PATIENCE_S = 0.25
_ROOT = Path(__file__).resolve().parent.parent


def build_app(settings: Settings) -> Flask:
    """The WSGI app. It answers /livez even while the engines are away."""
    app = Flask("berth", root_path=str(_ROOT), template_folder="templates",
                static_folder="static")
    app.jinja_options = {**app.jinja_options, "trim_blocks": True, "lstrip_blocks": True}
    app.config.update(
        SECRET_KEY=_secret_key(settings),
        MAX_CONTENT_LENGTH=settings.body_max_bytes,
        MAX_FORM_MEMORY_SIZE=settings.body_max_bytes,
        SESSION_COOKIE_SECURE=settings.web_https,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_HTTPONLY=True,
        WTF_CSRF_TIME_LIMIT=None,
        SEND_FILE_MAX_AGE_DEFAULT=3_600,
    )
    app.session_interface = CheapSessions()
    bodies.install(app, settings.body_max_bytes)
    csrf = CSRFProtect(app)
    csrf.exempt(api)  # the API takes JSON only and knows no cookie
    csrf.exempt(hotels)  # a visit changes nothing that anybody owns
    valkey = bootstrap.connect_valkey(settings, connections=settings.web_threads + 4)
    search_valkey = bootstrap.connect_search_valkey(settings, connections=settings.web_threads + 4)
    catalogue_valkey = bootstrap.connect_catalogue_valkey(
        settings, connections=settings.web_threads + 4
    )
    catalogue = bootstrap.catalogue_reader(catalogue_valkey)
    listings = Listings(
        Follower(catalogue), catalogue, Recommender(TasteShelf(catalogue_valkey))
    )
    _put_in_front(app, settings, listings)
    store = bootstrap.booking_store(settings)
    entries = bootstrap.search_entries(settings, search_valkey)
    app.extensions["berth"] = Services(
        settings=settings,
        valkey=valkey,
        search_valkey=search_valkey,
        catalogue_valkey=catalogue_valkey,
        store=store,
        intake=Intake(
            valkey,
            backlog_max_jobs=settings.backlog_max_jobs,
            backlog_max_bytes=settings.backlog_max_bytes,
            idempotency_ttl_s=settings.idempotency_ttl_s,
        ),
        lookup=OrderLookup(valkey, store),
        shelf=Shelf(valkey),
        throttle=MissThrottle(
            valkey, misses_per_minute=settings.lookup_misses_per_minute
        ),
        entries=entries,
        views=SearchViews(entries),
        destinations=bootstrap.destinations(),
        rate_suppliers=bootstrap.rate_supplier_names(settings),
        search_throttle=SearchThrottle(
            search_valkey, searches_per_minute=settings.searches_per_minute
        ),
        lowest=LowestRates(search_valkey),
        catalogue=catalogue,
        listings=listings,
        feedback=FeedbackTeller(
            bootstrap.connect_catalogue_valkey(
                settings, connections=settings.web_threads + 4, patience_s=FEEDBACK_PATIENCE_S
            ),
            most_waiting=settings.feedback_max_waiting,
        ),
        gates=partial(bootstrap.closed_gates, settings, search_valkey),
    )
    for blueprint in (api, search_api, hotels_api, health, pages, rate_pages, search_pages,
                      hotels):
        app.register_blueprint(blueprint)
    problems.install(app, settings.retry_after_s)
    assets.install(app)
    return app


def _put_in_front(app: Flask, settings: Settings, listings: Listings) -> None:
    """What is done around Flask, the innermost first."""
    app.wsgi_app = Copies(app.wsgi_app, listings)  # type: ignore[method-assign]
    app.wsgi_app = SecurityHeaders(  # type: ignore[method-assign]
        app.wsgi_app, https=settings.web_https
    )
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops
        )


def _secret_key(settings: Settings) -> str:
    """From the environment, or generated once: all gunicorn workers must agree on it."""
    if settings.secret_key:
        return settings.secret_key
    path = Path(settings.data_dir) / "secret_key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Written aside and linked: of several workers that start at once, one wins and all read the
    # same whole key.
    draft = path.with_name(f".secret_key.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(secrets.token_urlsafe(48), encoding="utf-8")
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
    return path.read_text(encoding="utf-8").strip()
