# SPDX-License-Identifier: Apache-2.0
"""What quantizing EfficientNet-Lite0 costs, by method: how often it sees what the float one sees.

    python bench/accuracy_images.py [--crops N] [--only WORD] [--json FILE]

The photos come with scikit-image and scikit-learn. Seven of them have things that are among the
classes: the test takes N crops (default 60) of each, and for each photo the network is calibrated
anew with 100 crops of the twenty others. Each row tells the size of the file, the share of crops
with the float model's first class (with Wilson's 95% interval, as if crops of a photo were
independent of each other), the lowest share of a photo, the share with the right class, and the
signal-to-noise ratio of the logits; all of files, read again. Without the packages the script says
which, and ends with exit code 0.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import octavo
from octavo import tflite
from octavo._types import Array
from octavo.algorithms.measures import sqnr_db
from octavo.graph import Graph, Session

CALIBRATION = 100
STATIC = {"dtype": "int8", "activations": "static"}

RECIPES: dict[str, Any] = {
    "float16": "fp16",
    "int8 dynamic": "int8",
    **{
        f"int8 static, {observer}": {"quantize": {**STATIC, "observer": observer}}
        for observer in ("mse", "minmax", "percentile", "moving_average", "entropy")
    },
    "int8 static, biases corrected": {"quantize": {**STATIC, "correct_bias": True}},
    "int8 static, minmax, biases corrected": {
        "quantize": {**STATIC, "observer": "minmax", "correct_bias": True}
    },
    "int8 static, equalized": {"quantize": {**STATIC, "equalize": True}},
    "int8 static, biases corrected, equalized": {
        "quantize": {**STATIC, "correct_bias": True, "equalize": True}
    },
}


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95% interval of a share."""
    z, share = 1.96, hits / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def logits(graph: Graph, images: Array) -> Array:
    """Run a graph image by image."""
    session = Session(graph)
    return np.concatenate([session(image[None])[0] for image in images])


class Study:
    """The network, and crops of photos."""

    def __init__(self, crops: int) -> None:
        import torch

        import octavo.torch
        from common import image_models

        self._example = image_models.example()
        size = self._example.SIZE
        inputs = (torch.zeros(1, 3, size, size),)
        self.graph = octavo.torch.to_graph(self._example.trained(), inputs)
        self._photos = self._example.photos()
        self.labels = {name: label for name, (label, _) in self._example.CLASSES.items()}
        self._images = {name: self._crops(name, crops, seed=0) for name in self.labels}
        self._exact = {name: logits(self.graph, self._images[name]) for name in self.labels}

    def _crops(self, name: str, count: int, seed: int) -> Array:
        cut = self._example.crops(self._photos[name], count, seed)
        return np.asarray(self._example.normalized(np.stack(cut)))

    def calibration(self, left_out: str) -> list[Array]:
        """Return crops of all photos but one."""
        others = sorted({*self._photos} - {left_out})
        each = CALIBRATION // len(others)
        return [crop[None] for name in others for crop in self._crops(name, each, seed=1)]

    def row(self, name: str, recipe: Any, folder: Path) -> dict[str, Any]:
        """Return what a method gives."""
        path, shares, right, found = folder / "made.tflite", [], [], []
        for photo, label in self.labels.items():
            data = self.calibration(photo) if "static" in name else None
            if data is not None or not path.exists():
                made = self.graph
                if recipe is not None:
                    made = octavo.compress(self.graph, recipe, calibration=data)
                tflite.save(made, path)
            found.append(logits(tflite.read(path).graph, self._images[photo]))
            classes = found[-1].argmax(1)
            shares.append(float((classes == self._exact[photo].argmax(1)).mean()))
            right.append(float((classes == label).mean()))
        count = sum(map(len, found))
        share = sum(shares) / len(shares)
        low, high = wilson(round(share * count), count)
        exact = np.concatenate([*self._exact.values()])
        return {
            "method": name,
            "megabytes": path.stat().st_size / 1e6,
            "agreement": share,
            "low": low,
            "high": high,
            "lowest": min(shares),
            "right": sum(right) / len(right),
            "sqnr_db": sqnr_db(exact, np.concatenate(found)),
        }


HEAD = """\
| method | MB | agreement with float (95%) | of the worst photo | right | SQNR, dB |
|---|---|---|---|---|---|"""


def main() -> int:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=60)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    try:
        study = Study(arguments.crops)
    except (ImportError, FileNotFoundError) as error:
        print(f"Not measured: {error}")
        return 0
    rows = []
    print(HEAD)
    for name, recipe in {"float32": None, **RECIPES}.items():
        if arguments.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            row = study.row(name, recipe, Path(folder))
        rows.append(row)
        print(
            f"| {name} | {row['megabytes']:.1f} | {row['agreement']:.1%}"
            f" ({row['low']:.1%} to {row['high']:.1%}) | {row['lowest']:.0%} | {row['right']:.1%}"
            f" | {row['sqnr_db']:.1f} |",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
