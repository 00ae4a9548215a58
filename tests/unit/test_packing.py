"""Pieces that were packed by themselves are one file together."""

from __future__ import annotations

import gzip
import zlib

import pytest

from web.packing import packed, piece


@pytest.mark.parametrize("texts", [
    (), (b"",), (b"one",), (b"head ", b"rates " * 50_000, b" tail"), (b"", b"twice", b"twice", b""),
    (bytes(range(256)) * 300, b"\x00"),
])
def test_what_is_packed_in_pieces_unpacks_to_the_whole(texts: tuple[bytes, ...]) -> None:
    pieces = [piece(one) for one in texts]
    file = packed(*pieces)
    assert gzip.decompress(file) == b"".join(texts)
    # One file: a browser stops at the end of the first one.
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert unpacker.decompress(file) == b"".join(texts)
    assert (unpacker.eof, unpacker.unused_data) == (True, b"")


def test_a_kept_piece_can_stand_in_any_page() -> None:
    kept = piece(b"a list that is the same for everybody " * 100)
    for around in (b"mine", b"yours"):
        file = packed(piece(around), kept, piece(around))
        assert gzip.decompress(file) == around + kept.plain + around
        assert kept.deflated in file
