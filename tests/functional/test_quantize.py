# SPDX-License-Identifier: Apache-2.0
"""quantize_linear and dequantize_linear: ONNX semantics on every tier."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import octavo
import reference
from native import floats
from reference import assert_same_bits
from refusals import refusals

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

pytestmark = pytest.mark.usefixtures("isa")

CODES = ("int8", "uint8", "int16", "uint16")
FLOATS = ("float32", "float16")
# (shape, axis, block_size): per tensor, per axis, blocked; with sizes around vector widths.
LAYOUTS = [
    ((), None, None),
    ((1,), None, None),
    ((67,), None, None),
    ((0,), None, None),
    ((3, 129), None, None),
    ((3, 129), 0, None),
    ((3, 129), 1, None),
    ((2, 5, 33), 1, None),
    ((2, 5, 33), -1, None),
    ((4, 0, 3), 0, None),
    ((4, 0, 3), 1, None),
    ((3, 64), 1, 16),
    ((3, 70), 1, 32),
    ((9, 17), 0, 4),
    ((2, 7, 5), 1, 3),
    ((2, 7), 1, 100),
]


def parameters(
    rng: np.random.Generator, layout: Any, floats: str, codes: str
) -> tuple[Any, Any, Any, Any]:
    """Scale and zero point, and both spread to the shape of the data."""
    shape, axis, block = layout
    if axis is None:
        size: tuple[int, ...] = ()
    elif block is None:
        size = (shape[axis],)
    else:
        size = tuple(-(-n // block) if i == axis % len(shape) else n for i, n in enumerate(shape))
    limits = np.iinfo(codes)
    scale = np.asarray(rng.uniform(0.01, 0.3, size), floats)
    point = np.asarray(rng.integers(limits.min, limits.max + 1, size), codes)
    if axis is None:
        return scale, point, np.broadcast_to(scale, shape), np.broadcast_to(point, shape)
    full = [reference.spread(p, shape, axis, block) for p in (scale, point)]
    return scale, point, *full


def onnx_run(op: str, inputs: list[Any], **attributes: Any) -> Any:
    """One operator through the reference evaluator."""
    names = ["a", "b", "c"][: len(inputs)]
    node = helper.make_node(op, names, ["y"], **attributes)
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for n, x in zip(names, inputs, strict=True)
    ]
    out = helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)
    graph = helper.make_graph([node], "g", infos, [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    return ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))[0]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize("floats", FLOATS)
def test_quantize_is_the_reference_and_onnx(
    rng: np.random.Generator, layout: Any, codes: str, floats: str
) -> None:
    shape, axis, block = layout
    scale, point, full_scale, full_point = parameters(rng, layout, floats, codes)
    x = np.asarray(rng.normal(0, 20, shape), floats)
    y = octavo.quantize_linear(x, scale, point, axis=axis, block_size=block)
    assert_same_bits(y, reference.quantize_linear(x, full_scale, full_point, codes))
    attributes = {} if axis is None else {"axis": axis, "block_size": block or 0}
    if x.size:
        assert_same_bits(y, onnx_run("QuantizeLinear", [x, scale, point], **attributes))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("codes", [*CODES, "int32"])
@pytest.mark.parametrize("floats", FLOATS)
def test_dequantize_is_the_reference_and_onnx(
    rng: np.random.Generator, layout: Any, codes: str, floats: str
) -> None:
    shape, axis, block = layout
    scale, point, full_scale, full_point = parameters(rng, layout, floats, codes)
    if codes == "int32":
        point, full_point = np.zeros_like(point), np.zeros_like(full_point)
    limits = np.iinfo(codes)
    q = rng.integers(limits.min, limits.max + 1, shape).astype(codes)
    y = octavo.dequantize_linear(q, scale, point, axis=axis, block_size=block)
    assert_same_bits(y, reference.dequantize_linear(q, full_scale, full_point))
    attributes = {} if axis is None else {"axis": axis, "block_size": block or 0}
    if q.size and codes != "int32":
        with np.errstate(all="ignore"):
            assert_same_bits(y, onnx_run("DequantizeLinear", [q, scale, point], **attributes))


SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45, 1e-38, 3.4e38, 0.5, 1.5, 2.5]


@pytest.mark.parametrize("codes", CODES)
@pytest.mark.parametrize(
    "scale", [1.0, 1e-45, 1e-38, 2.0**-101, 2.0**-100, 0.1, 2.0**100, 2.0**101, 3e38]
)
def test_special_values_and_extreme_scales(
    rng: np.random.Generator, codes: str, scale: float
) -> None:
    x = np.concatenate([SPECIAL, -np.array(SPECIAL), floats(rng, 50)]).astype(np.float32)
    for point in (0, np.iinfo(codes).min, np.iinfo(codes).max):
        expected = reference.quantize_linear(
            x, np.full(x.shape, scale, np.float32), np.full(x.shape, point), codes
        )
        assert_same_bits(octavo.quantize_linear(x, scale, point, dtype=codes), expected)


def test_the_division_is_in_the_type_of_the_scale() -> None:
    x = np.linspace(-8, 8, 999).astype(np.float16)
    none = np.zeros(x.shape, int)
    for scale, values in ((np.float32(0.0371), x), (np.float16(0.0371), x.astype(np.float32))):
        y = octavo.quantize_linear(values, scale, dtype="int16")
        assert_same_bits(y, reference.quantize_linear(x, np.full(x.shape, scale), none, "int16"))


def test_dtype_follows_the_zero_point() -> None:
    assert octavo.quantize_linear([1.0], 0.5).dtype == np.int8
    assert octavo.quantize_linear([1.0], 0.5, 3).dtype == np.int8
    assert octavo.quantize_linear([1.0], 0.5, np.uint8(3)).dtype == np.uint8
    assert octavo.quantize_linear([1.0], 0.5, np.int64(3)).dtype == np.int8
    assert octavo.quantize_linear([1.0], 0.5, np.uint8(3), dtype="uint16").dtype == np.uint16
    assert octavo.quantize_linear(np.ones(1, np.float16), 0.5).dtype == np.int8


def layouts_of(x: Any) -> dict[str, Any]:
    """The same values in memory layouts a caller may have."""
    read_only = x.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape)
    wide = np.zeros((x.shape[0] * 2, x.shape[1] * 3), x.dtype)
    wide[::2, ::3] = x
    return {
        "read_only": read_only,
        "byte_swapped": x.astype(x.dtype.newbyteorder()),
        "fortran": np.asfortranarray(x),
        "strided": wide[::2, ::3],
        "reversed": x[::-1, ::-1].copy()[::-1, ::-1],
        "unaligned": unaligned,
        "memoryview": memoryview(x),
        "subclass": x.view(np.matrix),
    }


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_memory_layouts(rng: np.random.Generator) -> None:
    x = rng.normal(0, 20, (7, 33)).astype(np.float32)
    scale = rng.uniform(0.1, 1, 7).astype(np.float32)
    y = octavo.quantize_linear(x, scale, axis=0)
    back = octavo.dequantize_linear(y, scale, axis=0)
    for values in layouts_of(x).values():
        assert_same_bits(octavo.quantize_linear(values, scale, axis=0), y)
    for values in layouts_of(y).values():
        assert_same_bits(octavo.dequantize_linear(values, scale, axis=0), back)
    swapped = scale.astype(">f4"), np.zeros(7, ">i4")
    assert_same_bits(octavo.quantize_linear(x, *swapped, axis=0), y)


class OnlyDLPack:
    """An object that offers nothing but DLPack."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def test_dlpack(rng: np.random.Generator) -> None:
    x = rng.normal(0, 20, (7, 33)).astype(np.float32)
    y = octavo.quantize_linear(x, 0.5)
    assert_same_bits(octavo.quantize_linear(OnlyDLPack(x), 0.5), y)
    back = octavo.dequantize_linear(OnlyDLPack(y), OnlyDLPack(np.float32([0.5])))
    assert_same_bits(back, y * np.float32(0.5))


