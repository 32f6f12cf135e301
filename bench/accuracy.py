# SPDX-License-Identifier: Apache-2.0
"""What every way of making all-MiniLM-L6-v2 smaller costs and gains on labelled sentences.

    python bench/accuracy.py [--data FOLDER] [--work FOLDER] [--only WORD] [--json FILE]

The encoder with a classification head is fine-tuned on train.tsv first: that is the reference. Each
row is a folder made from it, loaded again from the disk: size of its weights, accuracy on test.tsv,
cosine of the sentence vectors to the reference's, and latency of one sentence of 128 tokens (one
thread, all rows taking turns). WORK keeps what was trained, so that a second run is short.
Calibration takes 100 sentences of train.tsv, pruning 2048, without their labels. Without the data
the script says so and ends with exit code 0.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import octavo
from common.finetune import finetune
from common.study import read
from octavo import timing
from octavo.bench import blas
from octavo.data.default_model import default_model
from octavo.io.side_files import weight_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

_DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "sentiment"
_CALIBRATION, _PRUNING = 100, 2048
_TOKENS = 128

RECIPES: dict[str, tuple[Any, int]] = {
    "fp16": ("fp16", 0),
    "int8 dynamic": ("int8", 0),
    "int8 static": ("int8-static", _CALIBRATION),
    "int8 smooth": ("int8-smooth", _CALIBRATION),
    "int8 gptq": ("int8-gptq", _CALIBRATION),
    "int4": ("int4", _CALIBRATION),
    "int4 gptq": ("int4-gptq", _PRUNING),
    "50% sparse int8": ("sparse50-int8", _PRUNING),
    "2:4 sparse int8": ("2:4-int8", _PRUNING),
    "deep compression": ("deep-compression", _PRUNING),
}
"""Recipe and calibration sentences of each row that needs no training."""


class Study:
    """The data, and a folder for each row."""

    def __init__(self, data: Path, model: Path, work: Path) -> None:
        self.labels, self.train = read(data / "train.tsv")
        self.test = data / "test.tsv"
        self.model = model
        self.work = work
        self.seconds: dict[str, float] = {}
        self.reference = self.made("float32", self._finetune)

    def made(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return the folder of a row, made if it is not there."""
        folder = self.work / name.replace(" ", "-").replace("%", "").replace(":", "of")
        if not folder.exists():
            print(f"making {name}", flush=True)
            start = time.perf_counter()
            make(folder)
            self.seconds[name] = time.perf_counter() - start
            print(f"  {self.seconds[name]:.1f} s", flush=True)
        return folder

    def _finetune(self, folder: Path) -> None:
        finetune(self.model, self.train, self.labels, folder)

    def compressed(self, name: str, source: Path, recipe: Any, sentences: int) -> Path:
        """Return the folder of a row that a recipe makes."""

        def make(folder: Path) -> None:
            calibration = self.sentences(sentences) or None
            octavo.compress(source, recipe, calibration=calibration).save(folder)

        return self.made(name, make)

    def sentences(self, count: int) -> list[str]:
        """Return a random choice of training sentences, the same in every run."""
        order = np.random.default_rng(0).permutation(len(self.train))[:count]
        return [self.train[index] for index in order]

    def adapted(self) -> tuple[Any, Path]:
        """Return the int8 model with an adapter of rank 8 trained beside it, and the adapter."""
        from common.lora import lora_on_int8

        base = self.compressed("base int8", self.model, "int8", 0)
        train = partial(lora_on_int8, base, self.train, self.labels, seed=0)
        adapter = self.made("adapter", lambda folder: train(folder))
        model = octavo.models.load(base)
        model.load_adapter(adapter)
        return model, adapter

    def rows(self, only: str) -> dict[str, Path]:
        """Return the folders of all rows."""
        found = {"float32": self.reference}
        for name, (recipe, sentences) in RECIPES.items():
            if only in name:
                found[name] = self.compressed(name, self.reference, recipe, sentences)
        if only in "int8 adaround":
            from common.tuned import rounded_int8

            make = partial(rounded_int8, self.reference, self.sentences(_CALIBRATION))
            found["int8 adaround"] = self.made("int8 adaround", make)
        if only in "int8 trained":
            from common.tuned import trained_int8

            make = partial(trained_int8, self.reference, self.train, self.labels)
            found["int8 trained"] = self.made("int8 trained", make)
        if only in "distilled student":
            from common.distilled import distilled_student

            student = self.made(
                "student", partial(distilled_student, self.reference, self.train, seed=0)
            )
            found["distilled student"] = student
            found["distilled student int8"] = self.compressed("student int8", student, "int8", 0)
        return found


def latencies(models: dict[str, Any]) -> dict[str, float]:
    """Median milliseconds of one sentence of 128 tokens, one thread, all models taking turns."""
    ids = np.random.default_rng(0).integers(1000, 20000, (1, _TOKENS))
    calls = {name: partial(model, ids) for name, model in models.items()}
    octavo.runtime.set_num_threads(1)
    with blas.limited(1):
        found = timing.run(calls)
    return {name: 1e3 * one.median for name, one in found.timings.items()}


def _bytes(folder: Path) -> int:
    adapter = folder / "adapter_model.safetensors"
    return adapter.stat().st_size if adapter.is_file() else weight_bytes(folder)


def main() -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=_DATA)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--only", metavar="WORD", default="", help="rows whose name has it")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not (arguments.data / "test.tsv").is_file():
        print(f"skipped: no test.tsv in {arguments.data}")
        return 0
    work = arguments.work or Path(tempfile.mkdtemp(prefix="octavo-study-"))
    study = Study(arguments.data, arguments.model or default_model(), work)
    folders = study.rows(arguments.only)
    models = {name: octavo.models.load(folder) for name, folder in folders.items()}
    if arguments.only in "lora":
        name = "lora beside int8"
        models[name], folders[name] = study.adapted()
        models["lora merged"] = models[name].merge_adapter("default")
        folders["lora merged"] = work / "lora-merged"
        models["lora merged"].save(folders["lora merged"])
    times = latencies(models)
    reference = models["float32"]
    rows = []
    print(f"{'':26s} {'MB':>6s} {'accuracy':>9s} {'cosine':>8s} {'min':>8s} {'ms':>7s}")
    for name, folder in folders.items():
        found = octavo.evaluation.evaluate(models[name], study.test, reference=reference)
        row = {
            "name": name,
            "bytes": _bytes(folder),
            "milliseconds": times[name],
            "recipe": models[name].recipe,
            **found.to_dict(),
            "seconds": study.seconds.get(name),
        }
        rows.append(row)
        print(
            f"{name:26s} {row['bytes'] / 1e6:6.1f} {row['accuracy']:9.2%} "
            f"{row['cosine_mean']:8.5f} {row['cosine_min']:8.5f} {row['milliseconds']:7.2f}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
