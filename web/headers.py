"""Security headers, the same on every answer, whoever gives it: a view, an error, a file.

They are constants, so they are put together once and appended below Flask. Put together for each
request, they cost a third of the time that accepting an order takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_Header = tuple[str, str]
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None

# What pages may load: nothing but what this server itself serves.
_POLICY = (
    "default-src 'none'",
    "style-src 'self'",
    "img-src 'self' data:",
    "font-src 'self'",
    "script-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
)
_ALWAYS: list[_Header] = [
    ("Content-Security-Policy", "; ".join(_POLICY)),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    # Not "no-referrer": over HTTPS the forms' protection asks for our own Referer.
    ("Referrer-Policy", "same-origin"),
    ("Permissions-Policy", "browsing-topics=()"),
]
# A year: browsers then come over HTTPS by themselves, also to names below this one.
_OVER_HTTPS: list[_Header] = [
    *_ALWAYS, ("Strict-Transport-Security", "max-age=31556926; includeSubDomains"),
]


class SecurityHeaders:
    """WSGI around `app`. `https`: say over HTTPS that it must stay HTTPS."""

    def __init__(self, app: WSGIApplication, *, https: bool) -> None:
        self._app = app
        self._over_https = _OVER_HTTPS if https else _ALWAYS

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        # Browsers ignore it over plain HTTP, and it must not be said there.
        secure = "https" in (environ["wsgi.url_scheme"], environ.get("HTTP_X_FORWARDED_PROTO"))
        ours = self._over_https if secure else _ALWAYS

        def start(status: str, headers: list[_Header], exc_info: _ExcInfo = None):  # type: ignore[no-untyped-def]
            return start_response(status, headers + ours, exc_info)

        return self._app(environ, start)
