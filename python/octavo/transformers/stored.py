# SPDX-License-Identifier: Apache-2.0
"""Layers of a quantized checkpoint while it is loaded: its tensors, by their names in the file.

transformers fills the parameters of a model that is built without data.  So each quantized layer
is, until then, a module with the parameters that the file has; afterwards they are read as
`octavo.models.load` reads a file, and it becomes octavo's layer.  The module object stays the same
throughout.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from octavo import tuning
from octavo._formats import DENSE
from octavo.io.checkpoint import Checkpoint
from octavo.io.header import DTYPES, NAMES, TensorInfo
from octavo.io.scheme import Scheme
from octavo.models.build import CheckpointBuilder
from octavo.nn.weights import Int8Weight
from octavo.torch.convert import become_embedding, become_linear
from octavo.torch.memory import LayerMemory
from octavo.torch.tensors import to_array, to_tensor
from octavo.transformers.checkpoint import InFile, stored_arrays

_OPTIONAL = ("weight_zero_point", "input_zero_point", "bias")


class Stored(nn.Module):
    """The tensors of one layer, as they lie in the file."""

    scheme: Scheme
    is_linear: bool
    transposed: bool
    float_weight: list[nn.Parameter]
    in_file: dict[str, InFile]


def prepare(layers: Iterable[tuple[nn.Module, Scheme, dict[str, InFile]]]) -> None:
    """Make float layers without data wait for the tensors of the file; tied weights stay tied."""
    tied: dict[int, nn.Parameter] = {}
    for module, scheme, tensors in layers:
        made: Any = module
        weight, bias = made.weight, made._parameters.get("bias")
        # The float weight is kept along, so that its id stays its own.
        made.float_weight, made.scheme, made.in_file = [weight], scheme, tensors
        made.is_linear = not isinstance(module, nn.Embedding)
        # A Conv1D has a column for each output; the file, as of every layer, a row.
        made.transposed = isinstance(module, Conv1D)
        made.__class__ = Stored
        made._parameters.clear()
        wanted = _expected(scheme, _shape_in_file(made), bias is not None)
        wanted |= {
            key: (one.info.dtype, one.info.shape) for key, one in tensors.items() if key != "bias"
        }
        for key, (dtype, shape) in wanted.items():
            empty = torch.empty(shape, dtype=_torch_dtype(dtype), device="meta")
            parameter = nn.Parameter(empty, requires_grad=False)
            if key == "weight":
                parameter = tied.setdefault(id(weight), parameter)
            made.register_parameter(key, parameter)


def _shape_in_file(module: Stored) -> tuple[int, int]:
    n, k = module.float_weight[0].shape
    return (k, n) if module.transposed else (n, k)


def _expected(
    scheme: Scheme, shape: tuple[int, int], has_bias: bool
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return what the checkpoint's config promises, with the types that such tensors have."""
    n, k = shape
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    # Of packed weights the reader says what is missing.
    if scheme.kind == "int8" and scheme.packing is None:
        found["weight_scale"] = ("F32", (n, 1))
        if not (scheme.bitmap or scheme.codebook):
            found["weight"] = ("I8", (n, k))
    if has_bias:
        found["bias"] = ("F32", (n,))
    if scheme.static:
        found["input_scale"] = ("F32", (1,))
    if scheme.multiplier:
        found["input_multiplier"] = ("F32", (k,))
    return found


def _torch_dtype(name: str) -> torch.dtype:
    return to_tensor(np.empty(0, np.dtype(DTYPES[name]))).dtype


def require_present(model: nn.Module, missing: list[str]) -> None:
    """Refuse a file that lacks tensors of int8 layers; `missing` are names of tensors."""
    for key in missing:
        owner = key.rpartition(".")[0]
        if isinstance(model.get_submodule(owner), Stored):
            raise ValueError(
                f"{key}: missing in the checkpoint, whose config says int8; if {owner} is new in"
                " this model, add it to ignore in the checkpoint's quantization_config"
            )


def unfilled(model: nn.Module, kind: type[nn.Module]) -> list[str]:
    """Return tensors of modules of a kind that transformers did not take from the file, or tie."""
    return [
        f"{name}.{key}"
        for name, module in model.named_modules()
        if isinstance(module, kind)
        for key, tensor in module._parameters.items()
        if tensor is not None and not getattr(tensor, "_is_hf_initialized", False)
    ]


def restore(model: nn.Module, weights: Path) -> None:
    """Read numbers of weights again that are not what the files have.

    transformers 4 casts all floats to the model's dtype, the scales of codes too.
    """
    cast = {
        one.name: (module, key, one.info.dtype)
        for module in model.modules()
        if isinstance(module, Stored)
        for key, one in module.in_file.items()
        if key != "bias" and _is_cast(module._parameters.get(key), one.info.dtype)
    }
    arrays = stored_arrays(weights, cast) if cast else {}
    for name, (module, key, dtype) in cast.items():
        tensor = to_tensor(arrays[name])
        tensor = tensor.view(torch.bfloat16) if dtype == "BF16" else tensor
        module.register_parameter(key, nn.Parameter(tensor, requires_grad=False))


