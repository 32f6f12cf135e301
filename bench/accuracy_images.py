# SPDX-License-Identifier: Apache-2.0
"""What quantizing EfficientNet-Lite0 costs, by method: how often it sees what the float one sees.

    python bench/accuracy_images.py [--crops N] [--only WORD] [--json FILE]

Calibration takes 100 crops of some of the photos that come with scikit-image and scikit-learn, the
test N crops (default 60) of each of seven others, whose things are among the classes. Each row is a
file, read again: its size, the share of crops with the float model's first class (with the 95%
interval of Wilson's, as if crops of a photo were independent), the share with the right class, and
the signal-to-noise ratio of the logits. Without the packages the script says which, and ends with
exit code 0.
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
from octavo.algorithms.measures import sqnr_db
from octavo.graph import Graph, Session

CALIBRATION = 100
STATIC = {"dtype": "int8", "activations": "static"}

RECIPES: dict[str, Any] = {
    "float16": "fp16",
    "int8 dynamic": "int8",
    **{
        f"int8 static, {observer}": {"quantize": {**STATIC, "observer": observer}}
        for observer in ("minmax", "moving_average", "percentile", "mse", "entropy")
    },
    "int8 static, biases corrected": {"quantize": {**STATIC, "correct_bias": True}},
    "int8 static, equalized": {"quantize": {**STATIC, "equalize": True}},
    "int8 static, both": {"quantize": {**STATIC, "correct_bias": True, "equalize": True}},
}


def wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95% interval of a share."""
    z, share = 1.96, hits / count
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def logits(graph: Graph, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Run a graph image by image."""
    session = Session(graph)
    return np.concatenate([session(image[None])[0] for image in images])


def scored(
    name: str, graph: Graph, images: Any, exact: Any, labels: Any, folder: Path
) -> dict[str, Any]:
    """Write a graph, read it again, and compare what it gives with the float model's logits."""
    path = folder / f"{name}.tflite"
    tflite.save(graph, path)
    found = logits(tflite.read(path).graph, images)
    hits = int((found.argmax(1) == exact.argmax(1)).sum())
    low, high = wilson(hits, len(images))
    return {
        "method": name,
        "megabytes": path.stat().st_size / 1e6,
        "agreement": hits / len(images),
        "low": low,
        "high": high,
        "right": float((found.argmax(1) == labels).mean()),
        "sqnr_db": sqnr_db(exact, found),
    }


def prepared(crops: int) -> tuple[Graph, Any, Any, Any]:
    """Return the float graph, images for calibration, images for the test and their classes."""
    import torch

    import octavo.torch
    from common import image_models

    example = image_models.example()
    model, photos = example.trained(), example.photos()
    graph = octavo.torch.to_graph(model, (torch.zeros(1, 3, example.SIZE, example.SIZE),))
    others = sorted({*photos} - {*example.CLASSES})
    each = -(-CALIBRATION // len(others))
    calibration = [one for name in others for one in example.crops(photos[name], each)]
    test = [one for name in example.CLASSES for one in example.crops(photos[name], crops)]
    labels = np.repeat([label for label, _ in example.CLASSES.values()], crops)
    images = (example.normalized(np.stack(one)) for one in (calibration[:CALIBRATION], test))
    return (graph, *images, labels)


def main() -> int:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=60)
    parser.add_argument("--only", default="")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    try:
        graph, calibration, images, labels = prepared(arguments.crops)
    except (ImportError, FileNotFoundError) as error:
        print(f"Not measured: {error}")
        return 0
    exact = logits(graph, images)
    rows = []
    print("| method | MB | agreement with float (95%) | right | SQNR, dB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, recipe in {"float32": None, **RECIPES}.items():
            if arguments.only not in name:
                continue
            data = None if "static" not in name else [[image[None]] for image in calibration]
            made = graph if recipe is None else octavo.compress(graph, recipe, calibration=data)
            row = scored(name, made, images, exact, labels, Path(folder))
            rows.append(row)
            print(
                f"| {name} | {row['megabytes']:.1f} | {row['agreement']:.1%}"
                f" ({row['low']:.1%} to {row['high']:.1%}) | {row['right']:.1%}"
                f" | {row['sqnr_db']:.1f} |",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
