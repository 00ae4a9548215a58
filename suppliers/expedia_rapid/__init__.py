"""Expedia Rapid v3: up to 250 properties in a request, each request signed."""

from suppliers.expedia_rapid.adapter import ExpediaRapid

__all__ = ["ExpediaRapid"]
