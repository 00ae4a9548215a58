"""The short way to what most visitors of the catalogue ask for: a page that is kept here.

It stands in front of Flask, which takes longer to find a view than the copy takes to send. It knows
one case, a plain GET that takes gzip; everything else, errors included, goes on to the views.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from web.finished import CACHE, HTML
from web.listings import Kept, Listings
from web.visits import COOKIE

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PREFIX = "/hotels"
_BELOW = f"{_PREFIX}/"
_VISITOR = f"{COOKIE}="


class Copies:
    """WSGI around `app`."""

    def __init__(self, app: WSGIApplication, listings: Listings) -> None:
        self._app = app
        self._listings = listings

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if (
            (path == _PREFIX or path.startswith(_BELOW))
            and environ["REQUEST_METHOD"] == "GET"
            and "HTTP_IF_NONE_MATCH" not in environ
            and "gzip" in (accepted := environ.get("HTTP_ACCEPT_ENCODING", ""))
            and ";" not in accepted
            and not environ.get("SCRIPT_NAME")
        ):
            name = f"{path}?{environ.get('QUERY_STRING', '')}"
            copy = self._listings.copy(path[len(_BELOW):], name)
            # A listing may have an order of its visitor's own; a hotel's page is everybody's.
            if copy is not None and not (
                isinstance(copy, Kept) and _VISITOR in environ.get("HTTP_COOKIE", "")
            ):
                start_response("200 OK", [
                    ("Content-Type", HTML), ("Content-Length", str(len(copy.body))),
                    ("ETag", f"W/{copy.etag}"), ("Cache-Control", CACHE),
                    ("Vary", "Accept-Encoding"), ("Content-Encoding", "gzip"),
                ])
                return (copy.body,)
        return self._app(environ, start_response)
