# SPDX-License-Identifier: Apache-2.0
"""A hostile maker of segments: whatever they hold, who attaches them must live."""

from __future__ import annotations

import json
import mmap
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from fuzz.engine import Target
from fuzz.mutate import Files, change_bytes
from octavo import _backend, nn, runtime, tuning
from octavo.io.segment import Segment, SegmentWriter
from octavo.models.sharing import SharedWeights
from octavo.nn.weights import Int5Weight, SteppedScale, weight_class

if TYPE_CHECKING:
    import random
    from pathlib import Path

_SHAPE = 20, 70
_NAME = "0" * 64


def seeds(_: Path) -> list[Files]:
    """Return a segment with a layer for each way in which a weight is held."""
    values = np.random.default_rng(0).standard_normal(_SHAPE).astype(np.float32)
    values[:, ::3] = 0
    made: list[nn.Linear | nn.Embedding] = [
        nn.SparseLinear.from_float(values, format=name)
        for name in ("dense", *tuning.SPARSE_FORMATS)
    ]
    kinds = [weight_class(kind) for kind in ("int4", "int8-group", "float16", "float32")]
    made += [nn.Linear.of(cls.from_float(values)) for cls in kinds]
    codes, halves = np.ones(_SHAPE, np.uint8), np.ones((_SHAPE[0], 3), np.float16)
    steps, order = SteppedScale(codes[:, :3], halves[:, :1]), np.arange(_SHAPE[1])[::-1]
    form: dict[str, Any] = {"group": 32, "minimum": halves, "order": order}
    made.append(nn.Linear.of(Int5Weight.from_quantized(codes, steps, **form)))
    made.append(nn.Embedding.from_float(values))
    return [{"segment": _bytes_of(layer)} for layer in made]


def _bytes_of(layer: nn.Linear | nn.Embedding) -> bytes:
    writer, weight = SegmentWriter(), layer.held_weight
    for key, array in weight.shareable().items():
        writer.add("layer", key, array)
    forms = {"layer": {"kind": weight.kind, **weight.form()}}
    handle = writer.seal({"name": _NAME, "forms": json.dumps(forms), "role": layer.role})
    with os.fdopen(handle, "rb") as file:
        return file.read()


def change(rng: random.Random, files: Files) -> Files:
    """Change some bytes, most often without moving others."""
    data = changed = files["segment"]
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed = change_bytes(rng, changed)
    if rng.random() < 0.8:
        changed = changed[: len(data)] + data[len(changed) :]
    return {"segment": changed}


def read(place: Path) -> Any:
    """Attach what there is, and compute with it on every tier."""
    data = (place / "segment").read_bytes()
    memory = mmap.mmap(-1, max(1, len(data)))
    memory[: len(data)] = data
    segment = Segment(_NAME, memory)
    weight = SharedWeights(segment).get("layer", _SHAPE)
    if weight is None:
        raise ValueError("no such layer")
    with np.errstate(all="ignore"):
        if segment.metadata.get("role") == "embedding":
            return nn.Embedding.of(weight)([0, _SHAPE[0] - 1])
        layer, found = nn.Linear.of(weight), [weight.dequantized()]
        for tier in runtime.isa_tiers():
            with runtime.use_isa(tier):
                found += [layer(np.ones((rows, _SHAPE[1]), np.float32)) for rows in (1, 5, 40)]
    return found


def check(_: Path, found: object) -> None:
    """Expect nothing: what somebody wrote is what comes out."""


TARGET = Target(
    *("segment", seeds, change, read, check),
    (ValueError, TypeError, KeyError, AttributeError, OSError),
    len(_backend.backend.isa_tiers()),
)
