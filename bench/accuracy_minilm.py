# SPDX-License-Identifier: Apache-2.0
"""What int8 costs all-MiniLM-L6-v2 on labelled sentences: cosine to float32, probe accuracy.

    python bench/accuracy_minilm.py [--data FOLDER] [--model FOLDER] [--json FILE]

FOLDER of the data holds train.tsv and test.tsv, one ``label<TAB>sentence`` a line. The probe is a
logistic regression (C=1) trained on the float32 vectors of train.tsv and applied to each engine's
vectors of test.tsv. Without the data the script says so and ends with exit code 0.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

import octavo
from octavo.demo import default_model
from octavo.demo.run import cosines, tokenize

if TYPE_CHECKING:
    from octavo.models import Encoder

_DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "sentiment"
_BATCH = 32

Vectors = npt.NDArray[np.float32]


def read(path: Path) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Read labels and sentences."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pairs = [line.split("\t", 1) for line in lines if "\t" in line]
    return np.array([int(label) for label, _ in pairs]), [sentence for _, sentence in pairs]


def encode(model: Encoder, folder: Path, sentences: list[str]) -> Vectors:
    """Sentence vectors in the order of `sentences`, sentences of like length batched together."""
    order = sorted(range(len(sentences)), key=lambda index: len(sentences[index]))
    vectors = np.empty((len(sentences), model.config.hidden_size), np.float32)
    for start in range(0, len(order), _BATCH):
        chosen = order[start : start + _BATCH]
        ids, mask = tokenize(folder, [sentences[i] for i in chosen], model.config.positions)
        vectors[chosen] = model.encode(ids, mask)
    return vectors


def main() -> int:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=_DATA)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not (arguments.data / "test.tsv").is_file():
        print(f"skipped: no test.tsv in {arguments.data}")
        return 0
    from sklearn.linear_model import LogisticRegression

    folder = arguments.model or default_model()
    train_labels, train = read(arguments.data / "train.tsv")
    labels, test = read(arguments.data / "test.tsv")
    model = octavo.models.load(folder)
    probe = LogisticRegression(C=1, max_iter=2000)
    probe.fit(encode(model, folder, train), train_labels)
    reference = encode(model, folder, test)
    rows = []
    for name, engine in (("float32", model), ("int8", octavo.compress(model))):
        start = time.perf_counter()
        vectors = reference if engine is model else encode(engine, folder, test)
        agreement = cosines(reference, vectors)
        rows.append(
            {
                "engine": f"octavo {name}",
                "accuracy": float(probe.score(vectors, labels)),
                "cosine_mean": float(agreement.mean()),
                "cosine_min": float(agreement.min()),
                "seconds": round(time.perf_counter() - start, 1),
            }
        )
    for row in rows:
        print(
            f"{row['engine']:16s} accuracy {row['accuracy']:.4f}  cosine mean "
            f"{row['cosine_mean']:.5f}  min {row['cosine_min']:.5f}  ({row['seconds']} s)"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
