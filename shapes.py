"""Reading into types, from any thread.

msgspec works a type out when it is read for the first time, and shows it to other threads before
that is done: two first readers at once end the process (seen with 0.22: a fault in its C code, in
a fetch worker whose first hundred parts came together). So a type is worked out under one lock,
once, and read without it from then on. A decoder that a module makes when it is imported is ready
before any thread is.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar, overload

import msgspec

T = TypeVar("T")

_ready: dict[object, msgspec.json.Decoder[Any]] = {}
_working_out = threading.Lock()


@overload
def decode(raw: bytes | str | msgspec.Raw, kind: type[T]) -> T: ...
@overload
def decode(raw: bytes | str | msgspec.Raw, kind: object) -> Any: ...
def decode(raw: bytes | str | msgspec.Raw, kind: object) -> Any:
    """JSON as `kind`. Raises what msgspec's decoders raise."""
    return _decoder(kind).decode(raw)


@overload
def convert(
    value: object, kind: type[T], *, strict: bool = ..., from_attributes: bool = ...
) -> T: ...
@overload
def convert(
    value: object, kind: object, *, strict: bool = ..., from_attributes: bool = ...
) -> Any: ...
def convert(
    value: object, kind: Any, *, strict: bool = True, from_attributes: bool = False
) -> Any:
    """A value of plain types as `kind`. Raises msgspec.ValidationError."""
    _decoder(kind)
    return msgspec.convert(value, kind, strict=strict, from_attributes=from_attributes)


def _decoder(kind: object) -> msgspec.json.Decoder[Any]:
    found = _ready.get(kind)
    if found is None:
        with _working_out:
            found = _ready[kind] = msgspec.json.Decoder(kind)
    return found
