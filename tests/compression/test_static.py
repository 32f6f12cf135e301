# SPDX-License-Identifier: Apache-2.0
"""Static activations through `compress`: what is observed, what comes out, what is saved."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from encoders import cosines, linears
from octavo import nn
from octavo.algorithms.observers import OBSERVERS, MinMax
from octavo.compression.observe import observe
from octavo.compression.recipe import read_recipe
from octavo.compression.work import Work
from octavo.data.batches import batches_of
from octavo.nn import hooks

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.models import Encoder

FAMILY = pytest.mark.parametrize("family", model_files.CONFIGS)
STATIC: dict[str, Any] = {"quantize": {"activations": "static"}}
MINMAX = {"quantize": {"activations": "static", "observer": "minmax"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_files.write_random(tmp_path / "model")


def data(rows: int = 40, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.arange(12) < rng.integers(2, 13, (rows, 1))
    return {
        "input_ids": np.where(mask, rng.integers(1, 100, mask.shape), 0),
        "attention_mask": mask,
    }


def inputs(model: Encoder, fields: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What each layer reads of tokens, sentence after sentence: no padding anywhere."""
    seen: dict[str, list[np.ndarray]] = {}
    names = [n for n, m in model.named_modules() if isinstance(m, nn.FloatLinear)]

    def see(name: str, x: np.ndarray, _: Any) -> None:
        seen.setdefault(name, []).append(x.reshape(-1, x.shape[-1]))

    with hooks.watching(model, names, see):
        for ids, mask in zip(fields["input_ids"], fields["attention_mask"], strict=True):
            hidden = model(ids[mask][None])
            for _, head in model.heads():
                head(hidden)
    return {name: np.concatenate(parts) for name, parts in seen.items()}


def scales(model: Encoder) -> dict[str, tuple[float, int]]:
    return {
        name: (float(state["input_scale"][0]), int(state["input_zero_point"][0]))
        for name, layer in linears(model, "int8").items()
        if "input_scale" in (state := layer.state_dict())
    }


@FAMILY
def test_scales_are_those_of_what_layers_read(tmp_path: Path, family: str) -> None:
    model = octavo.models.load(model_files.write_random(tmp_path / "model", family))
    small = octavo.compress(model, MINMAX, calibration=data())
    found = scales(small)
    assert set(found) == set(linears(small, "int8"))
    for name, x in inputs(model, data()).items():
        observer = MinMax()
        observer.update(x)
        scale, point = observer.scale_zero_point()
        # Other batches round a little differently in float32.
        assert found[name][0] == pytest.approx(scale, rel=1e-5), name
        assert abs(found[name][1] - point) <= 1
    assert small.recipe == {
        "quantize": {"dtype": "int8", "activations": "static", "observer": "minmax"},
        "calibration_tokens": int(data()["attention_mask"].sum()),
    }


def test_a_block_under_two_names_gets_scales_for_each(folder: Path) -> None:
    model = octavo.models.load(folder)
    model.encoder.layer[1] = model.encoder.layer[0]
    found = scales(octavo.compress(model, STATIC, calibration=data()))
    for name in [name for name in found if ".0." in name]:
        assert found[name] != found[name.replace(".0.", ".1.")]
    assert model.encoder.layer[1] is model.encoder.layer[0]


@FAMILY
def test_layers_that_read_the_same_share_a_scale(tmp_path: Path, family: str) -> None:
    model = octavo.models.load(model_files.write_random(tmp_path / "model", family))
    found = scales(octavo.compress(model, STATIC, calibration=data()))
    parts = {
        "bert": ("self.query", "self.key", "self.value"),
        "distilbert": ("q", "k", "v"),
        "modernbert": (),  # one layer for all three
    }[family]
    for block in "01":
        names = [n for n in found if any(f".{block}.attention.{p}" in n for p in parts)]
        assert len(names) == len(parts)
        assert len({found[name] for name in names}) == bool(parts)
    assert len(set(found.values())) == len(found) - (4 if parts else 0)


@pytest.mark.parametrize("observer", [None, *OBSERVERS])
@pytest.mark.parametrize("symmetric", [False, True])
def test_every_observer_stays_near_the_float_model(
    folder: Path, observer: str | None, symmetric: bool
) -> None:
    fields: dict[str, Any] = {"activations": "static", "symmetric": symmetric}
    if observer is not None:
        fields["observer"] = observer
    model = octavo.models.load(folder)
    small = octavo.compress(folder, {"quantize": fields}, calibration=data())
    assert cosines(model, small).min() > 0.99
    for layer in linears(small, "int8").values():
        assert layer.config()["symmetric"] == symmetric
        assert not symmetric or layer.state_dict()["input_zero_point"] == 0


