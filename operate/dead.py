"""Dead letters: jobs that could not be applied, kept whole until a person has looked at them."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import redis

import shapes
from booking import dead_letters
from booking.dead_letters import DeadLetter
from booking.model import Order
from booking.store import BookingStore
from engine_errors import valkey_errors
from operate.output import Refused, Result, age, masked, moment, table
from operate.prospects import Prospect, Use, prospect
from queues.keys import BOOKING
from queues.scripts import Script

LETTERS_MAX = 10_000


class _Head(msgspec.Struct):
    type: str = "?"
    order_id: str = ""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A letter in its list. `n` counts from the oldest, 1; `id` stays the same when others go."""

    n: int
    id: str
    raw: bytes
    letter: DeadLetter
    type: str
    order_id: str


class Letters:
    """The list of dead letters, and the orders that they speak of."""

    def __init__(self, client: redis.Redis, store: BookingStore, now_ms: int) -> None:
        self._client = client
        self._store = store
        self._now_ms = now_ms
        self._revive = Script(client, "revive")

    # --- the commands -------------------------------------------------------------------------

    def listing(self) -> Result:
        """All letters, the oldest first, and whether a retry is of use."""
        found = self._read()
        orders = self._orders(found)
        data = [self._data(one, self._prospect(one, orders)) for one in found]
        rows = [
            (one.n, one.id, one.type, one.order_id or "-", age(self._now_ms - one.letter.at_ms),
             one.letter.deliveries, data[place]["retry"], masked(one.letter.error))
            for place, one in enumerate(found)
        ]
        lines = table(("n", "id", "job", "order", "age", "tries", "retry", "error"), rows)
        return Result({"dead_letters": data}, lines if rows else ["No dead letters."])

    def show(self, name: str) -> Result:
        """One letter with its job, e-mails masked, and what a retry would do."""
        one = self._one(name)
        about = self._prospect(one, self._orders([one]))
        data = self._data(one, about) | {"job": _job(one.letter.job)}
        lines = table(("", ""), [
            ("n", one.n), ("id", one.id), ("list", one.letter.source), ("job", one.type),
            ("order", one.order_id or "-"), ("buried", moment(one.letter.at_ms)),
            ("tries", one.letter.deliveries), ("error", masked(one.letter.error)),
            ("retry", f"{about.use}: {about.why}"),
        ])[1:]
        return Result(data, [*lines, msgspec.json.encode(data["job"]).decode()])

    def retry(self, name: str) -> Result:
        """Put one letter's job back on the list that it came from."""
        one = self._one(name)
        about = self._prospect(one, self._orders([one]))
        if about.use is Use.USELESS:
            raise Refused(f"Not retried: {about.why}. `dead drop {one.id}` takes the letter away.")
        self._put_back(one)
        return Result({"retried": [self._data(one, about)], "left": []},
                      [f"Retried {one.id} ({one.type}): {about.why}."])

    def retry_all(self) -> Result:
        """Put back every job that a retry is of use for; say why the others stay."""
        found = self._read()
        orders = self._orders(found)
        retried, left, lines = [], [], []
        for one in found:
            about = self._prospect(one, orders)
            if about.use is Use.USEFUL:
                self._put_back(one)
                retried.append(self._data(one, about))
                lines.append(f"Retried {one.id} ({one.type}): {about.why}.")
            else:
                left.append(self._data(one, about))
                lines.append(f"Left {one.id} ({one.type}): {about.why}.")
        lines.append(f"{len(retried)} retried, {len(left)} left.")
        return Result({"retried": retried, "left": left}, lines)

    def drop(self, name: str) -> Result:
        """Take a letter away for good, once a person has seen to what it is about."""
        one = self._one(name)
        with valkey_errors():
            gone = self._client.lrem(BOOKING.dead, 1, one.raw.decode())
        if not gone:
            raise Refused(f"The letter {one.id} has just gone: somebody else was first.")
        about = self._prospect(one, self._orders([one]))
        return Result({"dropped": self._data(one, about) | {"job": _job(one.letter.job)}},
                      [f"Dropped {one.id} ({one.type}, order {one.order_id or 'not known'})."])

    # --- finding them -------------------------------------------------------------------------

    def _read(self) -> list[Found]:
        with valkey_errors():
            newest_first = self._client.lrange(BOOKING.dead, -LETTERS_MAX, -1)
        return [_found(n, raw) for n, raw in enumerate(reversed(newest_first), start=1)]

    def _one(self, name: str) -> Found:
        """By number, by the id or its beginning, or by the order's id."""
        matching = [
            one for one in self._read()
            if (name.isdecimal() and one.n == int(name)) or one.id.startswith(name.lower())
            or one.order_id == name.upper()
        ]
        if not matching:
            raise Refused(f"There is no dead letter {name}; see `dead list`.")
        if len({one.raw for one in matching}) > 1:
            ids = ", ".join(one.id for one in matching)
            raise Refused(f"{name} may be any of {ids}; name one of them.")
        return matching[0]

    def _orders(self, found: list[Found]) -> dict[str, Order]:
        ids = sorted({one.order_id for one in found if one.order_id})
        return {order.order_id: order for order in self._store.read_orders(ids)}

    def _prospect(self, one: Found, orders: dict[str, Order]) -> Prospect:
        return prospect(one.letter, orders.get(one.order_id), self._now_ms)

    def _put_back(self, one: Found) -> None:
        """In one step with taking it off the list: a crash leaves it in one of the two."""
        work = BOOKING.reservations
        to, bell, counted = (
            (work.waiting, work.bell, "0") if one.letter.source == "reservations"
            else (BOOKING.jobs, BOOKING.bell, "1")
        )
        if not self._revive([BOOKING.dead, to, bell, BOOKING.counters],
                            [one.raw, one.letter.job, counted]):
            raise Refused(f"The letter {one.id} has just gone: somebody else was first.")

    def _data(self, one: Found, about: Prospect) -> dict[str, Any]:
        return {
            "n": one.n, "id": one.id, "list": one.letter.source, "type": one.type,
            "order_id": one.order_id, "at": moment(one.letter.at_ms),
            "age_s": round((self._now_ms - one.letter.at_ms) / 1_000, 1),
            "deliveries": one.letter.deliveries, "error": masked(one.letter.error),
            "retry": str(about.use), "why": about.why,
        }


def _found(n: int, raw: bytes | str) -> Found:
    raw = raw.encode() if isinstance(raw, str) else raw
    letter = dead_letters.decode(raw)
    try:
        head = shapes.decode(letter.job, _Head)
    except msgspec.MsgspecError:
        head = _Head()
    digest = hashlib.blake2b(raw, digest_size=4).hexdigest()
    return Found(n=n, id=f"d{digest}", raw=raw, letter=letter, type=head.type,
                 order_id=head.order_id)


def _job(raw: bytes) -> Any:
    """The job as JSON where it is JSON, else as text; without e-mails."""
    text = masked(raw.decode(errors="replace"))
    try:
        return msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return text
