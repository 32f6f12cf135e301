# SPDX-License-Identifier: Apache-2.0
"""What the report says of codes: bits, scales, saturation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo import report
from octavo.report import collect

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("matplotlib", reason="matplotlib draws the plots")


def test_bits_scales_and_saturation(folder: Path, results: Path, tmp_path: Path) -> None:
    """A model with a float, a dynamic and a static layer, against what was put into it."""
    name = "encoder.layer.0.attention.self.query"
    kept = "encoder.layer.1.output.dense"
    small = octavo.compress(folder, {"quantize": {"exclude": [kept]}})
    query: Any = small.get_submodule(name)
    codes = query.weight_codes.copy()
    codes.reshape(-1)[:100] = -127
    static = octavo.Linear.from_quantized(
        codes, query.weight_scale, query.bias, input_scale=0.01, input_zero_point=5
    )
    small.set_submodule(name, static)
    small.save(tmp_path / "mixed")
    ids, mask = model_files.batch()
    facts = collect.collect_model(
        tmp_path / "mixed", folder, calibration={"input_ids": ids, "attention_mask": mask}
    )
    assert facts.text == "4 rows of calibration data"
    layers = {layer.name: layer for layer in facts.layers}
    model = octavo.models.load(folder)
    hidden = model.embed(ids, None)[mask.astype(bool)]
    clipped = np.mean((hidden < 0.01 * -133.5) | (hidden > 0.01 * 122.5))
    assert clipped > 0.05
    found = layers[name]
    assert (found.bits, found.inputs_as) == (8, "static")
    assert found.input_scale == pytest.approx(0.01)
    assert found.clipped_inputs == pytest.approx(clipped, abs=0.01)
    assert found.full_weights == np.mean(np.abs(codes) == 127)
    assert found.scale == (query.weight_scale.min(), query.weight_scale.max())
    key = layers[name.replace("query", "key")]
    assert (key.bits, key.inputs_as, key.clipped_inputs, key.input_scale) == (
        8,
        "dynamic",
        None,
        None,
    )
    left = layers[kept]
    assert (left.bits, left.inputs_as, left.scale, left.full_weights) == (32, "float", None, None)
    assert left.relative == 0
    made = report.write(
        tmp_path / "page.html",
        model=tmp_path / "mixed",
        reference=folder,
        bench=[results],
        calibration={"input_ids": ids, "attention_mask": mask},
    )
    assert "Saturation" in made["plots"]
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "static" in text
    assert "clipped inputs, %" in text
    with pytest.raises(ValueError, match="calibration: it goes with a model"):
        report.write(tmp_path / "x.html", bench=[results], calibration=[[[1]]])


def test_many_calibration_rows_are_sampled(folder: Path) -> None:
    ids = np.random.default_rng(0).integers(1, 100, (500, 8))
    assert collect.collect_model(folder, calibration=ids).text == "63 rows of calibration data"
