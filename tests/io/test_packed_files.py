# SPDX-License-Identifier: Apache-2.0
"""What the readers of packed weights make of words that were packed one number at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import packed_files
from octavo._packed_words import pack, unpack, unpack_padded
from octavo.io.gptq import WordsConfig, read_words
from octavo.io.grouped_codes import GroupedCodes
from octavo.io.header import NAMES
from octavo.io.pack_quantized import read_pack_quantized, stored_groups
from octavo.io.quantization import read_description
from packed_files import AWQ, GPTQ, compressed

Array = np.ndarray[Any, np.dtype[Any]]


class Layer(dict[str, Array]):
    """Tensors in memory, read as those of a file."""

    def name(self, key: str) -> str:
        return f"x.{key}"

    def dtype(self, key: str) -> str:
        return NAMES[self.raw(key).dtype.str]

    def raw(self, key: str) -> Array:
        if key not in self:
            raise ValueError(f"missing tensor 'x.{key}'")
        return self[key]

    def float32(self, key: str, shape: Any = None) -> Array:
        if self.raw(key).dtype.kind != "f":
            raise ValueError(f"tensor 'x.{key}' has type {self.dtype(key)}, expected floats")
        return self[key].astype(np.float32)


def read(tensors: dict[str, Array], described: dict[str, Any], shape: tuple[int, int]) -> Any:
    config: Any = read_description({"quantization_config": described})
    scheme = config.scheme(("x",), "Linear")
    how = read_words if isinstance(config, WordsConfig) else read_pack_quantized
    return how(Layer(tensors), shape, scheme)


def dequantized(found: GroupedCodes) -> Array:
    k = found.codes.shape[1]
    values = found.codes * found.scale.astype(np.float32).repeat(found.group, axis=1)[:, :k]
    if found.minimum is not None:
        values = values + found.minimum.repeat(found.group, axis=1)[:, :k]
    if found.order is None:
        return values
    made = np.empty_like(values)
    made[:, found.order] = values
    return made


@pytest.mark.parametrize("bits", range(1, 9))
def test_words(bits: int) -> None:
    rng = np.random.default_rng(bits)
    for count in (0, 1, 7, 31, 32, 33, 100):
        codes = rng.integers(0, 1 << bits, (3, count), np.uint8)
        words = packed_files.words(codes, bits)
        np.testing.assert_array_equal(unpack(words, bits, count), codes)
        np.testing.assert_array_equal(pack(codes, bits), words)
        words = packed_files.words(codes, bits, padded=True)
        np.testing.assert_array_equal(unpack_padded(words, bits, count), codes)


# The size of groups in the file, and of those it becomes.
SIZES = {32: 32, 64: 64, 96: 32, 128: 128, 192: 64, 256: 128, 1024: 128, -1: 128}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("form", ["gptq", "gptq_v2", "sym", "sym as v2", "ordered"])
def test_gptq(form: str, bits: int, size: int) -> None:
    rng = np.random.default_rng(bits)
    symmetric = form.startswith("sym") or bits == 8 or (bits == 3 and form != "gptq_v2")
    shape = (64, 320)
    one = packed_files.random(
        rng, shape, bits=bits, size=size, symmetric=symmetric, ordered=form == "ordered"
    )
    config = {**GPTQ, "bits": bits, "group_size": size, "sym": symmetric}
    if form == "gptq_v2":
        config["checkpoint_format"] = form
    tensors = packed_files.gptq(one, version=2 if "v2" in form or bits == 3 else 1)
    found = read(tensors, config, shape)
    np.testing.assert_array_equal(dequantized(found), one.weight)
    assert found.scale.dtype == np.float16
    assert found.kind == ("int8-group" if bits == 8 else "int4")
    assert found.group == SIZES[size]
    assert (found.minimum is None) == (symmetric or bits < 4)
    assert (found.order is None) == (form != "ordered" or size in (-1, 1024))


@pytest.mark.parametrize("size", [32, 128, -1])
def test_awq(size: int) -> None:
    shape = (40, 256)
    one = packed_files.random(np.random.default_rng(1), shape, size=size, symmetric=False)
    found = read(packed_files.awq(one), {**AWQ, "group_size": size, "version": "GEMM"}, shape)
    np.testing.assert_array_equal(dequantized(found), one.weight)


@pytest.mark.parametrize("strategy", ["group", "channel"])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("form", ["dense", "padded", "plain zeros", "ordered", "float32"])
def test_compressed_tensors(form: str, bits: int, symmetric: bool, strategy: str) -> None:
    shape = (48, 160)
    one = packed_files.random(
        np.random.default_rng(bits),
        shape,
        bits=bits,
        size=32 if strategy == "group" else -1,
        symmetric=symmetric or bits == 8,
        ordered=form == "ordered",
        scale=np.float32 if form == "float32" else np.float16,
    )
    tensors = packed_files.pack_quantized(
        one, zeros=not symmetric, padded=form == "padded", plain_zeros=form == "plain zeros"
    )
    arguments = {"num_bits": bits, "symmetric": symmetric, "strategy": strategy}
    arguments["group_size"] = 32 if strategy == "group" else None
    if form == "ordered":
        arguments["actorder"] = "group"
    found = read(tensors, compressed(**arguments), shape)
    made = dequantized(found)
    # A float32 scale times a zero point is rounded; the rest has no more bits than a float32.
    bound = 2.0**-23 * 2**bits * float(one.scale.max()) if form == "float32" else 0
    np.testing.assert_allclose(made, one.weight, rtol=0, atol=bound)
    assert found.kind == ("int4" if bits <= 4 else "int5" if bits == 5 else "int8-group")


@pytest.mark.parametrize("bits", [4, 5, 8])
@pytest.mark.parametrize("form", ["symmetric", "zeros", "ordered"])
def test_what_is_written_is_read(form: str, bits: int) -> None:
    shape, symmetric = (24, 160), form == "symmetric" or bits == 8
    one = packed_files.random(
        np.random.default_rng(bits),
        shape,
        bits=bits,
        size=64,
        symmetric=symmetric,
        ordered=form == "ordered",
    )
    arguments = {"num_bits": bits, "symmetric": symmetric, "group_size": 64, "actorder": "group"}
    found = read(packed_files.pack_quantized(one), compressed(**arguments), shape)
    numbers = (found.scale, None, found.minimum, None, found.order)
    written, told = stored_groups(found.codes, bits, found.group, numbers)
    assert written is not None
    assert told["packing"] == "pack-quantized"
    again = read(written, compressed(**arguments), shape)
    for mine, theirs in zip(again, found, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    if found.minimum is not None:
        shifted = found.minimum + np.float32(1e-3)
        numbers = (found.scale, None, shifted, None, None)
        written, told = stored_groups(found.codes, bits, 64, numbers)
        assert written is None
        assert told["groups"]


def test_one_scale_and_orders_that_are_none() -> None:
    shape = (8, 64)
    one = packed_files.random(np.random.default_rng(0), shape)
    tensors = packed_files.pack_quantized(one._replace(scale=one.scale[:1]), zeros=False)
    tensors["weight_g_idx"] = np.full(64, -1, np.int32)
    found = read(tensors, compressed(strategy="tensor", group_size=None), shape)
    assert found.order is None
    assert (found.scale == one.scale[0]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 5}, "bits is 5, supported: 2 or 3 or 4 or 8"),
        ({"bits": "4"}, "bits is '4'"),
        ({"group_size": 16}, "group_size is 16, supported: -1 and multiples of 32"),
        ({"group_size": 0}, "group_size is 0"),
        ({"group_size": 32.0}, "group_size is 32.0"),
        ({"sym": 1}, "sym is 1"),
        ({"checkpoint_format": "marlin"}, "checkpoint_format is 'marlin'"),
        ({"pack_dtype": "int16"}, "pack_dtype is 'int16'"),
        ({"dynamic": {r"+:.*down": {"bits": 8}}}, r"dynamic has other settings for '\+:\.\*down'"),
        ({"dynamic": [1]}, "dynamic must be an object"),
        ({"is_marlin_format": True}, "is_marlin_format is not supported"),
        ({**AWQ, "bits": 8}, "bits is 8, supported: 4"),
        ({**AWQ, "version": "gemv_fast"}, "version is 'gemv_fast', supported: 'gemm'"),
        ({**AWQ, "version": 3}, "version is 3"),
        ({**AWQ, "zero_point": False}, "zero_point is False"),
        (compressed(num_bits=9), "num_bits is 9"),
        (compressed(group_size=16), "group_size is 16, supported: multiples of 32"),
        (compressed(strategy="block"), "strategy is 'block'"),
        (compressed(dynamic=True), "dynamic is True"),
        (compressed(actorder="row"), "actorder is 'row'"),
    ],
)
def test_descriptions_that_are_not_read(changes: dict[str, Any], message: str) -> None:
    described = changes if "quant_method" in changes else {**GPTQ, **changes}
    with pytest.raises(ValueError, match=message):
        read_description({"quantization_config": described})


SHAPE = (32, 64)
BROKEN: list[tuple[str, str, Any, str]] = [
    ("gptq", "qweight", None, "missing tensor 'x.qweight'"),
    ("gptq", "qweight", lambda a: a[:-1], r"'x.qweight' has shape \(7, 32\), expected \(8, 32\)"),
    ("gptq", "qweight", lambda a: a.T.copy(), r"'x.qweight' has shape \(32, 8\)"),
    ("gptq", "qweight", lambda a: a.astype(np.int64), "'x.qweight' has type I64, expected I32"),
    ("gptq", "qweight", lambda a: a[0], "'x.qweight' has shape .*, expected two dimensions"),
    ("gptq", "qzeros", lambda a: a[:1], r"'x.qzeros' has shape \(1, 4\), expected \(2, 4\)"),
    ("gptq", "scales", lambda a: a[:1], r"'x.scales' has shape \(1, 32\), expected \(2, 32\)"),
    ("gptq", "scales", lambda a: a * np.float16(np.nan), "'x.scales' holds NaN or infinity"),
    ("gptq", "scales", lambda a: a.astype(np.int32), "'x.scales' has type I32, expected floats"),
    ("gptq", "g_idx", lambda a: a + 1, r"'x.g_idx': expected groups in \[0, 1\], got 1 to 2"),
    ("gptq", "g_idx", lambda a: a - 1, r"'x.g_idx': expected groups in \[0, 1\], got -1 to 0"),
    ("gptq", "g_idx", lambda a: a * 0, "'x.g_idx': group 0 has 64 inputs, expected 32"),
    ("gptq", "g_idx", lambda a: a[:5], r"'x.g_idx' has shape \(5,\)"),
    ("gptq", "g_idx", lambda a: a.astype("f4"), "'x.g_idx' has shape .* type F32, expected integ"),
    ("packed", "weight_shape", lambda a: a[:1], r"weight_shape' has shape \(1,\) and type I64"),
    (
        "awq",
        "qweight",
        lambda a: a.T.copy(),
        r"'x.qweight' has shape \(4, 64\), expected .64, 4.",
    ),
    ("awq", "qzeros", lambda a: a[:, :2].copy(), r"'x.qzeros' has shape \(2, 2\)"),
    ("packed", "weight_packed", lambda a: a[:, 1:], r"'x.weight_packed' has shape \(32, 7\)"),
    ("packed", "weight_shape", lambda a: a + 1, r"'x.weight_shape' says \(33, 65\)"),
    ("packed", "weight_scale", lambda a: a[:, :1], r"'x.weight_scale' has shape \(32, 1\)"),
    ("packed", "weight_scale", lambda a: a / np.float16(0), "'x.weight_scale' holds NaN or inf"),
    ("packed", "weight_zero_point", None, "missing tensor 'x.weight_zero_point'"),
    ("packed", "weight_zero_point", lambda a: a[1:], r"'x.weight_zero_point' has shape \(3, 2\)"),
    ("packed", "weight_zero_point", lambda a: np.full((32, 2), 9, np.int8), r"in \[-8, 7\], got 9"),
    ("packed", "weight_zero_point", lambda a: np.zeros((3, 2), np.int8), r"shape \(3, 2\)"),
]


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize(("form", "key", "change", "message"), BROKEN)
def test_broken_tensors(form: str, key: str, change: Any, message: str) -> None:
    one = packed_files.random(np.random.default_rng(0), SHAPE, size=32, symmetric=False)
    tensors, config = {
        "gptq": (packed_files.gptq(one), GPTQ),
        "awq": (packed_files.awq(one), AWQ),
        "packed": (packed_files.pack_quantized(one), compressed(symmetric=False)),
    }[form]
    value = tensors.pop(key)
    if change is not None:
        tensors[key] = change(value)
    with pytest.raises(ValueError, match=message):
        read(tensors, config, SHAPE)


def test_what_cannot_be_told_or_held() -> None:
    rng = np.random.default_rng(0)
    one = packed_files.random(rng, (2, 11), bits=3)
    tensors = packed_files.pack_quantized(one, zeros=False)
    described = compressed(num_bits=3, strategy="channel", group_size=None)
    with pytest.raises(ValueError, match="11 codes of 3 bits may be packed in two ways"):
        read(tensors, described, (2, 11))
    eight = packed_files.random(rng, SHAPE, bits=8, size=32, symmetric=False)
    with pytest.raises(ValueError, match=r"'x.qweight': asymmetric codes of 8 bits are not read"):
        read(packed_files.gptq(eight), {**GPTQ, "bits": 8}, SHAPE)
    three = packed_files.random(rng, SHAPE, bits=3, size=32, symmetric=False)
    with pytest.raises(ValueError, match=r"'x.qzeros': zero points of 3 bits are read of the form"):
        read(packed_files.gptq(three, version=2), {**GPTQ, "bits": 3}, SHAPE)
    four = packed_files.random(rng, SHAPE, size=32, symmetric=False)
    with pytest.raises(ValueError, match=r"'x.qzeros': expected 8 or 7 everywhere, as sym says"):
        read(packed_files.gptq(four), {**GPTQ, "sym": True}, SHAPE)
    same = packed_files.random(rng, SHAPE, size=32)
    config = {**GPTQ, "sym": True, "checkpoint_format": "gptq_v2"}
    with pytest.raises(ValueError, match=r"'x.qzeros': expected 8 everywhere, as sym says, got 7"):
        read(packed_files.gptq(same), config, SHAPE)
    odd = packed_files.random(rng, (4, 36), size=-1)
    with pytest.raises(ValueError, match=r"'x.qweight': 36 codes of 4 bits do not fill"):
        read(packed_files.gptq(odd), {**GPTQ, "group_size": -1}, (4, 36))
    # A scale of 0 makes zeros of its group, and one below 0 turns it around.
    scale = four.scale.copy()
    scale[0, 0], scale[1, 1] = 0, -scale[1, 1]
    found = read(packed_files.gptq(four._replace(scale=scale)), GPTQ, SHAPE)
    np.testing.assert_array_equal(dequantized(found), four._replace(scale=scale).weight)
