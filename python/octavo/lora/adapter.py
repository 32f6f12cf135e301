# SPDX-License-Identifier: Apache-2.0
"""An adapter folder of peft: ``adapter_config.json`` and ``adapter_model.safetensors``."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from octavo import _checks
from octavo._text import shown
from octavo._types import Array
from octavo.io.folder import place_of, write_json
from octavo.io.replacing import replaced_folder
from octavo.io.safetensors import TensorFile, TensorPlan, write_tensor_file
from octavo.io.snapshot import OpenFolder, read_consistently
from octavo.lora.config import TASKS, check_config, scale_of
from octavo.lora.low_rank import LowRank

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
# What save_embedding_layers of peft adds.
_TABLES = (".embed_tokens.weight", ".tok_embeddings.weight", ".word_embeddings.weight")
_BASE = ".base_layer.weight"
_PARTS = (".lora_A.weight", ".lora_B.weight", ".lora_B.bias")


@dataclass(frozen=True)
class Adapter:
    """A low-rank adapter, as `load` reads it.

    Attributes
    ----------
    config : dict
        The ``adapter_config.json``.
    layers : dict of str to LowRank
        By the names of the layers in the model that was adapted
        (``"bert.encoder.layer.0.attention.self.query"``).
    modules : dict of str to dict of str to array
        Layers that were trained as a whole (``modules_to_save``), ``"classifier"`` say, with their
        tensors ``"weight"`` and ``"bias"``, float32.

    Examples
    --------
    >>> import numpy as np, tempfile, octavo
    >>> side = octavo.lora.LowRank(np.ones((2, 8), np.float32), np.ones((4, 2), np.float32), 2.0)
    >>> config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["query"]}
    >>> folder = tempfile.mkdtemp() + "/adapter"
    >>> octavo.lora.Adapter(config, {"encoder.query": side}).save(folder)
    >>> octavo.lora.Adapter.load(folder)
    Adapter(rank=2, layers=1, modules=[], nbytes=96)
    """

    config: dict[str, Any]
    layers: dict[str, LowRank]
    modules: dict[str, dict[str, Array]] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Adapter:
        """Read an adapter folder, of peft or of `save`.

        Parameters
        ----------
        folder : str or os.PathLike

        Raises
        ------
        OSError
            If the folder or one of its two files is missing.
        ValueError
            If the adapter is no plain LoRA, a file is corrupt, ranks do not fit the config, or
            numbers are not finite; the message names file and tensor.
        """
        path = Path(folder)
        config, file = read_consistently(folder, _read)
        try:
            return cls.from_tensors(config, _floats(file))
        except ValueError as error:
            known = str(error).startswith(str(path))
            raise ValueError(str(error) if known else f"{path / TENSORS}: {error}") from None

    @classmethod
    def from_tensors(cls, config: dict[str, Any], tensors: Mapping[str, Array]) -> Adapter:
        """Make one of what the two files hold.

        Parameters
        ----------
        config : dict
        tensors : mapping of str to float32 array
            By their names in the base model (``"encoder.query.lora_A.weight"``).

        Raises
        ------
        ValueError
            As `load` does.
        """
        check_config(config)
        for name, values in tensors.items():
            if not np.isfinite(values).all():
                raise ValueError(
                    f"tensor {shown(name)}: expected finite values, got NaN or infinity"
                )
        return cls(config, *_sorted_tensors(tensors, config))

    def save(self, folder: str | os.PathLike[str], dtype: str = "float32") -> None:
        """Write the adapter as peft reads it, whole or not at all.

        Parameters
        ----------
        folder : str or os.PathLike
            A new folder, an empty one, or one with an adapter alone, which is replaced.
        dtype : "float32" or "float16"
            How the tensors are stored.

        Raises
        ------
        FileExistsError
            If `folder` holds anything else.
        ValueError
            For another dtype, or values too large for float16.
        """
        stored = np.dtype(_checks.choice(dtype, "dtype", ("float32", "float16")))
        check_config(self.config)
        tensors: dict[str, Array] = {}
        for name, side in self.layers.items():
            parts = zip(_PARTS, (side.a, side.b, side.bias), strict=True)
            tensors.update({name + part: value for part, value in parts if value is not None})
        for name, parts_of in self.modules.items():
            tensors.update({f"{name}.{key}": value for key, value in parts_of.items()})
        plans = []
        for name, value in tensors.items():
            with np.errstate(over="ignore"):
                cast = value.astype(stored)
            if not np.isfinite(cast).all():
                raise ValueError(
                    f"dtype: expected values within {dtype}, got larger ones in {name}"
                )
            plans.append(TensorPlan(_PREFIX + name, stored, cast.shape, partial(_same, cast)))
        with replaced_folder(folder, _check_replaceable) as fresh:
            write_tensor_file(fresh / TENSORS, plans, {"format": "pt"})
            write_json(fresh / CONFIG, self.config)

    @property
    def task(self) -> str:
        """What its head is for, as transformers calls it; "" if the config does not say."""
        return TASKS.get(self.config.get("task_type") or "", "")

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what it does to layers."""
        found = hashlib.sha256()
        for name, side in sorted(self.layers.items()):
            found.update(repr((name, side.scale, side.shape, side.rank)).encode())
            for values in (side.a, side.b, side.bias):
                found.update(b"" if values is None else np.ascontiguousarray(values).data)
        return found.hexdigest()

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        whole = sum(array.nbytes for parts in self.modules.values() for array in parts.values())
        return whole + sum(side.nbytes for side in self.layers.values())

    def __repr__(self) -> str:
        return (
            f"Adapter(rank={self.config['r']}, layers={len(self.layers)},"
            f" modules={sorted(self.modules)}, nbytes={self.nbytes})"
        )


