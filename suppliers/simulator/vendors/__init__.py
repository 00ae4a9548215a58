"""The simulated suppliers of hotel rates, each on its real vendor's format.

    conduct.py    how each of them behaves: latency, faults, limits; switchable while it runs
    gate.py       what every request passes: authentication, limits, faults, latency
    market.py     what is for sale and at which price, and the sealed keys of offers
    stay_book.py  what was booked, once per client reference; on disk before it is answered
    answers.py    JSON in which money is a number or a string, as vendors do

and a module per vendor, each under the prefix that is its name: /hotelbeds, /expedia_rapid,
/duffel_stays, /ascenda, /perhotel.
"""

from __future__ import annotations

from flask import Blueprint

from settings import Settings
from suppliers.simulator.vendors import ascenda, duffel_stays, expedia_rapid, hotelbeds, perhotel
from suppliers.simulator.vendors.conduct import VendorSwitch
from suppliers.simulator.vendors.gate import Gate
from suppliers.simulator.vendors.market import Market
from suppliers.simulator.vendors.stay_book import StayBook

VENDORS = {"hotelbeds": hotelbeds, "expedia_rapid": expedia_rapid, "duffel_stays": duffel_stays,
           "ascenda": ascenda, "perhotel": perhotel}  # fmt: skip


def blueprints(
    settings: Settings, stays: StayBook, switch: VendorSwitch
) -> tuple[list[Blueprint], dict[str, Gate]]:
    """Every vendor's routes, and the gate that counts its calls."""
    sections: list[Blueprint] = []
    gates: dict[str, Gate] = {}
    for name, vendor in VENDORS.items():
        gates[name] = Gate(name, switch)
        market = Market(name, settings.simulator_seed, switch)
        sections.append(vendor.blueprint(settings, gates[name], market, stays))
    return sections, gates
