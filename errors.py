"""Every error that Berth raises, in one tree.

    BerthError
    ├── SettingsError           a variable of the environment is wrong; stop and say which
    ├── BadInput                what came from outside is refused, with the field to mend
    ├── EngineAway              Valkey or MongoDB did not answer, or its answer is not known
    ├── EngineUnfit             an engine answers, but not with what the promises rest on
    ├── CatalogueBuilding       the catalogue is not in Valkey yet; its consumer is at it
    ├── LeaseLost               somebody else writes now; drop everything and stand by
    ├── Surprise                a write did not count as decided: take and decide again
    ├── NewerJob                a job of a later version than this consumer knows; stop
    ├── BrokenJob               a job that no retry can mend; it is buried
    └── SupplierError
        ├── SupplierAway        no answer, or a transient fault: the outcome is unknown
        │   ├── Throttled       too many requests; perhaps with the pause that is wanted
        │   ├── CircuitOpen     it failed so often that nobody asks it for a while
        │   └── TokenExpired    an access token is refused, and so was the one after it
        └── SupplierDeclined    a clear no; trying again would not change it

Whether another try can help is the attribute `retryable`, not something a caller guesses from
the type. Errors of redis-py, pymongo and requests are translated where they enter.
"""

from __future__ import annotations


class BerthError(Exception):
    """Base of all errors of this system."""

    retryable = False


class SettingsError(BerthError):
    """The environment holds a value that cannot be used."""


class BadInput(BerthError):
    """Input that is refused. `field` is a JSON pointer or name, `detail` says what to mend."""

    def __init__(self, detail: str, *, field: str = "", status: int = 422) -> None:
        super().__init__(f"{field}: {detail}" if field else detail)
        self.detail = detail
        self.field = field
        self.status = status


class EngineAway(BerthError):
    """An engine is not reachable, or closed the connection before the answer was known."""

    retryable = True


class EngineUnfit(BerthError):
    """An engine lacks a setting or an index without which a promise would be empty, or refuses
    what it is asked. That is no fault of any job, and no waiting mends it.
    """


class CatalogueBuilding(BerthError):
    """Nothing of the catalogue is in Valkey: never built, or flushed. It comes by itself."""

    retryable = True


class LeaseLost(BerthError):
    """Another consumer holds the lease."""

    retryable = True


class Surprise(BerthError):
    """Counts, keys or answers differ from what was decided: someone else wrote."""

    retryable = True


class NewerJob(BerthError):
    """A job's version is above what this process understands."""


class BrokenJob(BerthError):
    """A job that cannot be read or applied, whoever tries."""


class SupplierError(BerthError):
    """A supplier call that brought no reservation."""


class SupplierAway(SupplierError):
    """Timeout, lost connection or a 5xx: what the supplier did is unknown."""

    retryable = True


class Throttled(SupplierAway):
    """The supplier refuses for now (429). `retry_after_s` is the pause it wants, None: unsaid."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class CircuitOpen(SupplierAway):
    """Too many calls in a row have failed: the supplier is left alone for `left_s` seconds."""

    def __init__(self, message: str, left_s: float) -> None:
        super().__init__(message)
        self.left_s = left_s


class TokenExpired(SupplierAway):
    """The supplier refuses the access token, a new one included."""


class SupplierDeclined(SupplierError):
    """The supplier refused; `reason` is one word of its answer."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
