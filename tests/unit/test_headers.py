"""Security headers: on every answer, and no less over HTTPS."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from werkzeug.test import Client

from web.headers import SecurityHeaders

HSTS = "Strict-Transport-Security"


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response(f"{environ['PATH_INFO'].strip('/')} Whatever", [("Cache-Control", "no-store")])
    return [b"body"]


@pytest.mark.parametrize("status", [200, 202, 304, 404, 500, 503])
def test_every_answer_has_them_beside_its_own(status: int) -> None:
    answer = Client(SecurityHeaders(app, https=False)).get(f"/{status}")
    assert answer.status_code == status
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Permissions-Policy"] == "browsing-topics=()"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert len(answer.headers) == len(set(answer.headers.keys())), "one was sent twice"


@pytest.mark.parametrize(
    ("https", "base_url", "forwarded", "said"),
    [
        (True, "https://berth.travel", None, True),
        (True, "http://berth.travel", "https", True),
        (True, "http://berth.travel", None, False),
        (True, "http://berth.travel", "http", False),
        (False, "https://berth.travel", "https", False),
    ],
)
def test_https_is_demanded_over_https_alone(
    https: bool, base_url: str, forwarded: str | None, said: bool
) -> None:
    headers = {"X-Forwarded-Proto": forwarded} if forwarded else {}
    for _ in range(2):  # the first answer leaves nothing in the second
        answer = Client(SecurityHeaders(app, https=https)).get(
            "/200", base_url=base_url, headers=headers
        )
        assert (HSTS in answer.headers) is said
    if said:
        assert answer.headers[HSTS] == "max-age=31556926; includeSubDomains"