def test_names_stay_dynamic_or_float(folder: Path) -> None:
    recipe = {
        "quantize": {
            "activations": "static",
            "dynamic": ["*.intermediate.dense", "pooler.dense"],
            "exclude": ["encoder.layer.0.output.dense"],
        }
    }
    small = octavo.compress(folder, recipe, calibration=data())
    assert isinstance(small.get_submodule("encoder.layer.0.output.dense"), nn.FloatLinear)
    static, every = set(scales(small)), set(linears(small, "int8"))
    assert every - static == {
        "encoder.layer.0.intermediate.dense",
        "encoder.layer.1.intermediate.dense",
        "pooler.dense",
    }
    recipe["quantize"]["dynamic"] = ["no.such"]
    with pytest.raises(ValueError, match=r"quantize.dynamic: expected names of .*, got 'no.such'"):
        octavo.compress(folder, recipe, calibration=data())


def test_pruned_layers_are_static_too(folder: Path) -> None:
    recipe = {"prune": {"sparsity": 0.5}, "quantize": {"activations": "static"}}
    small = octavo.compress(folder, recipe, calibration=data())
    layers = linears(small, "int8")
    assert all(isinstance(layer, octavo.nn.SparseLinear) for layer in layers.values())
    assert set(scales(small)) == set(layers)


def test_multipliers_are_honoured(folder: Path) -> None:
    """What SmoothQuant leaves behind: a layer reads x * multiplier."""
    model = octavo.models.load(folder)
    names = [f"encoder.layer.0.attention.self.{part}" for part in ("query", "key", "value")]
    work = Work(read_recipe(MINMAX), model, batches_of(data(), model))
    observe(work)
    before = {name: plan.input_scale for name, plan in work.plans.items()}
    for name, factor in zip(names, (0.5, 0.5, 3.0), strict=True):
        multiplier = np.full(32, factor, np.float32)
        layer = work.linear(name)
        weight = layer.held_weight.like(layer.weight / multiplier)
        work.replace(name, layer.replace(weight=weight, input_multiplier=multiplier))
    observe(work)
    for name, factor in zip(names, (0.5, 0.5, 3.0), strict=True):
        assert work.plans[name].input_scale == pytest.approx(factor * before[name], rel=1e-6)
    for name in set(work.quantized_linears()) - set(names):
        assert work.plans[name].input_scale == pytest.approx(before[name], rel=1e-4)


def test_outlier_columns_do_not_count(folder: Path) -> None:
    """They are computed in float; the scale is for the others."""
    model = octavo.models.load(folder)
    name = "encoder.layer.1.output.dense"
    work = Work(read_recipe(MINMAX), model, batches_of(data(), model))
    x = inputs(model, data())[name]
    columns = np.argsort(np.abs(x).max(axis=0))[-3:]
    work.plans[name].outliers = columns
    observe(work)
    observer = MinMax()
    observer.update(np.delete(x, columns, axis=1))
    assert work.plans[name].input_scale == pytest.approx(observer.scale_zero_point()[0], rel=1e-5)


def test_a_stream_is_not_kept(folder: Path) -> None:
    model = octavo.models.load(folder)
    pulled: list[int] = []

    def stream(count: int) -> Any:
        for index in range(count):
            pulled.append(index)
            yield np.full((32, 24), 1 + index % 90)

    peaks = []
    tracemalloc.start()
    try:
        for count in (10, 400):
            tracemalloc.reset_peak()
            octavo.compress(model, STATIC, calibration=stream(count))
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert len(pulled) == 410
    # All ids would be 2.4 MB.
    assert peaks[1] - peaks[0] < 500_000


def test_bad_weights_and_data_are_named(folder: Path) -> None:
    model = octavo.models.load(folder)
    name = "encoder.layer.1.output.dense"
    broken: Any = model.get_submodule(name.replace("output", "intermediate"))
    weight = broken.weight.copy()
    weight[3, 4] = np.inf
    model.set_submodule(name.replace("output", "intermediate"), nn.FloatLinear(weight))
    with pytest.raises(ValueError, match=rf"layer '{name}': calibration: expected finite values"):
        octavo.compress(model, STATIC, calibration=data())


@FAMILY
@pytest.mark.parametrize("recipe", ["int8-static", "int8-smooth", "int8-gptq"])
def test_classifiers(tmp_path: Path, family: str, recipe: str) -> None:
    """All layers but the last are looked at, those of the head too."""
    folder = model_files.write_classifier(tmp_path / "float", family)
    made = octavo.compress(folder, recipe, calibration=data())
    assert isinstance(made.classifier, octavo.nn.FloatLinear)
    names = {"bert": "pooler.dense", "distilbert": "pre_classifier", "modernbert": "head.dense"}
    head: Any = made.get_submodule(names[family])
    assert head.kind == "int8"
    assert ("input_scale" in head.state_dict()) == (recipe == "int8-static")
