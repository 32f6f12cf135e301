# SPDX-License-Identifier: Apache-2.0
"""Codebooks and packed indices, and files compressed in chunks."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import safetensors.numpy

from octavo.io import Checkpoint, TensorFile, TensorPlan, write_tensor_file
from octavo.io.codebook import different_codes, index_bits, pack_indices, unpack_indices
from reference import assert_same_bits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

zstandard = pytest.importorskip("zstandard")

SHAPES = [(1, 1), (1, 7), (3, 8), (5, 13), (2, 64)]


def codes_of(entries: int, shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    book = rng.permutation(np.arange(-127, 128))[:entries].astype(np.int8)
    return rng.choice(book, shape)


def packed_bits(codes: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    """The documented layout, bit by bit."""
    bits = max(1, (len(codebook) - 1).bit_length())
    stream = [
        (list(codebook).index(code) >> bit) & 1 for code in codes.reshape(-1) for bit in range(bits)
    ]
    return np.packbits(np.array(stream, np.uint8), bitorder="little")


@pytest.mark.parametrize("entries", [1, 2, 3, 4, 5, 16, 17, 32, 100, 128, 129, 255])
def test_packing(entries: int) -> None:
    for seed, shape in enumerate(SHAPES):
        codes = codes_of(entries, shape, seed)
        book = different_codes(codes)
        assert_same_bits(book, np.unique(codes))
        packed = pack_indices(codes, book)
        assert_same_bits(packed, packed_bits(codes, book))
        index = unpack_indices(packed, index_bits(len(book)), codes.size)
        assert_same_bits(book[index].reshape(shape), codes)


def parts_of(codes: np.ndarray) -> dict[str, np.ndarray]:
    book = different_codes(codes)
    return {
        "a.weight_shape": np.array(codes.shape, np.int64),
        "a.weight_codebook": book,
        "a.weight_indices": pack_indices(codes, book),
    }


def checkpoint(folder: Path, tensors: dict[str, np.ndarray]) -> Checkpoint:
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    return Checkpoint(folder)


def test_a_checkpoint_reads_it(tmp_path: Path) -> None:
    codes = codes_of(11, (6, 9))
    found = checkpoint(tmp_path, parts_of(codes))
    assert list(found) == ["a.weight"]
    assert (found.dtype("a.weight"), found.shape("a.weight")) == ("I8", (6, 9))
    assert found.is_shared("a.weight")
    assert not found.is_sparse("a.weight")
    assert_same_bits(found.int8("a.weight", (6, 9)), codes)


def drop(key: str) -> Callable[[dict[str, np.ndarray]], Any]:
    return lambda parts: parts.pop(key)


def put(key: str, value: Any) -> Callable[[dict[str, np.ndarray]], Any]:
    return lambda parts: parts.update({key: np.ascontiguousarray(value)})


DAMAGE: dict[str, tuple[Any, str]] = {
    "no shape": (drop("a.weight_shape"), "there is no tensor 'a.weight_shape'"),
    "no codebook": (drop("a.weight_codebook"), "there is no tensor 'a.weight_codebook'"),
    "no indices": (drop("a.weight_indices"), "there is no tensor 'a.weight_indices'"),
    "shape of one": (put("a.weight_shape", np.int64([54])), "weight_shape': expected shape"),
    "shape 0": (put("a.weight_shape", np.int64([0, 9])), "weight_shape': expected 2 sizes"),
    "shape huge": (put("a.weight_shape", np.int64([2**62, 9])), "weight_shape': expected 2 sizes"),
    "shape larger": (put("a.weight_shape", np.int64([60, 9])), "weight_indices': expected shape"),
    "float shape": (put("a.weight_shape", np.float32([6, 9])), "weight_shape': expected type I64"),
    "falling": (put("a.weight_codebook", np.int8([3, 2, 1])), "weight_codebook': expected rising"),
    "empty": (put("a.weight_codebook", np.int8([])), "weight_codebook': expected I8"),
    "short": (put("a.weight_indices", np.zeros(3, np.uint8)), "weight_indices': expected shape"),
    "i8": (put("a.weight_indices", np.zeros(14, np.int8)), "weight_indices': expected type U8"),
    "outside": (
        put("a.weight_indices", np.full(14, 0xFF, np.uint8)),
        r"weight_indices': expected (indices up to 2, got 3 at 0|zero bits)",
    ),
    "twice": (put("a.weight", np.zeros((6, 9), np.int8)), "'a.weight' is stored twice"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_named(tmp_path: Path, case: str) -> None:
    change, message = DAMAGE[case]
    parts = parts_of(codes_of(3, (6, 9)))
    change(parts)
    with pytest.raises(ValueError, match=message):
        checkpoint(tmp_path, parts).int8("a.weight")


def test_bits_behind_the_last_index(tmp_path: Path) -> None:
    parts = parts_of(codes_of(3, (1, 3)))
    parts["a.weight_indices"] = parts["a.weight_indices"] | np.uint8(0x80)
    with pytest.raises(ValueError, match="weight_indices': expected zero bits behind index 2"):
        checkpoint(tmp_path, parts).int8("a.weight")


def compressed(folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    tensors = {
        "codes": rng.integers(-3, 4, (1500, 1000), np.int8),
        "scale": rng.random((1500, 1), np.float32),
        "none": np.zeros((0, 4), np.float32),
    }
    path = folder / "model.safetensors.zst"
    plans = [TensorPlan(n, x.dtype, x.shape, lambda x=x: x) for n, x in tensors.items()]
    write_tensor_file(path, plans, {"format": "pt"})
    return path, tensors


def test_compressed_files(tmp_path: Path) -> None:
    path, tensors = compressed(tmp_path)
    found = TensorFile(path)
    for name, value in tensors.items():
        assert_same_bits(found.array(name), value)
        assert not found.array(name).flags.writeable
    # Three bits for seven values that are as likely: the codes take less than half.
    assert path.stat().st_size < 0.4 * tensors["codes"].nbytes + tensors["scale"].nbytes
    assert Checkpoint(tmp_path).shape("codes") == (1500, 1000)


def test_any_zstd_gives_the_plain_file(tmp_path: Path) -> None:
    path, tensors = compressed(tmp_path)
    whole = zstandard.ZstdDecompressor().stream_reader(path.read_bytes(), read_across_frames=True)
    plain = tmp_path / "plain.safetensors"
    plain.write_bytes(whole.read())
    found = safetensors.numpy.load_file(plain)
    for name, value in tensors.items():
        assert_same_bits(found[name], value)


def test_damage_to_a_chunk_names_file_chunk_and_tensor(tmp_path: Path) -> None:
    path, _ = compressed(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"model.safetensors.zst: chunk \d+ \(tensor 'codes'\)"):
        TensorFile(path)


def test_no_damage_goes_unseen(tmp_path: Path) -> None:
    path, tensors = compressed(tmp_path)
    data = path.read_bytes()
    rng = np.random.default_rng(1)
    table = len(data) - 100
    places = [*rng.integers(0, len(data), 60), *rng.integers(table, len(data), 40), 0, 4, 5]
    messages: list[str] = []
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            found = TensorFile(path)
        except ValueError as error:
            messages.append(str(error))
            continue
        # A bit of a frame's header may mean nothing; what is read is right.
        for name, value in tensors.items():
            assert_same_bits(found.array(name), value)
    assert len(messages) > 90
    assert all(str(path) in message for message in messages)
    for end in [0, 5, 16, 17, 1000, len(data) // 2, len(data) - 17, len(data) - 1]:
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match="not a valid zstd file of chunks"):
            TensorFile(path)


def frames(
    *chunks: bytes, sizes: list[tuple[int, int]] | None = None, checksum: bool = True
) -> Any:
    packed = [zstandard.ZstdCompressor(write_checksum=checksum).compress(c) for c in chunks]
    table = sizes or [(len(p), len(c)) for p, c in zip(packed, chunks, strict=True)]
    entries = b"".join(struct.pack("<II", *pair) for pair in table)
    head = struct.pack("<II", 0x184D2A5E, len(entries) + 9)
    return b"".join(packed) + head + entries + struct.pack("<IBI", len(table), 0, 0x8F92EAB1)


CRAFTED = {
    "no checksum": (frames(b"a" * 9, checksum=False), "no checksum"),
    "a bomb": (frames(b"a" * (1 << 22)), "chunk 0 of 4194304 bytes, expected at most"),
    "a hidden bomb": (
        frames(b"a" * (1 << 22), sizes=[(len(frames(b"a" * (1 << 22))) - 25, 9)]),
        "another size than in the table",
    ),
    "many zeros": (
        frames(*[bytes(1 << 20)] * 1500),
        r"zstd file of chunks: \d+ bytes that claim to hold 1572864000",
    ),
    "no frames": (frames(), "too short for a header"),
    "a length beyond": (frames(b"abc", sizes=[(1 << 30, 3)]), "chunks of 1073741824 bytes"),
    "not safetensors": (frames(b"abcdefghijk"), "not a valid safetensors file"),
}


@pytest.mark.parametrize("case", CRAFTED)
def test_crafted_files(tmp_path: Path, case: str) -> None:
    data, message = CRAFTED[case]
    path = tmp_path / "model.safetensors.zst"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        TensorFile(path)


def test_two_weight_files(tmp_path: Path) -> None:
    compressed(tmp_path)
    checkpoint_file = tmp_path / "model.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(1, np.float32)}, checkpoint_file)
    with pytest.raises(ValueError, match="got both"):
        Checkpoint(tmp_path)


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = compressed(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'octavo\[models\]'"):
        TensorFile(path)
