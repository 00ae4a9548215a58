"""What an operator does to a running system: `python -m operate <command>`.

    dead.py       dead letters: list, show, retry, drop
    prospects.py  what a retry of a dead letter would do
    sales.py      pause, resume, quota
    retell.py     statuses that are behind, after an older copy of Valkey was restored
    rates.py      live rates: searches, fetch workers, suppliers, one search
    watch.py      queues, owed work, orders by state
    output.py     plain tables for people, JSON for programs, e-mails for nobody
"""
