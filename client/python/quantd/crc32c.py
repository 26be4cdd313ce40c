"""CRC-32C (RFC 3720) in pure Python, fast enough for files of gigabytes.

A CRC is linear, so long data is cut into thousands of lanes of equal length that are computed side
by side: each step takes one byte of every lane through tables by `bytes.translate`, which runs in
C. Then neighbours are joined, half as many lanes each time.

>>> hex(crc32c(b"123456789"))
'0xe3069283'
"""

from __future__ import annotations

from functools import lru_cache
from typing import List, Sequence, Tuple

_LANE = 256  # bytes of a lane
_SMALL = 64 * _LANE  # below, byte after byte is as fast

Operator = Tuple[int, ...]  # what becomes of each of the 32 bits
Planes = List[bytes]  # the CRCs of all lanes: their lowest bytes, the next, …


def _row(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = [_row(byte) for byte in range(256)]
_STEP = [bytes(row >> (8 * plane) & 0xFF for row in _TABLE) for plane in range(4)]


def crc32c(data: bytes) -> int:
    """The checksum of the whole."""
    crc, at = 0xFFFFFFFF, 0
    while len(data) - at >= _SMALL:
        lanes = 1 << ((len(data) - at) // _LANE).bit_length() - 1
        block = data[at : at + lanes * _LANE]
        crc = _apply(_zeros(len(block)), crc) ^ _joined(_lanes(block, lanes))
        at += len(block)
    for byte in data[at:]:
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _xor(left: bytes, right: bytes) -> bytes:
    both = int.from_bytes(left, "little") ^ int.from_bytes(right, "little")
    return both.to_bytes(len(left), "little")


def _lanes(block: bytes, lanes: int) -> Planes:
    """The CRC of each lane, begun at 0."""
    planes = [bytes(lanes)] * 4
    for column in range(_LANE):
        index = _xor(planes[0], block[column::_LANE])
        planes = [_xor(index.translate(_STEP[i]), planes[i + 1]) for i in range(3)] + [
            index.translate(_STEP[3])
        ]
    return planes


def _joined(planes: Planes) -> int:
    """The CRC of all lanes, one behind the other."""
    lanes = len(planes[0])
    while lanes > 1:
        lanes //= 2
        tables = _tables(lanes * _LANE)
        left = [plane[:lanes] for plane in planes]
        right = [plane[lanes:] for plane in planes]
        for source in range(4):
            for target in range(4):
                moved = left[source].translate(tables[source][target])
                right[target] = _xor(right[target], moved)
        planes = right
    return sum(plane[0] << (8 * i) for i, plane in enumerate(planes))


def _apply(operator: Operator, crc: int) -> int:
    result = 0
    for bit in range(32):
        if crc >> bit & 1:
            result ^= operator[bit]
    return result


@lru_cache(maxsize=64)
def _zeros(length: int) -> Operator:
    """What `length` bytes of zero do to a CRC; a power of two."""
    if length == 1:
        return tuple((crc >> 8) ^ _TABLE[crc & 0xFF] for crc in (1 << bit for bit in range(32)))
    half = _zeros(length // 2)
    return tuple(_apply(half, value) for value in half)


@lru_cache(maxsize=64)
def _tables(length: int) -> Sequence[Sequence[bytes]]:
    """`_zeros(length)` by bytes: [byte of the CRC][byte of the result] -> table."""
    operator = _zeros(length)
    tables = []
    for source in range(4):
        values = [_apply(operator, byte << (8 * source)) for byte in range(256)]
        tables.append([bytes(v >> (8 * target) & 0xFF for v in values) for target in range(4)])
    return tables
