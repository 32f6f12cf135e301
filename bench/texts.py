# SPDX-License-Identifier: Apache-2.0
"""Texts to sentence vectors, tokenizing included: octavo against sentence-transformers.

One thread for all; sentence-transformers sorts by length itself and takes its best batch size of
three. Its ONNX backend in int8 takes part where optimum is installed, and so does its class with
octavo's encoder inside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

BATCHES = (8, 32, 128)
ROUNDS = 7
ONNX_FILE = "onnx/model_qint8_avx512_vnni.onnx"
FLOAT, INT8 = "octavo float32", "octavo int8"


def main(argv: Sequence[str] | None = None) -> int:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("data", help="a text a line; of label<TAB>text lines, the text")
    made.add_argument("--model", metavar="FOLDER", help="model folder")
    made.add_argument("--texts", type=int, default=400, help="how many to take (default: 400)")
    made.add_argument(
        "--json", metavar="FILE", help="write what was measured, for tools/picture.py"
    )
    arguments = made.parse_args(argv)
    # Before any of these libraries is loaded.
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import octavo
    from octavo.data.default_model import default_model

    octavo.runtime.set_num_threads(1)
    folder = Path(arguments.model) if arguments.model else default_model()
    lines = Path(arguments.data).read_text(encoding="utf-8").splitlines()
    texts = [line.rpartition("\t")[2] for line in lines if line.strip()][: arguments.texts]
    model = octavo.models.load(folder)
    small = octavo.compress(model)
    times, cosines = measured(candidates(folder, model, small), texts)
    ours = statistics.median(times[INT8])
    for name, rounds in times.items():
        middle = statistics.median(rounds)
        spread = max(rounds) / min(rounds)
        print(f"{name:34} {middle:7.3f} s  spread {spread:4.2f}x  {INT8} {middle / ours:5.2f}x")
    if arguments.json:
        info = octavo.runtime.cpu_info()
        found = {
            "machine": {"cpu": info["cpu"], "tier": info["isa"], "threads": 1},
            "texts": len(texts),
            "bytes": {FLOAT: weight_bytes(model), INT8: weight_bytes(small)},
            "seconds": times,
            "cosines": sorted(round(float(value), 5) for value in cosines),
        }
        Path(arguments.json).write_text(json.dumps(found) + "\n", encoding="utf-8")
    return 0


def measured(
    engines: dict[str, Callable[[list[str]], Any]], texts: list[str]
) -> tuple[dict[str, list[float]], Any]:
    """Return seconds of each round, and each text's cosine between the first engine and int8."""
    import numpy as np  # not before its number of threads is set

    wanted: Any = None
    times: dict[str, list[float]] = {name: [] for name in engines}
    near: dict[str, Any] = {}
    for _ in range(ROUNDS):
        for name, encode in engines.items():
            start = time.perf_counter()
            vectors = encode(texts)
            times[name].append(time.perf_counter() - start)
            wanted = vectors if wanted is None else wanted
            lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(wanted, axis=1)
            near[name] = (vectors * wanted).sum(1) / lengths
            if near[name].min() < 0.95:
                raise SystemExit(f"{name}: other vectors")
    return times, near[INT8]


def weight_bytes(model: Any) -> int:
    """Return the size of the file of weights that a model is saved as."""
    with tempfile.TemporaryDirectory() as place:
        model.save(Path(place) / "model")
        return (Path(place) / "model" / "model.safetensors").stat().st_size


def candidates(folder: Path, model: Any, small: Any) -> dict[str, Callable[[list[str]], Any]]:
    """Return what makes vectors of texts, by its name; the float one of the reference first."""
    found: dict[str, Callable[[list[str]], Any]] = {}
    ours = {FLOAT: model.encode, INT8: small.encode}
    try:
        import sentence_transformers
        import torch
    except ImportError:
        print("sentence-transformers: left out (not installed)")
    else:
        from octavo.sentence_transformers import SentenceTransformer

        torch.set_num_threads(1)
        ours["octavo int8, SentenceTransformer"] = SentenceTransformer(small).encode
        peer = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
        for size in BATCHES:
            found[f"sentence-transformers, batch {size}"] = _encoder(peer, size)
        try:
            import onnxruntime

            one_thread = onnxruntime.SessionOptions()
            one_thread.intra_op_num_threads = 1
            onnx = sentence_transformers.SentenceTransformer(
                str(folder),
                device="cpu",
                backend="onnx",
                model_kwargs={"file_name": ONNX_FILE, "session_options": one_thread},
            )
        except Exception as error:  # the backend is missing in many ways
            print(f"sentence-transformers, ONNX int8: left out ({str(error).splitlines()[0]})")
        else:
            for size in BATCHES:
                found[f"sentence-transformers, ONNX int8, batch {size}"] = _encoder(onnx, size)
    return {**found, **ours}


def _encoder(model: Any, size: int) -> Callable[[list[str]], Any]:
    return lambda texts: model.encode(texts, batch_size=size, show_progress_bar=False)


if __name__ == "__main__":
    sys.exit(main())
