# SPDX-License-Identifier: Apache-2.0
"""Sentence vectors for a data set, by several processes: `datasets` and octavo.

The model is made int8 and saved once; what goes to the processes is its path. Run it on a file with
a text a line: ``python examples/embed_dataset.py texts.txt --processes 2``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np

import octavo
from octavo.data.default_model import default_model

if TYPE_CHECKING:
    from collections.abc import Sequence


def compressed(model: str | Path, folder: str | Path) -> Path:
    """Make a model int8 and save it where the processes find it."""
    octavo.compress(model).save(folder)
    return Path(folder)


def embedded(rows: datasets.Dataset, model: Path, processes: int = 1) -> datasets.Dataset:
    """Add a column "embedding" to one of "text"; each process computes on one thread."""
    embedder = octavo.models.Embedder(model, threads=1, normalize=True)
    return rows.map(embedder, batched=True, batch_size=256, num_proc=processes)


def nearest(rows: datasets.Dataset, query: int, count: int = 3) -> list[tuple[float, str]]:
    """Return what comes nearest to a row, with the cosines, the nearest first."""
    vectors = np.asarray(rows.with_format("numpy")["embedding"][:])
    cosines = vectors @ vectors[query]
    cosines[query] = -1
    order = np.argsort(-cosines, kind="stable")[:count]
    return [(float(cosines[place]), rows[int(place)]["text"]) for place in order]


def main(argv: Sequence[str] | None = None) -> None:
    """Embed the lines of a file, and print what comes nearest to the first."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("file", help="a text a line")
    options.add_argument("--model", help="folder or hub name (default: all-MiniLM-L6-v2)")
    options.add_argument("--processes", type=int, default=1)
    arguments: Any = options.parse_args(argv)
    lines = Path(arguments.file).read_text(encoding="utf-8").splitlines()
    rows = datasets.Dataset.from_dict({"text": [line for line in lines if line.strip()]})
    with tempfile.TemporaryDirectory() as folder:
        model = compressed(arguments.model or default_model(), Path(folder) / "int8")
        start = time.perf_counter()
        rows = embedded(rows, model, arguments.processes)
        print(f"{len(rows)} texts in {time.perf_counter() - start:.1f} s")
        print(rows[0]["text"])
        for cosine, text in nearest(rows, 0):
            print(f"{cosine:6.3f}  {text}")


if __name__ == "__main__":
    main()
