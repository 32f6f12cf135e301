# SPDX-License-Identifier: Apache-2.0
"""A Hugging Face checkpoint folder: tensors by name, from one file or from shards."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo._text import shown
from octavo.io.bitmap import BitmapTensor, find_bitmaps
from octavo.io.codebook import CodebookTensor, find_codebooks
from octavo.io.header import TensorInfo, Tensors
from octavo.io.safetensors import TensorFile
from octavo.io.snapshot import OpenFolder, read_consistently
from octavo.io.torch_file import TorchFile

_SINGLE = "model.safetensors"
_COMPRESSED = "model.safetensors.zst"
_INDEX = "model.safetensors.index.json"
_MOST_PARTS = 8
_TORCH = "pytorch_model.bin"
_TORCH_INDEX = "pytorch_model.bin.index.json"
_OTHER_FORMATS = ("tf_model.h5", "flax_model.msgpack", "model.onnx")
# Checkpoints converted from the first BERT release name these two differently.
_OLD_NAMES = {"weight": "gamma", "bias": "beta"}


class Checkpoint:
    """The tensors of a model folder, each read when it is asked for, into memory of its own.

    A tensor that is stored as a bitmap and its non-zero values (`octavo.io.bitmap`), or as a
    codebook and indices (`octavo.io.codebook`), goes by the name that it would have otherwise, and
    is made dense in memory when it is asked for.

    Parameters
    ----------
    folder : str or os.PathLike
        Folder with ``model.safetensors``, or ``model.safetensors.zst``, or shards and
        ``model.safetensors.index.json``; else with ``pytorch_model.bin`` or its shards.
    prefixes : sequence of str, optional
        Prefixes that names in the file may carry; the one in use is stripped from every name
        given to and reported by this object.
    anchor : str, optional
        A name that, with the right prefix, must be in the file, perhaps packed in few bits; it
        decides the prefix.
    bare : sequence of str, optional
        Beginnings of names that carry no prefix.
    files : dict of str to file of tensors, optional
        What `open_tensors` gave for the folder, if that was read with other files of it.

    Attributes
    ----------
    prefix : str
        The prefix found.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        prefixes: tuple[str, ...] = ("",),
        anchor: str | None = None,
        bare: tuple[str, ...] = (),
        files: dict[str, Tensors] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._files = read_consistently(folder, open_tensors) if files is None else files
        bitmaps, codebooks = find_bitmaps(self._files), find_codebooks(self._files)
        self._packed: dict[str, BitmapTensor | CodebookTensor] = {
            **{name: BitmapTensor(name, parts, self._files) for name, parts in bitmaps.items()},
            **{name: CodebookTensor(name, parts, self._files) for name, parts in codebooks.items()},
        }
        for name in self._packed:
            if name in self._files or (name in bitmaps and name in codebooks):
                raise ValueError(
                    f"{self.folder}: tensor {shown(name)} is stored twice, once packed"
                )
        found_parts = (*bitmaps.values(), *codebooks.values())
        self._parts = {part for names in found_parts for part in names}
        self._bare = bare
        self.prefix = ""
        if anchor is not None:
            names = anchor, f"{anchor}_packed"
            found = [one for one in prefixes if any(self._has(one + name) for name in names)]
            if not found:
                tried = ", ".join(repr(prefix + anchor) for prefix in prefixes)
                raise ValueError(f"{self.folder}: missing tensor: none of {tried} is there")
            self.prefix = found[0]

    def __contains__(self, name: str) -> bool:
        return self._stored_name(name) is not None

    def __iter__(self) -> Iterator[str]:
        start = len(self.prefix)
        names = [*(name for name in self._files if name not in self._parts), *self._packed]
        yield from (name[start:] for name in names if name.startswith(self.prefix))
        if self.prefix:
            yield from (name for name in names if name.startswith(self._bare))

    def others(self) -> list[str]:
        """List the tensors that have neither the prefix nor a name that goes without it."""
        names = [*(name for name in self._files if name not in self._parts), *self._packed]
        return [name for name in names if not name.startswith((self.prefix, *self._bare))]

    def _has(self, full: str) -> bool:
        return full in self._packed or (full in self._files and full not in self._parts)

    def full_name(self, name: str) -> str:
        """Return the name that `name` has in the file."""
        return name if self._bare and name.startswith(self._bare) else self.prefix + name

    def _stored_name(self, name: str) -> str | None:
        full = self.full_name(name)
        if self._has(full):
            return full
        head, _, tail = full.rpartition(".")
        old = f"{head}.{_OLD_NAMES.get(tail, tail)}"
        return old if self._has(old) else None

    def dtype(self, name: str) -> str:
        """Format name of the type of tensor `name` ("F32", "BF16", "I8", ...)."""
        stored = self._require(name)
        return self._info(stored).dtype

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of tensor `name`, read without its values."""
        stored = self._require(name)
        return self._info(stored).shape

    def is_sparse(self, name: str) -> bool:
        """Whether tensor `name` is stored as a bitmap and its non-zero values."""
        return isinstance(self._packed.get(self._require(name)), BitmapTensor)

    def is_shared(self, name: str) -> bool:
        """Whether tensor `name` is stored as a codebook and indices, or in a compressed file."""
        stored = self._require(name)
        packed = self._packed.get(stored)
        return isinstance(packed, CodebookTensor) or self._path(stored).suffix == ".zst"

    def _info(self, stored: str) -> BitmapTensor | CodebookTensor | TensorInfo:
        found = self._packed.get(stored)
        return found if found is not None else self._files[stored].tensors[stored]

    def _path(self, stored: str) -> Path:
        found = self._packed.get(stored)
        return found.path if found is not None else self._files[stored].path

    def _read(self, stored: str, rows: tuple[int, int] | None = None) -> npt.NDArray[Any]:
        found = self._packed.get(stored)
        return self._files[stored].array(stored, rows) if found is None else found.read()

    def _require(self, name: str) -> str:
        stored = self._stored_name(name)
        if stored is None:
            raise ValueError(f"{self.folder}: missing tensor {shown(self.full_name(name))}")
        return stored

    def _check(self, name: str, shape: tuple[int, ...] | None) -> str:
        stored = self._require(name)
        found = self._info(stored).shape
        if shape is not None and found != shape:
            raise ValueError(
                f"{self.folder}: tensor {shown(stored)} has shape {found}, "
                f"config.json asks for {shape}"
            )
        return stored

    def float32(
        self,
        name: str,
        shape: tuple[int, ...] | None = None,
        rows: tuple[int, int] | None = None,
    ) -> npt.NDArray[np.float32]:
        """Tensor `name` as float32, converted from other floats.

        Parameters
        ----------
        name : str
            Name without the prefix.
        shape : tuple of int, optional
            The shape it must have.
        rows : (int, int), optional
            Only the part from here to there along the first dimension; of a packed tensor, all.
        """
        stored = self._check(name, shape)
        dtype = self._info(stored).dtype
        if dtype not in ("F32", "F16", "BF16", "F64"):
            path = self._path(stored)
            raise ValueError(f"{path}: tensor {shown(stored)} has type {dtype}, expected floats")
        raw = self._read(stored, rows)
        if dtype == "BF16":
            # A bfloat16 is the upper half of a float32.
            return (raw.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(all="ignore"):  # a float64 beyond float32 is an infinity
            return np.require(raw, dtype=np.float32, requirements=["C", "A"])

    def int8(self, name: str, shape: tuple[int, ...] | None = None) -> npt.NDArray[np.int8]:
        """Tensor `name` as stored int8 codes; another type is a ValueError."""
        stored = self._check(name, shape)
        dtype = self._info(stored).dtype
        if dtype != "I8":
            path = self._path(stored)
            raise ValueError(f"{path}: tensor {shown(stored)} has type {dtype}, expected I8")
        return self._read(stored)

    def half(self, name: str, shape: tuple[int, ...] | None = None) -> npt.NDArray[Any]:
        """Tensor `name` as stored in 16 bits: float16, or bfloat16 as uint16."""
        stored = self._check(name, shape)
        dtype = self._info(stored).dtype
        if dtype not in ("F16", "BF16"):
            path = self._path(stored)
            raise ValueError(
                f"{path}: tensor {shown(stored)} has type {dtype}, expected F16 or BF16"
            )
        return self._read(stored)

    def raw(self, name: str) -> npt.NDArray[Any]:
        """Tensor `name` as it is stored."""
        return self._read(self._require(name))


def open_tensors(folder: OpenFolder) -> dict[str, Tensors]:
    """Return the file of each tensor of a model folder, by the names in the files."""
    whole = [name for name in (_SINGLE, _COMPRESSED) if folder.is_file(name)]
    if len(whole) > 1:
        raise ValueError(f"{folder.path}: expected {whole[0]} or {whole[1]}, got both")
    if whole:
        single = TensorFile(folder.path / whole[0], folder.open(whole[0]))
        return dict.fromkeys(single, single)
    if folder.is_file(_INDEX):
        return _open_shards(folder, _INDEX, TensorFile)
    if folder.is_file(_TORCH):
        torch = TorchFile(folder.path / _TORCH, folder.open(_TORCH))
        return dict.fromkeys(torch, torch)
    if folder.is_file(_TORCH_INDEX):
        return _open_shards(folder, _TORCH_INDEX, TorchFile)
    present = folder.names()
    other = [name for name in _OTHER_FORMATS if name in present]
    hint = f" (found {other[0]}; convert it to safetensors first)" if other else ""
    raise FileNotFoundError(f"{folder.path}: no {_SINGLE}{hint}")


def _open_shards(
    folder: OpenFolder, name_of_index: str, kind: type[TensorFile] | type[TorchFile]
) -> dict[str, Tensors]:
    index = folder.path / name_of_index
    weight_map = folder.read_json(name_of_index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise ValueError(f"{index}: no weight_map")
    shards: dict[str, Tensors] = {}
    files: dict[str, Tensors] = {}
    for name, shard in weight_map.items():
        # A bare file name: an index cannot lead out of its folder.
        if not isinstance(shard, str) or shard in ("", ".", "..") or Path(shard).name != shard:
            raise ValueError(f"{index}: tensor {shown(name)} is mapped to {shown(shard)}")
        path = folder.path / shard
        if shard not in shards:
            shards[shard] = kind(path, folder.open(shard))
        if name not in shards[shard]:
            raise ValueError(f"{path}: missing tensor {shown(name)}, which {index.name} promises")
        files[name] = shards[shard]
    return files


def left_out(names: Iterable[str]) -> str:
    """Say what of a checkpoint has no place in a model.

    Parameters
    ----------
    names : iterable of str
        Tensors, or layers.

    Examples
    --------
    >>> from octavo.io.checkpoint import left_out
    >>> left_out(["cls.predictions.bias", "cls.predictions.decoder.weight", "lm_head.bias"])
    "left out, octavo has no place for it: 'cls' (2), 'lm_head' (1)"
    """
    counts = Counter(name.partition(".")[0] for name in names)
    parts = [f"{shown(part)} ({count})" for part, count in counts.most_common(_MOST_PARTS)]
    more = ["..."] if len(counts) > _MOST_PARTS else []
    return f"left out, octavo has no place for it: {', '.join(parts + more)}"
