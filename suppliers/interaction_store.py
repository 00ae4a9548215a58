"""Where interactions are kept: gzipped JSON lines, by supplier, day and hour, in a folder or at S3.

    <root>/<supplier>/<2026-12-01>/<09>/<first id>.jsonl.gz

An object's name follows from what is in it, so writing a batch twice writes the same object. It
appears whole or not at all.
"""

from __future__ import annotations

import datetime as dt
import gzip
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import fsspec
import msgspec

from errors import BerthError
from suppliers.redaction import Interaction

_ENDING = ".jsonl.gz"
_decoder = msgspec.json.Decoder(Interaction)


class StoreAway(BerthError):
    """The folder or bucket cannot be written or read now."""

    retryable = True


class InteractionStore:
    """`url` is a folder or anything that fsspec knows, such as s3://bucket/path. Its keys come from
    the environment, as its own client reads them. All raise StoreAway.
    """

    def __init__(self, url: str) -> None:
        try:
            self._files, self._root = fsspec.url_to_fs(url)
        except (ImportError, ValueError, OSError) as error:
            raise StoreAway(f"{url} cannot be used: {error}") from error
        self._local = "file" in _protocols(self._files)

    def write(self, interactions: Sequence[Interaction]) -> list[str]:
        """Write a batch: an object per supplier and hour. Returns their paths."""
        groups: dict[str, list[Interaction]] = defaultdict(list)
        for one in interactions:
            groups[f"{one.supplier}/{one.at[:10]}/{one.at[11:13]}"].append(one)
        paths = []
        for folder, some in sorted(groups.items()):
            path = f"{self._root}/{folder}/{some[0].id}{_ENDING}"
            lines = b"".join(msgspec.json.encode(one) + b"\n" for one in some)
            self._put(path, gzip.compress(lines, 6, mtime=0))
            paths.append(path)
        return paths

    def read(
        self, *, supplier: str, since: dt.datetime, until: dt.datetime
    ) -> Iterator[Interaction]:
        """Interactions of a supplier that began in this time, about in their order; one object
        in memory at a time.
        """
        hour = since.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
        first, last = _text(since), _text(until)
        while hour < until:
            for path in self._objects(f"{self._root}/{supplier}/{hour:%Y-%m-%d/%H}"):
                for line in gzip.decompress(self._get(path)).splitlines():
                    one = _decoder.decode(line)
                    if first <= one.at < last:
                        yield one
            hour += dt.timedelta(hours=1)

    def suppliers(self) -> list[str]:
        """Whose interactions there are."""
        return [path.rstrip("/").rpartition("/")[2] for path in self._list(self._root)]

    def forget_before(self, day: dt.date) -> int:
        """Remove whole days that are older; returns how many. Repeating it is harmless."""
        removed = 0
        for supplier in self._list(self._root):
            for path in self._list(supplier):
                if path.rstrip("/").rpartition("/")[2] < day.isoformat():
                    self._call("rm", path, recursive=True)
                    removed += 1
        return removed

    def _put(self, path: str, body: bytes) -> None:
        if not self._local:
            self._call("pipe_file", path, body)  # an object store shows it when it is whole
            return
        self._call("makedirs", path.rpartition("/")[0], exist_ok=True)
        self._call("pipe_file", path + ".part", body)
        self._call("mv", path + ".part", path)

    def _get(self, path: str) -> bytes:
        found: bytes = self._call("cat_file", path)
        return found

    def _objects(self, folder: str) -> list[str]:
        return sorted(path for path in self._list(folder) if path.endswith(_ENDING))

    def _list(self, folder: str) -> list[str]:
        try:
            self._files.invalidate_cache()
            found: list[str] = self._files.ls(folder, detail=False)
        except FileNotFoundError:
            return []
        except Exception as error:
            raise StoreAway(f"{folder}: {error}") from error
        return found

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        # Every file system has errors of its own; all mean the same here.
        try:
            return getattr(self._files, name)(*arguments, **options)
        except Exception as error:
            raise StoreAway(f"{name}: {type(error).__name__}: {error}") from error


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _text(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
