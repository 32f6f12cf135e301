# SPDX-License-Identifier: Apache-2.0
"""``octavo compress`` of a ``.tflite`` file."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from octavo.cli.console import Progress, put, put_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from octavo.compression import Target
    from octavo.graph import Graph


def compress_file(
    model: Path,
    out: Path,
    recipe: str,
    calibration: Path | None,
    target: Target | None,
    as_json: bool,
) -> int:
    """Compress a file, and tell what has become of it."""
    from octavo.compression.graph_entry import compress_graph
    from octavo.tflite import save

    if out.suffix != ".tflite" or out.is_dir():
        raise ValueError(f"OUT: expected a .tflite file, as MODEL is one, got {out}")
    if out.exists() and model.exists() and out.samefile(model):
        raise ValueError(f"OUT is the model to compress ({out}); name another file")
    start = time.perf_counter()
    with Progress() as progress:
        made, applied = compress_graph(model, recipe, calibration, target, progress)
        save(made, out)
    before, after = model.stat().st_size, out.stat().st_size
    operators = _counts(made)
    result = {
        "model": str(model),
        "out": str(out),
        "recipe": recipe,
        "applied": applied,
        "operators": operators,
        "bytes_before": before,
        "bytes_after": after,
        "seconds": round(time.perf_counter() - start, 3),
    }
    if as_json:
        put_json(result)
        return 0
    put(
        f"{out}: {after / 1e6:.2f} MB, was {before / 1e6:.2f} MB "
        f"({before / max(1, after):.2f}x smaller), {result['seconds']:.1f} s"
    )
    put(", ".join(f"{count} operators in {kind}" for kind, count in operators.items()))
    for heading, key in (("float", "float_operators"), ("not equalized", "not_equalized")):
        for why, names in _by_reason(applied.get(key, {})).items():
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            put(f"{heading}: {', '.join(names[:3])}{more}: {why}")
    if (reached := applied.get("target")) is not None:
        put(f"{reached['metric']} {reached['reached']:.6g}, {len(reached['kept'])} kept in float")
    return 0


def _by_reason(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, why in reasons.items():
        found.setdefault(why, []).append(name)
    return found


def _counts(graph: Graph) -> dict[str, int]:
    """Return how many operators read what."""
    found: Counter[str] = Counter()
    for operator in graph.operators:
        if operator.kind in ("quantize", "dequantize"):
            continue
        types = [graph.tensors[index].dtype.name for index in operator.inputs if index >= 0]
        if "int8" in types and "float32" in types:
            found["float32 with int8 weights"] += 1
        else:
            found["int8" if "int8" in types else "float32"] += 1
    return dict(found)
