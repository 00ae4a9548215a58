"""Bodies that come in chunks, whose length nobody says beforehand, are read whole before a view.

Werkzeug cuts such a body off at its bound and gives on what it has: an order would be taken whose
rest nobody read. And what is wrong with a chunk, each server says by an error of its own.
"""

from __future__ import annotations

import io

from flask import Flask, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge


def install(app: Flask, most_bytes: int) -> None:
    """From here on every body has a length. To be called before anything that reads forms."""

    def read_whole() -> None:
        environ = request.environ
        if "chunked" not in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
            return
        try:
            body = environ["wsgi.input"].read(most_bytes + 1)
        except Exception as error:
            raise BadRequest("The body is not in chunks as HTTP has them.") from error
        if len(body) > most_bytes:
            raise RequestEntityTooLarge
        del environ["HTTP_TRANSFER_ENCODING"]
        environ["CONTENT_LENGTH"] = str(len(body))
        environ["wsgi.input"] = io.BytesIO(body)

    app.before_request(read_whole)
