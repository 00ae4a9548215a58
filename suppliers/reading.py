"""Reading a supplier's answer so that a broken hotel costs that hotel only.

A mapping declares the vendor's document as msgspec types, in which lists of hotels and of rates
hold `Raw` pieces. They are decoded one by one here; what fails becomes a HotelError. Numbers are
declared as Decimal: msgspec reads those exactly, from JSON numbers and strings alike.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Literal, TypeVar

import msgspec

import shapes
from errors import SupplierAway
from suppliers.rates import FetchedChunk, HotelError, Rate, Unreadable

T = TypeVar("T")

ROOM_MAX = 200
KEY_MAX = 4_096
_DETAIL_MAX = 200


def document(body: bytes, shape: type[T]) -> T:
    """The whole answer. Raises SupplierAway: garbage is a fault, another try may be answered."""
    try:
        return piece(body, shape)
    except Unreadable as error:
        raise SupplierAway(f"an answer that is not understood: {error}") from error


def piece(raw: bytes | msgspec.Raw, shape: type[T]) -> T:
    """One piece of an answer. Raises Unreadable."""
    try:
        return shapes.decode(raw, shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from error


def words(text: str) -> str:
    """A name in one line and of bounded length, for people to read."""
    return " ".join(text.split())[:ROOM_MAX]


def vendor_key(parts: msgspec.Struct) -> str:
    """What recheck and booking need, as one string."""
    key = msgspec.json.encode(parts).decode()
    if len(key) > KEY_MAX:
        raise Unreadable("a rate key that is too long")
    return key


def free_until(times: Iterable[dt.datetime], now: dt.datetime) -> bool:
    """Whether the first of these moments, from which cancelling costs something, is ahead."""
    begins = min(map(aware, times), default=None)
    return begins is not None and begins > now


def aware(time: dt.datetime) -> dt.datetime:
    """A time without a zone is taken for UTC."""
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


class Harvest:
    """Collects what one answer brings. `wanted` are the ids (ours) that were asked for.

    With `by_destination`, other hotels in the answer are no mistake: they are passed over.
    """

    def __init__(
        self, supplier: str, wanted: Collection[str], *, by_destination: bool = False
    ) -> None:
        self._by_destination = by_destination
        self._supplier = supplier
        self._wanted = frozenset(wanted)
        self._rates: list[Rate] = []
        self._errors: list[HotelError] = []

    def hotels(
        self,
        raws: Iterable[msgspec.Raw],
        shape: type[T],
        id_shape: type[msgspec.Struct],
        ours: Callable[[str], str | None],
    ) -> Iterator[tuple[str, T]]:
        """Each readable hotel that was asked for, with our id of it.

        `id_shape` has one field, the vendor's id of the hotel: it is read first, so that the
        error of a hotel that is broken elsewhere can name it.
        """
        for raw in raws:
            hotel_id = None
            try:
                their_id = str(msgspec.structs.astuple(piece(raw, id_shape))[0])
                hotel_id = ours(their_id)
                if self._by_destination and hotel_id not in self._wanted:
                    continue
                if hotel_id is None:
                    self.fail(None, "unknown_hotel", f"the supplier's hotel {their_id}")
                elif hotel_id not in self._wanted:
                    self.fail(hotel_id, "not_asked", "answered without having been asked for")
                else:
                    yield hotel_id, piece(raw, shape)
            except Unreadable as error:
                self.fail(hotel_id, "unreadable", str(error))

    def rates(
        self,
        hotel_id: str,
        raws: Iterable[msgspec.Raw],
        shape: type[T],
        build: Callable[[T], Rate | None],
    ) -> None:
        """Build a rate of each piece; None is a rate that is not for sale."""
        for raw in raws:
            self.rate(hotel_id, lambda raw=raw: build(piece(raw, shape)))  # type: ignore[misc]

    def rate(self, hotel_id: str, build: Callable[[], Rate | None]) -> None:
        """Keep what `build` returns; Unreadable becomes this hotel's error.

        So does an ArithmeticError: a vendor's "NaN" is a Decimal that cannot be compared.
        """
        try:
            rate = build()
        except (Unreadable, ArithmeticError) as error:
            self.fail(hotel_id, "unreadable", str(error))
        else:
            if rate is not None:
                self._rates.append(rate)

    def fail(
        self,
        hotel_id: str | None,
        reason: Literal["unreadable", "unknown_hotel", "not_asked", "refused"],
        detail: str,
    ) -> None:
        """Note why a hotel has no rate, or one less."""
        self._errors.append(HotelError(hotel_id=hotel_id, supplier=self._supplier, reason=reason,
                                       detail=words(detail)[:_DETAIL_MAX]))

    def chunk(self, name: str) -> FetchedChunk:
        """All that was collected."""
        return FetchedChunk(name, tuple(self._rates), tuple(self._errors))