ONE = np.ones((2, 3), np.float32)
BAD_CALLS = {
    "x object": (TypeError, "x", lambda: octavo.quantize_linear(np.array([1.0, None]), 0.5)),
    "x none": (TypeError, "x", lambda: octavo.quantize_linear(None, 0.5)),
    "x string": (TypeError, "x", lambda: octavo.quantize_linear("1.0", 0.5)),
    "x strings": (TypeError, "x", lambda: octavo.quantize_linear(["1.0"], 0.5)),
    "x ragged": (TypeError, "x", lambda: octavo.quantize_linear([[1.0], [1.0, 2.0]], 0.5)),
    "x complex": (TypeError, "x", lambda: octavo.quantize_linear(ONE.astype(complex), 0.5)),
    "x bool": (TypeError, "x", lambda: octavo.quantize_linear(ONE > 0, 0.5)),
    "x float64": (TypeError, "x", lambda: octavo.quantize_linear(ONE.astype(float), 0.5)),
    "x int": (TypeError, "x", lambda: octavo.quantize_linear(ONE.astype(int), 0.5)),
    "x masked": (TypeError, "x", lambda: octavo.quantize_linear(np.ma.masked_array(ONE), 0.5)),
    "x dict": (TypeError, "x", lambda: octavo.quantize_linear({}, 0.5)),
    "x date": (TypeError, "x", lambda: octavo.quantize_linear(np.zeros(2, "M8[s]"), 0.5)),
    "x structured": (TypeError, "x", lambda: octavo.quantize_linear(np.zeros(2, "f4,f4"), 0.5)),
    "scale 0": (ValueError, "scale", lambda: octavo.quantize_linear(ONE, 0.0)),
    "scale negative": (ValueError, "scale", lambda: octavo.quantize_linear(ONE, -0.5)),
    "scale nan": (ValueError, "scale", lambda: octavo.quantize_linear(ONE, np.nan)),
    "scale inf": (ValueError, "scale", lambda: octavo.quantize_linear(ONE, np.inf)),
    "scale underflow": (ValueError, "scale", lambda: octavo.quantize_linear(ONE, 1e-60)),
    "scale overflow": (ValueError, "scale", lambda: octavo.quantize_linear(ONE, 1e60)),
    "scale int": (TypeError, "scale", lambda: octavo.quantize_linear(ONE, np.int32(1))),
    "scale object": (TypeError, "scale", lambda: octavo.quantize_linear(ONE, [None])),
    "one scale 0": (ValueError, "scale", lambda: octavo.quantize_linear(ONE, [1.0, 0.0], axis=0)),
    "scale long": (ValueError, "scale", lambda: octavo.quantize_linear(ONE, [1.0] * 3, axis=0)),
    "scale rank": (ValueError, "scale", lambda: octavo.quantize_linear(ONE, ONE, axis=0)),
    "no axis": (ValueError, "axis", lambda: octavo.quantize_linear(ONE, [1.0] * 2)),
    "axis high": (ValueError, "axis", lambda: octavo.quantize_linear(ONE, [1.0] * 2, axis=2)),
    "axis low": (ValueError, "axis", lambda: octavo.quantize_linear(ONE, [1.0] * 2, axis=-3)),
    "axis float": (TypeError, "axis", lambda: octavo.quantize_linear(ONE, [1.0] * 2, axis=1.0)),
    "axis bool": (TypeError, "axis", lambda: octavo.quantize_linear(ONE, [1.0] * 2, axis=True)),
    "axis of scalar": (ValueError, "axis", lambda: octavo.quantize_linear(1.0, [1.0], axis=0)),
    "block axis": (ValueError, "axis", lambda: octavo.quantize_linear(ONE, ONE, block_size=1)),
    "block 0": (
        ValueError,
        "block_size",
        lambda: octavo.quantize_linear(ONE, ONE, axis=1, block_size=0),
    ),
    "block shape": (
        ValueError,
        "scale",
        lambda: octavo.quantize_linear(ONE, ONE, axis=1, block_size=2),
    ),
    "point high": (ValueError, "zero_point", lambda: octavo.quantize_linear(ONE, 1.0, 128)),
    "point low": (
        ValueError,
        "zero_point",
        lambda: octavo.quantize_linear(ONE, 1.0, -1, dtype="uint8"),
    ),
    "point float": (TypeError, "zero_point", lambda: octavo.quantize_linear(ONE, 1.0, 0.0)),
    "point shape": (
        ValueError,
        "zero_point",
        lambda: octavo.quantize_linear(ONE, [1.0] * 2, [0], axis=0),
    ),
    "dtype int32": (TypeError, "dtype", lambda: octavo.quantize_linear(ONE, 1.0, dtype="int32")),
    "dtype word": (TypeError, "dtype", lambda: octavo.quantize_linear(ONE, 1.0, dtype="byte-ish")),
    "deq float": (TypeError, "x", lambda: octavo.dequantize_linear(ONE, 1.0)),
    "deq int64": (TypeError, "x", lambda: octavo.dequantize_linear([1, 2], 1.0)),
    "deq scale 0": (ValueError, "scale", lambda: octavo.dequantize_linear(np.int8([1]), 0.0)),
    "deq scale inf": (ValueError, "scale", lambda: octavo.dequantize_linear(np.int8([1]), np.inf)),
    "deq int32 point": (
        ValueError,
        "zero_point",
        lambda: octavo.dequantize_linear(np.int32([1]), 1.0, 1),
    ),
}

