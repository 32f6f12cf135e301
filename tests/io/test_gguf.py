# SPDX-License-Identifier: Apache-2.0
"""GGUF files: what they hold is what the format says, and what contradicts itself is refused."""

from __future__ import annotations

import gc
import os
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from gguf_files import TYPES, Stored, float_tensor, gguf_bytes, text, value
from octavo.io import open_gguf
from octavo.io.gguf.formats import FORMATS, LAYOUTS

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(0)
MATRIX = RNG.standard_normal((6, 64)).astype(np.float32)
READ = {kind.name: (number, kind) for number, kind in FORMATS.items() if kind.name in LAYOUTS}


def packed_tensor(name: str, shape: tuple[int, ...], kind: str = "Q4_1") -> Stored:
    """Random blocks."""
    number, (_, values, nbytes) = READ[kind]
    count = int(np.prod(shape)) // values * nbytes
    return Stored(name, shape[::-1], number, RNG.integers(0, 256, count, np.uint8).tobytes())


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


METADATA: dict[str, Any] = {
    "general.architecture": "llama",
    "a.count": 7,
    "a.rate": 0.5,
    "a.flag": True,
    **{f"a.{code}": np.dtype(code).type(3) for code in ("u1", "i1", "u2", "i2", "i4")},
    **{f"a.{code}": np.dtype(code).type(3) for code in ("u8", "i8", "f8")},
    "a.texts": ["", "Łódź", "▁한국어"],
    "a.numbers": np.array([1, -2], np.int32),
    "a.flags": np.array([True, False]),
    "a.none": np.array([], np.float32),
}


@pytest.mark.parametrize("version", [2, 3])
def test_keys_and_tensors_come_back(tmp_path: Path, version: int) -> None:
    vector = np.arange(5, dtype=np.float32)
    tensors = (float_tensor("x", MATRIX), float_tensor("y", vector))
    content = gguf_bytes(METADATA, tensors, version=version)
    with open_gguf(written(tmp_path / "a.gguf", content)) as file:
        assert list(file.metadata) == list(METADATA)
        for key, expected in METADATA.items():
            found = file.metadata[key]
            if isinstance(expected, np.ndarray):
                np.testing.assert_array_equal(found, expected, strict=True)
                assert not found.flags.writeable
            else:
                assert found == expected
                assert type(found) in (int, float, bool, str, list)
        assert list(file) == ["x", "y"]
        info = file.tensors["x"]
        assert (info.dtype, info.shape, info.nbytes) == ("F32", (6, 64), MATRIX.nbytes)
        np.testing.assert_array_equal(file.float32("x"), MATRIX, strict=True)
        np.testing.assert_array_equal(file.float32("x", rows=(2, 5)), MATRIX[2:5], strict=True)
        np.testing.assert_array_equal(file.float32("y", (5,)), vector, strict=True)
    with pytest.raises(ValueError, match=r"a\.gguf: was closed"):
        file.float32("x")


@pytest.mark.parametrize("kind", LAYOUTS)
def test_values_are_those_of_the_gguf_package(tmp_path: Path, kind: str) -> None:
    """For any bits; and in parts as in one piece."""
    gguf = pytest.importorskip("gguf", reason="the oracle is the package gguf")
    tensor = packed_tensor("x", (3, 5, 512), kind)
    file = open_gguf(written(tmp_path / "a.gguf", gguf_bytes({}, (tensor,))))
    number, _ = READ[kind]
    assert gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType(number)] == FORMATS[number][1:]
    packed = np.frombuffer(tensor.data, np.uint8).reshape(3, 5, -1)
    np.testing.assert_array_equal(file.packed("x"), packed, strict=True)
    np.testing.assert_array_equal(file.packed("x", (1, 2)), packed[1:2], strict=True)
    with np.errstate(all="ignore"):
        expected = gguf.dequantize(packed, gguf.GGMLQuantizationType(number))
    found = file.float32("x")
    np.testing.assert_array_equal(found, expected, strict=True)
    known = ~np.isnan(found)
    np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(expected[known]))
    for most in (1, 2 * 4 * 5 * 512, 1 << 20):
        blocks = list(file.row_blocks("x", most))
        assert all(block.nbytes <= max(most, 4 * 5 * 512) for _, block in blocks)
        assert [start for start, _ in blocks] == list(range(0, 3, len(blocks[0][1])))
        np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), expected)


