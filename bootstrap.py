"""The composition root: the only place that builds clients; everything else receives them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

import redis
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import ConfigurationError, InvalidURI
from redis.backoff import NoBackoff
from redis.retry import Retry

from booking.documents import Document
from booking.store import BookingStore
from catalogue.shelf import CatalogueReader
from engine_errors import valkey_errors
from errors import SettingsError
from queues.keys import BOOKING, SEARCH
from queues.reliable import BookingQueue
from queues.shared_work import SharedWork
from search.entries import SearchEntries
from search.places import Destinations, HotelFacts, Place
from settings import Settings
from suppliers import places, registry
from suppliers.fetching import Fetcher
from suppliers.gate import GateState, VendorGate, gate_states
from suppliers.http import Exchange
from suppliers.interactions import InteractionLog
from suppliers.loader_pool import LoaderPool
from suppliers.rates import RateSupplier, comes_hotel_by_hotel
from suppliers.tokens import SharedTokens, TokenState, token_states

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 10.0


def connect_valkey(settings: Settings, *, connections: int = 16) -> redis.Redis:
    """The Valkey of orders. Its client never repeats a call by itself: only our scripts know what
    is repeatable.
    """
    return _valkey("REDIS_URL", settings.redis_url, connections)


def connect_search_valkey(settings: Settings, *, connections: int = 16) -> redis.Redis:
    """The Valkey of searches: entries, jobs, RQ's queues, what fetch workers share."""
    return _valkey("SEARCH_REDIS_URL", settings.search_valkey_url, connections)


def connect_catalogue_valkey(
    settings: Settings, *, connections: int = 16, patience_s: float | None = None
) -> redis.Redis:
    """The Valkey of the catalogue: finished pages and the listing. `patience_s` is the longest wait
    for an answer, for what matters less than whoever waits for it.
    """
    return _valkey("CATALOGUE_REDIS_URL", settings.catalogue_valkey_url, connections, patience_s)


def _valkey(
    variable: str, url: str, connections: int, patience_s: float | None = None
) -> redis.Redis:
    if not url:
        raise SettingsError(
            f"{variable} is not set and no embedded Valkey is running: start "
            "`python app_queue.py`."
        )
    try:
        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=CONNECT_TIMEOUT_S,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=patience_s or ANSWER_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[],
            health_check_interval=0,
        )
    except ValueError as error:
        raise SettingsError(f"{variable}: {error}") from None
    return redis.Redis(connection_pool=pool)


