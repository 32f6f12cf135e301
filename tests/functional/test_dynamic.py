# SPDX-License-Identifier: Apache-2.0
"""quantize_dynamic: the exact codes of every row, on every tier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import octavo
import reference
from reference import assert_same_bits
from refusals import refusals

pytestmark = pytest.mark.usefixtures("isa")

SHAPES = [(1, 1), (3, 15), (2, 16), (2, 17), (5, 63), (4, 64), (3, 65), (1, 384), (2, 1027)]
TINY = np.float32(1.17549435e-38)


def check(x: Any, symmetric: bool) -> None:
    for actual, expected in zip(
        octavo.quantize_dynamic(x, symmetric=symmetric),
        reference.quantize_dynamic(np.asarray(x, np.float32), symmetric),
        strict=True,
    ):
        assert_same_bits(actual, expected)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_the_reference(rng: np.random.Generator, shape: Any, symmetric: bool) -> None:
    for spread in (1e-30, 1.0, 1e30):
        check(rng.normal(0, spread, shape).astype(np.float32), symmetric)
    check(np.abs(rng.normal(0, 1, shape)).astype(np.float32), symmetric)
    check(-np.abs(rng.normal(0, 1, shape)).astype(np.float32), symmetric)


ROWS = {
    "zeros": [0.0, -0.0, 0.0],
    "one": [5.0],
    "minus one": [-5.0],
    "denormal": [1e-45, -1e-45],
    "denormals": [1e-40, 3e-41, -2e-42],
    "below the smallest scale": [float(TINY), 0.0, 254 * float(TINY)],
    "at the smallest scale": [255 * float(TINY), 0.0],
    "widest": [3.4e38, -3.4e38, 1.0],
    "wide": [3.4028235e38, 0.0],
    "ties": [255.0, 0.5, 1.5, 2.5, -0.0],
    "nan": [1.0, float("nan")],
    "inf": [float("inf"), 1.0],
    "minus inf": [float("-inf"), 1.0],
    "all": [float("inf"), float("-inf"), float("nan")],
    "long nan": [1.0] * 100 + [float("nan")],
    "nan first": [float("nan")] + [1.0] * 100,
}


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("row", ROWS)
def test_special_rows(row: str, symmetric: bool) -> None:
    check([ROWS[row]], symmetric)


def test_a_row_without_a_value_is_marked() -> None:
    codes, scales, points = octavo.quantize_dynamic(np.float32([[1, np.nan], [1, 2]]))
    assert np.isnan(scales).tolist() == [True, False]
    assert points[0] == 0
    assert not codes[0].any()
    assert codes[1].any()
    values = octavo.dequantize_linear(codes, scales, points, axis=0)
    assert np.isnan(values[0]).all()
    assert np.isfinite(values[1]).all()


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (0, 0), (2, 0, 3), (2, 3, 0)], ids=str)
def test_zero_size(shape: Any) -> None:
    codes, scales, points = octavo.quantize_dynamic(np.zeros(shape, np.float32))
    assert codes.shape == shape
    assert codes.dtype == np.int8
    assert scales.shape == points.shape == shape[:-1]
    assert (scales == 1).all()
    assert (points == -128).all()


def test_any_rank(rng: np.random.Generator) -> None:
    x = rng.normal(0, 1, (2, 3, 4, 20)).astype(np.float32)
    codes, scales, points = octavo.quantize_dynamic(x)
    flat = octavo.quantize_dynamic(x.reshape(24, 20))
    assert_same_bits(codes, flat[0].reshape(x.shape))
    assert_same_bits(scales, flat[1].reshape(2, 3, 4))
    assert_same_bits(points, flat[2].reshape(2, 3, 4))
    one = octavo.quantize_dynamic(x[0, 0, 0])
    assert one[1].shape == one[2].shape == ()
    assert_same_bits(one[0], codes[0, 0, 0])


def test_strides(rng: np.random.Generator) -> None:
    wide = rng.normal(0, 1, (8, 100)).astype(np.float32)
    for view in (
        wide[:, :37],
        wide[::2, 5:70],
        wide[::-1],
        wide[:, ::3],
        wide.T,
        np.broadcast_to(wide[0], (5, 100)),
        wide.astype(np.float16),
        wide.astype(">f4"),
    ):
        check(view, False)
        check(view, True)


def test_close_to_onnx_dynamic_quantize_linear(rng: np.random.Generator) -> None:
    evaluator = pytest.importorskip("onnx.reference")
    helper = pytest.importorskip("onnx.helper")
    node = helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "s", "z"])
    run = evaluator.ReferenceEvaluator(node)
    for row in rng.normal(0.3, 1, (20, 200)).astype(np.float32):
        codes, scale, point = octavo.quantize_dynamic(row)
        onnx_codes, onnx_scale, onnx_point = run.run(None, {"x": row})
        np.testing.assert_allclose(scale, onnx_scale, rtol=1e-6)
        assert abs(int(point) + 128 - int(onnx_point)) <= 1
        # The operator divides where we multiply by the reciprocal: a tie may fall the other way.
        assert np.abs(codes.astype(int) + 128 - onnx_codes).max() <= 1


anything = st.floats(width=32, allow_nan=True, allow_infinity=True)
matrices = hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=20)


@given(hnp.arrays(np.float32, matrices, elements=anything), st.booleans())
def test_any_matrix(x: Any, symmetric: bool) -> None:
    check(x, symmetric)


@given(hnp.arrays(np.float32, matrices, elements=st.floats(-1e6, 1e6, width=32)), st.booleans())
def test_error_is_at_most_a_step(x: Any, symmetric: bool) -> None:
    codes, scales, points = octavo.quantize_dynamic(x, symmetric=symmetric)
    values = (codes.astype(float) - points[:, None]) * scales[:, None].astype(float)
    # Half a step for the value, half a step for the rounded zero point, and float32's own error.
    bound = scales.astype(float) * 1.001
    assert (np.abs(values - x) <= bound[:, None]).all()


BAD_CALLS = {
    "scalar": (ValueError, "x", lambda: octavo.quantize_dynamic(1.0)),
    "float64": (TypeError, "x", lambda: octavo.quantize_dynamic(np.ones((2, 2)))),
    "int8": (TypeError, "x", lambda: octavo.quantize_dynamic(np.ones((2, 2), np.int8))),
    "object": (TypeError, "x", lambda: octavo.quantize_dynamic(np.array([[object()]]))),
    "symmetric": (
        TypeError,
        "symmetric",
        lambda: octavo.quantize_dynamic([[1.0]], symmetric=1),  # type: ignore[arg-type]
    ),
}

test_bad_arguments_are_named = refusals(BAD_CALLS)
