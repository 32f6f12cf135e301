# SPDX-License-Identifier: Apache-2.0
"""The types of a GGUF file's tensors: names, sizes, and the fields of a block of values."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Format(NamedTuple):
    """How one type holds values: so many of them, neighbours in a row, in so many bytes."""

    name: str
    values: int
    nbytes: int


FORMATS = {
    number: Format(name, values, nbytes)
    for number, name, values, nbytes in (
        (0, "F32", 1, 4),
        (1, "F16", 1, 2),
        (2, "Q4_0", 32, 18),
        (3, "Q4_1", 32, 20),
        (6, "Q5_0", 32, 22),
        (7, "Q5_1", 32, 24),
        (8, "Q8_0", 32, 34),
        (10, "Q2_K", 256, 84),
        (11, "Q3_K", 256, 110),
        (12, "Q4_K", 256, 144),
        (13, "Q5_K", 256, 176),
        (14, "Q6_K", 256, 210),
        (16, "IQ2_XXS", 256, 66),
        (17, "IQ2_XS", 256, 74),
        (18, "IQ3_XXS", 256, 98),
        (19, "IQ1_S", 256, 50),
        (20, "IQ4_NL", 32, 18),
        (21, "IQ3_S", 256, 110),
        (22, "IQ2_S", 256, 82),
        (23, "IQ4_XS", 256, 136),
        (24, "I8", 1, 1),
        (25, "I16", 1, 2),
        (26, "I32", 1, 4),
        (27, "I64", 1, 8),
        (28, "F64", 1, 8),
        (29, "IQ1_M", 256, 56),
        (30, "BF16", 1, 2),
        (34, "TQ1_0", 256, 54),
        (35, "TQ2_0", 256, 66),
        (39, "MXFP4", 32, 17),
    )
}
"""Types by their numbers; `LAYOUTS` has those that are read, the others are only measured."""

# Scales d and minima m; q: the low bits of values, h: the bits above those; s: scales of parts of
# the block, coded.
LAYOUTS: dict[str, np.dtype[Any]] = {
    "F32": np.dtype([("w", "<f4")]),
    "F16": np.dtype([("w", "<u2")]),
    "BF16": np.dtype([("w", "<u2")]),
    "Q4_0": np.dtype([("d", "<f2"), ("q", "u1", 16)]),
    "Q4_1": np.dtype([("d", "<f2"), ("m", "<f2"), ("q", "u1", 16)]),
    "Q5_0": np.dtype([("d", "<f2"), ("h", "u1", 4), ("q", "u1", 16)]),
    "Q5_1": np.dtype([("d", "<f2"), ("m", "<f2"), ("h", "u1", 4), ("q", "u1", 16)]),
    "Q8_0": np.dtype([("d", "<f2"), ("q", "i1", 32)]),
    "Q2_K": np.dtype([("s", "u1", 16), ("q", "u1", (2, 32)), ("d", "<f2"), ("m", "<f2")]),
    "Q3_K": np.dtype([("h", "u1", 32), ("q", "u1", (2, 32)), ("s", "u1", 12), ("d", "<f2")]),
    "Q4_K": np.dtype([("d", "<f2"), ("m", "<f2"), ("s", "u1", 12), ("q", "u1", (4, 32))]),
    "Q5_K": np.dtype(
        [("d", "<f2"), ("m", "<f2"), ("s", "u1", 12), ("h", "u1", 32), ("q", "u1", (4, 32))]
    ),
    "Q6_K": np.dtype([("q", "u1", (2, 64)), ("h", "u1", (2, 32)), ("s", "i1", 16), ("d", "<f2")]),
    "IQ4_NL": np.dtype([("d", "<f2"), ("q", "u1", 16)]),
    "IQ4_XS": np.dtype([("d", "<f2"), ("h", "<u2"), ("s", "u1", 4), ("q", "u1", (8, 16))]),
    "TQ1_0": np.dtype([("q", "u1", 48), ("h", "u1", 4), ("d", "<f2")]),
    "TQ2_0": np.dtype([("q", "u1", (2, 32)), ("d", "<f2")]),
    "MXFP4": np.dtype([("d", "u1"), ("q", "u1", 16)]),
}
"""A block of each type that is read."""
