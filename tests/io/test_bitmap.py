# SPDX-License-Identifier: Apache-2.0
"""Stored sparse tensors: what is read is what was written; damage is named, never followed."""

from __future__ import annotations

import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given

from octavo.io import Checkpoint
from octavo.io.bitmap import is_smaller, pack_bitmap
from reference import assert_same_bits
from sparse_files import own_parts, retired_parts

if TYPE_CHECKING:
    from pathlib import Path

Tensors = dict[str, np.ndarray]
CODES = np.array([[0, 5, 0, 0, 0, 0, 0, 0, 0, -127], [0] * 10, [1] * 10], np.int8)

matrices = hnp.arrays(
    np.int8,
    st.tuples(st.integers(1, 5), st.integers(1, 20)),
    elements=st.sampled_from([0, 0, 0, 1, -1, 127, -127]),
)


def checkpoint(folder: Path, tensors: Tensors) -> Checkpoint:
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    return Checkpoint(folder)


@given(matrices)
def test_own_layout(tmp_path: Path, codes: np.ndarray) -> None:
    parts = own_parts("a", codes)
    bitmap, values = pack_bitmap(codes)
    assert_same_bits(bitmap, parts["a.weight_bitmap"])
    assert_same_bits(values, parts["a.weight_values"])
    assert is_smaller(codes) == (sum(part.nbytes for part in parts.values()) < codes.nbytes)
    found = checkpoint(tmp_path, parts)
    assert list(found) == ["a.weight"]
    assert found.is_sparse("a.weight")
    assert (found.dtype("a.weight"), found.shape("a.weight")) == ("I8", codes.shape)
    assert_same_bits(found.int8("a.weight", codes.shape), codes)
    assert_same_bits(found.raw("a.weight"), codes)


@given(matrices, st.sampled_from(["i1", "f2", "f4", "f8"]), st.booleans(), st.booleans())
def test_retired_layout(
    tmp_path: Path, codes: np.ndarray, dtype: str, vector: bool, own_name: bool
) -> None:
    value = codes.astype(dtype)[0] if vector else codes.astype(dtype)
    found = checkpoint(tmp_path, retired_parts("a.weight" if own_name else "a", value))
    assert list(found) == ["a.weight"]
    assert found.shape("a.weight") == value.shape
    assert_same_bits(found.raw("a.weight"), value)
    if dtype == "i1":
        with pytest.raises(ValueError, match=r"'a.weight' has type I8, expected floats"):
            found.float32("a.weight")
    else:
        assert_same_bits(found.float32("a.weight"), value.astype(np.float32))
        with pytest.raises(ValueError, match=r"'a.weight' has type .*, expected I8"):
            found.int8("a.weight")


def test_minus_128(tmp_path: Path) -> None:
    codes = np.array([[-128, 0, 3]], np.int8)
    assert_same_bits(checkpoint(tmp_path, retired_parts("a", codes)).int8("a.weight"), codes)
    assert_same_bits(checkpoint(tmp_path, own_parts("a", codes)).int8("a.weight"), codes)


def test_prefixes_and_old_names(tmp_path: Path) -> None:
    norm = np.ones(4, np.float32)
    parts = {**own_parts("bert.a", CODES), **retired_parts("bert.n.gamma", norm)}
    safetensors.numpy.save_file(parts, tmp_path / "model.safetensors")
    found = Checkpoint(tmp_path, ("", "bert."), anchor="a.weight")
    assert sorted(found) == ["a.weight", "n.gamma"]
    assert "a.weight" in found
    assert "a.weight_values" not in found
    assert_same_bits(found.float32("n.weight", (4,)), norm)


OWN = own_parts("a", CODES)
RETIRED = retired_parts("a", CODES)


def longer(value: np.ndarray) -> np.ndarray:
    return np.append(value, value[-1:])


