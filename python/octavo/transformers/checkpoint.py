# SPDX-License-Identifier: Apache-2.0
"""The ``quantization_config`` of a checkpoint that is int8 already, and of a model to be saved."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from transformers.pytorch_utils import Conv1D

from octavo._text import shown
from octavo._types import Array
from octavo.io.description import describe
from octavo.io.gptq import METHODS
from octavo.io.header import TensorInfo
from octavo.io.quantization import READ, read_quantization
from octavo.io.safetensors import TensorFile
from octavo.io.scheme import Scheme
from octavo.io.snapshot import OpenFolder, Stamp, read_consistently, stamp_of
from octavo.models.save import scheme_of
from octavo.nn.weights import Weight
from octavo.torch import Embedding, Linear
from octavo.transformers.compressed import COMPRESSED
from octavo.transformers.config import MARK

_KINDS = (nn.Linear, Conv1D, nn.Embedding)
_HELP = (
    f"octavo reads {READ}, and what octavo.compress writes; load the float checkpoint with"
    " OctavoConfig(), or this one with its own library and without OctavoConfig"
)


class InFile(NamedTuple):
    """A tensor by its name in the files."""

    name: str
    info: TensorInfo


class Layout:
    """Which layers of a model a checkpoint holds as int8, and how.

    Parameters
    ----------
    config : dict
        The checkpoint's ``quantization_config``.

    Raises
    ------
    ValueError
        If it is of another scheme; the message says which, and what to do.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        method = config.get("quant_method")
        method = getattr(method, "value", method)
        if method not in ("compressed-tensors", *METHODS):
            raise _other_method(method)
        try:
            self._config = read_quantization({**config, "quant_method": method})
            self._is_ours = MARK in config
            if self._config.unusual == "sparse-bitmask":
                raise ValueError("quantization_config: sparsity_config.format is 'sparse-bitmask'")
        except ValueError as error:
            raise ValueError(f"{error}; {_HELP}") from error

    def layers(
        self, model: nn.Module, stored: dict[str, TensorInfo]
    ) -> Iterator[tuple[nn.Module, Scheme, dict[str, InFile]]]:
        """Yield module, scheme and its tensors in the files, for each quantized layer.

        A head that the files know nothing of is left float: it is new in this model, and has to be
        trained.
        """
        prefix = getattr(model, "base_model_prefix", "") + "."
        has_head = isinstance(getattr(model, prefix[:-1], None), nn.Module)
        tensors: dict[str, dict[str, InFile]] = {}
        for key, info in stored.items():
            owner, _, last = key.rpartition(".")
            tensors.setdefault(owner, {})[last] = InFile(key, info)
        for name, module in model.named_modules():
            weight = module._parameters.get("weight")
            if weight is None or weight.ndim < 2:
                continue
            names = (name, name.removeprefix(prefix) if name.startswith(prefix) else prefix + name)
            scheme = self._config.scheme(names, type(module).__name__)
            if scheme is None:
                continue
            known = next((tensors[one] for one in names if one in tensors), {})
            if stored and has_head and not name.startswith(prefix) and not known:
                continue
            if scheme.is_told_by_tensors and "qweight" not in known:
                continue
            if isinstance(module, Conv1D) and not self._is_ours:
                raise ValueError(
                    f"{name}: the checkpoint holds int8 for a Conv1D, and does not tell which axis"
                    f" has the outputs; {_HELP}"
                )
            _require_readable(name, module)
            if isinstance(module, nn.Embedding) and scheme.kind != "int8" and _is_tied(model):
                raise ValueError(
                    f"{name}: a table of {scheme.kind}, which is the head's weight too, has no"
                    " place in transformers; octavo.models.load reads the checkpoint"
                )
            yield module, scheme, known


def stored_tensors(folder: Path) -> dict[str, TensorInfo]:
    """Return all tensors in a folder by name; none if they are not to be had there."""
    return read_consistently(folder, _tensors) if folder.is_dir() else {}


