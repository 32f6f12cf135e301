# SPDX-License-Identifier: Apache-2.0
"""safetensors files: what is read is what was written, and nothing broken is read at all."""

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

from octavo.io import TensorFile, TensorPlan, write_tensor_file

if TYPE_CHECKING:
    from pathlib import Path

DTYPES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?")


def plan(name: str, value: np.ndarray) -> TensorPlan:
    return TensorPlan(name, value.dtype, value.shape, lambda: value)


def pack(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


arrays = st.sampled_from(DTYPES).flatmap(
    lambda code: hnp.arrays(np.dtype(code), hnp.array_shapes(min_dims=0, min_side=0, max_side=4))
)


@given(st.dictionaries(st.text("abc.", min_size=1, max_size=6), arrays, max_size=6))
def test_round_trip(tmp_path: Path, values: dict[str, np.ndarray]) -> None:
    path = tmp_path / "x.safetensors"
    write_tensor_file(path, [plan(name, value) for name, value in values.items()], {"a": "b"})
    ours, theirs = TensorFile(path), safetensors.numpy.load_file(path)
    assert set(ours) == set(theirs) == set(values)
    for name, value in values.items():
        for read in (ours.array(name), theirs[name]):
            assert read.dtype == value.dtype
            assert read.shape == value.shape
            assert read.tobytes() == value.tobytes()


def test_reads_what_the_package_writes(tmp_path: Path, rng: np.random.Generator) -> None:
    value = rng.standard_normal((3, 5)).astype(np.float32)
    safetensors.numpy.save_file({"x": value}, tmp_path / "x.safetensors")
    read = TensorFile(tmp_path / "x.safetensors").array("x")
    np.testing.assert_array_equal(read, value)
    assert not read.flags.writeable
    assert not read.flags.owndata


def test_bytes_do_not_depend_on_the_order(tmp_path: Path, rng: np.random.Generator) -> None:
    plans = [
        plan("b", rng.standard_normal(3).astype(np.float32)),
        plan("a", np.arange(5, dtype=np.int8)),
        plan("c", np.arange(2.0)),
    ]
    for name, order in (("one", plans), ("two", plans[::-1])):
        write_tensor_file(tmp_path / name, order, {"format": "pt"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_data_is_aligned(tmp_path: Path) -> None:
    plans = [plan("a" * n, np.ones(n, np.int8)) for n in range(1, 9)]
    write_tensor_file(tmp_path / "x", [*plans, plan("wide", np.ones(3))])
    assert safetensors.numpy.load_file(tmp_path / "x")["wide"].tolist() == [1, 1, 1]
    length = int.from_bytes((tmp_path / "x").read_bytes()[:8], "little")
    assert (8 + length) % 64 == TensorFile(tmp_path / "x").tensors["wide"].begin == 0


def test_non_contiguous_and_byte_swapped(tmp_path: Path) -> None:
    value = np.arange(12, dtype=">f4").reshape(3, 4).T
    write_tensor_file(tmp_path / "x", [plan("x", value)])
    np.testing.assert_array_equal(TensorFile(tmp_path / "x").array("x"), value)


@pytest.mark.parametrize("value", [np.ones(2, np.complex64), np.array([object()])])
def test_what_cannot_be_stored(tmp_path: Path, value: np.ndarray) -> None:
    with pytest.raises(TypeError, match="'odd' has dtype"):
        write_tensor_file(tmp_path / "x", [plan("odd", value)])


def test_a_plan_must_be_kept(tmp_path: Path) -> None:
    lie = TensorPlan("x", np.dtype(np.float32), (2,), lambda: np.zeros(3, np.float32))
    with pytest.raises(ValueError, match=r"'x': planned float32 \(2,\), made float32 \(3,\)"):
        write_tensor_file(tmp_path / "x", [lie])
    with pytest.raises(ValueError, match="'x' occurs twice"):
        write_tensor_file(tmp_path / "x", [plan("x", np.zeros(1)), plan("x", np.zeros(1))])


BROKEN = {
    "empty": (b"", "too short"),
    "short": (b"\x08\x00\x00", "too short"),
    "header past the end": (pack({}, length=500), "header of 500 bytes in a file of 10"),
    "absurd header": (pack({}, length=2**63), "header of 9223372036854775808 bytes"),
    "not json": (pack(b"{nope"), "not JSON"),
    "not utf-8": (pack(b'{"\xff": 1}'), "not JSON"),
    "nested": (pack(b"[" * 200_000), "not JSON"),
    "a list": (pack([1]), "not a JSON object"),
    "a name twice": (pack(b'{"a": {}, "a": {}}'), "occurs twice"),
    "no entry": (pack({"a": 3}), "'a' has no description"),
    "no dtype": (pack({"a": {"shape": [], "data_offsets": [0, 0]}}), "'a' has dtype None"),
    "negative": (pack({"a": tensor(shape=[-2])}, bytes(8)), "impossible shape"),
    "fraction": (pack({"a": tensor(shape=[2.0])}, bytes(8)), "impossible shape"),
    "boolean": (pack({"a": tensor(shape=[True, 2])}, bytes(8)), "impossible shape"),
    "absurd shape": (pack({"a": tensor(shape=[2**60, 2**60])}, bytes(8)), "impossible shape"),
    "many axes": (pack({"a": tensor(shape=[1] * 99)}, bytes(8)), "impossible shape"),
    "absurd but legal": (pack({"a": tensor(shape=[2**40, 2**40])}, bytes(8)), "needs 48357"),
    "wraps to zero": (pack({"a": tensor(shape=[2**32, 2**32], offsets=(0, 0))}), "needs 73786"),
    "truncated": (pack({"a": tensor(shape=[4], offsets=(0, 16))}, bytes(9)), "outside the 9 data"),
    "backwards": (pack({"a": tensor(offsets=(8, 0))}, bytes(8)), "outside the 8 data"),
    "three offsets": (pack({"a": tensor(offsets=(0, 4, 8))}, bytes(8)), "outside the 8 data"),
    "wrong size": (pack({"a": tensor(shape=[1])}, bytes(8)), "needs 4 bytes, has 8"),
    "overlap": (
        pack({"a": tensor(), "b": tensor(offsets=(4, 12))}, bytes(12)),
        "'b' begins at byte 4, expected 8",
    ),
    "hole": (pack({"a": tensor(offsets=(8, 16))}, bytes(16)), "'a' begins at byte 8, expected 0"),
    "trailing": (pack({"a": tensor()}, bytes(9)), "cover 8 of 9"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(tmp_path: Path, name: str) -> None:
    content, message = BROKEN[name]
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message) as caught:
            TensorFile(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "broken.safetensors" in str(caught.value)
    assert peak < 8 << 20


@given(st.data())
def test_damage_never_crashes(tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "x.safetensors"
    write_tensor_file(path, [plan("a", np.ones(3, np.float32)), plan("b", np.ones(2, np.int8))])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        file = TensorFile(path)
        for name in file:
            file.array(name)
    except ValueError as error:
        assert "x.safetensors" in str(error)  # noqa: PT017 - reading may also succeed


def test_unknown_tensor_and_type(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(pack({"a": tensor("F8_E4M3", [8])}, bytes(8)))
    file = TensorFile(path)
    with pytest.raises(ValueError, match="'a' has the unsupported type F8_E4M3"):
        file.array("a")
    with pytest.raises(ValueError, match="no tensor named 'b'"):
        file.array("b")
