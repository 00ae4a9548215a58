"""How the catalogue says things: prices, dates, stars, ratings. Pure."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from functools import lru_cache

from babel.dates import format_date
from babel.numbers import format_currency

LOCALE = "en_GB"
# From this rating on (out of ten), the word that people read beside it.
_RATINGS = ((Decimal(9), "Superb"), (Decimal(8), "Very good"), (Decimal(7), "Good"),
            (Decimal(6), "Pleasant"))  # fmt: skip


@lru_cache(maxsize=16_384)
def price_text(price: str, currency: str) -> str:
    """A price as people write it; whole amounts without decimals."""
    amount = Decimal(price)
    if amount == amount.to_integral_value():
        return str(format_currency(amount, currency, "¤#,##0", locale=LOCALE,
                                   currency_digits=False))
    return str(format_currency(amount, currency, locale=LOCALE))


@lru_cache(maxsize=2_048)
def date_text(iso: str) -> str:
    """`2026-12-01` as `Tue 1 Dec`."""
    return str(format_date(dt.date.fromisoformat(iso), "EEE d MMM", locale=LOCALE))


def day_after(iso: str) -> str:
    """The date after this one."""
    return (dt.date.fromisoformat(iso) + dt.timedelta(days=1)).isoformat()


def stars_text(stars: int) -> str:
    """`4 stars`, `1 star`."""
    return f"{stars} star{'s' if stars != 1 else ''}"


def rating_word(rating: str) -> str:
    """What a rating out of ten means."""
    value = Decimal(rating)
    return next((word for least, word in _RATINGS if value >= least), "Fair")


def count_text(count: int, one: str, many: str) -> str:
    """`1 hotel`, `1,250 hotels`."""
    return f"{count:,} {one if count == 1 else many}"