def test_a_vector_comes_in_whole_blocks(tmp_path: Path) -> None:
    file = open_gguf(written(tmp_path / "a.gguf", gguf_bytes({}, (packed_tensor("x", (128,)),))))
    starts = [start for start, _ in file.row_blocks("x", 4 * 80)]
    assert starts == [0, 64]
    found = np.concatenate([block for _, block in file.row_blocks("x", 1)])
    np.testing.assert_array_equal(found, file.float32("x"))


def test_other_types_are_named_when_they_are_asked_for(tmp_path: Path) -> None:
    other = Stored("x", (256,), TYPES["IQ2_XXS"], bytes(66))
    file = open_gguf(written(tmp_path / "a.gguf", gguf_bytes({}, (other,))))
    assert file.packed("x").shape == (66,)
    with pytest.raises(ValueError, match=r"a\.gguf: tensor 'x' has the type IQ2_XXS, which is not"):
        file.float32("x")


def test_sizes_of_types_are_those_of_the_gguf_package() -> None:
    gguf = pytest.importorskip("gguf", reason="the oracle is the package gguf")
    for number, kind in FORMATS.items():
        known = gguf.GGMLQuantizationType(number)
        assert (known.name, *gguf.GGML_QUANT_SIZES[known]) == kind


def test_what_is_asked_for_must_be_there(tmp_path: Path) -> None:
    content = gguf_bytes({}, (float_tensor("x", MATRIX), packed_tensor("y", (64,))))
    file = open_gguf(written(tmp_path / "a.gguf", content))
    with pytest.raises(ValueError, match=r"a\.gguf: no tensor named 'z'"):
        file.float32("z")
    with pytest.raises(ValueError, match=r"tensor 'x' has shape \(6, 64\), expected \(64, 6\)"):
        file.float32("x", (64, 6))
    with pytest.raises(ValueError, match=r"^rows: expected multiples of 32, .* got \(0, 5\)"):
        file.float32("y", rows=(0, 5))


GOOD = gguf_bytes(METADATA, (float_tensor("x", MATRIX), packed_tensor("y", (4, 64))))


def test_a_file_that_was_cut_anywhere(tmp_path: Path) -> None:
    for length in [*range(0, 1200, 3), *range(1200, len(GOOD), 97), len(GOOD) - 1]:
        path = written(tmp_path / "cut.gguf", GOOD[:length])
        with pytest.raises(
            ValueError, match=r"cut\.gguf: not a valid GGUF file: .*(truncated|hold)"
        ):
            open_gguf(path)
    open_gguf(written(path, GOOD))


def raw_key(key: str, content: bytes) -> bytes:
    """A file with one key, of these bytes."""
    return gguf_bytes({}, counts=(0, 1), more=text(key) + content)


def with_tensor(dims: tuple[int, ...], kind: int = 0, offset: int = 0, size: int = 64) -> bytes:
    return gguf_bytes({}, (Stored("x", dims, kind, bytes(size), offset),))


