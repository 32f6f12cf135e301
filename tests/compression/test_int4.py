# SPDX-License-Identifier: Apache-2.0
"""The recipe "int4": linear weights of 4 bits in groups, from compressing to loading."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

import model_files
import octavo
from octavo.nn.weights import Int4Weight
from reference import assert_same_bits

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("family", ["bert", "distilbert", "modernbert"])
def test_linear_weights_have_4_bits_and_tables_8(tmp_path: Path, family: str) -> None:
    folder = model_files.write_random(tmp_path / "float", family)
    small = octavo.compress(folder, {"quantize": "int4"})
    kinds = {layer.kind for _, layer in small.named_modules() if octavo.nn.is_linear(layer)}
    assert kinds == {"int4"}
    tables = {layer.kind for _, layer in small.named_modules() if octavo.nn.is_embedding(layer)}
    assert tables == {"int8"}
    small.save(tmp_path / "small")
    described = json.loads((tmp_path / "small" / "config.json").read_text())["quantization_config"]
    formats = {group["format"] for group in described["config_groups"].values()}
    assert formats == {"int-quantized", "pack-quantized"}


def test_a_recipe_says_the_size_of_groups_and_what_is_kept(tmp_path: Path) -> None:
    folder = model_files.write_random(tmp_path / "float")
    fields = {"dtype": "int4", "group": 64, "exclude": ["*.query"], "keep": "float16"}
    small = octavo.compress(folder, {"quantize": fields})
    attention = small.encoder.layer[0].attention.self
    assert (attention.query.kind, attention.key.held_weight.group) == ("float16", 64)
    small.save(tmp_path / "small")
    again = octavo.models.load(tmp_path / "small")
    assert_same_bits(again(*model_files.batch()), small(*model_files.batch()))
    for changed, message in (
        ({"group": 48}, "quantize.group: expected 32, 64 or 128, got 48"),
        ({"dtype": "int8", "group": 64}, "quantize.group: int8 has no group"),
        ({"bits": 4}, "quantize.bits: int4 has no bits"),
        ({"activations": "static"}, "quantize.activations: int4 has no activations"),
        ({"outliers": 6.0}, "quantize.outliers: int4 has no outliers"),
        ({"embedding_bits": 6}, "quantize.embedding_bits: expected 8 or 4 beside int4, got 6"),
        ({"damping": 0.1}, "quantize.damping: rounding to nearest has no damping"),
        ({"rounding": "gptq"}, "calibration: expected data, quantize.rounding: gptq needs it"),
        ({"dtype": "int8", "rounding": "weighted"}, "expected nearest or gptq of int8, got weigh"),
        ({"exclude": ["nothing"]}, "quantize.exclude"),
    ):
        with pytest.raises(ValueError, match=message):
            octavo.compress(folder, {"quantize": {"dtype": "int4", **changed}})


def test_data_and_biases_help(tmp_path: Path) -> None:
    """Each kind of choosing codes comes nearer to the float model than the one before."""
    model = octavo.models.load(model_files.write_random(tmp_path / "float"))
    rng = np.random.default_rng(0)
    rows, new = (np.minimum(rng.geometric(0.1, (count, 16)), 99) for count in (200, 50))
    wanted, errors = model(new), []
    for fields in (
        {"rounding": "nearest"},
        {"rounding": "nearest", "correct_bias": True},
        {"rounding": "gptq"},
    ):
        quantize = {"dtype": "int4", **fields}
        data = None if quantize == {"dtype": "int4", "rounding": "nearest"} else rows
        small = octavo.compress(model, {"quantize": quantize}, calibration=data)
        errors.append(np.square(small(new) - wanted).mean())
    assert errors[1] < 0.95 * errors[0]
    assert errors[2] < 0.7 * errors[1]


def test_without_any_data(tmp_path: Path) -> None:
    folder = model_files.write_random(tmp_path / "float")
    with pytest.raises(ValueError, match="calibration: expected"):
        octavo.compress(folder, "int4-gptq", calibration=[])


def test_the_last_layer_of_a_classifier_keeps_its_bits(tmp_path: Path) -> None:
    folder = model_files.write_classifier(tmp_path / "float")
    small = octavo.compress(folder, {"quantize": "int4"})
    assert small.classifier.kind == "float32"
    small.save(tmp_path / "small")
    again = octavo.models.load(tmp_path / "small")
    assert_same_bits(again.logits(*model_files.batch()), small.logits(*model_files.batch()))


@pytest.mark.parametrize(("k", "group"), [(1, 32), (32, 64), (40, 32), (65, 64), (300, 128)])
def test_files_tell_the_size_of_groups(k: int, group: int) -> None:
    values = np.random.default_rng(k).standard_normal((3, k)).astype(np.float32)
    weight = Int4Weight.from_float(values, group=group)
    again = Int4Weight.from_tensors(weight.tensors())
    assert_same_bits(again.dequantized(), weight.dequantized())
    assert_same_bits(again.scale, weight.scale)
    assert again.group == group or weight.scale.shape[1] == 1


def test_broken_files_are_named(tmp_path: Path) -> None:
    folder = model_files.write_random(tmp_path / "float")
    octavo.compress(folder, {"quantize": "int4"}).save(tmp_path / "small")
    path = tmp_path / "small" / "config.json"
    good = json.loads(path.read_text())
    for part, change, message in (
        ("weights", {"group_size": 48}, "group_size is 48"),
        ("weights", {"strategy": "channel"}, "group_size is 32, supported: None or -1"),
        ("weights", {"symmetric": False}, "missing tensor '.*weight_zero_point'"),
        ("weights", {"actorder": "row"}, "weights.actorder is 'row'"),
        ("input_activations", {"type": "float"}, "input_activations.type is 'float'"),
        ("output_activations", {"num_bits": 8}, "output_activations is not supported"),
    ):
        bad = json.loads(json.dumps(good))
        for group in bad["quantization_config"]["config_groups"].values():
            if group["weights"]["num_bits"] == 4:
                group[part] = {**(group.get(part) or {}), **change}
        path.write_text(json.dumps(bad))
        with pytest.raises(ValueError, match=message):
            octavo.models.load(tmp_path / "small")


def test_bad_groups() -> None:
    values = np.ones((2, 64), np.float32)
    with pytest.raises(ValueError, match=r"^group: expected 32, 64 or 128, got 16"):
        Int4Weight.from_float(values, group=16)
    codes, scale = np.zeros((2, 64), np.int8), np.ones((2, 2), np.float32)
    with pytest.raises(ValueError, match=r"^scale: expected shape \(2, 1\)"):
        Int4Weight.from_quantized(codes, scale, group=64)
    with pytest.raises(ValueError, match=r"^codes: expected values in \[-8, 7\]"):
        Int4Weight.from_quantized(codes + np.int8(8), scale, group=32)
