# SPDX-License-Identifier: Apache-2.0
"""Layers of an int8 checkpoint while it is loaded: the tensors of the file, by their names in it.

transformers fills the parameters of a model that is built without data.  So each int8 layer is,
until then, a module with the parameters that the file has; afterwards it becomes octavo's layer.
The module object stays the same throughout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from octavo.nn import LinearOptions
from octavo.torch._tensors import FLOATS
from octavo.torch._weight import held_int8
from octavo.torch.convert import become_embedding, become_linear

if TYPE_CHECKING:
    from collections.abc import Iterable

    from octavo.io.compressed_tensors import Scheme

__all__ = ["Stored", "finish", "prepare", "require_present", "unfilled"]


class Stored(nn.Module):
    """Codes, scales and bias of one layer, as they lie in the file."""

    weight: nn.Parameter
    weight_scale: nn.Parameter
    bias: nn.Parameter | None
    symmetric: bool
    is_linear: bool
    float_weight: list[nn.Parameter]


def prepare(layers: Iterable[tuple[nn.Module, Scheme, bool]]) -> None:
    """Make float layers without data wait for int8 tensors; tied weights stay tied.

    Parameters
    ----------
    layers : iterable of (module, scheme, per_channel)
    """
    tied: dict[int, nn.Parameter] = {}
    for module, scheme, per_channel in layers:
        made: Any = module
        weight = made.weight
        # The float weight is kept along, so that its id stays its own.
        made.float_weight = [weight]
        made.is_linear, made.symmetric = isinstance(module, nn.Linear), scheme.symmetric
        made.__class__ = Stored
        made.weight = tied.setdefault(id(weight), _empty(tuple(weight.shape), torch.int8))
        rows = weight.shape[0]
        made.weight_scale = _empty((rows, 1) if per_channel else (1,), torch.float32)
        if made._parameters.get("bias") is not None:
            made.bias = _empty((rows,), torch.float32)


def _empty(shape: tuple[int, ...], dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, dtype=dtype, device="meta"), requires_grad=False)


def require_present(model: nn.Module, missing: list[str]) -> None:
    """Refuse a file that lacks tensors of int8 layers; `missing` are names of tensors.

    Raises
    ------
    ValueError
        Naming the first of them.
    """
    for key in missing:
        owner = key.rpartition(".")[0]
        if isinstance(model.get_submodule(owner), Stored):
            raise ValueError(
                f"{key}: missing in the checkpoint, whose config says int8; if {owner} is new in"
                " this model, add it to ignore in the checkpoint's quantization_config"
            )


def unfilled(model: nn.Module) -> list[str]:
    """Return the tensors of int8 layers that transformers did not take from the file, or tie."""
    return [
        f"{name}.{key}"
        for name, module in model.named_modules()
        if isinstance(module, Stored)
        for key, tensor in module._parameters.items()
        if tensor is not None and not getattr(tensor, "_is_hf_initialized", False)
    ]


def finish(model: nn.Module) -> None:
    """Make octavo's layers of all `Stored` ones; a weight that several share is packed once.

    Raises
    ------
    ValueError
        If the tensors are not what the checkpoint's config says.
    """
    groups: dict[int, list[tuple[str, Any]]] = {}
    for name, module in model.named_modules():
        if isinstance(module, Stored):
            groups.setdefault(id(module.weight), []).append((name, module))
    for group in groups.values():
        name, first = group[0]
        codes, scale = _tensors(name, first)
        try:
            _become([module for _, module in group], codes, scale)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error


def _become(modules: list[Any], codes: torch.Tensor, scale: torch.Tensor) -> None:
    linears = [module for module in modules if module.is_linear]
    alone = len(modules) == 1 and bool(linears) and linears[0]._parameters.get("bias") is not None
    held: Any = None
    if linears:
        bias = linears[0].bias if alone else None
        options = LinearOptions(symmetric=linears[0].symmetric)
        # A table looks rows up in a dense weight.
        sparse = "auto" if len(linears) == len(modules) else "never"
        held = held_int8(codes, scale, bias, options, sparse)
    for module in modules:
        del module._parameters["weight_scale"], module.symmetric
        dtype = module.__dict__.pop("float_weight")[0].dtype
        if module.__dict__.pop("is_linear"):
            become_linear(module, held, adds_bias=not alone)
        else:
            become_embedding(module, codes if held is None else held, scale, dtype)


def _tensors(name: str, module: Stored) -> tuple[torch.Tensor, torch.Tensor]:
    """Return codes and one scale a row."""
    codes, scale = module.weight.detach(), module.weight_scale.detach()
    if codes.dtype != torch.int8:
        raise ValueError(
            f"{name}.weight: expected torch.int8 as the checkpoint's config says, got {codes.dtype}"
        )
    if scale.dtype not in FLOATS:
        raise ValueError(f"{name}.weight_scale: expected floats, got {scale.dtype}")
    return codes, scale.float().reshape(-1).expand(codes.shape[0]).contiguous()
