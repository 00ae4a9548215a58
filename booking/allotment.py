"""Which units and slots are free, in the memory of the lease holder.

A package with quota 100 has the units 1..100. A live order carries the number of its unit, and a
unique index on it is what makes overselling impossible; this memory only makes choosing fast. It
is thrown away whenever anything is unclear, and loaded again from the orders themselves.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable

from booking.model import Customer, Order, Package


class Allotment:
    """Units of one package: a high-water mark and the numbers below it that came back.

    `highest_slot` is no lower than any slot of a live order: up to it, slots are looked for.
    """

    __slots__ = ("high_water", "highest_slot", "live", "returned")

    def __init__(self, live_units: Collection[int] = (), highest_slot: int = 0) -> None:
        self.highest_slot = highest_slot
        # A byte for each unit: sorting a million numbers takes 40 MB for a moment, and longer.
        self.live = len(live_units)
        self.high_water = max(live_units, default=0)
        given = bytearray(self.high_water + 1)
        for unit in live_units:
            given[unit] = True
        self.returned = [unit for unit in range(1, self.high_water) if not given[unit]]

    def next_unit(self, quota: int) -> int | None:
        """The lowest free unit of 1..quota, or None when live orders fill the quota."""
        if self.live >= quota:
            return None
        lowest = self.returned[0] if self.returned else self.high_water + 1
        return lowest if lowest <= quota else None

    def take(self, unit: int) -> None:
        """Mark the unit that `next_unit` named as live."""
        if self.returned and self.returned[0] == unit:
            heapq.heappop(self.returned)
        elif unit == self.high_water + 1:
            self.high_water = unit
        else:
            raise ValueError(f"unit {unit} is not the next free one")
        self.live += 1

    def give_back(self, unit: int) -> None:
        """The order of this unit ended."""
        heapq.heappush(self.returned, unit)
        self.live -= 1

    def remaining(self, quota: int) -> int:
        """How many orders the quota still has room for."""
        return max(0, quota - self.live)


class Ledger:
    """All that deciding looks at: packages, allotments, the orders and slots that a batch names.

    `orders` are as the batch has left them so far, `loaded` as the database had them.
    """

    def __init__(self, allotments: dict[int, Allotment]) -> None:
        self.allotments = allotments
        self.packages: dict[int, Package] = {}
        self.loaded: dict[str, Order] = {}
        self.orders: dict[str, Order] = {}
        self.slots: dict[Customer, set[int]] = {}

    def load(self, orders: Iterable[Order]) -> None:
        """Orders as the database has them."""
        for order in orders:
            self.loaded[order.order_id] = order
            self.orders[order.order_id] = order

    def next_unit(self, package: Package) -> int | None:
        """The unit that the next order of this package gets."""
        return self.allotments[package.facts.id].next_unit(package.quota)

    def next_slot(self, package: Package, email: str) -> int | None:
        """The lowest free slot of this customer; None without a limit, or when it is reached.

        Slots above a limit that was lowered count: what the customer has is had, by any number.
        """
        limit = package.limit_per_customer
        if limit is None:
            return None
        taken = self.slots.get((package.facts.id, email.casefold()), set())
        if len(taken) >= limit:
            return None
        return next(n for n in range(1, limit + 1) if n not in taken)

    def apply(self, order: Order) -> None:
        """Take the order as decided: its unit and slot move with it."""
        before = self.orders.get(order.order_id)
        had_unit, had_slot = (before.unit, before.slot) if before else (None, None)
        if order.unit is not None and had_unit is None:
            self.allotments[order.package_id].take(order.unit)
        elif order.unit is None and had_unit is not None:
            # Without the package's allotment in memory there is nothing to keep true: it is
            # loaded from the orders when somebody wants a unit of it.
            allotment = self.allotments.get(order.package_id)
            if allotment is not None:
                allotment.give_back(had_unit)
        if order.slot != had_slot:
            taken = self.slots.setdefault((order.package_id, order.email.casefold()), set())
            if order.slot is None:
                taken.discard(had_slot or 0)
            else:
                taken.add(order.slot)
                allotment = self.allotments[order.package_id]
                allotment.highest_slot = max(allotment.highest_slot, order.slot)
        self.orders[order.order_id] = order

    def changed(self) -> list[tuple[Order | None, Order]]:
        """What differs from the database: (as loaded or None, as it stands now), one per order."""
        return [
            (self.loaded.get(order_id), order)
            for order_id, order in self.orders.items()
            if self.loaded.get(order_id) is not order
        ]