HUGE = 1 << 60
BAD: dict[str, tuple[bytes, str]] = {
    "another format": (b"ggjt" + GOOD[4:], r"begins with b'ggjt', expected b'GGUF'"),
    "version 1": (gguf_bytes({}, version=1), r"version 1, expected 2 or 3"),
    "version 4": (gguf_bytes({}, version=4), r"version 4, expected 2 or 3"),
    "big endian": (gguf_bytes({}, version=3 << 24), r"version 3, big endian"),
    "tensors": (gguf_bytes({}, counts=(HUGE, 0)), rf"tensor count is {HUGE}, more than the 32 byt"),
    "keys": (gguf_bytes({}, counts=(0, HUGE)), rf"key count is {HUGE}, more than the 32 bytes"),
    "too many keys": (
        gguf_bytes({}, counts=(0, 70_000), more=bytes(1 << 20)),
        r"key count is 70000, expected at most 65536",
    ),
    "length of a key": (
        gguf_bytes({}, counts=(0, 1), more=struct.pack("<Q", HUGE) + bytes(30)),
        rf"key 0 has {HUGE} bytes, expected at most 65535",
    ),
    "length of a string": (
        raw_key("k", struct.pack("<IQ", 8, HUGE)),
        rf"key 'k' has {HUGE} bytes, expected at most",
    ),
    "length of a string in an array": (
        raw_key("k", struct.pack("<IIQQQ", 9, 8, 2, 0, HUGE)),
        rf"key 'k', string 1: needs {HUGE} bytes at byte \d+, the file has 96",
    ),
    "length of an array": (
        raw_key("k", struct.pack("<IIQ", 9, 5, HUGE)),
        rf"key 'k', length of the array is {HUGE}",
    ),
    "length of an array of strings": (
        raw_key("k", struct.pack("<IIQ", 9, 8, 5)),
        r"key 'k', length of the array is 5, more than",
    ),
    "arrays in arrays": (
        raw_key("k", struct.pack("<I", 9) + struct.pack("<IQ", 9, 1) * 500),
        r"key 'k' is an array of arrays",
    ),
    "type of a key": (raw_key("k", struct.pack("<IQ", 13, 0)), r"key 'k' has values of type 13"),
    "type of an array": (
        raw_key("k", struct.pack("<IIQ", 9, 77, 0)),
        r"key 'k' has values of type 77",
    ),
    "a boolean": (raw_key("k", struct.pack("<IB", 7, 2)), r"'k' has a boolean of 2"),
    "booleans": (raw_key("k", struct.pack("<IIQ3B", 9, 7, 3, 1, 0, 9)), r"has a boolean of 9"),
    "text": (raw_key("k", value(b"ab\xff")), r"key 'k': expected UTF-8, got another byte at 2"),
    "text in an array": (
        gguf_bytes({"k": ["a", b"\x80"]}),
        r"key 'k', string 1: expected UTF-8, got another byte at 0",
    ),
    "a key twice": (
        gguf_bytes({"k": 1}, counts=(0, 2), more=text("k") + value(2)),
        r"key 'k' occurs twice",
    ),
    "a tensor twice": (
        gguf_bytes({}, (float_tensor("x", MATRIX), float_tensor("x", MATRIX))),
        r"tensor 'x' occurs twice",
    ),
    **{
        f"alignment {value!r}": (
            gguf_bytes({"general.alignment": value}, (float_tensor("x", MATRIX),)),
            r"key 'general\.alignment' is .*, expected a power of two up to 65536",
        )
        for value in (0, 24, 1 << 17, -8 & 0xFFFFFFFF, True, 32.0, "32", np.int32(-32))
    },
    "no dimensions": (with_tensor(()), r"tensor 'x' has 0 dimensions, expected 1 to 4"),
    "five dimensions": (with_tensor((1,) * 5), r"tensor 'x' has 5 dimensions, expected 1 to 4"),
    "a dimension of 0": (with_tensor((4, 0)), r"has the dimensions \[4, 0\], expected none of 0"),
    "a product that wraps": (with_tensor((1 << 32, 1 << 32)), r"bytes 96 to \d{20}, the file"),
    "an unknown type": (with_tensor((4,), 4), r"tensor 'x' has the unknown type 4"),
    "rows of half blocks": (with_tensor((48,), 2), r"has rows of 48 values, expected a mul"),
    "an offset between": (with_tensor((4,), offset=8), r"at offset 8, expected a multiple of 32"),
    "an offset behind": (with_tensor((4,), offset=64), r"bytes 128 to 144, the file has 128"),
    "an offset that wraps": (with_tensor((4,), offset=(1 << 64) - 32), r"the file has 128 \(trunc"),
    "tensors on each other": (
        gguf_bytes({}, (float_tensor("x", MATRIX), Stored("y", (16,), 0, bytes(64), 32))),
        r"tensor 'y' of type F32 and shape \(16,\) lies at byte \d+, before the end of tensor 'x'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_lies(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    path = written(tmp_path / "bad.gguf", content)
    with pytest.raises(
        ValueError, match=rf"bad\.gguf: not a valid GGUF file: .*{message}"
    ) as found:
        open_gguf(path)
    assert len(str(found.value)) < 600
    if os.path.isdir("/proc/self/fd"):  # noqa: PTH112
        del found
        gc.collect()
        links = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]  # noqa: PTH208
        assert str(path) not in links


def split_parts(folder: Path, count: int = 3) -> list[Path]:
    paths = []
    for index in range(count):
        metadata: dict[str, Any] = {"split.no": np.uint16(index), "split.count": np.uint16(count)}
        metadata |= {"split.tensors.count": np.int32(count)}
        metadata |= {"general.name": "whole"} if index == 0 else {}
        content = gguf_bytes(metadata, (float_tensor(f"x{index}", MATRIX + index),))
        name = f"m-{index + 1:05}-of-{count:05}.gguf"
        paths.append(written(folder / name, content))
    return paths


def test_parts_of_a_split_file_are_one(tmp_path: Path) -> None:
    for path in split_parts(tmp_path):
        file = open_gguf(path)
        assert file.metadata["general.name"] == "whole"
        assert list(file) == ["x0", "x1", "x2"]
        for index in range(3):
            np.testing.assert_array_equal(file.float32(f"x{index}"), MATRIX + index)


def test_parts_that_do_not_fit(tmp_path: Path) -> None:
    paths = split_parts(tmp_path)
    second = paths[1].read_bytes()
    paths[1].unlink()
    with pytest.raises(FileNotFoundError, match=r"m-00002-of-00003\.gguf: missing, part 2 of 3"):
        open_gguf(paths[0])
    paths[1].write_bytes(paths[0].read_bytes())
    with pytest.raises(ValueError, match=r"m-00002-.*is part 0 of 3, counted from 0; expected 1"):
        open_gguf(paths[0])
    paths[1].write_bytes(second.replace(b"x1", b"x0"))
    with pytest.raises(ValueError, match=r"m-00002-.*tensor 'x0' is in .*m-00001-.* too"):
        open_gguf(paths[0])
    paths[1].write_bytes(second)
    count = value(np.int32(3))
    paths[0].write_bytes(paths[0].read_bytes().replace(count, value(np.int32(4))))
    with pytest.raises(ValueError, match=r"'split\.tensors\.count' is 4, the parts have 3 tensors"):
        open_gguf(paths[2])
    other = paths[0].rename(tmp_path / "other.gguf")
    with pytest.raises(ValueError, match=r"other\.gguf: is one of 3 parts, expected a name that"):
        open_gguf(other)
    with pytest.raises(ValueError, match=r"key 'split\.count' is 'many', expected an integer"):
        open_gguf(written(other, gguf_bytes({"split.count": "many"})))


@pytest.mark.parametrize("size", [4096, None])
def test_a_change_while_it_is_read_is_noticed(tmp_path: Path, size: int | None) -> None:
    path = written(tmp_path / "a.gguf", gguf_bytes({}, (float_tensor("x", np.ones((64, 64))),)))
    os.utime(path, (0, 0))
    file = open_gguf(path)
    if size is None:
        with path.open("r+b") as other:
            other.seek(-64, os.SEEK_END)
            other.write(bytes(64))
    else:
        os.truncate(path, size)
    for read in (file.float32, file.packed):
        with pytest.raises(OSError, match=r"a\.gguf: was changed while it was read; load it again"):
            read("x")