def stored_arrays(folder: Path, names: Collection[str]) -> dict[str, Array]:
    """Return some of them as they are in the files."""

    def arrays(opened: OpenFolder) -> dict[str, Array]:
        return {
            name: file.array(name)
            for file in _opened(opened)
            for name in file.tensors.keys() & names
        }

    return read_consistently(folder, arrays)


def _tensors(folder: OpenFolder) -> dict[str, TensorInfo]:
    return {name: info for file in _opened(folder) for name, info in file.tensors.items()}


def _opened(folder: OpenFolder) -> list[TensorFile]:
    files = [file for file in folder.names() if file.endswith(".safetensors")]
    return [TensorFile(folder.path / file, folder.open(file)) for file in files]


class Save:
    """The files in a folder, to be told from those of another save.

    transformers opens config and weights by path, one after another: what it made of two saves
    cannot be mended here, but refused. A folder that does not exist has no files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stamps = self._now()

    def _now(self) -> dict[str, Stamp]:
        names = ("config.json", "*.safetensors", COMPRESSED, "*.safetensors.index.json")
        files = [path for name in names for path in self.folder.glob(name)]
        try:
            return {path.name: stamp_of(path.stat()) for path in files}
        except OSError:
            return {}

    def require_current(self, folder: Path) -> None:
        """Refuse a folder, unless it is another one, whose files are not those of this save."""
        if folder == self.folder and self._now() != self._stamps:
            raise OSError(f"{folder}: another save took its place while it was read; load it again")


def require_float(folder: Path) -> None:
    """Refuse a checkpoint of a method that transformers has never heard of.

    It passes over such a method with a warning, and takes the numbers for floats.
    """
    stored = read_consistently(folder, _quantization) if folder.is_dir() else None
    if isinstance(stored, dict):
        raise _other_method(stored.get("quant_method"))


def _quantization(folder: OpenFolder) -> Any:
    if not folder.is_file("config.json"):
        return None
    return folder.read_json("config.json").get("quantization_config")


def _other_method(name: Any) -> ValueError:
    return ValueError(
        f"quantization_config: the checkpoint is quantized with {shown(name)}; {_HELP}"
    )


def _is_tied(model: Any) -> bool:
    """Whether a model's head has the numbers of its table."""
    text = model.config.get_text_config()
    return model.get_output_embeddings() is not None and bool(text.tie_word_embeddings)


def _require_readable(name: str, module: nn.Module) -> None:
    if type(module) not in _KINDS:
        kind = type(module).__name__
        raise ValueError(f"{name}: the checkpoint holds int8 for a {kind}; {_HELP}")


def description(model: nn.Module) -> dict[str, Any]:
    """Describe the quantized layers of a model as a config.json has it."""
    quantized: list[tuple[str, str, Scheme]] = []
    floats: list[tuple[str, str]] = []
    for name, module in model.named_modules():
        if isinstance(module, Linear):
            layer = module._weight.current()
            kind = "Conv1D" if module.transposed else "Linear"
            _, of_weight = saved(layer.held_weight)
            quantized.append((name, kind, scheme_of(layer, of_weight)))
        elif isinstance(module, Embedding):
            _, of_weight = saved(module._held())
            quantized.append((name, "Embedding", Scheme(has_activations=False, **of_weight)))
        elif type(module) in _KINDS:
            floats.append((name, type(module).__name__))
    kinds = {kind for _, kind, _ in quantized}
    return describe(quantized, [name for name, kind in floats if kind in kinds])


def saved(weight: Weight) -> tuple[dict[str, Array], dict[str, Any]]:
    """Return the tensors of a weight in the files of transformers, and what they are a `Scheme` of.

    Of int8 those are all codes, zeros too, which other readers know.
    """
    if weight.kind == "int8":
        return weight.tensors(), {"kind": weight.kind}
    stored = weight.stored("plain", shares=False)
    return {one.key: one.make() for one in stored.tensors}, stored.scheme or {}
