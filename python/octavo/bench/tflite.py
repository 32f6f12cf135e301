# SPDX-License-Identifier: Apache-2.0
"""A TensorFlow Lite file: inputs for it, the work it is, how two engines' results compare."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from octavo import graph, tflite
from octavo._types import Array
from octavo.bench.report import duration, table

OURS = "octavo"
SHAPES = ((1,),)
"""One case: a file has its shapes."""

_MOST_ID = 2


def is_tflite(path: Path) -> bool:
    """Whether a path is that of a TensorFlow Lite file, by its name."""
    return path.suffix == ".tflite"


def make_inputs(file: tflite.ModelFile) -> list[Array]:
    """Return an input of random values for each of a file's, of the shape that the file has."""
    rng, found = np.random.default_rng(0), []
    for index in file.graph.inputs:
        tensor = file.graph.tensors[index]
        if tensor.dtype.kind == "f":
            found.append(rng.uniform(-1, 1, tensor.shape).astype(tensor.dtype))
        elif tensor.dtype.itemsize == 1 and tensor.dtype.kind != "b":
            limits = np.iinfo(tensor.dtype)
            found.append(rng.integers(limits.min, limits.max + 1, tensor.shape, tensor.dtype))
        else:  # ids of tokens and masks
            found.append(rng.integers(0, _MOST_ID, tensor.shape).astype(tensor.dtype))
    return found


def numbers(file: tflite.ModelFile, results: Sequence[Array]) -> Array:
    """Return all outputs as one row of numbers, (1, n)."""
    rows = []
    for index, result in zip(file.graph.outputs, results, strict=True):
        codes = file.graph.tensors[index].quantization
        rows.append((result if codes is None else codes.dequantized(result)).reshape(1, -1))
    return np.concatenate(rows, axis=1)


def work(file: tflite.ModelFile) -> tuple[int, int, bool]:
    """Return operations and bytes of the layers with weights, and whether all is done in int8."""
    shapes, tensors = graph.infer_shapes(file.graph), file.graph.tensors
    operations = nbytes = 0
    is_integer = True
    for operator in file.graph.operators:
        if operator.kind not in ("conv_2d", "depthwise_conv_2d", "fully_connected"):
            continue
        weight = operator.inputs[1]
        per_output = math.prod(shapes[weight][1:])
        if operator.kind == "depthwise_conv_2d":
            per_output = math.prod(shapes[weight][1:3])
        operations += 2 * math.prod(shapes[operator.outputs[0]]) * per_output
        nbytes += math.prod(shapes[weight]) * tensors[weight].dtype.itemsize
        is_integer = is_integer and tensors[operator.inputs[0]].dtype.itemsize == 1
    return operations, nbytes, is_integer


def summary(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table of times, of the peer's time over ours, and of memory.

    Examples
    --------
    >>> row = {"case": "x", "threads": 1, "seconds": 0.01, "extra": {"peak": 9e7, "growth": 2e6}}
    >>> print(summary([{**row, "engine": "octavo"}, {**row, "engine": "LiteRT", "seconds": 0.02}]))
    case  engine  T     time      octavo is                    process
    x     octavo  1  10.0 ms              -  90 MB, 2.0 of them for it
    x     LiteRT  1  20.0 ms  2.00x as fast  90 MB, 2.0 of them for it
    """
    listed = list(rows)
    ours = {
        (row["case"], row["threads"]): row["seconds"] for row in listed if row["engine"] == OURS
    }
    lines: list[Sequence[str]] = []
    for row in listed:
        own = ours.get((row["case"], row["threads"]))
        is_own = own is None or row["engine"] == OURS
        peak, growth = (row["extra"].get(name) for name in ("peak", "growth"))
        lines.append(
            (
                row["case"],
                row["engine"],
                str(row["threads"]),
                duration(row["seconds"]),
                "-" if is_own else f"{row['seconds'] / own:.2f}x as fast",
                "-" if peak is None else f"{peak / 1e6:.0f} MB, {growth / 1e6:.1f} of them for it",
            )
        )
    return table(("case", "engine", "T", "time", f"{OURS} is", "process"), lines)
