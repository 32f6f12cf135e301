# SPDX-License-Identifier: Apache-2.0
"""Weights in groups: every tier and NumPy give the same bits, which are the definition's."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from native import core, needs_core
from octavo import _backend, nn
from octavo._numpy.fused import fused
from octavo.nn.weights import Int4Weight, Int5Weight, Int8GroupWeight, SteppedScale
from reference import assert_same_bits

F32 = np.float32
KINDS = (Int4Weight, Int5Weight, Int8GroupWeight)
NUMBERS = ("float32", "float16", "steps")

every_kind = pytest.mark.parametrize("cls", KINDS)


def numbers(rng: np.random.Generator, kind: str, n: int, groups: int, most: float) -> Any:
    values = (rng.standard_normal((n, groups)) * most).astype(F32)
    if kind == "steps":
        unit = (rng.standard_normal((n, -(-groups // 8))) * most / 64).astype(np.float16)
        return SteppedScale(rng.integers(0, 64, (n, groups)).astype(np.uint8), unit)
    return values.astype(kind)


def values_of(given: Any) -> Any:
    return given.values() if isinstance(given, SteppedScale) else np.asarray(given, F32)


def arguments(
    rng: np.random.Generator, cls: Any, n: int, k: int, group: int, form: tuple[str, Any, bool]
) -> dict[str, Any]:
    scale, minimum, ordered = form
    groups, low = -(-k // group), 0 if minimum else -(1 << (cls.bits - 1))
    codes = rng.integers(low, low + (1 << cls.bits), (n, k))
    made = {
        "codes": codes.astype(np.uint8 if minimum else np.int8),
        "scale": numbers(rng, scale, n, groups, 0.1),
        "group": group,
    }
    if minimum:
        made["minimum"] = numbers(rng, minimum, n, groups, 1.0)
    return {**made, "order": rng.permutation(k)} if ordered else made


FORMS = [(scale, minimum, False) for scale in NUMBERS for minimum in (None, *NUMBERS)]
FORMS += [("float16", "float16", True), ("float32", None, True)]


def definition(given: dict[str, Any], x: Any) -> Any:
    codes, group = given["codes"].astype(np.int64), given["group"]
    x = x if given.get("order") is None else x[:, given["order"]]
    scale = values_of(given["scale"])
    minimum = None if "minimum" not in given else values_of(given["minimum"])
    expected = np.zeros((len(x), len(codes)), F32)
    parts = [slice(i, i + group) for i in range(0, x.shape[1], group)]
    rows = []
    for part in parts:
        most = np.abs(x[:, part]).max(axis=1, initial=0)
        scales = np.where(most == 0, F32(1), most / F32(127))
        rounded = np.rint(x[:, part] * (F32(1) / scales)[:, None])
        rows.append((np.clip(rounded, -127, 127).astype(np.int64), scales))
    for g, (row, scales) in enumerate(rows):
        if minimum is not None:
            asum = row.sum(axis=1).astype(F32) * scales
            expected = fused(asum[:, None], minimum[:, g], expected)
    for g, (row, scales) in enumerate(rows):
        sums = (row @ codes[:, parts[g]].T).astype(F32)
        expected = fused(sums, scales[:, None] * scale[:, g], expected)
    return expected


@every_kind
@pytest.mark.parametrize("group", [32, 64, 128])
def test_the_definition(
    isa: str, threads: int, rng: np.random.Generator, cls: Any, group: int
) -> None:
    shapes = ((1, 1, 1), (3, 17, 33), (1, 64, 256), (70, 50, 300), (0, 5, 40), (2, 70, 1100))
    for i, form in enumerate(FORMS):
        m, n, k = shapes[i % len(shapes)]
        given = arguments(rng, cls, n, k, group, form)
        weight = cls.from_quantized(**given)
        x = rng.standard_normal((m, k)).astype(F32)
        assert_same_bits(nn.Linear.of(weight)(x), definition(given, x))
        check_what_is_held(weight, given)


def check_what_is_held(weight: Any, given: dict[str, Any]) -> None:
    assert_same_bits(weight.codes, given["codes"])
    assert_same_bits(weight.scale, values_of(given["scale"]))
    assert (weight.minimum is None) == ("minimum" not in given)
    values = given["codes"] * weight.scale.repeat(weight.group, axis=1)[:, : weight.shape[1]]
    if weight.minimum is not None:
        assert_same_bits(weight.minimum, values_of(given["minimum"]))
        values = values + weight.minimum.repeat(weight.group, axis=1)[:, : weight.shape[1]]
    order = given.get("order")
    if order is not None:
        assert np.array_equal(weight.order, order)
        values = values[:, np.argsort(order)]
    assert_same_bits(weight.dequantized(), values)
    ids = np.array([[0, len(values) - 1], [len(values) // 2, 0]])
    rows = np.empty((2, 2, values.shape[1]), F32)
    weight.lookup(ids, rows)
    assert_same_bits(rows, values[ids])


@every_kind
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_copies_have_the_same_form(rng: np.random.Generator, cls: Any, form: Any) -> None:
    weight = cls.from_quantized(**arguments(rng, cls, 5, 300, 64, form))
    tensors = weight.tensors()
    assert weight.nbytes == sum(array.nbytes for array in tensors.values())
    scale = {"float32": "float32", "float16": "float16", "steps": "uint8"}[form[0]]
    assert tensors["weight_scale"].dtype == scale
    copies = [cls.from_tensors(tensors), pickle.loads(pickle.dumps(weight))]
    with _backend.use("numpy"):
        copies.append(pickle.loads(pickle.dumps(weight)))
    copies.append(cls.attach(weight.shareable(), weight.shape))
    for copy in copies:
        assert copy.tensors().keys() == tensors.keys()
        for key, array in copy.tensors().items():
            assert_same_bits(array, tensors[key])


@every_kind
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_bias_activation_and_what_is_added(
    isa: str, threads: int, rng: np.random.Generator, activation: str, cls: Any
) -> None:
    form = ("float16", "float16", True)
    weight = cls.from_quantized(**arguments(rng, cls, 50, 200, 64, form))
    x = rng.standard_normal((40, 200)).astype(F32)
    bias, multiplier = (rng.standard_normal(n).astype(F32) ** 2 for n in (50, 200))
    residual, addend = (rng.standard_normal((40, 50)).astype(F32) for _ in range(2))
    for output in ({}, {"output_scale": 0.05, "output_zero_point": 3}):
        options = nn.LinearOptions(activation=activation, input_multiplier=multiplier, **output)
        layer = nn.Linear.of(weight, bias, options)
        with _backend.use("numpy"):
            twin = nn.Linear.of(pickle.loads(pickle.dumps(weight)), bias, options)
        y, expected = (one(x, residual, addend=addend) for one in (layer, twin))
        assert_same_bits(*(one.data if output else one for one in (y, expected)))


@every_kind
def test_groups_that_are_not_finite(isa: str, rng: np.random.Generator, cls: Any) -> None:
    given = arguments(rng, cls, 20, 100, 32, ("float32", "float32", False))
    x = rng.standard_normal((4, 100)).astype(F32)
    x[1, 70], x[2, 0] = np.nan, np.inf
    x[3] = 0
    y = nn.Linear.of(cls.from_quantized(**given))(x)
    assert np.isnan(y[1:3]).all()
    assert np.isfinite(y[0]).all()
    assert not y[3].any()


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "group": ({"group": 16}, r"^group: expected 32, 64 or 128, got 16"),
    "codes": ({"codes": np.full((4, 100), 99, np.int8)}, r"^codes: expected values in \[-"),
    "dtype": ({"codes": np.zeros((4, 100), F32)}, r"^codes: expected int8 or uint8, got float32"),
    "scales": ({"scale": np.ones((4, 3), F32)}, r"^scale: expected shape \(4, 4\)"),
    "nan": ({"scale": np.full((4, 4), np.nan, F32)}, r"^scale: expected finite values"),
    "infinity": (
        {"codes": np.ones((4, 100), np.uint8), "minimum": np.full((4, 4), np.inf, np.float16)},
        r"^minimum: expected finite values",
    ),
    "signed": (
        {"codes": np.full((4, 100), -1, np.int8), "minimum": np.ones((4, 4), F32)},
        r"^codes: expected values in \[0, ",
    ),
    "order": ({"order": np.zeros(100, np.int64)}, r"^order: expected each of 0 to 99 once"),
    "order of others": ({"order": np.arange(99)}, r"^order: expected shape \(100,\)"),
    "steps": (
        {"scale": SteppedScale(np.ones((4, 4), np.int8), np.ones((4, 1), np.float16))},
        r"^scale.steps: expected uint8, got int8",
    ),
    "units": (
        {"scale": SteppedScale(np.ones((4, 4), np.uint8), np.ones((4, 1), F32))},
        r"^scale.unit: expected float16, got float32",
    ),
    "few units": (
        {"scale": SteppedScale(np.ones((4, 4), np.uint8), np.ones((4, 2), np.float16))},
        r"^scale.unit: expected shape \(4, 1\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("cls", [Int4Weight, Int5Weight])
def test_bad_arguments_are_named(cls: Any, case: str) -> None:
    changed, message = BAD[case]
    good = {"codes": np.zeros((4, 100), np.int8), "scale": np.ones((4, 4), F32), "group": 32}
    cls.from_quantized(**good)
    with pytest.raises((ValueError, TypeError), match=message):
        cls.from_quantized(**{**good, **changed})


@needs_core
def test_bad_arguments_of_the_module(rng: np.random.Generator) -> None:
    codes, scale = np.zeros((20, 100), np.int8), np.ones((20, 4), F32)
    make, order = core.grouped_weight, np.arange(100, dtype=np.int32)
    for wrong, message in (
        ((codes, 4, 16, scale), r"4, 5 or 8 bits in groups of 32, 64 or 128"),
        ((codes, 6, 32, scale), r"4, 5 or 8 bits in groups of 32, 64 or 128"),
        ((codes + np.int8(8), 4, 32, scale), r"codes: expected values of as many bits"),
        ((codes, 4, 32, scale[:, 1:].copy()), r"scale: expected one value per row and group"),
        ((codes, 4, 32, scale.astype(np.uint8), scale), r"scale: expected one value per row"),
        ((codes, 4, 32, scale, None, scale), r"codes: expected an aligned"),
        ((codes, 4, 32, scale, None, None, None, order[::-1]), r"order: expected an aligned"),
        ((codes, 4, 32, scale, None, None, None, order + 1), r"order: expected every input once"),
    ):
        with pytest.raises(ValueError, match=message):
            make(*wrong)
    weight = make(codes, 4, 32, scale)
    layer = core.grouped_linear(weight, None, "none", None, 0)
    assert layer.scale is None
    with pytest.raises(ValueError, match="one scale for each output"):
        layer.run_codes(codes[:4], np.ones(4, F32), np.zeros(4, np.int32))
    with pytest.raises(ValueError, match="as many columns"):
        layer.run(np.zeros((4, 99), F32))
    with pytest.raises(ValueError, match="ids: expected row numbers"):
        weight.rows(np.array([20]), np.empty((1, 100), F32))
    dense = core.PackedLinear(codes, scale[:, 0].copy(), None, "none", False, None, 0, None, 0)
    for call in (
        lambda: core.grouped_linear(dense.weight, None, "none", None, 0),
        dense.weight.numbers,
    ):
        with pytest.raises(ValueError, match="scales of groups of inputs"):
            call()
    with pytest.raises(ValueError, match="expected codes of 5 bits, got 4"):
        Int5Weight.attach({"packed": weight.packed}, (20, 100))
