"""An independent look at a running system: was anything lost, sold twice, or told wrong?

    python -m audit

It recomputes everything from the documents, the lists and the supplier's book, with readers and
rules of its own. Nothing that decides about orders is imported here: a fault in deciding must
not be able to excuse itself. A hotel's page is right when a fresh rebuild gives the same bytes,
so that the one thing that is shared is what builds them; what the listing counts and sorts by is
recounted from the documents.

    auditor.py     waits for quiet, looks, looks again where a finding is doubtful
    pulse.py       what is still under way, and whether anything moved
    documents.py   reads MongoDB as it stood at one moment, in a stream
    orders.py      what one order's document must be like, and what its package sold
    backlog.py     the lists and what the counters say of them
    statuses.py    what customers were told, against the documents
    shelf.py       the projections of the packages, against the documents
    supplier.py    what the simulator has booked, against the documents
    findings.py    what was found: facts, and doubts that a second look must confirm

    catalogue.py   waits until the catalogue has caught up, looks, looks again at what moved
    hotels.py      reads the hotels' documents, recounts them, and follows their changes
    pages.py       what stands on the shelf, against a fresh rebuild
    listing.py     facets, orders and filters, against the recount
    answer.py      the JSON line of both, and the words
"""
