# SPDX-License-Identifier: Apache-2.0
"""Real files compute what LiteRT computes: float16 and sparse weights, PReLU, resizing, padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from face_files import FACES
from octavo import tflite

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("path", FACES, ids=lambda path: path.stem)
def test_results_are_those_of_litert(path: Path) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    model, other = tflite.load(path), litert.Interpreter(model_path=str(path))
    other.allocate_tensors()
    (given,) = model.inputs
    x = np.random.default_rng(0).uniform(-1, 1, given.shape).astype(np.float32)
    other.set_tensor(given.index, x)
    other.invoke()
    for info, ours in zip(model.outputs, model(x), strict=True):
        theirs = other.get_tensor(info.index)
        assert np.abs(ours - theirs).max() <= 1e-4 * max(1.0, np.abs(theirs).max()), info.name
