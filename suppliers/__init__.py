"""Everything outside Berth that sells something, reached over HTTP only. One folder a supplier.

    deadline.py      one deadline for a whole answer; every supplier's client mounts it
    reservations/    the supplier of flights and rooms: the client that the saga uses
    simulator/       a process of its own that stands for the outside world

This room imports no `booking`, `web` or `consumer`: it knows how suppliers talk, not what their
answers mean for an order.
"""
