# SPDX-License-Identifier: Apache-2.0
"""Sentence vectors by several actors of Ray on one machine, which share the model's weights.

The model is made int8 and saved once; what goes to the actors is its path. The first one packs the
weights into memory that the others attach. Run it on a file with a text a line:
``python examples/embed_ray.py texts.txt --actors 2``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray.data

import octavo
from octavo.data.default_model import default_model

if TYPE_CHECKING:
    from collections.abc import Sequence


def embedded(rows: ray.data.Dataset, model: Path, actors: int = 1) -> ray.data.Dataset:
    """Add a column "embedding" to one of "text"; each actor computes on one thread."""
    return rows.map_batches(
        octavo.models.Embedder,
        fn_constructor_args=[model],
        fn_constructor_kwargs={"threads": 1, "normalize": True, "shared": True},
        batch_size=256,
        batch_format="numpy",
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=actors),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Embed the lines of a file, and say how long it took."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("file", help="a text a line")
    options.add_argument("--model", help="folder or hub name (default: all-MiniLM-L6-v2)")
    options.add_argument("--actors", type=int, default=2)
    arguments: Any = options.parse_args(argv)
    lines = Path(arguments.file).read_text(encoding="utf-8").splitlines()
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "int8"
        octavo.compress(arguments.model or default_model()).save(model)
        rows = ray.data.from_items([{"text": line} for line in lines if line.strip()])
        start = time.perf_counter()
        vectors = embedded(rows, model, arguments.actors).take_all()
        print(f"{len(vectors)} texts in {time.perf_counter() - start:.1f} s")
        print(vectors[0]["embedding"][:4])


if __name__ == "__main__":
    main()
