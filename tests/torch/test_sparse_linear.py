# SPDX-License-Identifier: Apache-2.0
"""octavo.torch.SparseLinear: the bits of Linear, gradients, state, ties, errors."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import octavo
from sparse_files import own_parts

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")
nn = torch.nn

FORMATS = ("auto", "dense", *octavo.tuning.SPARSE_FORMATS)
N, K = 40, 70


def pruned(n: int = N, k: int = K, share: float = 0.8, bias: bool = True) -> Any:
    layer = nn.Linear(k, n, bias=bias)
    with torch.no_grad():
        layer.weight *= torch.rand(n, k) >= share
    return layer


def pair(format: str = "windowed16", **options: Any) -> tuple[Any, Any]:
    """The sparse layer and the dense one of the same codes."""
    layer = pruned(bias=options.pop("bias", True))
    sparse = ot.SparseLinear.from_float(layer, format=format, **options)
    return sparse, ot.Linear.from_float(layer, **options)


def static(layer: Any, scale: float, point: int) -> Any:
    """The layer with a fixed scale of its input."""
    weight = layer._weight
    parts = {"weight": weight.codes(), "weight_scale": layer.weight_scale}
    weight.replace(parts, weight.bias, input_scale=scale, input_zero_point=point)
    return layer


def model(share: float = 0.95, n: int = 256, k: int = 192) -> Any:
    """Pruned so that a sparse format pays on every tier: whole tiles of AMX went."""
    made = nn.Sequential(nn.Linear(k, n), nn.ReLU(), nn.Linear(n, k, bias=False))
    ot.prune_(made, "block", rows=16, cols=64, amount=share)
    return made


def sparse_model() -> Any:
    made = model()
    ot.quantize_(made, ot.Int8Dynamic(sparse="always"))
    return made.eval()


def has_parts(layer: Any) -> bool:
    """Whether it holds what graphs read."""
    return bool(layer._weight.part_names)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_bits_of_the_dense_layer(isa, format, dtype) -> None:
    for options in ({}, {"symmetric": True}, {"bias": False}):
        sparse, dense = pair(format, **options)
        assert format in ("auto", sparse.format)
        for shape in ((K,), (3, K), (2, 5, K), (0, K)):
            x = torch.randn(shape).to(dtype)
            y = sparse(x)
            assert y.dtype == dtype
            assert torch.equal(y, dense(x))
    sparse, dense = (static(layer, 0.03, 7) for layer in pair(format))
    x = torch.randn(4, K).to(dtype)
    assert torch.equal(sparse(x), dense(x))
    assert "input_scale=0.03" in repr(sparse)


def test_gradients_need_no_graph() -> None:
    sparse, _ = pair()
    sparse(torch.randn(3, 5, K, requires_grad=True)).sum().backward()
    assert not has_parts(sparse)


def test_what_a_layer_tells() -> None:
    layer = pruned()
    made = ot.SparseLinear.from_float(layer, format="windowed64")
    codes = octavo.Linear.from_float(layer.weight.detach().numpy()).weight_codes
    assert isinstance(made, ot.Linear)
    assert (made.format, made.in_features, made.out_features) == ("windowed64", K, N)
    assert made.sparsity == pytest.approx(np.mean(codes == 0))
    assert f"bias=True, sparsity={made.sparsity:.2f}, format='windowed64'" in repr(made)
    assert torch.equal(made.weight, ot.Linear.from_float(layer).weight)
    assert made.nbytes == made._weight.layer.nbytes
    before = made.nbytes
    made._weight.make_parts()
    assert made.nbytes - before == 16 + N * 9 + np.count_nonzero(codes)
    assert made._weight.layer.weight_codes.tolist() == codes.tolist()


def test_rows_are_for_auto() -> None:
    layer = pruned(256, 256, 0.5)
    codes = octavo.Linear.from_float(layer.weight.detach().numpy()).weight_codes
    for rows in (None, 1, (1, 64)):
        made = ot.SparseLinear.from_float(layer, rows=rows)
        assert made.format == octavo.tuning.choose(codes, rows)


def test_state_follows_the_zeros(tmp_path) -> None:
    sparse, dense = pair(format="auto")
    state = sparse.state_dict()
    codes = dense.state_dict()["weight"].numpy()
    parts = {key.removeprefix("x."): part for key, part in own_parts("x", codes).items()}
    assert set(state) == {*parts, "weight_scale", "bias"}
    for key, part in parts.items():
        assert state[key].numpy().dtype == part.dtype
        np.testing.assert_array_equal(state[key].numpy(), part)
    torch.save(state, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    x = torch.randn(4, K)
    for format in (None, "bsr1x4", "auto", "dense"):
        other = pair()[1] if format is None else pair(format)[0]
        for loaded in (dense.state_dict(), state):
            assert not torch.equal(other(x), dense(x))
            other.load_state_dict(loaded, strict=True)
            assert torch.equal(other(x), dense(x))
            chosen = octavo.tuning.choose(codes) if format == "auto" else format
            assert getattr(other, "format", None) == chosen
            other.load_state_dict(pair()[0].state_dict())


def test_a_loaded_layer_chooses_its_format_anew() -> None:
    plain = nn.Sequential(nn.Linear(192, 256), nn.ReLU(), nn.Linear(256, 192, bias=False))
    assert not ot.quantize_(copy.deepcopy(plain)).converted[0].sparsity
    ot.quantize_(plain, ot.Int8Dynamic(sparse="always"))
    assert [plain[0].format, plain[2].format] == ["dense", "dense"]
    trained = sparse_model()
    plain.load_state_dict(trained.state_dict())
    assert plain[0].format == trained[0].format
    x = torch.randn(3, 192)
    assert torch.equal(plain(x), trained(x))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"weight_shape": torch.tensor([K, N])},
            r"weight_shape: expected \[40, 70\], got \[70",
        ),
        ({"weight_shape": torch.tensor([N])}, r"weight_shape: expected shape \(2,\), got \(1,\)"),
        ({"weight_shape": torch.tensor([1.0, 2.0])}, "weight_shape: expected torch.int64"),
        (
            {"weight_bitmap": torch.zeros(N, 8, dtype=torch.uint8)},
            r"expected shape \(40, 9\)",
        ),
        ({"weight_bitmap": torch.zeros(N, 9)}, "weight_bitmap: expected torch.uint8"),
        ({"weight_bitmap": None}, "weight_bitmap: expected a tensor, got NoneType"),
        (
            {"weight_bitmap": lambda b: b | 128},
            "weight_bitmap: expected zero bits behind",
        ),
        (
            {"weight_bitmap": lambda b: b & 254},
            r"weight_values: expected \d+ values as in",
        ),
        (
            {"weight_values": lambda v: v[1:]},
            r"weight_values: expected \d+ values as in",
        ),
        (
            {"weight_values": lambda v: v[None]},
            r"weight_values: expected shape \(any,\), got",
        ),
        ({"weight_values": lambda v: v.float()}, "weight_values: expected torch.int8"),
        (
            {"weight_values": lambda v: v * 0},
            r"weight_values: expected codes without 0, got 0 at 0",
        ),
        ({"weight_scale": lambda s: s * 0}, "expected positive finite values"),
        ({"bias": torch.zeros(3)}, r"bias: expected shape \(40,\), got \(3,\)"),
    ],
)
@pytest.mark.parametrize("kind", ["sparse", "dense"])
def test_states_that_do_not_fit_change_nothing(change, match, kind) -> None:
    state = pair()[0].state_dict()
    other = pair()[kind == "dense"]
    x = torch.randn(2, K)
    y = other(x)
    for key, value in change.items():
        state[key] = value(state[key]) if callable(value) else value
    with pytest.raises(RuntimeError, match=match):
        other.load_state_dict(state)
    assert torch.equal(other(x), y)


def test_states_with_other_keys() -> None:
    sparse, dense = pair()
    state = sparse.state_dict()
    with pytest.raises(RuntimeError, match=r"Missing key.*weight_values"):
        sparse.load_state_dict({k: v for k, v in state.items() if k != "weight_values"})
    with pytest.raises(RuntimeError, match=r"Unexpected key.*\"weight\""):
        sparse.load_state_dict({**state, "weight": dense.state_dict()["weight"]})
    with pytest.raises(RuntimeError, match=r"Missing key.*weight_shape.*weight_bitmap"):
        sparse.load_state_dict({})
    with pytest.raises(RuntimeError, match=r"weight: expected shape \(40, 70\), got \(2, 70\)"):
        sparse.load_state_dict({**dense.state_dict(), "weight": torch.ones(2, K).to(torch.int8)})


def test_copies_keep_the_format_and_no_parts() -> None:
    made, _ = pair("windowed64")
    made._weight.make_parts()
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other.format == "windowed64"
        assert not has_parts(other)


@pytest.mark.parametrize("biases", [(False, False), (True, True), (False, True)])
def test_tied_weights_stay_tied(biases) -> None:
    layers = nn.ModuleList(nn.Linear(192, 256, bias=bias) for bias in biases)
    with torch.no_grad():
        layers[0].weight[:, 64:] = 0
    layers[1].weight = layers[0].weight
    apart = [ot.Linear.from_float(layer) for layer in layers]
    summary = ot.quantize_(layers, ot.Int8Dynamic(sparse="always"))
    assert layers[0]._weight is layers[1]._weight
    assert [layer.bytes_after for layer in summary.converted] == [
        layers[0]._weight.nbytes + 4 * 256 * biases[0],
        4 * 256 * biases[1],
    ]
    for made in (layers, copy.deepcopy(layers)):
        assert made[0]._weight is made[1]._weight
        for layer, plain in zip(made, apart, strict=True):
            x = torch.randn(3, 192)
            assert torch.equal(layer(x), plain(x))
            assert torch.equal(layer(x.bfloat16()), plain(x.bfloat16()))
            y = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
            assert torch.equal(y, plain(x))


def test_a_layer_tied_to_a_table_stays_dense() -> None:
    made = nn.ModuleDict({"table": nn.Embedding(256, 192), "head": nn.Linear(192, 256)})
    with torch.no_grad():
        made["table"].weight[:, 64:] = 0
    made["head"].weight = made["table"].weight
    ot.quantize_(made, ot.Int8Dynamic(sparse="always"))
    assert type(made["head"]) is ot.Linear
    assert made["head"]._weight is made["table"]._weight


def test_bad_arguments() -> None:
    layer = pruned()
    make = ot.SparseLinear.from_float
    for call, error, match in (
        (
            lambda: make(layer, format="coo"),
            ValueError,
            "format: expected one of auto, dense",
        ),
        (lambda: make(layer, format=3), TypeError, "format: expected a string, got int"),
        (lambda: make(layer, rows=0), ValueError, r"rows: expected a value in \[1"),
        (lambda: make(layer, rows="1"), TypeError, "rows: expected an integer, got str"),
        (lambda: make(layer, rows=()), ValueError, "rows: expected at least one number"),
        (
            lambda: make(layer, format="dense", rows=1),
            ValueError,
            "rows: expected None with",
        ),
        (lambda: make(layer, symmetric=1), TypeError, "symmetric: expected True or False"),
        (lambda: make(nn.Conv2d(3, 3, 3)), TypeError, r"expected a torch\.nn\.Linear, got Conv2d"),
        (lambda: make(layer.weight), TypeError, r"expected a torch\.nn\.Linear, got Parameter"),
        (
            lambda: make(nn.Linear(4, 4, device="meta")),
            ValueError,
            "weight: .*meta tensor",
        ),
        (
            lambda: make(nn.Linear(65537, 1), format="windowed16"),
            ValueError,
            "format: 'windowed16' takes at most 65536 inputs, got 65537",
        ),
        (
            lambda: ot.Int8Dynamic(sparse="yes"),
            ValueError,
            "sparse: expected one of auto, never",
        ),
        (lambda: ot.Int8Dynamic(sparse=True), TypeError, "sparse: expected a string, got bool"),
    ):
        with pytest.raises(error, match=match):
            call()
    assert make(nn.Linear(65537, 1)).format == "dense"
    with torch.no_grad():
        layer.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="weight: expected finite values, got NaN or infinity"):
        make(layer)
