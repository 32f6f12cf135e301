# SPDX-License-Identifier: Apache-2.0
"""Adapters on octavo's own models: numbers, switching, merging, adapters of other bases."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy as st

import model_files
import octavo
from octavo import _backend
from octavo.lora import Adapter, LowRank, merge

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.models import Encoder

RANK = 4
LAYERS = {  # name: (outputs, inputs)
    "encoder.layer.0.attention.self.query": (32, 32),
    "encoder.layer.0.attention.output.dense": (32, 32),
    "encoder.layer.0.intermediate.dense": (48, 32),
    "encoder.layer.1.output.dense": (32, 48),
    "pooler.dense": (32, 32),
}
CONFIG: dict[str, Any] = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK}
IDS, MASK = model_files.batch()
REAL = MASK.astype(bool)


def adapter(seed: int, prefix: str = "bert.", layers: Any = None, labels: int = 3) -> Adapter:
    rng = np.random.default_rng(seed)

    def floats(*shape: int) -> np.ndarray:
        return (0.3 * rng.standard_normal(shape)).astype(np.float32)

    sides = {
        prefix + name: LowRank(floats(RANK, k), floats(n, RANK), 2.0, floats(n))
        for name, (n, k) in (layers or LAYERS).items()
    }
    head = {"classifier": {"weight": floats(labels, 32), "bias": floats(labels)}}
    config = {**CONFIG, "modules_to_save": ["classifier"]}
    return Adapter(config, sides, head)


def added(model: Encoder, source: Adapter) -> Encoder:
    """The same model, float, with changed weights made by hand."""
    made = copy.deepcopy(model)
    for full, side in source.layers.items():
        layer: Any = made.get_submodule(full.removeprefix("bert."))
        weight = layer.weight.astype(np.float64) + 2.0 * side.b.astype(np.float64) @ side.a
        bias = layer.bias + 2.0 * side.bias
        path = full.removeprefix("bert.")
        made.set_submodule(path, octavo.nn.FloatLinear(weight, bias, activation=layer.activation))
    return made


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return octavo.models.load(model_files.write_random(tmp_path_factory.mktemp("lora") / "bert"))


@pytest.fixture
def model(base: Encoder) -> Encoder:
    return copy.deepcopy(base)


@pytest.fixture
def int8(base: Encoder) -> Encoder:
    return octavo.compress(base)


def test_float_base_equals_changed_weights(isa: str, base: Encoder, model: Encoder) -> None:
    source = adapter(0)
    model.load_adapter(source)
    wanted = added(base, source)
    np.testing.assert_allclose(model(IDS, MASK)[REAL], wanted(IDS, MASK)[REAL], atol=3e-5)
    assert np.abs(model(IDS, MASK) - base(IDS, MASK))[REAL].max() > 0.5


@pytest.mark.parametrize("activation", ["none", "gelu", "relu", "tanh"])
@pytest.mark.parametrize("with_residual", [False, True])
def test_one_layer(
    isa: str, rng: np.random.Generator, activation: str, with_residual: bool
) -> None:
    """The change goes in before the activation, the residual after it."""
    from octavo._numpy.float_ops import activation as apply
    from octavo.lora.layer import AdaptedLayer
    from octavo.lora.switch import Switch

    def floats(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    weight, bias, x = floats(40, 70), floats(40), floats(2, 5, 70)
    residual = floats(2, 5, 40) if with_residual else None
    side = LowRank(floats(RANK, 70), floats(40, RANK), 0.5)
    plain = octavo.Linear.from_float(weight, bias)
    layer = AdaptedLayer(octavo.Linear.from_float(weight, bias, activation=activation), Switch())
    layer.add("x", side.path())
    with layer._switch.use("x"):
        y = layer(x, residual)
        np.testing.assert_array_equal(layer(x[0, 1]), layer(x[0, 1][None])[0])
    wanted = plain(x) + side.path()(x)
    flat = wanted.reshape(-1)
    if activation != "none":
        apply(flat, activation, flat)
    wanted = flat.reshape(wanted.shape) + (0 if residual is None else residual)
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(layer(x, residual), layer.base(x, residual))
    delta = x @ (0.5 * side.b @ side.a).T
    np.testing.assert_allclose(side.path()(x), delta, rtol=1e-4, atol=1e-4)


def test_base_is_shared_and_restored(int8: Encoder) -> None:
    before, layers = int8(IDS, MASK), dict(int8.named_modules())
    int8.load_adapter(adapter(0), "a")
    int8.load_adapter(adapter(1), "b")
    assert list(int8.adapters) == ["a", "b"]
    assert int8.active_adapter == "a"
    for name in LAYERS:
        wrapped: Any = int8.get_submodule(name)
        assert wrapped.base is layers[name]
    with int8.use_adapter(None):
        np.testing.assert_array_equal(int8(IDS, MASK), before)
    int8.unload_adapter("a")
    assert int8.active_adapter is None
    np.testing.assert_array_equal(int8(IDS, MASK), before)
    int8.unload_adapter("b")
    assert {name: id(layer) for name, layer in int8.named_modules()} == {
        name: id(layer) for name, layer in layers.items()
    }


def test_switching_is_per_thread(int8: Encoder) -> None:
    alone: dict[str | None, np.ndarray] = {None: int8(IDS, MASK)}
    for seed, name in enumerate("abc"):
        fresh = copy.deepcopy(int8)
        fresh.load_adapter(adapter(seed))
        alone[name] = fresh(IDS, MASK)
    for seed, name in enumerate("abc"):
        int8.load_adapter(adapter(seed), name)

    def call(name: str | None) -> np.ndarray:
        with int8.use_adapter(name):
            return int8(IDS, MASK)

    # Blocks are fused once for each adapter, and for the base alone.
    names = [None, *"abcabcac", None, "b"]
    with ThreadPoolExecutor(4) as pool:
        for name, y in zip(names, pool.map(call, names), strict=True):
            np.testing.assert_array_equal(y, alone[name])
    with int8.use_adapter("b"), ThreadPoolExecutor(1) as pool:
        assert int8.active_adapter == "b"
        assert pool.submit(lambda: int8.active_adapter).result() == "a"
        with int8.use_adapter("c"):
            assert int8.active_adapter == "c"
        assert int8.active_adapter == "b"
    int8.set_adapter("c")
    np.testing.assert_array_equal(int8(IDS, MASK), alone["c"])
    if _backend.name == "native":  # else BLAS multiplies what adapters add
        np.testing.assert_array_equal(int8(IDS[:1], MASK[:1])[0], alone["c"][0])


def test_merged_equals_unmerged_to_the_rounding(int8: Encoder) -> None:
    source = adapter(0)
    int8.load_adapter(source)
    errors: dict[str, float] = {}
    merged = int8.merge_adapter("default", on_layer=errors.__setitem__)
    assert set(errors) == set(LAYERS)
    for name in LAYERS:
        wrapped: Any = int8.get_submodule(name)
        layer: Any = merged.get_submodule(name)
        side = source.layers[f"bert.{name}"]
        wanted = wrapped.base.weight + side.delta()
        # Half a step of the new scale, and the rounding of the sum.
        bound = layer.weight_scale[:, None] * 0.5 * (1 + 2**-10)
        assert (np.abs(layer.weight - wanted) <= bound).all()
        lost = np.linalg.norm(layer.weight - wanted) / np.linalg.norm(wanted)
        assert errors[name] == pytest.approx(lost, rel=1e-3)
        assert layer.activation == wrapped.base.activation
        # On the same codes of x the outputs differ by at most what the weights differ by.
        x = np.random.default_rng(5).standard_normal((6, layer.in_features)).astype(np.float32)
        q = octavo.qtensor.QTensor(*octavo.quantize_dynamic(x), axis=0)
        plain = octavo.Linear.from_quantized(
            wrapped.base.weight_codes, wrapped.base.weight_scale, wrapped.base.bias
        )
        apart = plain(q) + q.dequantize() @ side.delta().T + side.bias_delta()
        together = octavo.Linear.from_quantized(layer.weight_codes, layer.weight_scale, layer.bias)(
            q
        )
        slack = np.abs(q.dequantize()).sum(axis=1)[:, None] * bound[:, 0] + 1e-4
        assert (np.abs(apart - together) <= slack).all()
    y, z = int8(IDS, MASK)[REAL], merged(IDS, MASK)[REAL]
    assert 0 < np.abs(y - z).max() < 0.15
    assert int8.adapters
    assert not merged.adapters


def test_merged_model_is_an_ordinary_one(tmp_path: Path, int8: Encoder, base: Encoder) -> None:
    for model in (int8, base):
        merged = merge(model, adapter(0))
        logits = merged.logits(IDS, MASK)
        assert logits.shape == (4, 3)
        merged.save(tmp_path / "merged")
        again = octavo.models.load(tmp_path / "merged")
        np.testing.assert_array_equal(again.logits(IDS, MASK), logits)
        assert model.classifier is None


def test_sparse_layers_become_dense(base: Encoder) -> None:
    pruned = octavo.compress(base, {"prune": {"sparsity": 0.9}})
    name = "encoder.layer.0.attention.self.query"
    assert isinstance(pruned.get_submodule(name), octavo.nn.SparseLinear)
    source = adapter(0)
    merged = merge(pruned, source)
    assert type(merged.get_submodule(name)) is octavo.Linear
    pruned.load_adapter(source)
    assert np.abs(pruned(IDS, MASK) - merged(IDS, MASK))[REAL].max() < 0.15


@pytest.mark.parametrize("kind", ["multiplier", "outliers", "both", "static"])
def test_other_forms_of_int8_layers(base: Encoder, kind: str) -> None:
    """Adapters read what the layer reads, before its multiplier."""
    name = "encoder.layer.1.output.dense"
    model = octavo.compress(base)
    plain: Any = base.get_submodule(name)
    columns = [3, 17]
    multiplier = np.linspace(0.5, 2.0, 48).astype(np.float32)
    if kind == "static":
        made: Any = octavo.Linear.from_float(
            plain.weight, plain.bias, input_scale=0.04, input_zero_point=3
        )
    elif kind == "multiplier":
        multiplier[5] = 0
        scaled = plain.weight / np.where(multiplier == 0, 1, multiplier)
        made = octavo.Linear.from_float(scaled, plain.bias, input_multiplier=multiplier)
    else:
        scaled = plain.weight / multiplier if kind == "both" else plain.weight
        factor = multiplier if kind == "both" else None
        made = octavo.nn.OutlierLinear.from_float(
            scaled, plain.bias, outlier_columns=columns, input_multiplier=factor
        )
    model.set_submodule(name, made)
    source = adapter(0, layers={name: LAYERS[name]})
    side = source.layers[f"bert.{name}"]
    before = made.weight
    model.load_adapter(source)
    merged: Any = model.merge_adapter("default").get_submodule(name)
    assert type(merged) is type(made)
    step = merged.weight_scale[:, None] * 0.5 * (1 + 2**-10)
    used = merged.input_multiplier
    bound = step if used is None else step * np.maximum(used, 1e-6)
    assert (np.abs(merged.weight - before - side.delta()) <= bound + 1e-6).all()
    x = np.random.default_rng(2).standard_normal((6, 48)).astype(np.float32)
    wrapped: Any = model.get_submodule(name)
    apart, together = wrapped(x), merged(x)
    assert np.abs(apart - made(x)).max() > 0.5
    assert np.abs(apart - together).max() < 0.05 * np.abs(apart).max()


def test_heads_come_and_go(int8: Encoder) -> None:
    with pytest.raises(ValueError, match="without a head"):
        int8.logits(IDS, MASK)
    int8.load_adapter(adapter(0), "three")
    int8.load_adapter(adapter(1, labels=5), "five")
    assert int8.logits(IDS, MASK).shape == (4, 3)
    with int8.use_adapter("five"):
        assert int8.logits(IDS, MASK).shape == (4, 5)
    with int8.use_adapter(None), pytest.raises(ValueError, match="adapter that is not in use"):
        int8.logits(IDS, MASK)
    int8.unload_adapter("three")
    int8.unload_adapter("five")
    assert int8.classifier is None


def test_a_head_without_a_place_is_named(model: Encoder) -> None:
    source = adapter(0)
    head = {f"score.{name}": source.modules["classifier"] for name in ("dense", "out_proj")}
    with pytest.warns(UserWarning, match=r"adapter: left out, .* place for it: 'score' \(2\)"):
        model.load_adapter(Adapter(source.config, source.layers, head))
    assert model.task == ""


@pytest.mark.parametrize(
    ("kind", "task", "name"),
    [
        ("TOKEN_CLS", "TokenClassification", "classifier"),
        ("QUESTION_ANS", "QuestionAnswering", "qa_outputs"),
    ],
)
def test_heads_for_tokens(tmp_path: Path, model: Encoder, kind: str, task: str, name: str) -> None:
    source = adapter(0, labels=2)
    head = source.modules["classifier"]
    config = {**source.config, "task_type": kind, "modules_to_save": [name]}
    source = Adapter(config, source.layers, {name: head})
    merged = merge(model, source)
    model.load_adapter(source)
    assert model.task == merged.task == task
    wanted = model(IDS, MASK) @ head["weight"].T + head["bias"]
    np.testing.assert_allclose(model.logits(IDS, MASK), wanted, atol=1e-4)
    np.testing.assert_allclose(merged.logits(IDS, MASK)[REAL], wanted[REAL], atol=1e-3)
    merged.save(tmp_path / "merged")
    again = octavo.models.load(tmp_path / "merged")
    np.testing.assert_array_equal(again.logits(IDS, MASK), merged.logits(IDS, MASK))
    with pytest.raises(ValueError, match=f"one for SequenceClassification, the model for {task}"):
        again.load_adapter(Adapter({**CONFIG, "task_type": "SEQ_CLS"}, source.layers))


def test_whole_layers_are_replaced(tmp_path: Path, base: Encoder, model: Encoder) -> None:
    rng = np.random.default_rng(3)
    norm = {
        "weight": rng.standard_normal(32).astype(np.float32),
        "bias": rng.standard_normal(32).astype(np.float32),
    }
    name = "encoder.layer.0.output.LayerNorm"
    source = adapter(0)
    modules = {f"bert.{name}": norm}
    model.load_adapter(Adapter(source.config, source.layers, modules))
    wanted = added(base, source)
    eps = wanted.config.layer_norm_epsilon
    wanted.set_submodule(name, octavo.nn.LayerNorm(norm["weight"], norm["bias"], eps=eps))
    np.testing.assert_allclose(model(IDS, MASK)[REAL], wanted(IDS, MASK)[REAL], atol=3e-5)
    table = rng.standard_normal((104, 32)).astype(np.float32)
    words = "embeddings.word_embeddings"
    other = copy.deepcopy(base)
    source.save(tmp_path / "adapter")
    saved = st.load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    saved[f"base_model.model.bert.{words}.weight"] = table[:100].copy()  # save_embedding_layers
    st.save_file(saved, tmp_path / "adapter" / "adapter_model.safetensors")
    other.load_adapter(tmp_path / "adapter")
    np.testing.assert_array_equal(other.embeddings.word_embeddings(IDS), table[IDS])
    grown = Adapter(source.config, source.layers, {f"bert.{words}": {"weight": table}})
    with pytest.raises(ValueError, match=r"has 100 rows, .*'s 104; a vocabulary that grew is not"):
        copy.deepcopy(base).load_adapter(grown)
    bad = {f"bert.{name}": {**norm, "weight": norm["weight"][:5]}}
    with pytest.raises(ValueError, match=r"another base: layer .*LayerNorm.* the adapter has"):
        copy.deepcopy(base).load_adapter(Adapter(source.config, source.layers, bad))


def test_adapters_of_other_bases(int8: Encoder) -> None:
    def refused(message: str, layers: dict[str, tuple[int, int]], prefix: str = "bert.") -> None:
        with pytest.raises(ValueError, match=message):
            int8.load_adapter(adapter(0, prefix, layers))
        assert not any(type(layer).__name__ == "AdaptedLayer" for _, layer in int8.named_modules())
        assert not int8.adapters

    query = "encoder.layer.0.attention.self.query"
    refused(r"another base: layer .*query' has \(32, 32\).* expects \(64, 32\)", {query: (64, 32)})
    refused(r"changes a linear layer .*layer\.7.*no such", {"encoder.layer.7.output.dense": (1, 1)})
    refused(r"LayerNorm', this BertModel has a LayerNorm", {"embeddings.LayerNorm": (32, 32)})
    refused(r"linear layer 'distilbert\.", {query: (32, 32)}, "distilbert.")
    wrong = Adapter(CONFIG, adapter(0).layers, {"classifier": {"weight": np.ones((2, 9), "f")}})
    with pytest.raises(ValueError, match=r"'classifier' reads 9 values, the model has 32"):
        int8.load_adapter(wrong)


def test_bad_names_and_calls(tmp_path: Path, int8: Encoder) -> None:
    with pytest.raises(ValueError, match=r"name: expected an adapter \(none is loaded\), got 'x'"):
        int8.set_adapter("x")
    int8.set_adapter(None)
    int8.load_adapter(adapter(0), "x")
    for call in (int8.use_adapter, int8.set_adapter, int8.unload_adapter, int8.merge_adapter):
        with pytest.raises(ValueError, match=r"name: expected an adapter \('x'\), got 'y'"):
            call("y")
    with pytest.raises(ValueError, match="name: expected a new one, got 'x'"):
        int8.load_adapter(adapter(1), "x")
    with pytest.raises(TypeError, match="name: expected a name, got 3"):
        int8.load_adapter(adapter(1), 3)  # type: ignore[arg-type]
    for work in (lambda: int8.save(tmp_path / "out"), lambda: octavo.compress(int8)):
        with pytest.raises(ValueError, match="model: expected no adapters, got 'x'; merge_adapter"):
            work()
    assert not (tmp_path / "out").exists()
    layer: Any = int8.get_submodule("encoder.layer.0.attention.self.query")
    with pytest.raises(ValueError, match=r"x: expected shape \(\.\.\., 32\), got \(3, 31\)"):
        layer(np.ones((3, 31), np.float32))
    huge = LowRank(np.full((4, 32), 1e30, "f"), np.full((32, 4), 1e30, "f"), 2.0)
    query = "encoder.layer.0.attention.self.query"
    with pytest.raises(ValueError, match=r"query': expected finite weights"):
        merge(int8, Adapter(CONFIG, {query: huge}))


def test_addend_is_checked(isa: str, rng: np.random.Generator) -> None:
    weight = rng.standard_normal((5, 7)).astype(np.float32)
    for layer in (octavo.Linear.from_float(weight), octavo.nn.FloatLinear(weight)):
        x, more = np.ones((2, 7), np.float32), np.ones((2, 5), np.float32)
        zeros = np.zeros((2, 5), np.float32)
        y = layer(x, addend=more[:, ::-1])  # the long way
        np.testing.assert_array_equal(y, layer(x, zeros, addend=more))
        np.testing.assert_allclose(y, layer(x) + 1, atol=1e-6)
        with pytest.raises(ValueError, match=r"addend: expected shape \(2, 5\), got \(2, 4\)"):
            layer(x, addend=more[:, :4])
        with pytest.raises(TypeError, match="addend: expected float32"):
            layer(x, addend=np.ones((2, 5), np.int32))