def _is_cast(tensor: torch.Tensor | None, dtype: str) -> bool:
    return tensor is not None and tensor.is_floating_point() and _dtype_name(tensor) != dtype


def finish(model: nn.Module, folder: Path) -> None:
    """Make octavo's layers of all `Stored` ones; a weight that several share is packed once."""
    groups: dict[int, list[tuple[str, Any]]] = {}
    for name, module in model.named_modules():
        if isinstance(module, Stored):
            shared = module._parameters.get("weight")
            key = id(module) if shared is None else id(shared)
            groups.setdefault(key, []).append((name, module))
    for name, module in model.named_modules():
        # A head that transformers tied to a table: the file has nothing of its own for it.
        if type(module) is nn.Linear and id(module.weight) in groups:
            group = groups[id(module.weight)]
            _share(module, group[0][1])
            group.append((name, module))
    for group in groups.values():
        _become(group, folder)


def _share(module: Any, table: Any) -> None:
    """Let a float layer wait with the tensors of a table, whose codes it has for a weight."""
    parameters = {**table._parameters, "bias": module._parameters.get("bias")}
    module.float_weight, module.scheme = table.float_weight, table.scheme
    module.in_file = table.in_file
    module.is_linear, module.transposed = True, False
    module.__class__ = Stored
    module._parameters.clear()
    module._parameters.update(parameters)


def _become(group: list[tuple[str, Any]], folder: Path) -> None:
    modules = [module for _, module in group]
    linear = next(((name, module) for name, module in group if module.is_linear), None)
    alone = len(group) == 1
    if linear is None:
        made = _read(*group[0], folder)
    else:
        layer = _read(*linear, folder, has_bias=alone and "bias" in linear[1]._parameters)
        made = LayerMemory(*_in_format(layer, all(module.is_linear for module in modules)))
    for module in modules:
        bias = module._parameters.get("bias")
        module._parameters.clear()
        module.register_parameter("weight", None)
        module.register_parameter("bias", bias)
        dtype = module.__dict__.pop("float_weight")[0].dtype
        transposed = module.__dict__.pop("transposed")
        del module.scheme, module.in_file
        if module.__dict__.pop("is_linear"):
            become_linear(module, made, dtype, adds_bias=not alone, transposed=transposed)
        else:
            become_embedding(module, made, dtype)


def _in_format(layer: Any, may_be_sparse: bool) -> tuple[Any, dict[str, Any] | None]:
    """Return a layer in the format that is the fastest, and how other numbers are to be held."""
    if layer.kind != "int8":
        return layer, None
    sparse = layer.held_weight.leaves_zeros_out
    if may_be_sparse and not sparse and tuning.choose(layer.weight_codes) != DENSE:
        layer, sparse = layer.with_format(), True
    elif sparse and not may_be_sparse:
        # A table looks rows up in a dense weight.
        weight = Int8Weight.from_quantized(layer.weight_codes, layer.weight_scale)
        layer, sparse = layer.replace(weight=weight), False
    return layer, {"format": "auto"} if sparse else None


class _Loaded:
    """Tensors in memory, to be read like those of a file."""

    def __init__(self, path: Path, tensors: dict[str, torch.Tensor]) -> None:
        self.path, self._arrays = path, {name: to_array(t) for name, t in tensors.items()}
        names = {name: _dtype_name(tensor) for name, tensor in tensors.items()}
        self.tensors = {
            name: TensorInfo(names[name], array.shape, 0, array.nbytes)
            for name, array in self._arrays.items()
        }

    def array(self, name: str, rows: tuple[int, int] | None = None) -> Any:
        return self._arrays[name] if rows is None else self._arrays[name][slice(*rows)]


def _dtype_name(tensor: torch.Tensor) -> str:
    if tensor.dtype == torch.bfloat16:
        return "BF16"
    return NAMES[to_array(tensor).dtype.str]


def _read(name: str, module: Any, folder: Path, has_bias: bool = False) -> Any:
    """Read a layer of its tensors."""
    tensors = {f"{name}.{key}": t for key, t in module._parameters.items() if t is not None}
    files: Any = dict.fromkeys(tensors, _Loaded(folder, tensors))
    known: Any = SimpleNamespace(scheme=lambda *_: module.scheme)
    shape = _shape_in_file(module)
    try:
        builder = CheckpointBuilder(Checkpoint(folder, files=files), known)
        if module.is_linear:
            layer = builder.linear(name, *shape, has_bias=has_bias)
        else:
            layer = builder.embedding(name, *shape)
        # What the config does not announce would be left out without a word.
        builder.check_complete((f"{name}.",), _OPTIONAL)
        return layer
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