test_bad_arguments_are_named = refusals(BAD_CALLS)


finite = st.floats(-(2.0**100), 2.0**100, width=32)


@given(
    hnp.arrays(np.float32, st.integers(0, 70), elements=finite),
    st.floats(2.0**-10, 2.0**10, width=32),
)
def test_round_trip_is_within_half_a_step(x: Any, scale: float) -> None:
    codes = octavo.quantize_linear(x, scale, dtype="int16")
    back = octavo.dequantize_linear(codes, scale)
    inside = np.abs(x) < 32767 * scale
    bound = np.float64(scale) * (0.5 + 32767 * 2.0**-22)
    assert (np.abs(back.astype(float) - x)[inside] <= bound).all()
    assert (codes[x > 32768 * scale] == 32767).all()
    assert (codes[x < -32769 * scale] == -32768).all()


anything = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(max_dims=3, min_side=0, max_side=40), elements=anything
    ),
    st.floats(2.0**-149, 2.0**126, width=32),
    st.sampled_from(CODES),
)
def test_any_float_is_quantized_as_the_reference_does(x: Any, scale: float, codes: str) -> None:
    full = np.full(x.shape, scale, np.float32)
    expected = reference.quantize_linear(x, full, np.zeros(x.shape, int), codes)
    assert_same_bits(octavo.quantize_linear(x, scale, dtype=codes), expected)
