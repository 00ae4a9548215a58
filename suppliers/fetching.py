"""One part of a search: ask its supplier, append what comes, and say how it ended.

Doing it twice is harmless: chunks have names, and the search takes each name once. A crash here
leaves the part open; it is done again by another worker, or the search ends without it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec
import tenacity

from errors import CircuitOpen, EngineAway, SupplierAway, SupplierDeclined, Throttled, TokenExpired
from search.entries import SearchEntries
from search.model import OfferedRate
from suppliers.gate import VendorGate
from suppliers.loader_pool import Batch, LoaderPool
from suppliers.one_by_one import rates_of
from suppliers.rates import (
    FetchedChunk,
    HotelByHotel,
    HotelError,
    Opened,
    Part,
    Rate,
    RateQuery,
    RateSupplier,
    comes_hotel_by_hotel,
    slices,
)

log = logging.getLogger(__name__)
T = TypeVar("T")

# Chunks of hotels that come one by one are appended together, so many rates at once at most.
_RATES_AT_ONCE = 400
# Within one part, a supplier that fails this often hotel after hotel is down.
_FAULTS_MAX = 10
_BACKOFF_MAX_S = 2.0
# What is appended this long before the deadline still arrives.
_SPARE_S = 0.25


class FetchPart(msgspec.Struct, frozen=True, kw_only=True):
    """The job of one part, as it travels. Times are Valkey's, in milliseconds."""

    search_id: str
    created_ms: int
    deadline_ms: int
    supplier: str
    query: RateQuery
    part: Part


def rate_id(search_id: str, rate: Rate) -> str:
    """The id of a rate: of its search, and of everything that makes it what it is.

    A search that began anew brings other prices or keys, so an id of the one before is unknown.
    """
    digest = hashlib.blake2b(digest_size=8)
    for text in (rate.supplier, rate.hotel_id, rate.room, rate.board, rate.price, rate.currency,
                 rate.vendor_key):
        digest.update(text.encode())
        digest.update(b"\x1f")
    return f"{search_id}-{digest.hexdigest()}"


def offered(search_id: str, rate: Rate) -> OfferedRate:
    """The rate as the search keeps it."""
    return OfferedRate(
        rate_id=rate_id(search_id, rate), hotel_id=rate.hotel_id, supplier=rate.supplier,
        room=rate.room, price=rate.price, currency=rate.currency, refundable=rate.refundable,
        board=rate.board.value, vendor_key=rate.vendor_key,
    )


