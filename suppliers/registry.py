"""The one list of the suppliers of hotel rates."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from errors import SettingsError
from settings import Settings
from suppliers.ascenda import Ascenda
from suppliers.duffel_stays import DuffelStays
from suppliers.expedia_rapid import ExpediaRapid
from suppliers.hotelbeds import Hotelbeds
from suppliers.http import Exchange, Terms, Tokens
from suppliers.perhotel import PerHotel, TokenDesk
from suppliers.rates import RateSupplier

# By name: `scope` and `max_hotels_per_request` can be read without building an adapter.
ADAPTERS: Mapping[str, type[Any]] = MappingProxyType({
    adapter.name: adapter
    for adapter in (Hotelbeds, ExpediaRapid, DuffelStays, Ascenda, PerHotel)
})


def chosen(settings: Settings) -> dict[str, type[Any]]:
    """The adapters that searches ask. Raises SettingsError for a name that there is not."""
    names = [name for name in settings.rate_suppliers.split(",") if name] or list(ADAPTERS)
    unknown = set(names) - set(ADAPTERS)
    if unknown:
        raise SettingsError(
            f"RATE_SUPPLIERS: {', '.join(sorted(unknown))} is none of {', '.join(ADAPTERS)}."
        )
    return {name: ADAPTERS[name] for name in names}


def terms_of(
    settings: Settings,
    stop: threading.Event,
    *,
    pool_size: int,
    observe: Callable[[Exchange], None] | None = None,
    admit: Callable[[], None] | None = None,
) -> Terms:
    """The terms of all adapters of a process, with the waits that the settings say."""
    return Terms(stop, timeout_s=settings.rate_timeout_s, poll_s=settings.rate_poll_ms / 1_000,
                 pool_size=pool_size, observe=observe, admit=admit)


def build(settings: Settings, terms: Terms, tokens: Tokens) -> dict[str, RateSupplier]:
    """An adapter of each supplier, by name. Close each of them in the end."""
    return {name: adapter.from_settings(settings, terms, tokens)
            for name, adapter in ADAPTERS.items()}


def token_desks(settings: Settings, terms: Terms) -> dict[str, TokenDesk]:
    """Where a token manager has tokens issued, by the account that adapters ask it for."""
    desk = TokenDesk.from_settings(settings, terms)
    return {desk.account: desk}
