"""The supplier of flights and rooms."""

from suppliers.reservations.client import ReservationSupplier

__all__ = ["ReservationSupplier"]