class Fetcher:
    """What a fetch worker does with a job. Shared by all threads of a process.

    `pools`: the loaders of each supplier whose rates come hotel by hotel. `last` is called when all
    is closed.
    """

    def __init__(
        self,
        suppliers: Mapping[str, RateSupplier],
        entries: SearchEntries,
        gate: VendorGate,
        pools: Mapping[str, LoaderPool],
        *,
        attempts: int,
        stop: threading.Event,
        now_ms: Callable[[], int],
        last: Callable[[], object] = lambda: None,
    ) -> None:
        self._suppliers = suppliers
        self._entries = entries
        self._gate = gate
        self._pools = pools
        self._attempts = attempts
        self._stop = stop
        self._now_ms = now_ms
        self._last = last

    def run(self, job: FetchPart) -> None:
        """Fetch the part. While Valkey is away it is tried again, until the deadline; then
        EngineAway is raised.
        """
        # No part has longer than its whole search.
        until_s = time.monotonic() + (job.deadline_ms - job.created_ms) / 1_000
        left_s = (job.deadline_ms - self._engine_back(self._now_ms, until_s)) / 1_000 - _SPARE_S
        if left_s <= 0:
            return  # the search ends without it, and says so
        until_s = time.monotonic() + left_s
        supplier = self._suppliers[job.supplier]
        try:
            if comes_hotel_by_hotel(supplier):
                error = self._hotel_by_hotel(job, supplier, until_s)
            else:
                self._with_retries(lambda: self._whole(job, supplier, until_s), until_s)
                error = ""
        except (SupplierAway, SupplierDeclined) as fault:
            error = in_words(fault)
            log.info("%s, part %d: %s", job.supplier, job.part.number, fault)
        self._engine_back(lambda: self._entries.append(
            job.search_id, job.supplier, f"{job.supplier}:end:{job.part.number}", (),
            finished=True, error=error, created_ms=job.created_ms), until_s)

    def close(self) -> None:
        """Let loaders end, and close kept connections."""
        for pool in self._pools.values():
            pool.close()
        for supplier in self._suppliers.values():
            supplier.close()
        self._last()

    def _engine_back(self, call: Callable[[], T], until_s: float) -> T:
        """`call`, again after a pause while it raises EngineAway: what was fetched is appended once
        Valkey is back, and no supplier asked twice for it. Chunks have names, so repeating is safe.
        """
        return self._persistent(
            call, until_s, lambda error: isinstance(error, EngineAway), pause_s=0.1)

    def _persistent(
        self, call: Callable[[], T], until_s: float, can_help: Callable[[BaseException], bool], *,
        pause_s: float, attempts: int | None = None,
    ) -> T:
        """`call`, and again after pauses that grow while what it raises is such that this
        `can_help`. What is needed for that is only made once a call has failed: it would take as
        long as the call itself.
        """
        first: list[BaseException] = []
        try:
            return call()
        except BaseException as error:
            if not can_help(error):
                raise
            first.append(error)

        def again() -> T:
            if first:
                raise first.pop()
            return call()

        ends = [tenacity.stop_when_event_set(self._stop),
                tenacity.stop_before_delay(max(until_s - time.monotonic(), 0.0))]
        if attempts is not None:
            ends.append(tenacity.stop_after_attempt(attempts))
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception(can_help),
            stop=tenacity.stop_any(*ends),
            wait=tenacity.wait_random_exponential(multiplier=pause_s, max=_BACKOFF_MAX_S),
            sleep=tenacity.sleep_using_event(self._stop),
            reraise=True,
        )(again)

    # --- many hotels in one answer --------------------------------------------------------------

    def _whole(self, job: FetchPart, supplier: RateSupplier, until_s: float) -> None:
        with self._gate.call(supplier, until_s=until_s):
            waiting: list[FetchedChunk] = []
            for chunk in supplier.fetch(job.query, job.part):
                waiting.append(chunk)
                if not chunk.more:
                    self._append_several(job, waiting, until_s)
                    waiting = []

    def _with_retries(self, fetch: Callable[[], T], until_s: float) -> T:
        """Faults are tried again, after a pause that grows; a clear word is believed."""
        def can_help(error: BaseException) -> bool:
            return isinstance(error, SupplierAway) and not isinstance(
                error, CircuitOpen | TokenExpired
            )

        return self._persistent(lambda: self._engine_back(fetch, until_s), until_s, can_help,
                                pause_s=0.2, attempts=self._attempts)

    # --- one hotel an answer ----------------------------------------------------------------------

    def _hotel_by_hotel(self, job: FetchPart, supplier: HotelByHotel, until_s: float) -> str:
        """Append hotels as they come, some together; returns what went wrong, if much did."""
        def asked(call: Callable[..., T], *what: Any) -> T:
            def once() -> T:
                with self._gate.call(supplier, until_s=until_s):
                    return call(*what)

            return self._with_retries(once, until_s)

        query, hotel_ids = job.query, job.part.hotel_ids
        waiting: list[FetchedChunk] = []
        faults: list[BaseException] = []
        came, missing = 0, len(hotel_ids)
        with Batch[Opened | FetchedChunk](self._pools[job.supplier], until_s=until_s) as batch:
            batch.add(partial(asked, supplier.open, query, some)
                      for some in slices(hotel_ids, supplier.max_hotels_per_request))
            for result in batch:
                if isinstance(result, EngineAway):
                    raise result
                if isinstance(result, BaseException):
                    faults.append(result)
                    if isinstance(result, CircuitOpen) or len(faults) == _FAULTS_MAX and not came:
                        break
                elif isinstance(result, Opened):
                    _note(job, result.errors)
                    missing -= len(result.hotel_ids) - len(result.tickets)
                    batch.add(partial(asked, rates_of, supplier, query, hotel_id, ticket)
                              for hotel_id, ticket in result.tickets.items())
                elif result is not None:
                    came += 1
                    waiting.append(result)
                full = sum(len(chunk.rates) for chunk in waiting) >= _RATES_AT_ONCE
                if waiting and (result is None or full):
                    self._append_several(job, waiting, until_s)
                    waiting = []
        if waiting:
            self._append_several(job, waiting, until_s)
        missing -= came
        if faults:
            return f"{missing} of {len(hotel_ids)} hotels: {in_words(faults[-1])}"
        return f"{missing} of {len(hotel_ids)} hotels took too long" if missing else ""

    def _append_several(
        self, job: FetchPart, chunks: Sequence[FetchedChunk], until_s: float
    ) -> None:
        """Chunks of several hotels under a name that is made of theirs: any other gathering of
        them, after a crash, would append some hotels twice, so each hotel stays a chunk.
        """
        _note(job, [error for chunk in chunks for error in chunk.errors])
        named = [
            (f"{job.supplier}:{chunk.name}", [offered(job.search_id, rate) for rate in chunk.rates])
            for chunk in chunks
        ]
        self._engine_back(lambda: self._entries.append_many(
            job.search_id, job.supplier, named, created_ms=job.created_ms), until_s)


def _note(job: FetchPart, errors: Sequence[HotelError]) -> None:
    """What was left out is for an operator to see; the log of calls has it whole."""
    if errors:
        log.info("%s, part %d: %d hotels or rates were left out, the first as %s",
                 job.supplier, job.part.number, len(errors), errors[0].reason)


def in_words(fault: BaseException) -> str:
    """What visitors are told; no address, no secret, nothing that the supplier wrote."""
    match fault:
        case CircuitOpen():
            return "is left alone after too many failures"
        case Throttled():
            return "asked us to wait"
        case TokenExpired():
            return "did not let us in"
        case SupplierAway():
            return "did not answer"
        case SupplierDeclined():
            return "refused the request"
    return "could not be asked"


def query_of(
    destination: str, check_in: dt.date, check_out: dt.date, guests: int, currency: str,
    hotel_ids: tuple[str, ...],
) -> RateQuery:
    """The words of a search in the vocabulary of suppliers."""
    return RateQuery(destination=destination, check_in=check_in, check_out=check_out,
                     guests=guests, currency=currency, hotel_ids=hotel_ids)
