# SPDX-License-Identifier: Apache-2.0
"""What pruning costs all-MiniLM-L6-v2 on labelled sentences, without any retraining.

    python bench/accuracy_sparse.py --data FOLDER [--model FOLDER] [--calibration N] [--only WORD]
                                    [--json FILE]

Each row prunes the linear layers, then makes the model int8. Calibration takes N sentences of
train.tsv (not their labels); data, probe and columns are those of ``accuracy_minilm.py``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import octavo
from common.study import prepare

if TYPE_CHECKING:
    from octavo.models import Encoder

_HALF: dict[str, Any] = {"sparsity": 0.5}
_TWO_OF_FOUR: dict[str, Any] = {"pattern": "2:4"}

RECIPES: dict[str, dict[str, Any]] = {
    "int8": {},
    "50% magnitude": {**_HALF, "method": "magnitude"},
    "50% wanda": {**_HALF, "method": "wanda"},
    "50% sparsegpt, aim layer": {**_HALF, "method": "sparsegpt", "aim": "layer"},
    "50% sparsegpt": {**_HALF, "method": "sparsegpt"},
    "50% admm": {**_HALF, "method": "admm"},
    "2:4 sparsegpt": {**_TWO_OF_FOUR, "method": "sparsegpt"},
    "2:4 admm": {**_TWO_OF_FOUR, "method": "admm"},
}


def pruned(model: Encoder, fields: dict[str, Any], sentences: list[str]) -> Encoder:
    """Prune by the recipe's fields and quantize."""
    if not fields:
        return octavo.compress(model)
    calibration = None if fields["method"] == "magnitude" else sentences
    return octavo.compress(model, {"prune": fields}, calibration=calibration)


def zeros(model: Encoder) -> float:
    """Share of zeros among the codes of the linear layers."""
    codes = [
        layer.weight_codes
        for _, layer in model.named_modules()
        if octavo.nn.is_linear(layer, "int8")
    ]
    return sum(int((part == 0).sum()) for part in codes) / sum(part.size for part in codes)


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--calibration", type=int, default=512)
    parser.add_argument("--only", metavar="WORD", default="", help="rows whose name has it")
    parser.add_argument("--damping", type=float, help="of SparseGPT and ADMM")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    study = prepare(arguments.data, arguments.model)
    if study is None:
        return 0
    exact = study.scores(study.model)["accuracy"]
    print(f"float32: accuracy {exact:.4f}; calibration on {arguments.calibration} sentences")
    order = np.random.default_rng(0).permutation(len(study.train))[: arguments.calibration]
    rows = []
    for name, fields in RECIPES.items():
        if arguments.only not in name:
            continue
        if arguments.damping is not None and fields.get("method") in ("sparsegpt", "admm"):
            fields = {**fields, "damping": arguments.damping}
        start = time.perf_counter()
        engine = pruned(study.model, fields, [study.train[index] for index in order])
        seconds = time.perf_counter() - start
        row = {
            "recipe": name,
            "applied": engine.recipe,
            "zeros": zeros(engine),
            **study.scores(engine),
            "seconds": round(seconds, 1),
        }
        rows.append(row)
        print(
            f"{name:26s} accuracy {row['accuracy']:.4f} ({row['accuracy'] - exact:+.4f})  cosine "
            f"mean {row['cosine_mean']:.4f}  min {row['cosine_min']:.4f}  zeros "
            f"{row['zeros']:.1%}  ({seconds:.1f} s)",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
