"""Two web apps that do less than Berth's door: what a producer in Flask costs at least.

    gunicorn -c embedded/gunicorn_conf.py 'bench.minimal:producer()'
"""

from __future__ import annotations

import json

from flask import Flask, request

import bootstrap
from settings import load

WAITING = "bench-minimal"
PATH = "/api/orders"


def producer() -> Flask:
    """Parses the JSON and does one LPUSH: no validation, no idempotency, no bound, no headers."""
    app = Flask("minimal_producer")
    settings = load()
    client = bootstrap.connect_valkey(settings, connections=settings.web_threads + 4)

    @app.post(PATH)
    def place_order() -> tuple[dict[str, str], int]:
        client.lpush(WAITING, json.dumps(request.get_json()))
        return {"state": "queued"}, 202

    return app


def bare() -> Flask:
    """Answers "ok"."""
    app = Flask("bare_flask")

    @app.route(PATH, methods=["GET", "POST"])
    def ok() -> str:
        return "ok"

    return app
