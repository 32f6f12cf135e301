# SPDX-License-Identifier: Apache-2.0
"""`out` of the functions and of the layers without a weight; those with one: their contract."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import octavo
from octavo import nn
from octavo.functional import (
    attention,
    attention_int8,
    dequantize_linear,
    layer_norm,
    matmul_int8,
    quantize_dynamic,
    quantize_linear,
    softmax,
    sparse_linear,
    spmm,
)
from octavo.qtensor import QTensor
from outputs import check_out

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("isa")

RNG = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def codes(*shape: int, dtype: Any = np.int8) -> Any:
    return RNG.integers(0, 100, shape).astype(dtype)


X, ROWS = floats(3, 5, 32), {"q": floats(1, 9, 32), "k": floats(1, 9, 32), "v": floats(1, 9, 32)}
BIAS = floats(2, 9, 9)
SPARSE = octavo.sparse.SparseMatrix.from_dense(np.triu(floats(7, 32)))
SCALES = np.float32(RNG.uniform(0.01, 0.1, (5, 32)))
BLOCKS = octavo.quantize(floats(6, 32), axis=-1, block_size=16)
POINTS = {"a_zero_point": 3, "b_zero_point": codes(12)}
CASES: dict[str, tuple[Callable[..., Any], dict[str, Any], tuple[str, ...]]] = {
    "quantize": (partial(quantize_linear, axis=1), {"x": X, "scale": SCALES[:, 0]}, ()),
    "quantize float16": (
        partial(quantize_linear, scale=np.float16(0.1), dtype=np.uint16),
        {"x": X.astype(np.float16)},
        (),
    ),
    "dequantize": (
        partial(dequantize_linear, zero_point=codes(32), axis=1),
        {"x": codes(5, 32), "scale": SCALES[0]},
        (),
    ),
    "dynamic": (quantize_dynamic, {"x": X}, ()),
    "dynamic symmetric": (partial(quantize_dynamic, symmetric=True), {"x": X[0]}, ()),
    "matmul": (
        partial(matmul_int8, **POINTS),
        {"a": codes(3, 4, 8), "b": codes(8, 12)},
        (),
    ),
    "matmul vector": (
        matmul_int8,
        {"a": codes(8), "b": codes(2, 8, 12, dtype=np.uint8)},
        (),
    ),
    **{
        name: (getattr(octavo.functional, name), {"x": X}, ("x",))
        for name in ("gelu", "silu", "relu", "tanh")
    },
    "gelu tanh": (partial(octavo.functional.gelu, approximate="tanh"), {"x": X}, ("x",)),
    **{f"softmax {axis}": (partial(softmax, axis=axis), {"x": X}, ("x",)) for axis in (-1, 0)},
    "layer norm": (
        layer_norm,
        {"x": X, "residual": floats(3, 5, 32), "weight": floats(32), "bias": floats(32)},
        ("x", "residual"),
    ),
    "rms norm": (
        octavo.functional.rms_norm,
        {"x": X, "addend": floats(3, 5, 32), "weight": floats(32)},
        ("x", "addend"),
    ),
    "gated": (octavo.functional.gated, {"gate": X, "x": floats(3, 5, 32)}, ("gate", "x")),
    "rotary": (
        partial(octavo.functional.rotary_embedding, positions=np.arange(5), heads=2),
        {"x": X, "cosine": floats(7, 8), "sine": floats(7, 8)},
        ("x",),
    ),
    "attention": (partial(attention, heads=2), {**ROWS, "bias": BIAS}, ()),
    "attention int8": (partial(attention_int8, heads=2), {**ROWS, "bias": BIAS}, ()),
    "spmm": (partial(spmm, SPARSE), {"x": floats(32, 6)}, ()),
    "spmm vector": (partial(spmm, SPARSE), {"x": floats(32)}, ()),
    "sparse linear": (partial(sparse_linear, weight=SPARSE), {"x": X}, ()),
    "QTensor": (lambda out=None: BLOCKS.dequantize(out=out), {}, ()),
    "codes": (
        partial(nn.Linear.from_float(floats(6, 32)), QTensor(*octavo.quantize_dynamic(X[0]), 0)),
        {"residual": floats(5, 6)},
        (),
    ),
    "Activation": (nn.Activation("silu"), {"x": X}, ("x",)),
    "LayerNorm": (nn.LayerNorm(floats(32)), {"x": X}, ("x",)),
    "Attention": (nn.Attention(heads=2), ROWS, ()),
}


@pytest.mark.parametrize("case", CASES)
def test_out(case: str) -> None:
    check_out(*CASES[case])


def test_no_keys_give_zeros_in_out() -> None:
    out = np.full((1, 9, 32), 7, np.float32)
    for function in (attention, attention_int8):
        nothing = np.zeros((1, 0, 32), np.float32)
        assert function(ROWS["q"], nothing, nothing, heads=2, out=out) is out
        assert not out.any()


def test_a_table_is_not_written_to() -> None:
    table = nn.FloatEmbedding(floats(9, 4))
    with pytest.raises(ValueError, match=r"^out: .* does not overlap weight$"):
        table(np.arange(5), out=table.weight[2:7])
