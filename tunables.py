"""Every tunable of Berth: its name, unit, bounds and meaning. The one place for a new one.

What is worked out of several stands below them. settings.py reads and prints them; whoever needs
them says `from settings import Settings`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit, urlunsplit

import msgspec
from msgspec import Meta

# What the simulator takes for a key, a secret and a token; no real supplier does.
SIMULATED = "simulated"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One value per tunable. `settings.load()` checks the bounds that stand here."""

    # --- where things are ---------------------------------------------------------------------
    data_dir: Annotated[
        str, Meta(description="Folder of the embedded engines' data, logs and the generated key")
    ] = "./data"
    redis_url: Annotated[
        str, Meta(description="Redis or Valkey to use; empty: an embedded Valkey is started")
    ] = ""
    search_redis_url: Annotated[
        str,
        Meta(description="Valkey of searches; empty: the embedded one, or the next database of "
             "REDIS_URL"),
    ] = ""
    catalogue_redis_url: Annotated[
        str,
        Meta(description="Valkey of the catalogue; empty: the embedded one, or the second next "
             "database of REDIS_URL"),
    ] = ""
    mongo_url: Annotated[
        str, Meta(description="MongoDB replica set to use; empty: an embedded mongod is started")
    ] = ""
    mongo_database: Annotated[
        str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,37}$", description="Database of orders and packages")
    ] = "berth"
    host: Annotated[str, Meta(description="Address that the web server binds")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535, description="Port of the web server")] = 8888
    supplier_url: Annotated[
        str, Meta(description="Base URL of the flight and room supplier; empty: the simulator")
    ] = ""
    beat_file: Annotated[
        str, Meta(description="File that a consumer touches at every step; empty: none is kept")
    ] = ""
    valkey_maxmemory_mb: Annotated[
        int,
        Meta(ge=64, le=1_000_000, description="Memory limit of the Valkey of orders, in MB"),
    ] = 512
    search_maxmemory_mb: Annotated[
        int, Meta(ge=64, le=1_000_000, description="Memory limit of that of searches, in MB")
    ] = 256
    catalogue_maxmemory_mb: Annotated[
        int, Meta(ge=64, le=1_000_000, description="Memory limit of that of the catalogue, in MB")
    ] = 512

    # --- the web ------------------------------------------------------------------------------
    secret_key: Annotated[
        str, Meta(description="Signs forms; empty: generated once and kept in DATA_DIR")
    ] = ""
    web_workers: Annotated[int, Meta(ge=1, le=64, description="gunicorn worker processes")] = 2
    web_threads: Annotated[int, Meta(ge=1, le=256, description="Threads per gunicorn worker")] = 8
    web_https: Annotated[
        bool, Meta(description="Served over HTTPS by a proxy: secure cookies and HSTS")
    ] = False
    trusted_proxies: Annotated[
        int, Meta(ge=0, le=8, description="Proxies in front whose X-Forwarded-* are believed")
    ] = 0
    body_max_bytes: Annotated[
        int, Meta(ge=1_024, le=1_048_576, description="Largest request body, in bytes")
    ] = 8_192
    lookup_misses_per_minute: Annotated[
        int, Meta(ge=1, le=10_000, description="Order look-ups that may miss, per client address")
    ] = 30

    # --- the queue ----------------------------------------------------------------------------
    backlog_max_jobs: Annotated[
        int, Meta(ge=1, le=10_000_000, description="Waiting jobs above which orders get a 503")
    ] = 200_000
    backlog_max_bytes: Annotated[
        int,
        Meta(ge=1_024, le=8_589_934_592, description="Bytes of waiting jobs above which 503"),
    ] = 134_217_728
    memory_max_percent: Annotated[
        int, Meta(ge=10, le=95, description="Part of Valkey's maxmemory above which orders get 503")
    ] = 75
    retry_after_s: Annotated[
        int, Meta(ge=1, le=3_600, description="Retry-After of a 503, in seconds")
    ] = 2
    idempotency_ttl_s: Annotated[
        int, Meta(ge=60, le=604_800, description="How long an Idempotency-Key is kept, in seconds")
    ] = 86_400
    status_ttl_s: Annotated[
        int, Meta(ge=60, le=604_800, description="How long the status of a final order stays")
    ] = 3_600

    # --- the catalogue ------------------------------------------------------------------------
    catalogue_active_max: Annotated[
        int, Meta(ge=1, le=1_000_000, description="Hotels shown at most: of the active ones, those "
                  "that came first")
    ] = 10_000
    catalogue_currency: Annotated[
        str, Meta(pattern=r"^[A-Z]{3}$", description="Currency of the catalogue; prices in another "
                  "are not shown")
    ] = "EUR"
    default_hotels: Annotated[
        int, Meta(ge=0, le=10_000, description="Invented hotels seeded where there is none")
    ] = 10_000

    # --- feedback and recommendations ---------------------------------------------------------
    feedback_max_waiting: Annotated[
        int, Meta(ge=100, le=10_000_000, description="Looks and bookings that may wait to be kept; "
                  "further ones are dropped")
    ] = 100_000
    training_every_s: Annotated[
        int, Meta(ge=10, le=604_800, description="Shortest time between two trainings, in seconds")
    ] = 3_600
    training_timeout_s: Annotated[
        int, Meta(ge=10, le=86_400, description="Longest time of a training, in seconds")
    ] = 600

    # --- the booking consumer -----------------------------------------------------------------
    booking_consumers: Annotated[
        int, Meta(ge=1, le=8, description="Booking consumers started: one works, others stand by")
    ] = 2
    batch_max: Annotated[
        int, Meta(ge=1, le=2_000, description="Jobs of one batch (scripts take < 8,000 arguments)")
    ] = 1_000
    lease_ms: Annotated[
        int, Meta(ge=500, le=60_000, description="Lease of the booking consumer, in milliseconds")
    ] = 2_000
    beat_ms: Annotated[
        int, Meta(ge=50, le=1_000, description="Longest wait of an idle consumer between batches")
    ] = 500
    sweep_every_ms: Annotated[
        int, Meta(ge=100, le=600_000, description="How often expired holds and owed work are swept")
    ] = 2_000
    hold_s: Annotated[
        int, Meta(ge=1, le=86_400, description="How long a unit is held for its reservation")
    ] = 300
    owed_after_s: Annotated[
        int, Meta(ge=1, le=86_400, description="Age at which owed cancellations are sent again")
    ] = 30
    singles_after_deliveries: Annotated[
        int, Meta(ge=2, le=20, description="Deliveries after which a batch goes job by job")
    ] = 3
    bury_after_deliveries: Annotated[
        int, Meta(ge=2, le=50, description="Deliveries after which a job that is alone is buried")
    ] = 5

    dead_letters_max: Annotated[
        int, Meta(ge=1, le=1_000_000,
                  description="Dead letters at which no order is let in any more")
    ] = 10_000

    # --- the reservation consumer and its supplier --------------------------------------------
    reservation_threads: Annotated[
        int, Meta(ge=1, le=256, description="Reservations under way at once in one consumer")
    ] = 32
    heartbeat_ms: Annotated[
        int, Meta(ge=500, le=60_000, description="Life of a reservation worker's heartbeat")
    ] = 3_000
    supplier_timeout_s: Annotated[
        float, Meta(ge=0.05, le=60, description="Longest wait for one supplier answer, in seconds")
    ] = 5.0
    supplier_attempts: Annotated[
        int, Meta(ge=1, le=10, description="Tries of one supplier call (faults, never declines)")
    ] = 4
    supplier_backoff_max_s: Annotated[
        float, Meta(ge=0.01, le=30, description="Longest pause between two tries, in seconds")
    ] = 2.0

    # --- the suppliers of hotel rates ---------------------------------------------------------
    simulator_url: Annotated[
        str, Meta(description="Base URL of the simulator; empty: SIMULATOR_PORT of this machine")
    ] = ""
    hotelbeds_url: Annotated[
        str, Meta(description="Base URL of Hotelbeds; empty: the simulator")
    ] = ""
    hotelbeds_api_key: Annotated[
        str, Meta(min_length=1, description="Key at Hotelbeds")
    ] = SIMULATED
    hotelbeds_secret: Annotated[
        str, Meta(min_length=1, description="Secret at Hotelbeds")
    ] = SIMULATED
    expedia_rapid_url: Annotated[
        str, Meta(description="Base URL of Expedia Rapid; empty: the simulator")
    ] = ""
    expedia_rapid_api_key: Annotated[
        str, Meta(min_length=1, description="Key at Expedia Rapid")
    ] = SIMULATED
    expedia_rapid_secret: Annotated[
        str, Meta(min_length=1, description="Secret at Expedia Rapid")
    ] = SIMULATED
    duffel_stays_url: Annotated[
        str, Meta(description="Base URL of Duffel Stays; empty: the simulator")
    ] = ""
    duffel_stays_access_token: Annotated[
        str, Meta(min_length=1, description="Access token at Duffel Stays")
    ] = SIMULATED
    ascenda_url: Annotated[str, Meta(description="Base URL of Ascenda; empty: the simulator")] = ""
    ascenda_partner_id: Annotated[
        str, Meta(min_length=1, description="Partner id at Ascenda")
    ] = "1"
    perhotel_url: Annotated[
        str, Meta(description="Base URL of the per-hotel vendor; empty: the simulator")
    ] = ""
    perhotel_client_id: Annotated[
        str, Meta(min_length=1, description="OAuth2 client at the per-hotel vendor")
    ] = SIMULATED
    perhotel_client_secret: Annotated[
        str, Meta(min_length=1, description="OAuth2 secret at the per-hotel vendor")
    ] = SIMULATED
    rate_timeout_s: Annotated[
        float, Meta(ge=0.05, le=60, description="Longest wait for an answer with rates, and for "
                                                "all polls of one; in seconds")
    ] = 20.0
    rate_book_timeout_s: Annotated[
        float, Meta(ge=0.05, le=60, description="Longest wait for one answer to a recheck or a "
                                                 "booking of a rate, in seconds")
    ] = 15.0
    rate_poll_ms: Annotated[
        int, Meta(ge=20, le=5_000, description="Pause between two polls of a polled supplier")
    ] = 250

    # --- searches -----------------------------------------------------------------------------
    search_deadline_s: Annotated[
        float, Meta(ge=1, le=120, description="A search ends with what it has after this long")
    ] = 30.0
    search_life_s: Annotated[
        int, Meta(ge=10, le=86_400, description="How long a search keeps its prices, from its "
                                                "start")
    ] = 900
    searches_max_waiting: Annotated[
        int, Meta(ge=1, le=100_000, description="Searches that nobody has begun above which new "
                                                "ones get a 503")
    ] = 1_000
    searches_per_minute: Annotated[
        int, Meta(ge=1, le=1_000_000, description="New searches per client address; looking at "
                                                  "one that exists is free")
    ] = 30
    search_currency: Annotated[
        str, Meta(pattern="^[A-Z]{3}$", description="Currency that suppliers are asked for (ISO "
                                                    "4217); some answer in their own")
    ] = "EUR"
    search_niceness: Annotated[
        int, Meta(ge=0, le=19, description="How far searches step back when processors are short: "
                                           "niceness of their consumer, the fetch workers and the "
                                           "simulator")
    ] = 3

    rate_suppliers: Annotated[
        str, Meta(pattern=r"^[a-z_,]*$", description="Rate suppliers that searches ask, names with "
                                                     "commas; empty: all")
    ] = ""

    # --- the log of vendor calls --------------------------------------------------------------
    interactions_url: Annotated[
        str, Meta(description="Folder or s3:// address that keeps calls to rate suppliers; empty: "
                              "a folder in DATA_DIR")
    ] = ""
    interactions_max_waiting: Annotated[
        int, Meta(ge=10, le=1_000_000, description="Calls that may wait to be kept; further ones "
                                                   "are dropped, and counted")
    ] = 10_000
    interactions_kept_days: Annotated[
        int, Meta(ge=1, le=3_650, description="Days for which they are kept")
    ] = 30

    # --- fetch workers ------------------------------------------------------------------------
    fetch_threads: Annotated[
        int, Meta(ge=1, le=128, description="Fetches under way at once in one fetch worker, per "
                                            "supplier")
    ] = 48
    fetch_attempts: Annotated[
        int, Meta(ge=1, le=5, description="Tries of one fetch (faults, never refusals)")
    ] = 2
    loader_threads_min: Annotated[
        int, Meta(ge=0, le=512, description="Rate loaders kept per supplier that answers hotel by "
                                            "hotel")
    ] = 2
    loader_threads_max: Annotated[
        int, Meta(ge=1, le=512, description="Rate loaders at most, in one fetch worker, per such "
                                            "supplier; no more than it takes calls at once")
    ] = 64
    breaker_failures: Annotated[
        int, Meta(ge=1, le=1_000, description="Failures in a row after which a supplier is left "
                                              "alone")
    ] = 8
    breaker_open_s: Annotated[
        float, Meta(ge=0.1, le=3_600, description="For how long, in seconds")
    ] = 10.0

    # --- the simulator of the outside world ---------------------------------------------------
    simulator_port: Annotated[int, Meta(ge=1, le=65535, description="Port of the simulator")] = 8890
    simulator_seed: Annotated[
        str, Meta(max_length=200, description="Seed of what the simulator declines")
    ] = "berth"
    flight_failure_rate: Annotated[
        float, Meta(ge=0, le=1, description="Part of the flights that the simulator declines")
    ] = 0.5
    room_failure_rate: Annotated[
        float, Meta(ge=0, le=1, description="Part of the rooms that the simulator declines")
    ] = 0.0
    simulator_latency_ms_min: Annotated[
        int, Meta(ge=0, le=60_000, description="Shortest answer of the simulator")
    ] = 40
    simulator_latency_ms_max: Annotated[
        int, Meta(ge=0, le=60_000, description="Longest answer of the simulator")
    ] = 160
    simulator_fault_rate: Annotated[
        float, Meta(ge=0, le=1, description="Part of the simulator's answers that are a 503")
    ] = 0.0
    simulator_lost_answer_rate: Annotated[
        float, Meta(ge=0, le=1, description="Part of the calls that are booked, then answered 504")
    ] = 0.0

    simulator_rate_latency_percent: Annotated[
        int, Meta(ge=0, le=1_000, description="Latencies of the simulated rate suppliers, in "
                                              "percent of what each takes by default")
    ] = 100

    @property
    def supplier_base_url(self) -> str:
        """The supplier that reservations talk to."""
        return self.supplier_url or f"http://127.0.0.1:{self.simulator_port}"

    def rate_base_url(self, supplier: str) -> str:
        """Where the supplier of rates with this name is, such as `hotelbeds`."""
        simulator = self.simulator_url or f"http://127.0.0.1:{self.simulator_port}"
        chosen: str = getattr(self, f"{supplier}_url")
        return chosen or f"{simulator.rstrip('/')}/{supplier}"

    @property
    def interactions_where(self) -> str:
        """Where calls to rate suppliers are kept."""
        return self.interactions_url or str(Path(self.data_dir).absolute() / "interactions")

    @property
    def supplier_secrets(self) -> tuple[str, ...]:
        """Keys, secrets and tokens at suppliers, for who must not let them out."""
        return tuple(
            getattr(self, name) for name in self.__struct_fields__
            if name.endswith(("_api_key", "_secret", "_access_token", "_client_id"))
        )

    @property
    def search_valkey_url(self) -> str:
        """Where searches, their jobs and suppliers' shared state stand; empty without REDIS_URL."""
        return self.search_redis_url or _other_database(self.redis_url, 1)

    @property
    def catalogue_valkey_url(self) -> str:
        """Where the catalogue's pages stand; empty without REDIS_URL."""
        return self.catalogue_redis_url or _other_database(self.redis_url, 2)

    @property
    def saga_worst_case_s(self) -> float:
        """Longest time of a reservation when every try times out, in seconds.

        Flight and room take that many tries each. The recheck and the booking of a rate begin no
        try after two timeouts; the last one may wait for its turn, ask for a token, be refused,
        and do both again.
        """
        one_call = self.supplier_attempts * (
            self.supplier_timeout_s + self.supplier_backoff_max_s
        )
        one_step = 7 * self.rate_book_timeout_s + self.supplier_backoff_max_s
        return 2 * max(one_call, one_step) + self.heartbeat_ms / 1_000


def _other_database(url: str, steps: int) -> str:
    """The address of a database of the same server, `steps` numbers on."""
    parts = urlsplit(url)
    number = parts.path.strip("/")
    if not url or parts.scheme not in ("redis", "rediss") or not (number or "0").isdecimal():
        return url
    return urlunsplit(parts._replace(path=f"/{int(number or 0) + steps}"))
