# SPDX-License-Identifier: Apache-2.0
"""GPTQ of whole models: nearer than rounding to nearest, on what the other stages decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo import nn
from octavo.algorithms.pruning import InputHessian, OutputFit
from octavo.compression import read_recipe, rounding
from octavo.compression.plan import LayerPlan
from octavo.compression.sensitivity import agreement, vectors_of
from octavo.compression.work import Work
from octavo.data.batches import Batches, batches_of

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.models import Encoder

QUERY = "encoder.layer.0.attention.self.query"


@pytest.fixture
def model(tmp_path: Path) -> Encoder:
    return octavo.models.load(model_files.write_random(tmp_path / "model"))


def rows(seed: int, count: int = 300) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 100, (count, 16))


def sqnr(model: Encoder, made: Encoder, seed: int) -> float:
    batches = batches_of(rows(seed, 100), model)
    return agreement(vectors_of(model, batches), vectors_of(made, batches))[2]


def codes_of(model: Encoder) -> dict[str, Any]:
    found = {}
    for name, layer in model.named_modules():
        if nn.is_linear(layer, "int8"):
            found[name] = layer.weight_codes, layer.weight_scale, layer.bias
    return found


def test_nearer_than_rounding_to_nearest(model: Encoder) -> None:
    steps: list[tuple[str, float]] = []
    made = octavo.compress(
        model,
        "int8-gptq",
        calibration=rows(0),
        on_progress=lambda *step: steps.append(step),
    )
    assert sqnr(model, made, 1) > sqnr(model, octavo.compress(model), 1) + 1
    assert codes_of(made).keys() == codes_of(octavo.compress(model)).keys()
    assert made.recipe == {
        "quantize": {"dtype": "int8", "rounding": "gptq"},
        "calibration_tokens": 4800,
    }
    shares = [share for _, share in steps]
    assert shares == sorted(shares)
    assert steps[0] == (f"rounding {QUERY}", 0.0)


@pytest.mark.parametrize("aim", ["layer", "model"])
@pytest.mark.parametrize("bits", [4, 8])
def test_few_bits_and_both_aims(
    model: Encoder, monkeypatch: pytest.MonkeyPatch, bits: int, aim: str
) -> None:
    monkeypatch.setattr(rounding, "AIM", aim)
    recipe = {"quantize": {"rounding": "gptq", "bits": bits, "embedding_bits": 8}}
    made = octavo.compress(model, recipe, calibration=rows(0))
    most = 2 ** (bits - 1) - 1
    assert max(int(np.abs(codes).max()) for codes, _, _ in codes_of(made).values()) == most
    assert sqnr(model, made, 1) > (10 if bits == 4 else 30)


def test_pruned_layers_keep_their_zeros(model: Encoder) -> None:
    prune = {"sparsity": 0.5, "method": "magnitude", "exclude": ["pooler.*"]}
    plain = octavo.compress(model, {"prune": prune})
    made = octavo.compress(
        model, {"prune": prune, "quantize": {"rounding": "gptq"}}, calibration=rows(0)
    )
    for name, layer in made.named_modules():
        if isinstance(layer, nn.SparseLinear):
            weight = model.get_submodule(name).weight  # type: ignore[attr-defined]
            gone = ~octavo.algorithms.pruning.magnitude(weight, 0.5)
            assert not layer.weight_codes[gone].any()
    sparse = [n for n, layer in made.named_modules() if isinstance(layer, nn.SparseLinear)]
    assert len(sparse) == 12
    assert sqnr(model, made, 1) > sqnr(model, plain, 1)


def test_excluded_layers_are_left_alone(model: Encoder) -> None:
    made = octavo.compress(
        model,
        {"quantize": {"rounding": "gptq", "exclude": ["encoder.layer.0.*"]}},
        calibration=rows(0, 40),
    )
    assert made.get_submodule(QUERY) is model.get_submodule(QUERY)
    assert made.get_submodule("encoder.layer.1.output.dense").kind == "int8"


def test_errors_name_the_layer(model: Encoder) -> None:
    layer: Any = model.get_submodule(QUERY)
    model.set_submodule(QUERY, nn.FloatLinear(layer.weight * np.float32(np.nan), layer.bias))
    with pytest.raises(ValueError, match=rf"layer '{QUERY}': weight: expected finite"):
        octavo.compress(model, "int8-gptq", calibration=rows(0, 4))
    model.set_submodule(QUERY, nn.FloatLinear(layer.weight * np.float32(1e38), layer.bias))
    with pytest.raises(ValueError, match=r"layer '.*': calibration: .: expected finite"):
        octavo.compress(model, "int8-gptq", calibration=rows(0, 4))
    with pytest.raises(ValueError, match="rounding: gptq needs it; got none"):
        octavo.compress(model, "int8-gptq")


def rounder(model: Encoder, recipe: Any = "int8-gptq") -> Any:
    work = Work(read_recipe(recipe), model, Batches([]))
    return rounding._Rounder(work), work


def test_layers_are_fitted_to_what_they_will_read(model: Encoder) -> None:
    fitter, work = rounder(model)
    plans = work.plans
    rng = np.random.default_rng(0)
    x = rng.standard_normal((50, 32)).astype(np.float32)
    plain = fitter.reads(QUERY, x)
    steps = (x.max(axis=1) - x.min(axis=1)) / 255
    assert 0 < np.abs(plain - x).max() <= steps.max() * 0.51
    multiplier = np.linspace(0.5, 2, 32, dtype=np.float32)
    work.replace(QUERY, work.linear(QUERY).replace(input_multiplier=multiplier))
    np.testing.assert_allclose(fitter.scaled(QUERY, x), x * multiplier)
    plans[QUERY].input_scale, plans[QUERY].input_zero_point = 0.01, 3
    clipped = np.clip(x * multiplier, -1.31, 1.24)
    assert np.abs(fitter.reads(QUERY, x) - clipped).max() <= 0.00501
    other = QUERY.replace("query", "key")
    assert fitter.reading(QUERY) != fitter.reading(other)
    plain_layer = work.linear(other)
    work.replace(other, plain_layer.replace(input_multiplier=multiplier))
    plans[other] = LayerPlan(input_scale=0.01, input_zero_point=3)
    assert fitter.reading(QUERY) == fitter.reading(other)
    work.replace(other, plain_layer)
    plans[other] = LayerPlan(outliers=np.array([3, 8]))
    x[:, 3] *= 1000
    read = fitter.reads(other, x)
    np.testing.assert_array_equal(read[:, [3, 8]], x[:, [3, 8]])
    assert 0 < np.abs(read - x).max() <= steps.max() * 0.51  # their range is not that of the rest


@pytest.mark.parametrize("aim", ["layer", "model"])
def test_codes_are_of_the_weight_that_reads_the_multiplied_input(model: Encoder, aim: str) -> None:
    fitter, work = rounder(model)
    plans = work.plans
    rng = np.random.default_rng(0)
    layer: Any = model.get_submodule(QUERY)
    multiplier = np.exp2(rng.uniform(-3, 3, 32)).astype(np.float32)
    x = rng.standard_normal((400, 32)).astype(np.float32) / multiplier
    wanted = layer(x)
    divided = nn.FloatLinear(layer.weight / multiplier, layer.bias, input_multiplier=multiplier)
    work.replace(QUERY, divided)
    read = fitter.reads(QUERY, x)
    statistics: Any = InputHessian(32)
    if aim == "model":
        statistics = OutputFit(32, 32)
        statistics.update(read, wanted)
    else:
        statistics.update(read)
    made: Any = fitter.fit(QUERY, divided, statistics)
    plan = plans[QUERY]
    assert plan.codes is not None
    assert plan.scale is not None
    np.testing.assert_array_equal(made.weight_codes, plan.codes)
    np.testing.assert_array_equal(made.weight_scale, plan.scale)
    bias = layer.bias if plan.bias is None else plan.bias
    got = read @ (plan.codes * plan.scale[:, None]).T + bias
    assert np.square(got - wanted).mean() < 1e-3 * np.square(wanted).mean()
