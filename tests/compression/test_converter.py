# SPDX-License-Identifier: Apache-2.0
"""The converter in TensorFlow Lite's style, and calibration as a context."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo import nn
from octavo.algorithms.observers import MinMax

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Network(nn.Module):
    """Layers where a module may hold them: an attribute, a list, a tuple, below another module."""

    def __init__(self, rng: np.random.Generator, width: int = 16) -> None:
        def layer(activation: str = "none") -> octavo.nn.FloatLinear:
            weight = rng.standard_normal((width, width)).astype(np.float32) / 4
            return octavo.nn.FloatLinear(weight, np.ones(width, np.float32), activation)

        self.first = layer("gelu")
        self.listed = [layer("relu"), layer()]
        self.fixed = (layer("tanh"),)
        self.unused = layer()

    def __call__(self, x: Any, *, gain: Any = None) -> Any:
        x = self.first(x)
        x = self.listed[0](x) + self.listed[1](x)
        if gain is not None:
            x = x * gain
        return self.fixed[0](x)


USED = ["first", "listed.0", "listed.1", "fixed.0"]


@pytest.fixture
def network(rng: np.random.Generator) -> Network:
    return Network(rng)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_files.write_random(tmp_path / "model")


def batches(rng: np.random.Generator, count: int = 5, rows: int = 20) -> list[np.ndarray]:
    return [rng.standard_normal((rows, 16)).astype(np.float32) for _ in range(count)]


def typical() -> Iterator[list[np.ndarray]]:
    rng = np.random.default_rng(0)
    for _ in range(20):
        yield [rng.integers(1, 100, (1, 12))]


def is_static(module: nn.Module) -> bool:
    return nn.is_linear(module, "int8") and "input_scale" in module.state_dict()


def kinds(model: nn.Module) -> dict[str, type]:
    return {name: type(module) for name, module in model.named_modules()}


# --- the converter ---


def test_default_is_static_with_data_and_dynamic_without(folder: Path) -> None:
    model = octavo.models.load(folder)
    converter = octavo.compression.Converter.from_model(model)
    converter.optimizations = [octavo.compression.Optimize.DEFAULT]
    ids, mask = model_files.batch()
    np.testing.assert_array_equal(
        converter.convert()(ids, mask), octavo.compress(model, "int8")(ids, mask)
    )
    converter.representative_dataset = typical
    small = converter.convert()
    expected = octavo.compress(model, "int8-static", calibration=list(typical()))
    np.testing.assert_array_equal(small(ids, mask), expected(ids, mask))
    assert small.recipe["calibration_tokens"] == 240
    assert all(is_static(m) for _, m in small.named_modules() if nn.is_linear(m))


def test_no_optimizations_keep_the_model(folder: Path, network: Network) -> None:
    for model in (folder, octavo.models.load(folder), network):
        made = octavo.compression.Converter.from_model(model).convert()
        assert made is not model
        assert not any(m.kind == "int8" for _, m in made.named_modules())
    converter = octavo.compression.Converter.from_model(folder)
    converter.representative_dataset = typical
    with pytest.raises(ValueError, match="representative_dataset: expected optimizations beside"):
        converter.convert()


def test_optimizations_go_together(folder: Path) -> None:
    converter = octavo.compression.Converter.from_model(folder)
    converter.optimizations = [
        octavo.compression.Optimize.SPARSITY,
        octavo.compression.Optimize.DEFAULT,
    ]
    assert converter.recipe is not None
    assert converter.recipe.to_dict() == {"prune": {"sparsity": 0.5}, "quantize": "int8"}
    converter.representative_dataset = typical
    assert converter.recipe.to_dict()["quantize"]["activations"] == "static"
    converter.optimizations = ["2:4", {"quantize": {"smooth": 0.5}}]
    assert converter.recipe.to_dict() == {
        "prune": {"pattern": "2:4"},
        "quantize": {"dtype": "int8", "smooth": 0.5},
    }
    converter.optimizations = ["sparse50", "2:4"]
    with pytest.raises(ValueError, match="optimizations: expected one that says prune, got sever"):
        converter.convert()
    converter.optimizations = [
        octavo.compression.Optimize.FLOAT16,
        octavo.compression.Optimize.DEFAULT,
    ]
    with pytest.raises(ValueError, match="expected one that says quantize, got several"):
        converter.convert()
    converter.optimizations = ["nonsense"]
    with pytest.raises(ValueError, match=r"optimizations: recipe: expected .* got 'nonsense'"):
        converter.convert()
    converter.optimizations = "int8"
    with pytest.raises(TypeError, match="optimizations: expected a list, got str"):
        converter.convert()


def test_saving(folder: Path, tmp_path: Path, network: Network) -> None:
    converter = octavo.compression.Converter.from_model(folder)
    converter.optimizations = [octavo.compression.Optimize.DEFAULT]
    converter.representative_dataset = typical
    converter.save(tmp_path / "small")
    small, again = converter.convert(), octavo.models.load(tmp_path / "small")
    ids, mask = model_files.batch()
    np.testing.assert_array_equal(again(ids, mask), small(ids, mask))
    with pytest.raises(TypeError, match="model: expected an encoder to save, got Network"):
        octavo.compression.Converter.from_model(network).save(tmp_path / "network")
    with pytest.raises(TypeError, match="model: expected a model or a folder, got int"):
        octavo.compression.Converter.from_model(3)


def test_any_module_is_converted(network: Network, rng: np.random.Generator) -> None:
    data = batches(rng)
    before = kinds(network)
    expected = network(data[0])
    converter = octavo.compression.Converter.from_model(network)
    converter.optimizations = [octavo.compression.Optimize.DEFAULT]
    dynamic = converter.convert()
    assert not any(is_static(m) for _, m in dynamic.named_modules())
    converter.optimizations = [{"quantize": {"activations": "static", "observer": "minmax"}}]
    made = []
    for form in (
        data,
        lambda: ([x] for x in data),
        [(x,) for x in data],
        [{"x": x, "gain": np.float32([1])} for x in data],
        octavo.data.Dataset(data, lambda x: x.tolist()),
        np.concatenate(data),
    ):
        converter.representative_dataset = form
        made.append(converter.convert())
    for small in made:
        static = [name for name, m in small.named_modules() if is_static(m)]
        assert static == USED
        np.testing.assert_array_equal(small(data[1]), made[0](data[1]))
        assert np.abs(small(data[0]) - expected).max() < 0.1
    assert kinds(network) == before


def test_bad_inputs_of_modules_are_named(network: Network, rng: np.random.Generator) -> None:
    converter = octavo.compression.Converter.from_model(network)
    converter.optimizations = [octavo.compression.Optimize.DEFAULT]
    good = batches(rng, 1)[0]
    nan = good.copy()
    nan[3, 3] = np.nan
    bad: list[tuple[Any, str]] = [
        (nan, r"calibration\[1\]: expected finite values, got NaN"),
        ([good, nan], r"calibration\[1\]\[1\]: expected finite values"),
        ({"x": nan}, r"calibration\[1\]\['x'\]: expected finite values"),
        (good[:, :5], r"calibration\[1\]: x: expected shape \(\.\.\., 16\), got \(20, 5\)"),
        (good.astype(np.float64), r"calibration\[1\]: x: expected float32 or float16, got float64"),
        ({"y": good}, r"calibration\[1\]: .*unexpected keyword argument 'y'"),
        ("text", r"calibration\[1\]: expected an array, got str"),
    ]
    for item, message in bad:
        converter.representative_dataset = lambda item=item: iter([good, item])
        with pytest.raises((TypeError, ValueError), match=message):
            converter.convert()
    converter.representative_dataset = lambda: iter(())
    with pytest.raises(ValueError, match="calibration: expected at least one input, got none"):
        converter.convert()
    converter.optimizations = [octavo.compression.Optimize.SPARSITY]
    with pytest.raises(ValueError, match="a module that is no encoder becomes int8"):
        converter.convert()


def test_weights_of_another_kind(network: Network, rng: np.random.Generator) -> None:
    converter = octavo.compression.Converter.from_model(network)
    converter.optimizations = [octavo.compression.Optimize.FLOAT16]
    small = converter.convert()
    linears = [layer for _, layer in small.named_modules() if nn.is_linear(layer)]
    assert {layer.kind for layer in linears} == {"float16"}
    x = batches(rng, 1)[0]
    np.testing.assert_allclose(small(x), network(x), rtol=1e-2, atol=1e-2)


# --- the context ---


def test_a_context_watches_and_lets_go(network: Network, rng: np.random.Generator) -> None:
    before, data = kinds(network), batches(rng)
    expected = [network(x) for x in data]
    with octavo.compression.Calibration(network, observer="minmax") as calibration:
        for x, y in zip(data, expected, strict=True):
            np.testing.assert_array_equal(network(x), y)
    assert kinds(network) == before
    assert "_calibration" not in vars(network.first)
    observer = MinMax()
    observer.update(np.concatenate(data))
    scales = calibration.scales()
    assert scales["first"] == observer.scale_zero_point()
    assert list(scales) == USED
    assert scales["listed.0"] == scales["listed.1"]
    small = octavo.compression.freeze(network, calibration)
    assert type(small) is Network
    assert [name for name, m in small.named_modules() if is_static(m)] == USED
    assert small.unused.kind == "int8"
    assert np.abs(small(data[0]) - expected[0]).max() < 0.1
    np.testing.assert_array_equal(calibration.freeze()(data[2]), small(data[2]))
    assert kinds(network) == before


def test_a_context_is_left_after_an_exception(network: Network, rng: np.random.Generator) -> None:
    before, (x, nan) = kinds(network), batches(rng, 2)
    nan[0, 0] = np.nan
    calibration = octavo.compression.Calibration(network)
    with calibration:
        network(x)
    with pytest.raises(ValueError, match="layer 'first': calibration: expected fin"), calibration:
        network(nan)
    assert kinds(network) == before
    count = calibration.scales()
    with pytest.raises(ValueError, match="x: expected shape"), calibration:
        network(x[:, :3])
    assert calibration.scales() == count
    with calibration:
        network(10 * x)
    assert calibration.scales()["first"][0] > count["first"][0]


def test_contexts_are_not_nested(network: Network, rng: np.random.Generator) -> None:
    x = batches(rng, 1)[0]
    outer, inner = (
        octavo.compression.Calibration(network),
        octavo.compression.Calibration(network.first),
    )
    with outer:
        for one in (inner, outer, octavo.compression.Calibration(network)):
            with pytest.raises(RuntimeError, match="is being calibrated already"):
                one.__enter__()
        network(x)
        with pytest.raises(RuntimeError, match="leave its context before"):
            outer.freeze()
    assert outer.scales()
    assert type(network.first) is octavo.nn.FloatLinear
    with inner:
        network(x)
    assert list(inner.scales()) == [""]
    with pytest.raises(ValueError, match="expected one of this model, got another model's"):
        octavo.compression.freeze(network, inner)


def test_an_array_that_is_filled_anew_counts_anew(rng: np.random.Generator) -> None:
    layer = octavo.nn.FloatLinear(np.eye(4, dtype=np.float32))
    x = np.zeros((2, 4), np.float32)
    with octavo.compression.Calibration(layer, observer="minmax", symmetric=True) as calibration:
        for value in (1.0, 5.0, 2.0):
            x.fill(value)
            layer(x)
    assert calibration.scales()[""] == (float(np.float32(5) / np.float32(127)), 0)
    frozen = calibration.freeze()
    assert frozen.kind == "int8"
    np.testing.assert_allclose(frozen(x), x, rtol=0.02)


def test_a_layer_used_twice(rng: np.random.Generator) -> None:
    class Twice(nn.Module):
        def __init__(self, layer: octavo.nn.FloatLinear) -> None:
            self.one = self.other = layer

        def __call__(self, x: Any) -> Any:
            return self.other(self.one(x))

    twice = Twice(octavo.nn.FloatLinear(3 * np.eye(4, dtype=np.float32)))
    with octavo.compression.Calibration(twice, observer="minmax") as calibration:
        twice(np.ones((1, 4), np.float32))
    assert type(twice.one) is octavo.nn.FloatLinear
    small = calibration.freeze()
    assert is_static(small.one)
    assert is_static(small.other)
    np.testing.assert_allclose(small(np.ones((1, 4), np.float32)), 9, rtol=0.01)


def test_encoders_leave_padding_out(folder: Path) -> None:
    model = octavo.models.load(folder)
    ids, mask = model_files.batch()
    before = kinds(model)
    found = []
    for padding in (0, 5):
        padded = np.pad(ids, ((0, 0), (0, padding)), constant_values=99)
        kept = np.pad(mask, ((0, 0), (0, padding)))
        with octavo.compression.Calibration(model, observer="minmax") as calibration:
            model.encode(padded, kept)
            assert type(model).__name__ == "BertModel"
        found.append(calibration.scales())
    assert kinds(model) == before
    assert set(found[0]) == {
        n for n, m in model.named_modules() if isinstance(m, nn.FloatLinear) and n != "pooler.dense"
    }
    for name, (scale, _) in found[0].items():
        assert found[1][name][0] == pytest.approx(scale, rel=1e-5), name
    small = octavo.compression.freeze(model, calibration)
    assert isinstance(small.embeddings.word_embeddings, nn.Embedding)
    assert not is_static(small.pooler.dense)
    assert is_static(small.get_submodule("encoder.layer.0.output.dense"))
    assert small.recipe == {
        "quantize": {"dtype": "int8", "activations": "static", "observer": "minmax"}
    }


def test_many_threads(network: Network, rng: np.random.Generator) -> None:
    data = batches(rng, 24)
    with octavo.compression.Calibration(network) as alone:
        for x in data:
            network(x)
    calibration = octavo.compression.Calibration(network)
    errors: list[BaseException] = []

    def work(parts: list[np.ndarray]) -> None:
        try:
            for x in parts:
                network(x)
        except BaseException as error:
            errors.append(error)

    with calibration:
        threads = [threading.Thread(target=work, args=(data[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors
    assert calibration.scales() == alone.scales()


def test_what_a_context_does_not_take(network: Network) -> None:
    with pytest.raises(TypeError, match="model: expected an octavo Module, got int"):
        octavo.compression.Calibration(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected float linear layers to watch, got none"):
        octavo.compression.Calibration(
            octavo.nn.LayerNorm(np.ones(4, np.float32), np.zeros(4, np.float32))
        )
    with pytest.raises(ValueError, match="observer: expected one of minmax"):
        octavo.compression.Calibration(network, observer="best")
    with pytest.raises(ValueError, match="dynamic: expected names of float linear layers, got 'x"):
        octavo.compression.Calibration(network, dynamic=["x"])
    some = octavo.compression.Calibration(network, dynamic=["listed.*"])
    with some:
        network(np.ones((1, 16), np.float32))
    assert list(some.scales()) == ["first", "fixed.0"]
    with pytest.raises(ValueError, match="expected calls of the model within its context"):
        octavo.compression.Calibration(network).freeze()
    with pytest.raises(TypeError, match=r"expected an octavo.compression.Calibration, got dict"):
        octavo.compression.freeze(network, {})  # type: ignore[arg-type]
