"""Sets of hotels as one bit per position, in whole words of 64."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Bits = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.intp]

_WORD = 64


def packed(have: npt.NDArray[np.bool_]) -> Bits:
    """The set of those positions that have it."""
    found = np.packbits(have)
    padded = np.zeros(-(-len(found) // 8) * 8, np.uint8)
    padded[:len(found)] = found
    return padded.view(np.uint64)


def all_of(masks: Iterable[Bits]) -> Bits:
    """What every one of them has; there is at least one."""
    first, *others = masks
    for one in others:
        first = first & one
    return first


def positions(bits: Bits) -> Positions:
    """The members of a set, in their order."""
    words = bits.nonzero()[0]
    if 2 * len(words) > len(bits):
        found: Positions = np.unpackbits(bits.view(np.uint8)).nonzero()[0]
        return found
    # Few words have any: the others need not be looked through bit by bit.
    word, bit = np.unpackbits(bits[words].view(np.uint8)).reshape(-1, _WORD).nonzero()
    some: Positions = words[word] * _WORD + bit
    return some


def count(bits: Bits) -> int:
    """How many members a set has."""
    return int(np.bitwise_count(bits).sum())
