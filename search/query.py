"""What is searched for, in one canonical form: the same search has the same key, whoever asks."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from typing import Annotated

import msgspec
from msgspec import Meta

from errors import BadInput

GUESTS_MAX = 8
NIGHTS_MAX = 30
AHEAD_MAX_DAYS = 500
HOTELS_MAX = 1_000
_DESTINATION = re.compile(r"[a-z][a-z0-9-]{0,59}")
_HOTEL_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")


class SearchQuery(msgspec.Struct, frozen=True):
    """A stay of `guests` at a destination, or at some of its hotels.

    `destination` is a slug such as `lisbon`; `hotel_ids` are sorted and unique, empty for all.
    """

    destination: str
    check_in: dt.date
    check_out: dt.date
    guests: Annotated[int, Meta(ge=1, le=GUESTS_MAX)]
    hotel_ids: tuple[str, ...] = ()

    @property
    def nights(self) -> int:
        """Length of the stay."""
        return (self.check_out - self.check_in).days

    @property
    def search_id(self) -> str:
        """The key of the entry: a hash of what is searched for, and of nothing else."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:32]


def parse(
    destination: str, check_in: str, check_out: str, guests: str, hotel_ids: str, *, today: dt.date
) -> SearchQuery:
    """The query of an address's parameters, as they came.

    `hotel_ids` is a list with commas. Raises BadInput that names the parameter to mend; whether
    the destination exists is the caller's to know.
    """
    place = destination.strip().lower()
    if not _DESTINATION.fullmatch(place):
        raise BadInput("the name of a destination, such as lisbon", field="destination")
    arrival, departure = _date(check_in, "check_in"), _date(check_out, "check_out")
    if not today <= arrival <= today + dt.timedelta(days=AHEAD_MAX_DAYS):
        raise BadInput(f"a day from today on, at most {AHEAD_MAX_DAYS} days ahead",
                       field="check_in")
    if not 1 <= (departure - arrival).days <= NIGHTS_MAX:
        raise BadInput(f"1 to {NIGHTS_MAX} nights after check-in", field="check_out")
    if not guests.isascii() or not guests.isdecimal() or not 1 <= int(guests[:4]) <= GUESTS_MAX:
        raise BadInput(f"a whole number from 1 to {GUESTS_MAX}", field="guests")
    return SearchQuery(place, arrival, departure, int(guests), _hotels(hotel_ids))


def _date(text: str, field: str) -> dt.date:
    try:
        if len(text) == 10:
            return dt.date.fromisoformat(text)
    except ValueError:
        pass  # said below, the same way as for a text that is no date at all
    raise BadInput("a date such as 2027-03-01", field=field)


def _hotels(text: str) -> tuple[str, ...]:
    if not text:
        return ()
    # Split with a bound: a million commas must not become a million texts first.
    ids = text.split(",", HOTELS_MAX)
    if len(ids) > HOTELS_MAX:
        raise BadInput(f"at most {HOTELS_MAX} hotels", field="hotel_ids")
    if not all(_HOTEL_ID.fullmatch(one) for one in ids):
        raise BadInput("ids of hotels with commas between them", field="hotel_ids")
    return tuple(sorted(set(ids)))
