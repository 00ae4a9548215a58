"""Documents -> finished pages: the one road that every page goes, in the consumer and the audit."""

from __future__ import annotations

import datetime as dt
from typing import NamedTuple

from catalogue import payloads
from catalogue.assembly import Facts, Unfit, Vocabulary, assemble
from catalogue.model import Payload


class Finished(NamedTuple):
    """A hotel with its address, as it is put on the shelf."""

    slug: str
    payload: Payload


def finish(
    facts: Facts, words: Vocabulary, *, today: dt.date, currency: str
) -> Finished | Unfit:
    """The finished hotel, or why it is not shown.

    Any program may write documents. One that nobody thought of costs its own hotel its page, and
    must not stop the pages of all others.
    """
    try:
        hotel = assemble(facts, words, today=today, currency=currency)
        if isinstance(hotel, Unfit):
            return hotel
        return Finished(hotel.slug, payloads.build(hotel))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this hotel's
        return Unfit(f"its page cannot be made: {type(error).__name__}: {error}")
