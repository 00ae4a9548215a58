"""Ascenda: a whole destination in one request, polled until it is completed."""

from suppliers.ascenda.adapter import Ascenda

__all__ = ["Ascenda"]
