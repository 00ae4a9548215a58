"""The one builder of every Valkey key, and what stands behind each.

All keys of one road share a hash tag, so that one Lua script may touch them together, on a
cluster too. docs/keys.md has the same table for operators.
"""

from __future__ import annotations

import hashlib


def fetch_queue(supplier: str) -> str:
    """What RQ calls the queue of a supplier's parts; its keys are RQ's own."""
    return f"fetch-{supplier}"


class QueueKeys:
    """Keys of one reliable list.

    jobs        list    waiting jobs, pushed left, taken right
    inflight    list    the one or two batches that the lease holder works on, oldest first
    bell        list    holds at most one token while there may be work; waiting pops the token,
                        never a job
    lease       string  `<consumer>:<epoch>`, expires
    epoch       int     counts acquisitions of the lease
    batch       hash    number of the latest take, oldest batch in flight, its deliveries, and
                        singles: how many jobs are still to be taken alone
    counters    hash    pushed, applied, bytes: the backlog in jobs and bytes
    dead        list    dead letters, JSON
    """

    def __init__(self, road: str) -> None:
        self.prefix = f"{{{road}}}:"
        self.jobs = self.prefix + "jobs"
        self.inflight = self.prefix + "inflight"
        self.bell = self.prefix + "bell"
        self.lease = self.prefix + "lease"
        self.epoch = self.prefix + "epoch"
        self.batch = self.prefix + "batch"
        self.counters = self.prefix + "counters"
        self.dead = self.prefix + "dead"


class WorkKeys:
    """Keys of a list that many workers share, each with an inflight list of its own.

    waiting     list    jobs, pushed left, taken right
    bell        list    as above
    workers     zset    worker -> the moment (Valkey's ms) at which its heartbeat runs out
    deaths      hash    job -> how many workers died while they held it
    """

    def __init__(self, road: str, name: str) -> None:
        self.prefix = f"{{{road}}}:{name}"
        self.waiting = self.prefix
        self.bell = self.prefix + ":bell"
        self.workers = self.prefix + ":workers"
        self.deaths = self.prefix + ":deaths"
        self.inflight_prefix = self.prefix + ":inflight:"

    def inflight(self, worker: str) -> str:
        """The list of what one worker has taken and not yet reported."""
        return self.inflight_prefix + worker


class BookingKeys(QueueKeys):
    """Keys of the booking road.

    status:<order>      hash    state, reason, email, package_id or rate, seq, accepted_ms; expires
                                only once the order is final
    idempotency:<hash>  string  `<order> <hash of the body>`, expires
    packages            hash    package id -> JSON as GET /api/packages shows it (a projection)
    doors               hash    package id -> `<starts_ms> <ends_ms>` or `closed` (a projection)
    pressure            string  why intake is closed; expires by itself
    reservations        -       WorkKeys of the reservation jobs
    """

    def __init__(self) -> None:
        super().__init__("booking")
        self.packages = self.prefix + "packages"
        self.doors = self.prefix + "doors"
        self.pressure = self.prefix + "pressure"
        self.status_prefix = self.prefix + "status:"
        self.reservations = WorkKeys("booking", "reservations")

    def status(self, order_id: str) -> str:
        """The status hash of one order."""
        return self.status_prefix + order_id

    def idempotency(self, key: str) -> str:
        """Where the answer to an Idempotency-Key is kept; the key itself may be a secret."""
        return self.prefix + "idempotency:" + hashlib.sha256(key.encode()).hexdigest()[:40]


class SearchKeys(QueueKeys):
    """Keys of the search road. All of one search expire at the same moment.

    workers                     zset    fetch worker process -> the moment (ms) at which its
                                        heartbeat runs out
    slots:<supplier>            zset    who calls it now -> the moment (ms) at which that runs out
    gate:<supplier>             hash    failures in a row, open_until, paused_until, probe_until,
                                        next_ms: when the next request may go
    token:<account>             hash    value, expires_ms, life_ms
    token-lock:<account>        string  who has a new one issued, expires

    entry:<search>              hash    times, revision, is_completed, open parts, its job
    entry:<search>:rates        list    rates as JSON, in the order of their arrival
    entry:<search>:suppliers    hash    supplier -> its progress as JSON
    entry:<search>:chunks       set     chunks that came, so that none counts twice
    lowest:<hotel>              zset    stays that searches found, by the price of a night
    entry:<search>:places       hash    name of a rate -> its place in the list of rates
    """

    def __init__(self) -> None:
        super().__init__("search")
        self.workers = self.prefix + "workers"

    def slots(self, supplier: str) -> str:
        """Who may call a supplier now."""
        return f"{self.prefix}slots:{supplier}"

    def gate(self, supplier: str) -> str:
        """Why a supplier is not called now."""
        return f"{self.prefix}gate:{supplier}"

    def token(self, account: str) -> str:
        """The access token of an account; the account's name may say too much of it."""
        return f"{self.prefix}token:" + hashlib.sha256(account.encode()).hexdigest()[:16]

    def token_lock(self, account: str) -> str:
        """Who has a token issued now."""
        return self.token(account).replace(":token:", ":token-lock:")

    def entry(self, search_id: str) -> str:
        """The hash of one search."""
        return f"{self.prefix}entry:{search_id}"

    def rates(self, search_id: str) -> str:
        """Its rates."""
        return self.entry(search_id) + ":rates"

    def suppliers(self, search_id: str) -> str:
        """Its suppliers' progress."""
        return self.entry(search_id) + ":suppliers"

    def chunks(self, search_id: str) -> str:
        """What came for it already."""
        return self.entry(search_id) + ":chunks"

    def lowest(self, hotel_id: str) -> str:
        """The lowest rates that are live for a hotel."""
        return f"{self.prefix}lowest:{hotel_id}"

    def places(self, search_id: str) -> str:
        """Where each of its rates stands."""
        return self.entry(search_id) + ":places"


