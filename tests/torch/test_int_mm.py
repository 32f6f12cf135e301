# SPDX-License-Identifier: Apache-2.0
"""octavo.torch.int_mm, and the plug-ins that put it under other libraries."""

from __future__ import annotations

import gc
import logging
import sys

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch")
ot = pytest.importorskip("octavo.torch", reason="needs PyTorch")
import octavo.torch.plugins as plugins  # noqa: E402  (after the skip)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def codes(*shape: int, dtype=torch.int8) -> torch.Tensor:
    low, high = (-128, 128) if dtype == torch.int8 else (0, 256)
    return torch.randint(low, high, shape, dtype=dtype)


def exact(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a.long() @ b.long()).int()


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 17, 5), (33, 70, 40), (0, 4, 4), (4, 0, 4)])
def test_is_exact(dtype, shape) -> None:
    m, k, n = shape
    a, b = codes(m, k, dtype=dtype), codes(k, n)
    for right in (b, codes(n, k).t()):
        result = ot.int_mm(a, right)
        assert result.dtype == torch.int32
        assert torch.equal(result, exact(a, right))
    assert torch.equal(ot.int_mm(a[::2], b), exact(a[::2], b))


def test_extremes_do_not_saturate() -> None:
    a = torch.full((2, 4096), -128, dtype=torch.int8)
    assert int(ot.int_mm(a, a.t())[0, 0]) == 128 * 128 * 4096


def test_is_one_operator_when_compiled() -> None:
    a, b = codes(5, 32), codes(32, 9)
    graphs = []

    def backend(graph, _inputs):
        graphs.append([node.target for node in graph.graph.nodes if node.op == "call_function"])
        return graph.forward

    compiled = torch.compile(ot.int_mm, fullgraph=True, backend=backend)
    assert torch.equal(compiled(a, b), exact(a, b))
    assert len(graphs) == 1
    assert "octavo.int_mm" in str(graphs[0][-1])


@pytest.mark.parametrize(
    ("a", "b", "error", "match"),
    [
        (torch.zeros(2, 2), codes(2, 2), TypeError, r"a: expected torch\.int8 or torch\.uint8"),
        (codes(2, 2), codes(2, 2).int(), TypeError, r"b: expected torch\.int8, got torch\.int32"),
        (codes(2, 2), codes(3, 2), ValueError, r"b: expected 2 rows to match a of shape \(2, 2\)"),
        (codes(2), codes(2, 2), ValueError, "a: expected two dimensions"),
        (codes(2, 2).to_sparse(), codes(2, 2), TypeError, "a: expected a dense tensor"),
        ([[1]], codes(1, 1), TypeError, "a: expected a tensor, got list"),
        (codes(1, 131073), codes(131073, 1), ValueError, "K = 131073 is over 131071"),
    ],
)
def test_refuses(a, b, error, match) -> None:
    with pytest.raises(error, match=match):
        ot.int_mm(a, b)


def test_plug_in_reaches_torchs_own_product(monkeypatch) -> None:
    a, weight = codes(3, 64), codes(10, 64)
    own = torch._int_mm(a, weight.t())  # PyTorch 2.4 saturates on CPUs without VNNI
    calls = []
    original = plugins._weight_product
    monkeypatch.setattr(plugins, "_weight_product", lambda x, y: calls.append(1) or original(x, y))
    with ot.plug_in("torch") as plug:
        assert "active=True" in repr(plug)
        for _ in range(3):
            assert torch.equal(torch._int_mm(a, weight.t()), exact(a, weight.t()))
        out = torch.empty(3, 10, dtype=torch.int32)
        assert torch._int_mm(a, weight.t(), out=out) is out
        assert torch.equal(out, exact(a, weight.t()))
    assert len(calls) == 4
    plug.remove()
    assert torch.equal(torch._int_mm(a, weight.t()), own)
    assert len(calls) == 4
    assert "active=False" in repr(plug)


def test_weights_are_packed_once_and_let_go() -> None:
    seen = plugins._SEEN
    before = len(seen)
    a, weight = codes(3, 64), codes(10, 64)
    for times in range(1, 4):
        assert torch.equal(plugins._weight_product(a, weight.t()), exact(a, weight.t()))
        assert len(seen) == before + 1
        slot = next(reversed(seen._entries.values()))[2]
        assert slot[0] == times
        assert (slot[1] is not None) == (times > 1)
    weight.neg_()
    assert torch.equal(plugins._weight_product(a, weight.t()), exact(a, weight.t()))
    assert len(seen) == before + 1
    del weight
    gc.collect()
    assert len(seen) == before


