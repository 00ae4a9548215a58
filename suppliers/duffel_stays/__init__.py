"""Duffel Stays: a search, then the rates hotel by hotel; a bearer token that does not expire."""

from suppliers.duffel_stays.adapter import DuffelStays

__all__ = ["DuffelStays"]