class CatalogueKeys:
    """Keys of the catalogue. A generation is everything that one full rebuild made.

    lease               string  `<consumer>:<epoch>`, expires
    epoch               int     counts acquisitions of the lease
    state               hash    generation: the one that is shown; seq: changes told in it;
                                token: where in MongoDB's changes it stands; version, day,
                                built_ms; building: one that is not shown yet; wanted: a rebuild
                                is asked for; active_max: hotels that are shown at most
    changes             stream  `<generation>-<seq>` -> id, row (empty: gone); seq 0 says a swap
    old                 list    generations that are to be removed
    hotel:<gen>:<id>    hash    version, slug, etag, page and json (gzip), size of each unpacked
    rows:<gen>          hash    hotel id -> row of the listing's index
    cards:<gen>         hash    hotel id -> its card, HTML
    briefs:<gen>        hash    hotel id -> its JSON in a listing
    slugs:<gen>         hash    slug -> hotel id
    broken:<gen>        hash    hotel id -> why its documents make no page
    gone:<gen>          hash    hotel id -> version at which it was taken away
    interest:<day>:<id> HLL     people who looked at the hotel's page that day, of any generation;
                                expires
    interest-whole      string  there while no interest was lost
    """

    def __init__(self) -> None:
        self.prefix = "{catalogue}:"
        self.lease = self.prefix + "lease"
        self.epoch = self.prefix + "epoch"
        self.state = self.prefix + "state"
        self.changes = self.prefix + "changes"
        self.old = self.prefix + "old"
        self.interest_whole = self.prefix + "interest-whole"

    def hotel(self, generation: int | str, hotel_id: str) -> str:
        """The finished page of one hotel, and its JSON."""
        return f"{self.prefix}hotel:{generation}:{hotel_id}"

    def rows(self, generation: int | str) -> str:
        """The rows of all hotels."""
        return f"{self.prefix}rows:{generation}"

    def cards(self, generation: int | str) -> str:
        """The cards of all hotels."""
        return f"{self.prefix}cards:{generation}"

    def briefs(self, generation: int | str) -> str:
        """All hotels as JSON in brief."""
        return f"{self.prefix}briefs:{generation}"

    def slugs(self, generation: int | str) -> str:
        """Which hotel an address belongs to."""
        return f"{self.prefix}slugs:{generation}"

    def interest(self, day: str, hotel_id: str) -> str:
        """Who looked at a hotel on a day, enough of it to count them."""
        return f"{self.prefix}interest:{day}:{hotel_id}"

    def broken(self, generation: int | str) -> str:
        """Hotels that cannot be shown."""
        return f"{self.prefix}broken:{generation}"

    def gone(self, generation: int | str) -> str:
        """When hotels were taken away, so that nothing older brings them back."""
        return f"{self.prefix}gone:{generation}"


class FeedbackKeys(QueueKeys):
    """Keys of what people looked at and booked, and of the taste model that comes of it.

    model               hash    version, block (the model), learned_from (events)
    tastes:<version>    hash    visitor -> their vector
    """

    def __init__(self) -> None:
        super().__init__("feedback")
        self.model = self.prefix + "model"

    def tastes(self, version: str) -> str:
        """What one model learned of each visitor."""
        return f"{self.prefix}tastes:{version}"


class InteractionKeys(QueueKeys):
    """Keys of the log of vendor calls. Its counters know `dropped`, too: calls not kept."""

    def __init__(self) -> None:
        super().__init__("interactions")


BOOKING = BookingKeys()
INTERACTIONS = InteractionKeys()
SEARCH = SearchKeys()
CATALOGUE = CatalogueKeys()
FEEDBACK = FeedbackKeys()
