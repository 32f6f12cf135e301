# SPDX-License-Identifier: Apache-2.0
"""Labelled sentences, a float model, and a probe on its sentence vectors."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import octavo
from octavo.algorithms.measures import cosines
from octavo.data.default_model import default_model
from octavo.data.tokenizer import tokenize

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.models import Encoder

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


@dataclass(frozen=True)
class Study:
    """What engines are compared on; the probe has learned from the float32 vectors of `train`."""

    folder: Path
    model: Encoder
    train: list[str]
    test: list[str]
    labels: npt.NDArray[np.int64]
    probe: Any
    reference: Vectors

    def scores(self, engine: Encoder) -> dict[str, float]:
        """Return accuracy on the test sentences, cosines to float32, and the seconds it took."""
        start = time.perf_counter()
        same = engine is self.model
        vectors = self.reference if same else encode(engine, self.folder, self.test)
        agreement = cosines(self.reference, vectors)
        return {
            "accuracy": float(self.probe.score(vectors, self.labels)),
            "cosine_mean": float(agreement.mean()),
            "cosine_min": float(agreement.min()),
            "seconds": round(time.perf_counter() - start, 1),
        }


def prepare(data: Path, model_folder: Path | None) -> Study | None:
    """Read sentences and model and train the probe; None, and a line that says so, without data."""
    if not (data / "test.tsv").is_file():
        print(f"skipped: no test.tsv in {data}")
        return None
    from sklearn.linear_model import LogisticRegression

    folder = model_folder or default_model()
    train_labels, train = read(data / "train.tsv")
    labels, test = read(data / "test.tsv")
    model = octavo.models.load(folder)
    probe = LogisticRegression(C=1, max_iter=2000)
    probe.fit(encode(model, folder, train), train_labels)
    reference = encode(model, folder, test)
    return Study(folder, model, train, test, labels, probe, reference)