def _same(value: Array) -> Array:
    return value


def _check_replaceable(target: str | os.PathLike[str]) -> Path:
    folder = place_of(target)
    names = {entry.name for entry in folder.iterdir()} if folder.exists() else set()
    foreign = names - {CONFIG, TENSORS, "README.md"}
    if names and (foreign or CONFIG not in names):
        raise FileExistsError(f"{folder} holds more than an adapter; it is left as it is")
    return folder


def _read(folder: OpenFolder) -> tuple[dict[str, Any], TensorFile]:
    path = folder.path
    for name in (CONFIG, TENSORS):
        if not folder.is_file(name):
            old = " (found adapter_model.bin; save it with safetensors)"
            hint = old if name == TENSORS and folder.is_file("adapter_model.bin") else ""
            raise FileNotFoundError(f"{path}: no {name}{hint}")
    config = folder.read_json(CONFIG)
    try:
        check_config(config)
    except ValueError as error:
        raise ValueError(f"{path / CONFIG}: {error}") from None
    return config, TensorFile(path / TENSORS, folder.open(TENSORS))


def _floats(file: TensorFile) -> dict[str, Array]:
    """Return the tensors of a file as float32 of their own, by their names in the base model."""
    tensors = {}
    for name in file:
        if not name.startswith(_PREFIX):
            raise ValueError(
                f"tensor {shown(name)}: expected a name that begins with {shown(_PREFIX)}"
            )
        kind, raw = file.tensors[name].dtype, file.array(name)
        if kind not in ("F64", "F32", "F16", "BF16"):
            raise ValueError(f"tensor {shown(name)}: expected floats, got {kind}")
        widened = (raw.astype(np.uint32) << 16).view(np.float32) if kind == "BF16" else raw
        with np.errstate(over="ignore"):
            tensors[name.removeprefix(_PREFIX)] = np.array(widened, np.float32)
    return tensors


def _sorted_tensors(
    tensors: Mapping[str, Array], config: dict[str, Any]
) -> tuple[dict[str, LowRank], dict[str, dict[str, Array]]]:
    """Tell low-rank pairs from layers that are stored whole."""
    pairs: defaultdict[str, dict[str, Array]] = defaultdict(dict)
    modules: defaultdict[str, dict[str, Array]] = defaultdict(dict)
    wanted = config.get("modules_to_save") or []
    for name, values in tensors.items():
        part = next((part for part in _PARTS if name.endswith(part)), None)
        layer, _, key = name.rpartition(".")
        if part is not None:
            pairs[name.removesuffix(part)][part] = values
        elif name.removesuffix(_BASE) + _PARTS[0] in tensors:
            continue  # of a last layer peft saves what the base had
        elif name.endswith(_TABLES) or any(f".{module}." in f".{layer}." for module in wanted):
            modules[layer][key] = values
        else:
            raise ValueError(
                f"tensor {shown(name)}: expected lora_A, lora_B or one of modules_to_save"
            )
    if not pairs:
        raise ValueError("expected tensors of lora_A and lora_B, got none")
    return {name: _pair(name, parts, config) for name, parts in pairs.items()}, dict(modules)


def _pair(name: str, parts: dict[str, Array], config: dict[str, Any]) -> LowRank:
    rank, scale = scale_of(config, name)
    for part in _PARTS[:2]:
        if part not in parts:
            raise ValueError(f"missing tensor {shown(name + part)}")
    a, b, bias = parts[_PARTS[0]], parts[_PARTS[1]], parts.get(_PARTS[2])
    if a.ndim != 2 or a.shape[0] != rank:
        raise ValueError(f"tensor {shown(name + _PARTS[0])}: expected ({rank}, K), got {a.shape}")
    if b.ndim != 2 or b.shape[1] != rank:
        raise ValueError(f"tensor {shown(name + _PARTS[1])}: expected (N, {rank}), got {b.shape}")
    if bias is not None and bias.shape != b.shape[:1]:
        raise ValueError(
            f"tensor {shown(name + _PARTS[2])}: expected {b.shape[:1]}, got {bias.shape}"
        )
    with np.errstate(over="ignore", under="ignore"):
        scaled = [part * np.float32(scale) for part in (b, bias) if part is not None]
    if not all(np.isfinite(part).all() for part in scaled):
        raise ValueError(f"lora_alpha: the scale {scale:g} makes {shown(name)} infinite")
    return LowRank(a, b, scale, bias)
