"""The outside world in one process: what it sells, how slowly it answers, how often it fails.

    python -m suppliers.simulator

    __main__.py       the server: one gunicorn worker with many threads
    app.py            the Flask app: sections, settings, health, problem documents
    reservations.py   the section that books and cancels flights and rooms
    book.py           what was booked, declined and cancelled; on disk before it is answered
    conduct.py        latency, faults, lost answers and failure rates, switchable while it runs
    problems.py       reading input and refusing it

Berth talks to it over HTTP only and imports nothing of it. A further supplier is a further
section: a module with a `blueprint()` that `app.py` registers.
"""
