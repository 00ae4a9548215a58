"""The producers' WSGI app, and the way to run the whole of Berth on this machine.

    python app_queue.py                                    everything, until Ctrl-C
    gunicorn -c embedded/gunicorn_conf.py 'app_queue:create_app()'     the web server only
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from settings import load

if TYPE_CHECKING:
    from flask import Flask


def create_app() -> Flask:
    """The web application, configured from the environment. Raises SettingsError."""
    from web import build_app

    return build_app(load())


def main() -> int:
    """Run everything; see `embedded.starter`."""
    from embedded.starter import main as start

    return start()


if __name__ == "__main__":
    sys.exit(main())
