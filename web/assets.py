"""Static files under addresses that change with their content, so that browsers keep them long."""

from __future__ import annotations

import hashlib
from pathlib import Path

from flask import Flask, Response, request

FOREVER = "public, max-age=31536000, immutable"
# Fonts are named by the style sheet, which cannot ask for a version: theirs stands in their name.
VERSIONED_BY_NAME = "fonts/"


def install(app: Flask) -> None:
    """Give templates `asset(name)`; it raises KeyError for a file that is not there."""
    folder = Path(app.static_folder or "")
    versions = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:12]
        for path in folder.rglob("*") if path.is_file()
    }

    addresses = {
        name: f"{app.static_url_path}/{name}"
        + ("" if name.startswith(VERSIONED_BY_NAME) else f"?v={version}")
        for name, version in versions.items()
    }

    def keep(response: Response) -> Response:
        if request.endpoint == "static" and response.status_code in (200, 304):
            name = (request.view_args or {}).get("filename", "")
            known = versions.get(name) == request.args.get("v")
            if known or name.startswith(VERSIONED_BY_NAME):
                response.headers["Cache-Control"] = FOREVER
        return response

    app.add_template_global(addresses.__getitem__, "asset")
    app.after_request(keep)