CHANGES: list[tuple[Tensors, str, Any, str]] = [
    (OWN, "weight_shape", [3, 17], r"weight_bitmap': expected shape \(3, 3\), got \(3, 2\)"),
    (OWN, "weight_shape", [2, 10], r"weight_bitmap': expected shape \(2, 2\)"),
    (OWN, "weight_shape", [3], r"weight_shape': expected 2 sizes of at least 1, got \[3\]"),
    (OWN, "weight_shape", [3, 10, 1], "weight_shape': expected 2 sizes"),
    (OWN, "weight_shape", [0, 10], r"weight_shape': expected 2 sizes .* got \[0, 10\]"),
    (OWN, "weight_shape", [3, -10], "weight_shape': expected 2 sizes"),
    (OWN, "weight_shape", [2**62, 2**62], "weight_shape': expected 2 sizes"),
    (OWN, "weight_shape", [2**40, 10], r"weight_bitmap': expected shape \(1099511627776, 2\)"),
    (OWN, "weight_shape", np.array([3, 10], "i4"), "weight_shape': expected type I64, got I32"),
    (OWN, "weight_shape", [[3, 10]], "weight_shape': expected one dimension"),
    (OWN, "weight_shape", [3, 9], "weight_bitmap': expected zero bits behind column 9"),
    (OWN, "weight_bitmap", OWN["a.weight_bitmap"][:2], "expected shape"),
    (OWN, "weight_bitmap", OWN["a.weight_bitmap"].view("i1"), "expected type U8, got I8"),
    (OWN, "weight_bitmap", OWN["a.weight_bitmap"].reshape(-1), r"\(3, 2\), got \(6,\)"),
    (OWN, "weight_bitmap", OWN["a.weight_bitmap"] & 254, "values': expected 10 values .* got 12"),
    (
        OWN,
        "weight_bitmap",
        OWN["a.weight_bitmap"] | 4,
        "bitmap': expected zero bits behind column 10",
    ),
    (OWN, "weight_values", OWN["a.weight_values"][:-1], "expected 12 values .* got 11"),
    (OWN, "weight_values", longer(OWN["a.weight_values"]), "expected 12 values .* got 13"),
    (OWN, "weight_values", np.ones(31, "i1"), "expected at most 30 values, got 31"),
    (OWN, "weight_values", OWN["a.weight_values"] * 0, r"without 0, got 0 at 0"),
    (OWN, "weight_values", OWN["a.weight_values"].astype("f4"), "expected type I8, got F32"),
    (OWN, "weight_values", OWN["a.weight_values"][:, None], "values': expected one dimension"),
    (RETIRED, "row_offsets", [0, 2, 3], "row_offsets': expected 2 for row 2, got 3"),
    (RETIRED, "row_offsets", [0, -1, 2], "row_offsets': expected 2 for row 1, got -1"),
    (RETIRED, "row_offsets", [0, 2], r"row_offsets': expected shape \(3,\), got \(2,\)"),
    (RETIRED, "row_offsets", np.array([0, 2, 2], "i4"), "expected type I64, got I32"),
    (RETIRED, "compressed", RETIRED["a.compressed"].astype("i4"), "or F64, got I32"),
    (RETIRED, "compressed", RETIRED["a.compressed"][1:], "expected 12 values .* got 11"),
    (RETIRED, "shape", [1, 3, 10], "shape': expected 1 or 2 sizes"),
    (RETIRED, "shape", [], "shape': expected 1 or 2 sizes"),
    (RETIRED, "shape", [10], r"bitmask': expected shape \(2,\), got \(3, 2\)"),
]


@pytest.mark.parametrize(("parts", "part", "value", "message"), CHANGES)
def test_contradictions(
    tmp_path: Path, parts: Tensors, part: str, value: Any, message: str
) -> None:
    changed = value if isinstance(value, np.ndarray) else np.array(value, np.int64)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            checkpoint(tmp_path, {**parts, f"a.{part}": changed}).int8("a.weight")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "model.safetensors: tensor 'a." in str(caught.value)
    assert peak < 8 << 20


arrays = st.sampled_from(["i8", "i4", "u1", "i1", "f4", "?"]).flatmap(
    lambda code: hnp.arrays(np.dtype(code), hnp.array_shapes(min_dims=0, min_side=0, max_side=12))
)


def expect_error_or(result: np.ndarray | None, folder: Path) -> None:
    """Read the weight: a clear exception, or the tensor that its parts do describe."""
    try:
        found = Checkpoint(folder).int8("a.weight")
    except ValueError as error:
        assert str(folder) in str(error)  # noqa: PT017 - reading may also succeed
        return
    if result is not None:
        assert_same_bits(found, result)
    assert found.dtype == np.int8


@given(st.data())
def test_any_parts(tmp_path: Path, data: st.DataObject) -> None:
    """Each part replaced by any other array, or gone."""
    parts = dict(data.draw(st.sampled_from([OWN, RETIRED])))
    chosen = data.draw(st.lists(st.sampled_from(sorted(parts)), min_size=1, unique=True))
    for name in chosen:
        value = data.draw(st.none() | arrays | st.just(parts[name].reshape(-1)))
        parts.pop(name)
        if value is not None:
            parts[name] = value
    safetensors.numpy.save_file(parts, tmp_path / "model.safetensors")
    expect_error_or(None, tmp_path)


@given(matrices, st.booleans(), st.data())
def test_damaged_bytes(
    tmp_path: Path, codes: np.ndarray, retired: bool, data: st.DataObject
) -> None:
    """Bytes changed anywhere in the file, and its end cut off."""
    parts = retired_parts("a", codes) if retired else own_parts("a", codes)
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(parts, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    expect_error_or(None, tmp_path)


@given(matrices, st.booleans(), st.data())
def test_a_flipped_bit_of_the_bitmap_never_passes(
    tmp_path: Path, codes: np.ndarray, retired: bool, data: st.DataObject
) -> None:
    parts = retired_parts("a", codes) if retired else own_parts("a", codes)
    bitmap = parts["a.bitmask" if retired else "a.weight_bitmap"].reshape(-1)
    place = data.draw(st.integers(0, 8 * bitmap.size - 1))
    bitmap[place // 8] ^= np.uint8(1 << place % 8)
    with pytest.raises(ValueError, match=r"expected (zero bits|at most|\d+ values)"):
        checkpoint(tmp_path, parts).int8("a.weight")


@given(matrices, st.data())
def test_headers_that_lie(tmp_path: Path, codes: np.ndarray, data: st.DataObject) -> None:
    """Huge or negative sizes and offsets in the header, true data behind it."""
    parts = own_parts("a", codes)
    path = tmp_path / "model.safetensors"
    safetensors.numpy.save_file(parts, path)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    entry = header[data.draw(st.sampled_from(sorted(parts)))]
    size = st.sampled_from([-1, 0, 1, 2, 7, 2**31, 2**47, 2**63, 2**64])
    field = data.draw(st.sampled_from(["shape", "data_offsets"]))
    entry[field] = data.draw(st.lists(size, max_size=3))
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    expect_error_or(codes, tmp_path)