def valkey_clock(client: redis.Redis) -> Callable[[], int]:
    """Milliseconds since 1970 by this Valkey. What one machine wrote down and another compares is
    read from one clock. Calling it may raise EngineAway.
    """
    def now_ms() -> int:
        with valkey_errors():
            seconds, micros = client.time()
        return int(seconds * 1_000 + micros // 1_000)

    return now_ms


def connect_mongo(settings: Settings) -> MongoClient[Document]:
    """A client without retries: an answer that is not known is decided again by the consumer."""
    if not settings.mongo_url:
        raise SettingsError(
            "MONGO_URL is not set and no embedded mongod is running: start `python app_queue.py`."
        )
    try:
        return MongoClient(
            settings.mongo_url,
            connectTimeoutMS=CONNECT_TIMEOUT_S * 1_000,
            serverSelectionTimeoutMS=CONNECT_TIMEOUT_S * 1_000,
            socketTimeoutMS=ANSWER_TIMEOUT_S * 1_000,
            heartbeatFrequencyMS=2_000,
            retryWrites=False,
            retryReads=False,
            tz_aware=True,
        )
    except (InvalidURI, ConfigurationError) as error:
        raise SettingsError(f"MONGO_URL: {error}") from None


def database(settings: Settings, client: MongoClient[Document]) -> Database[Document]:
    """The database of orders and packages."""
    return client[settings.mongo_database]


def catalogue_reader(client: redis.Redis) -> CatalogueReader:
    """The catalogue as it is shown."""
    return CatalogueReader(client)


def booking_store(settings: Settings) -> BookingStore:
    """Orders and packages, on a client of their own."""
    return BookingStore(database(settings, connect_mongo(settings)))


def booking_queue(settings: Settings, client: redis.Redis) -> BookingQueue:
    """The booking road, reader's side."""
    return BookingQueue(
        client, BOOKING, lease_ms=settings.lease_ms, status_ttl_s=settings.status_ttl_s
    )


def reservation_work(settings: Settings, client: redis.Redis, worker: str) -> SharedWork:
    """One worker's side of the reservation jobs."""
    return SharedWork(
        client, BOOKING.reservations, BOOKING, worker=worker, heartbeat_ms=settings.heartbeat_ms,
        # The first delivery is no death's.
        alone_after_deaths=settings.singles_after_deliveries - 1,
    )


def search_entries(settings: Settings, client: redis.Redis) -> SearchEntries:
    """Searches, in the Valkey of `connect_search_valkey`."""
    return SearchEntries(
        client, SEARCH, deadline_s=settings.search_deadline_s, life_s=settings.search_life_s,
        max_waiting=settings.searches_max_waiting,
    )


def destinations() -> Destinations:
    """Where suppliers sell hotels. Who shows a search learns it here: suppliers' own tables are
    no part of its room.
    """
    def hotel(hotel_id: str) -> tuple[str, HotelFacts] | None:
        found = places.hotel(hotel_id)
        if found is None:
            return None
        return found.city.slug, HotelFacts(name=found.name, stars=found.stars)

    return Destinations(
        (Place(slug=city.slug, name=city.name, country=city.country)
         for city in places.cities().values()), hotel,
    )


def rate_supplier_names(settings: Settings) -> tuple[str, ...]:
    """The suppliers that a search asks."""
    return tuple(registry.chosen(settings))


def vendor_gate(
    settings: Settings, client: redis.Redis, stop: threading.Event, *, owner: str = ""
) -> VendorGate:
    """Limits and circuit breakers of suppliers, shared by all workers; `client` is search's and
    `owner` the process whose places are given back when it dies.
    """
    return VendorGate(client, failures=settings.breaker_failures, open_s=settings.breaker_open_s,
                      stop=stop, owner=owner)


def closed_gates(settings: Settings, client: redis.Redis) -> dict[str, str]:
    """Suppliers of rates that are not called as always now, and why; `client` is search's."""
    return {
        name: f"paused for {one.left_s} s" if one.paused else f"{one.state} for {one.left_s} s"
        for name, one in supplier_gates(settings, client).items()
        if one.paused or one.state != "closed"
    }


def supplier_gates(settings: Settings, client: redis.Redis) -> dict[str, GateState]:
    """How each supplier that searches ask may be called now; `client` is search's."""
    return gate_states(client, registry.chosen(settings), failures=settings.breaker_failures)


def supplier_tokens(settings: Settings, client: redis.Redis) -> dict[str, TokenState | None]:
    """The access token of each supplier that issues them; `client` is search's."""
    terms = registry.terms_of(settings, threading.Event(), pool_size=1)
    # An account is named `<supplier>:<client id>`, and only the first of it is for all to see.
    return {account.partition(":")[0]: token for account, token in
            token_states(client, registry.token_desks(settings, terms)).items()}


def rate_suppliers(
    settings: Settings, client: redis.Redis, stop: threading.Event, *, pool_size: int,
    gate: VendorGate | None = None, observe: Callable[[Exchange], None] | None = None,
) -> dict[str, RateSupplier]:
    """An adapter of each supplier of rates, on tokens that all workers share; `client` is
    search's. With a `gate`, they can be called within it only.
    """
    terms = registry.terms_of(settings, stop, pool_size=pool_size, observe=observe,
                              admit=gate.admit if gate else None)
    desks = registry.token_desks(settings, terms)
    tokens = SharedTokens(client, {name: desk.issue for name, desk in desks.items()}, stop=stop)
    return registry.build(settings, terms, tokens)


def interaction_log(settings: Settings, client: redis.Redis) -> InteractionLog:
    """Where calls to suppliers are told; `client` is search's."""
    return InteractionLog(client, most_waiting=settings.interactions_max_waiting,
                          secrets=settings.supplier_secrets)


def fetcher(
    settings: Settings, client: redis.Redis, stop: threading.Event, suppliers: Iterable[str], *,
    owner: str,
) -> Fetcher:
    """What a fetch worker of these suppliers does with its jobs; `client` is search's."""
    threads = max(settings.fetch_threads, settings.loader_threads_max)
    kept = interaction_log(settings, client)
    gate = vendor_gate(settings, client, stop, owner=owner)
    adapters = rate_suppliers(settings, client, stop, pool_size=threads, gate=gate,
                              observe=kept.observe)
    return Fetcher(
        adapters,
        search_entries(settings, client),
        gate,
        {name: _loaders(settings, adapters[name]) for name in suppliers
         if comes_hotel_by_hotel(adapters[name])},
        attempts=settings.fetch_attempts,
        stop=stop,
        now_ms=valkey_clock(client),
        # The second process of a fetch worker does not end the way on which it would be done.
        last=kept.close,
    )


def _loaders(settings: Settings, supplier: RateSupplier) -> LoaderPool:
    """No more of them than the supplier takes calls: the others would wait for a place."""
    high = settings.loader_threads_max
    return LoaderPool(low=settings.loader_threads_min,
                      high=min(high, supplier.at_once_max or high), name=f"load-{supplier.name}")
