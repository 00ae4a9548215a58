"""A vendor that answers for one hotel a request, with OAuth2 client credentials."""

from suppliers.perhotel.adapter import PerHotel, TokenDesk

__all__ = ["PerHotel", "TokenDesk"]
