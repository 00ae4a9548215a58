"""Hotelbeds APItude: many hotels in a request, each request signed."""

from suppliers.hotelbeds.adapter import Hotelbeds

__all__ = ["Hotelbeds"]
