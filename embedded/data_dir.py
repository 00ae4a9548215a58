"""The data directory: one owner at a time, and the addresses that the owner leaves there."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from embedded.servers import private_folder
from errors import SettingsError
from settings import ENGINES_FILE


@contextmanager
def owned(data_dir: Path) -> Iterator[Path]:
    """The folder, made and locked for this process; its path without links.

    The kernel drops the lock with the process, however that ends. Addresses that a killed owner
    left are removed first: they lead nowhere. Raises SettingsError when somebody else owns it.
    """
    folder = private_folder(data_dir.resolve())
    for name in ("run", "logs"):
        private_folder(folder / name)
    with (folder / "run" / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise SettingsError(
                f"{data_dir} is in use by process {lock.read().strip() or 'unknown'}: an "
                "app_queue.py, or a db_init.py at work. End it first, or set DATA_DIR to another "
                "folder."
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        addresses = folder / ENGINES_FILE
        addresses.unlink(missing_ok=True)
        try:
            yield folder
        finally:
            addresses.unlink(missing_ok=True)


def leave_addresses(folder: Path, addresses: Mapping[str, str]) -> None:
    """Write where the embedded engines are, by the name of the setting, for `settings.load` of
    other processes.
    """
    # Renamed into place: a reader sees the whole file or none.
    draft = folder / f"{ENGINES_FILE}.new"
    draft.write_bytes(msgspec.json.encode(dict(addresses)))
    draft.replace(folder / ENGINES_FILE)
