"""The outside world in one process: what it sells, how slowly it answers, how often it fails.

    python -m suppliers.simulator

    __main__.py       the server: one gunicorn worker with many threads
    app.py            the Flask app: sections, settings, health, problem documents
    reservations.py   the section that books and cancels flights and rooms
    book.py           what was booked, declined and cancelled; on disk before it is answered
    conduct.py        latency, faults, lost answers and failure rates, switchable while it runs
    problems.py       reading input and refusing it
    vendors/          the suppliers of hotel rates, a module each

Berth talks to it over HTTP only and imports nothing of it. A further supplier of rates is a further
module of vendors/, any other a section whose `blueprint()` `app.py` registers.
"""
