"""Everything outside Berth that sells something, reached over HTTP only. One folder a supplier.

    deadline.py      one deadline for a whole answer, on every supplier's sessions
    trying.py        trying again what books or cancels
    reservations/    the supplier of flights and rooms: the client that the saga uses
    simulator/       a process of its own that stands for the outside world

Suppliers of hotel rates, all of the same shape (docs/adding-a-supplier.md):

    registry.py      the one list of them
    rates.py         the vocabulary: queries, rates, errors of a hotel, what an adapter offers
    reading.py       reading an answer so that a broken hotel costs that hotel only
    http.py          one call: kept connections, a deadline, every fault named
    one_by_one.py    asking hotel by hotel, in turn
    places/          cities and hotels, and what each supplier calls them
    hotelbeds/ expedia_rapid/ duffel_stays/ ascenda/ perhotel/
                     adapter.py (calls) and mapping.py (documents -> rates, pure)

What asks them for a search, and what all workers share:

    planning.py      the parts of a search, pure
    fetching.py      one part: ask, append what comes, say how it ended
    loader_pool.py   loaders that ask hotel by hotel, many at once
    gate.py tokens.py
                     limits, pauses and circuit breakers; access tokens
    interactions.py redaction.py interaction_store.py log.py
                     the log of calls

This room imports no `booking`, `web` or `consumer`: it knows how suppliers talk, not what their
answers mean for an order.
"""
