"""Writes the catalogue's part of Valkey: for the one consumer that holds the lease.

Each call is one script that checks the lease; a writer that slept changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import redis

from catalogue.shelf import Entry, Standing, read_standing
from engine_errors import valkey_errors
from errors import BerthError, EngineAway, LeaseLost, Surprise
from queues.keys import CATALOGUE, CatalogueKeys
from queues.scripts import Argument, Script

CHANGES_KEPT = 50_000
_REMOVED_AT_ONCE = 500


class OlderThanShown(BerthError):
    """Documents that were read are from before those that are shown: MongoDB's time went back."""


class Put(NamedTuple):
    """A finished hotel; without an entry it is gone, and `broken` may say why."""

    hotel_id: str
    slug: str
    entry: Entry | None
    broken: str = ""


class ShelfWriter:
    """Raises LeaseLost when somebody else writes, EngineAway when an answer is not known."""

    def __init__(
        self, client: redis.Redis, *, consumer: str, lease_ms: int,
        keys: CatalogueKeys = CATALOGUE,
    ) -> None:
        self._client = client
        self._consumer = consumer
        self._lease_ms = lease_ms
        self._keys = keys
        self._token = ""
        self._acquire = Script(client, "acquire")
        self._renew = Script(client, "renew")
        self._release = Script(client, "release")
        self._begin = Script(client, "catalogue_begin")
        self._put = Script(client, "catalogue_put")
        self._swap = Script(client, "catalogue_swap")

    def acquire(self) -> bool:
        """Take the lease, or keep it; False while another one holds it."""
        keys = self._keys
        if self._token and self._renew([keys.lease], [self._token, self._lease_ms]):
            return True
        got, token = self._acquire([keys.lease, keys.epoch], [self._consumer, self._lease_ms])
        self._token = token.decode() if got else ""
        return bool(got)

    def release(self) -> None:
        """Give the lease back, if it is ours."""
        if self._token:
            self._release([self._keys.lease], [self._token])
            self._token = ""

    def keep(self) -> None:
        """Keep the lease during work that takes long."""
        if not self._renew([self._keys.lease], [self._token, self._lease_ms]):
            self._token = ""
            raise LeaseLost("the catalogue's lease is not ours any more")

    def note_active_max(self, active_max: int) -> None:
        """Say how many hotels are shown at most, for whoever asks from outside; nothing here
        goes by it.
        """
        with valkey_errors():
            self._client.hset(self._keys.state, "active_max", active_max)

    def standing(self) -> tuple[Standing | None, bool]:
        """What is shown, and whether a rebuild is wanted: somebody asked for it, or one that was
        begun did not come to its end.
        """
        with valkey_errors():
            found: dict[Any, Any] = self._client.hgetall(self._keys.state)
        return read_standing(found), b"wanted" in found or b"building" in found

    def known(self, generation: int) -> tuple[frozenset[str], frozenset[str]]:
        """The hotels of a generation: those that are shown, and those that cannot be."""
        client: Any = self._client
        with valkey_errors():
            pipe = client.pipeline(transaction=False)
            pipe.hkeys(self._keys.rows(generation))
            pipe.hkeys(self._keys.broken(generation))
            shown, broken = pipe.execute()
        return (frozenset(one.decode() for one in shown),
                frozenset(one.decode() for one in broken))

    def begin(self) -> int:
        """Begin a generation that nobody sees yet; its number."""
        answer = self._begin([self._keys.lease, self._keys.state, self._keys.old],
                             [self._token, self._lease_ms])
        self._checked(answer)
        return int(answer[1])

    def put(
        self, generation: int, puts: Sequence[Put], *, version: str, seq: int | None,
        token: str = "",
    ) -> int:
        """Write hotels of one version; returns how many changes were told by now. At most 700:
        each takes eleven arguments, and a script less than 8,000.

        `seq` None: the generation is not shown yet. `token` moves with the last call of a batch.
        Nothing is written, and Surprise raised, when the generation is another one by now, or
        OlderThanShown when one of them was written or taken away at a later version.
        """
        keys = self._keys
        args: list[Argument] = [
            self._token, self._lease_ms, str(generation), "" if seq is None else str(seq), token,
            CHANGES_KEPT,
        ]
        for put in puts:
            args += [put.hotel_id, version]
            args += [put.broken, *[""] * 8] if put.entry is None else [
                put.slug, *msgspec.structs.astuple(put.entry)]
        answer = _written(
            self._put,
            [keys.lease, keys.state, keys.changes, keys.rows(generation), keys.cards(generation),
             keys.briefs(generation), keys.slugs(generation), keys.broken(generation),
             keys.gone(generation),
             *(keys.hotel(generation, put.hotel_id) for put in puts)],
            args,
        )
        self._checked(answer)
        return int(answer[1])

    def swap(self, generation: int, *, token: str, version: str, day: str) -> None:
        """Show a generation that is complete. `token` is from before its documents were read."""
        keys = self._keys
        self._checked(self._swap(
            [keys.lease, keys.state, keys.changes, keys.old],
            [self._token, self._lease_ms, str(generation), token, version, day, CHANGES_KEPT],
        ))  # fmt: skip

    def tidy(self) -> bool:
        """Remove some of an old generation; True while there is more. Repeating it is harmless."""
        keys = self._keys
        client: Any = self._client
        with valkey_errors():
            old = client.lindex(keys.old, 0)
            if old is None:
                return False
            generation = old.decode()
            # Rows are taken away with their hotels, so that a crash here loses sight of none.
            _, rows = client.hscan(keys.rows(generation), 0, count=_REMOVED_AT_ONCE)
            ids = [key.decode() for key in rows]
            pipe = client.pipeline(transaction=False)
            if ids:
                pipe.unlink(*(keys.hotel(generation, one) for one in ids))
                pipe.hdel(keys.rows(generation), *ids)
            else:
                pipe.unlink(keys.rows(generation), keys.cards(generation),
                            keys.briefs(generation), keys.slugs(generation),
                            keys.broken(generation), keys.gone(generation))
                pipe.lrem(keys.old, 1, old)
            pipe.execute()
        return True

    def _checked(self, answer: Sequence[bytes]) -> None:
        if answer[0] == b"lost":
            self._token = ""
            raise LeaseLost("the catalogue's lease is not ours any more")
        if answer[0] == b"moved":
            raise Surprise("the catalogue is another generation by now")
        if answer[0] == b"older":
            raise OlderThanShown(f"hotel {answer[1].decode()} is shown as of a later time")


def _written(script: Script, keys: Sequence[str], args: Sequence[Argument]) -> Any:
    try:
        return script(keys, args)
    except redis.OutOfMemoryError as error:
        raise EngineAway(
            "the catalogue does not fit into its Valkey: raise CATALOGUE_MAXMEMORY_MB, or lower "
            "CATALOGUE_ACTIVE_MAX"
        ) from error


def ask_for_rebuild(client: redis.Redis, keys: CatalogueKeys = CATALOGUE) -> None:
    """Have everything built anew. Raises EngineAway."""
    with valkey_errors():
        client.hset(keys.state, "wanted", "1")
