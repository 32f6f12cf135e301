# SPDX-License-Identifier: Apache-2.0
"""Whatever the caller wants NumPy to do about overflow and the like, nothing changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import model_files
import octavo
from octavo.compression import PRESETS, read_recipe

RECIPES: dict[str, Any] = {
    **{name: name for name in (*PRESETS, "sparse50", "2:4-int8")},
    "int4": {"quantize": "int4"},
    "equalize": {"quantize": {"equalize": True, "correct_bias": True}},
    "entropy": {"quantize": {"activations": "static", "observer": "entropy"}},
    "outliers": {"quantize": {"outliers": 0.5}},
    "wanda": {"prune": {"method": "wanda", "sparsity": 0.5}},
    "blocks": {"prune": {"sparsity": 0.5, "block": [4, 1]}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose weights are of all sizes, subnormal ones and zeros too."""
    place = tmp_path_factory.mktemp("model")
    tensors = model_files.random_tensors(model_files.BERT)
    for values in tensors.values():
        flat = values.reshape(-1)
        flat[::7] *= np.float32(1e-38)
        flat[::11] *= np.float32(1e-30)
        flat[3::13] = 0
    safetensors.numpy.save_file(tensors, place / "model.safetensors")
    (place / "config.json").write_text(json.dumps(model_files.BERT), encoding="utf-8")
    return place


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_recipes_do_not_hear_of_errstate(folder: Path, tmp_path: Path, recipe: Any) -> None:
    ids, mask = model_files.batch()
    data = {"input_ids": ids, "attention_mask": mask}
    calibration = data if read_recipe(recipe).resolved(has_calibration=True).needs_data else None
    wanted = octavo.compress(folder, recipe, calibration=calibration).encode(ids, mask)
    with np.errstate(all="raise"):
        model = octavo.compress(folder, recipe, calibration=calibration)
        np.testing.assert_array_equal(model.encode(ids, mask), wanted)
        model.save(tmp_path / "saved")
        loaded = octavo.models.load(tmp_path / "saved")
        np.testing.assert_array_equal(loaded.encode(ids, mask), wanted)


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("size", [1.0, 1e-40, 1e37, 0.0])
def test_layers_do_not_hear_of_errstate(kind: str, size: float) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((16, 32), np.float32)
    x = rng.standard_normal((8, 32), np.float32) * np.float32(size)
    with np.errstate(all="raise"):
        for activation in ("none", "relu", "gelu", "gelu_tanh", "silu", "tanh"):
            octavo.Linear.from_float(weight, kind=kind, activation=activation)(x)
        if size < 1e4 or kind != "float16":
            octavo.Linear.from_float(x, kind=kind)(weight)
        octavo.quantize(x).dequantize()
