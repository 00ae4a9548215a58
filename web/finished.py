"""Answers that are kept finished: gzip as it is stored, an ETag, and a second of everybody's cache.
"""

from __future__ import annotations

import gzip

from flask import Response, request
from werkzeug.datastructures import Headers

HTML = "text/html; charset=utf-8"
JSON = "application/json"
# The copy that a proxy shows to everybody may be this old: changes are to be seen within a second.
CACHE = "public, max-age=1"


def finished(body: bytes, etag: str, content_type: str) -> Response:
    """`body` is gzip, `etag` in quotes. 304 for who has it, unpacked for the few that ask so."""
    headers = Headers([
        ("Content-Type", content_type), ("ETag", f"W/{etag}"), ("Cache-Control", CACHE),
        ("Vary", "Accept-Encoding"),
    ])
    known = request.environ.get("HTTP_IF_NONE_MATCH")
    if known is not None and (etag in known or known.strip() == "*"):
        return Response(status=304, headers=headers)
    if takes_gzip():
        headers.add("Content-Encoding", "gzip")
    else:
        body = gzip.decompress(body)
    return Response(body, headers=headers)


def takes_gzip() -> bool:
    """Whether who asks now can unpack it."""
    accepted = request.environ.get("HTTP_ACCEPT_ENCODING", "")
    if "gzip;q=0" not in accepted.replace(" ", ""):
        return "gzip" in accepted or "*" in accepted
    return request.accept_encodings["gzip"] > 0
