# SPDX-License-Identifier: Apache-2.0
"""GGUF files as the format's page describes them, also such as lie."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np

from octavo.io.gguf.formats import FORMATS, LAYOUTS

NUMBERS = {
    **{np.dtype(code): n for n, code in enumerate(("u1", "i1", "u2", "i2", "u4", "i4", "f4", "?"))},
    **{np.dtype(code): n for n, code in ((10, "u8"), (11, "i8"), (12, "f8"))},
}
TYPES = {kind.name: number for number, kind in FORMATS.items()}


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


def random_tensor(
    name: str, shape: tuple[int, ...], kind: str, rng: np.random.Generator, scale: float = 0.01
) -> Stored:
    """Random blocks, whose scales and minima are small floats of either sign."""
    _, values, nbytes = FORMATS[TYPES[kind]]
    count = int(np.prod(shape)) // values
    if values == 1:
        floats = (scale * rng.standard_normal(count)).astype(np.float16 if kind == "F16" else "f4")
        parts = floats.view(np.uint16).reshape(count, -1)  # a bfloat16 is the upper half
        return Stored(name, shape[::-1], TYPES[kind], parts[:, kind == "BF16" :].tobytes())
    blocks = rng.integers(0, 256, count * nbytes, np.uint8).view(LAYOUTS[kind])
    for field in blocks.dtype.names or ():
        if blocks[field].dtype.kind == "f":
            blocks[field] = scale * rng.standard_normal(count)
        elif kind == "MXFP4" and field == "d":
            blocks[field] = rng.integers(118, 123, count)
    return Stored(name, shape[::-1], TYPES[kind], blocks.tobytes())
