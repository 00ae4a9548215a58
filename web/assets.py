"""Static files under addresses that change with their content, so that browsers keep them long."""

from __future__ import annotations

from pathlib import Path

from flask import Flask, Response, request

from catalogue import shell

FOREVER = "public, max-age=31536000, immutable"


def install(app: Flask) -> None:
    """Give templates `asset(name)`; it raises KeyError for a file that is not there."""
    folder = Path(app.static_folder or "")
    versions = shell.file_versions(folder)
    addresses = shell.addresses(app.static_url_path or "", versions)

    def keep(response: Response) -> Response:
        if request.endpoint == "static" and response.status_code in (200, 304):
            name = (request.view_args or {}).get("filename", "")
            known = versions.get(name) == request.args.get("v")
            if known or name.startswith(shell.VERSIONED_BY_NAME):
                response.headers["Cache-Control"] = FOREVER
        return response

    app.add_template_global(addresses.__getitem__, "asset")
    app.after_request(keep)
