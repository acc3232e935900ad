"""LZ4 in the frame that kernels use ("legacy"): a magic number, then blocks of at most 8 MiB, each by itself."""

from __future__ import annotations

LZ4_LEGACY = b"\x02\x21\x4c\x18"
_BLOCK = 8 << 20


def decompress_lz4(data: bytes, largest: int) -> bytes:
    """The frame at the start of `data`, decompressed; ValueError when it is broken or longer than `largest` bytes.

    A block's length that reaches beyond the data ends the frame: kernels append the uncompressed size.
    """
    out: list[bytes] = []
    at, total = len(LZ4_LEGACY), 0
    while at + 4 <= len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        if not size or size > len(data) - at - 4:
            if at == len(LZ4_LEGACY):
                raise ValueError("it ends too early")
            break
        out.append(_block(data[at + 4 : at + 4 + size]))
        total += len(out[-1])
        if total > largest:
            raise ValueError(f"more than {largest >> 20} MiB")
        at += 4 + size
    return b"".join(out)


def _block(block: bytes) -> bytes:
    """One block: literals and a copy of what came before, by turns; it ends with literals."""
    out = bytearray()
    at, end = 0, len(block)
    try:
        while at < end:
            token = block[at]
            at += 1
            literals = token >> 4
            if literals == 15:
                literals, at = _longer(block, at, literals)
            if at + literals > end:
                raise ValueError("literals are cut off")
            out += block[at : at + literals]
            at += literals
            if at == end:
                break
            distance = block[at] | block[at + 1] << 8
            at += 2
            length = token & 15
            if length == 15:
                length, at = _longer(block, at, length)
            _copy(out, distance, length + 4)
    except IndexError:
        raise ValueError("a block is cut off") from None
    return bytes(out)


def _longer(block: bytes, at: int, length: int) -> tuple[int, int]:
    """A length that goes on: bytes are added as long as they are 255. With where to read on."""
    while (byte := block[at]) == 255:
        length, at = length + 255, at + 1
    return length + byte, at + 1


def _copy(out: bytearray, distance: int, length: int) -> None:
    start = len(out) - distance
    if not distance or start < 0 or len(out) + length > _BLOCK:
        raise ValueError("a copy from outside the block")
    if distance >= length:
        out += out[start : start + length]
    else:  # What is copied overlaps itself: a pattern that repeats.
        out += (out[start:] * (length // distance + 1))[:length]