def test_unknown_plug_in() -> None:
    with pytest.raises(ValueError, match="name: expected one of torch, bitsandbytes, got 'onnx'"):
        ot.plug_in("onnx")


def test_a_library_that_is_not_there(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ImportError, match="plug_in needs bitsandbytes: pip install bitsandbytes"):
        ot.plug_in("bitsandbytes")


def test_bitsandbytes_layer() -> None:
    reason = "needs bitsandbytes"
    bitsandbytes = pytest.importorskip("bitsandbytes", reason=reason)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    plain = torch.nn.Linear(96, 48)
    layer = bitsandbytes.nn.Linear8bitLt(96, 48, has_fp16_weights=False)
    layer.load_state_dict(plain.state_dict())
    layer = layer.to("cpu").eval()
    x = torch.randn(5, 96)
    with torch.no_grad():
        expected = layer(x)
        with ot.plug_in("bitsandbytes"):
            y = layer(x)
            a, b = codes(2, 3, 96), layer.state.CB
            product = torch.ops.bitsandbytes.int8_linear_matmul(a, b)
        again = layer(x)
        # What int8 codes give without any rounding after them.
        q, stats, _ = torch.ops.bitsandbytes.int8_vectorwise_quant(x.half())
        sums = q.double() @ layer.state.CB.double().t()
        exactly = sums * stats[:, None].double() * layer.state.SCB.double() / 127**2 + plain.bias
    assert torch.equal(product, exact(a.reshape(6, 96), b.t()).reshape(2, 3, 48))
    assert torch.equal(again, expected)
    error, theirs = (y - exactly).abs().max(), (expected - exactly).abs().max()
    # Four float32 roundings of values up to the largest output.
    assert error <= 4 * 2**-24 * exactly.abs().max()
    assert error <= theirs


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("has_bias", [False, True])
def test_bitsandbytes_scaled_product(dtype, has_bias) -> None:
    # Its own tests take codes down to -128 and statistics of any sign.
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes")
    a, b = codes(10, 20), codes(30, 20)
    b[3], b[4] = -128, 127
    row_stats, col_stats = torch.randn(10), torch.randn(30)
    col_stats[7] = 0
    bias = torch.randn(30, dtype=dtype) if has_bias else None
    operator = torch.ops.bitsandbytes.int8_scaled_mm.default
    with ot.plug_in("bitsandbytes"):
        y = operator(a, b, row_stats, col_stats, bias, dtype)
        torch.library.opcheck(operator, (a, b, row_stats, col_stats, bias, dtype))
    scales = row_stats.double()[:, None] * col_stats.double() / 127**2
    wanted = (a.double() @ b.double().t()) * scales + (bias.double() if has_bias else 0)
    assert y.dtype == dtype
    unit = {torch.float16: 2**-11, torch.bfloat16: 2**-8, torch.float32: 2**-22}[dtype]
    assert ((y - wanted).abs() <= unit * wanted.abs().max()).all()


@pytest.mark.parametrize("threshold", [0.0, 2.0])
@pytest.mark.parametrize("rows", [1, 9])
def test_bitsandbytes_quantization_is_as_near(threshold, rows) -> None:
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes")
    x = torch.randn(rows, 96).half()
    quantize = torch.ops.bitsandbytes.int8_vectorwise_quant
    expected = quantize(x.clone(), threshold)
    with ot.plug_in("bitsandbytes"):
        result = quantize(x.clone(), threshold)
    for ours, theirs in zip(result, expected, strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    (codes, stats, columns), (their_codes, their_stats, their_columns) = result, expected
    assert columns is None or torch.equal(columns, their_columns)
    # Two roundings: to a scale, and back.
    assert ((stats - their_stats).abs() <= 2 * 2**-24 * their_stats).all()
    distance = x.double() * 127 / their_stats.double()[:, None]
    other = codes != their_codes
    ours, theirs = (distance - codes)[other].abs(), (distance - their_codes)[other].abs()
    assert (ours <= theirs + 127 * 2**-22).all()


def test_quanto_layer_is_unchanged() -> None:
    quanto = pytest.importorskip("optimum.quanto", reason="needs optimum-quanto")
    model = torch.nn.Sequential(torch.nn.Linear(96, 48))
    quanto.quantize(model, weights=quanto.qint8, activations=quanto.qint8)
    x = torch.randn(8, 96)
    with torch.no_grad():
        with quanto.Calibration():
            model(x)
        quanto.freeze(model)
        expected = model(x)
        with ot.plug_in("torch"):
            for _ in range(3):
                assert torch.equal(model(x), expected)
