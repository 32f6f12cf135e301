# SPDX-License-Identifier: Apache-2.0
"""GGUF files as the format's page describes them, also such as lie."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

NUMBERS = {
    **{np.dtype(code): n for n, code in enumerate(("u1", "i1", "u2", "i2", "u4", "i4", "f4", "?"))},
    **{np.dtype(code): n for n, code in ((10, "u8"), (11, "i8"), (12, "f8"))},
}
TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 8, "Q4_K": 12, "IQ2_XXS": 16}


class Stored(NamedTuple):
    """A tensor; dims as in the file, the innermost first; None: at the next free place."""

    name: str
    dims: tuple[int, ...]
    kind: int
    data: bytes
    offset: int | None = None


def text(value: str | bytes) -> bytes:
    content = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(content)) + content


def value(item: Any) -> bytes:
    """A type and a value; integers are u32, floats f32, unless NumPy says otherwise."""
    if isinstance(item, (str, bytes)):
        return struct.pack("<I", 8) + text(item)
    if isinstance(item, list):
        return struct.pack("<IIQ", 9, 8, len(item)) + b"".join(map(text, item))
    if isinstance(item, np.ndarray):
        return struct.pack("<IIQ", 9, NUMBERS[item.dtype], len(item)) + item.tobytes()
    kinds = {bool: np.bool_, int: np.uint32, float: np.float32}
    number = kinds.get(type(item), lambda same: same)(item)
    return struct.pack("<I", NUMBERS[number.dtype]) + number.tobytes()


def gguf_bytes(
    metadata: dict[str, Any],
    tensors: tuple[Stored, ...] = (),
    *,
    version: int = 3,
    alignment: int = 32,
    counts: tuple[int, int] | None = None,
    more: bytes = b"",
) -> bytes:
    """A file; `counts` are what it claims, `more` stands behind the last key."""
    head = b"GGUF" + struct.pack("<IQQ", version, *(counts or (len(tensors), len(metadata))))
    head += b"".join(text(key) + value(item) for key, item in metadata.items()) + more
    data = b""
    for name, dims, kind, content, offset in tensors:
        data += bytes(-len(data) % alignment)
        place = len(data) if offset is None else offset
        head += text(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
        head += struct.pack("<IQ", kind, place)
        data += content
    return head + bytes(-len(head) % alignment) + data


def float_tensor(name: str, values: np.ndarray) -> Stored:
    return Stored(name, values.shape[::-1], 0, values.astype("<f4").tobytes())
