# SPDX-License-Identifier: Apache-2.0
"""`quantize_`: the layers of a model become int8 in place."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from octavo import _checks
from octavo.nn import LinearOptions
from octavo.nn.weights.codes import quantized_weight
from octavo.torch._checks import kind_of, reason_to_keep, shape_of
from octavo.torch._pruned import make_permanent, stored_weight
from octavo.torch.config import Int8Dynamic, config_of
from octavo.torch.embedding import Embedding
from octavo.torch.linear import Linear
from octavo.torch.memory import LayerMemory, held_int8
from octavo.torch.sparse_linear import SparseLinear
from octavo.torch.summary import Converted, Kept, Summary
from octavo.torch.tensors import require_module, to_numpy


@dataclass
class Candidate:
    """A layer that might become int8, and why it does not."""

    name: str
    kind: str
    module: Any
    reason: str | None


def quantize_(
    module: nn.Module,
    config: Int8Dynamic | str | None = None,
    filter_fn: Callable[[nn.Module, str], bool] | None = None,
) -> Summary:
    """Make the linear layers and embeddings of a model int8, in place.

    The module objects stay who they are (also `module` itself, if it is a layer): references,
    hooks and names keep working.  Weights that several modules share stay shared; if one of them
    has to stay float, all do.  Layers pruned by `octavo.torch.prune` or `torch.nn.utils.prune` are
    taken as they are, their zeros become permanent, and they become `SparseLinear` where that pays.
    Nothing is changed if an error is raised.

    Parameters
    ----------
    module : torch.nn.Module
        On the CPU, float32, bfloat16 or float16.
    config : Int8Dynamic, or its name ``"int8_dynamic"``, optional
    filter_fn : callable, optional
        ``filter_fn(module, name)`` says whether a layer may become int8; default: all may.

    Returns
    -------
    Summary
        What became int8; what stayed float, and why (too small to gain, tied to a float layer,
        a subclass with its own forward, ...).

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        For an unknown config name, and for layers that were to be int8 but are on another device,
        sparse, without data (meta), or not finite; leave such layers out with `filter_fn`.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.Linear(512, 2))
    >>> print(octavo.torch.quantize_(model))
    1 layer is int8, 1.05 MB -> 0.27 MB; 1 stays float
      1  Linear 2x512: too small to gain (fewer than 32768 weights or 16 outputs)
    """
    settings = config_of(config)
    groups, kept = choose(module, settings, filter_fn)
    converted: list[Converted] = []
    for group in groups:
        converted += convert_group(group, settings)
    close_fast_paths(module)
    return Summary.of(module, converted, kept)


def choose(
    module: nn.Module,
    config: Int8Dynamic,
    filter_fn: Callable[[nn.Module, str], bool] | None,
) -> tuple[list[list[Candidate]], list[Kept]]:
    """Return the layers that can be int8, grouped by the weight they share, and those that stay.

    Raises
    ------
    TypeError, ValueError
        As `quantize_` does.
    """
    require_module(module)
    _checks.function(filter_fn, "filter_fn")
    candidates = _scan(module, config, filter_fn)
    groups = _groups(module, candidates)
    kept = [
        Kept(c.name, c.kind, shape_of(c.module), c.reason)
        for c in candidates
        if c.reason is not None
    ]
    return groups, kept


def _scan(
    module: nn.Module,
    config: Int8Dynamic,
    filter_fn: Callable[[nn.Module, str], bool] | None,
) -> list[Candidate]:
    found = []
    for name, part in module.named_modules():
        kind = kind_of(part)
        if kind is None:
            continue
        if filter_fn is not None and not filter_fn(part, name):
            reason: str | None = "filter_fn left it out"
        else:
            reason = reason_to_keep(name, part, config)
        found.append(Candidate(name, kind, part, reason))
    return found


def _groups(module: nn.Module, candidates: list[Candidate]) -> list[list[Candidate]]:
    """Group the layers to convert by the weight they share; a group is converted as a whole.

    A group that shares its weight with something that stays float stays float.
    """
    holders: dict[Hashable, list[tuple[str, nn.Module]]] = {}
    for name, part in module.named_modules():
        for key, parameter in part._parameters.items():
            if parameter is not None:
                where = f"{name}.{key}" if name else key
                holders.setdefault(_identity(parameter), []).append((where, part))
    groups: dict[Hashable, list[Candidate]] = {}
    chosen = {id(c.module) for c in candidates if c.reason is None}
    for candidate in candidates:
        if candidate.reason is not None:
            continue
        key = _identity(stored_weight(candidate.module))
        others = [
            where
            for where, part in holders[key]
            if id(part) not in chosen or not where.endswith(("weight", "weight_orig"))
        ]
        masked = [where for where, _ in holders[key] if where.endswith("weight_orig")]
        if others:
            candidate.reason = f"its weight is tied to {others[0]}, which stays float"
        elif masked and len(holders[key]) > 1:
            candidate.reason = f"its weight is tied, and {masked[0]} has a mask of its own"
        else:
            groups.setdefault(key, []).append(candidate)
    return list(groups.values())


def _identity(tensor: torch.Tensor) -> Hashable:
    """Tell whether two parameters are the same numbers in the same place."""
    if tensor.is_meta or tensor.layout != torch.strided or not tensor.numel():
        return id(tensor)
    storage = tensor.untyped_storage()
    return storage._cdata, tensor.storage_offset(), tensor.shape, tensor.stride()


def convert_group(group: list[Candidate], config: Int8Dynamic) -> list[Converted]:
    """Convert layers that share one weight, rounding to nearest."""
    for candidate in group:
        make_permanent(candidate.module)
    weight = group[0].module.weight
    before = weight.nbytes
    shape = shape_of(group[0].module)
    sizes = [c.module.bias.nbytes if _has_bias(c.module) else 0 for c in group]
    if all(c.kind == "Embedding" for c in group):
        made = Embedding.from_float(group[0].module)
        for candidate in group:
            become_embedding(candidate.module, made.table(), weight.dtype)
    else:
        alone = len(group) == 1 and _has_bias(group[0].module)
        bias = group[0].module.bias if alone else None
        codes, scale = map(torch.from_numpy, quantized_weight(to_numpy(weight)))
        # A table looks rows up in a dense weight.
        has_table = any(candidate.kind == "Embedding" for candidate in group)
        sparse = "never" if has_table else config.sparse
        held = held_int8(codes, scale, bias, LinearOptions(symmetric=config.symmetric), sparse)
        for candidate in group:
            if candidate.kind == "Embedding":
                become_embedding(candidate.module, held, weight.dtype)
            else:
                become_linear(candidate.module, held, adds_bias=not alone)
    results = []
    for index, (candidate, bias_bytes) in enumerate(zip(group, sizes, strict=True)):
        first = index == 0
        after = candidate.module.nbytes if first else bias_bytes
        old = before * first + bias_bytes
        results.append(entry_of(candidate.name, candidate.module, shape, old, after))
    return results


def entry_of(name: str, module: Any, shape: tuple[int, int], before: int, after: int) -> Converted:
    """Tell what became of a layer that is int8 now."""
    kind = "Embedding" if isinstance(module, Embedding) else "Linear"
    if not isinstance(module, SparseLinear):
        return Converted(name, kind, shape, before, after)
    return Converted(name, kind, shape, before, after, module.format, module.sparsity)


def _has_bias(module: Any) -> bool:
    return getattr(module, "bias", None) is not None


def become_linear(module: Any, weight: LayerMemory, *, adds_bias: bool) -> None:
    """Make an int8 layer of a module with the parameters `weight` and `bias`."""
    bias = module._parameters.pop("bias")
    del module._parameters["weight"]
    module.__class__ = SparseLinear if weight.layer.held_weight.leaves_zeros_out else Linear
    own = None
    if adds_bias and bias is not None:
        with torch.inference_mode(False):
            own = bias.detach().to(torch.float32, copy=True)
    module._hold(weight, own)


def become_embedding(module: Any, table: Any, dtype: torch.dtype) -> None:
    """Make an int8 table of a module with the parameter `weight`; rows come out as `dtype`."""
    del module._parameters["weight"]
    module.__class__ = Embedding
    module.dtype = dtype
    module._hold(table)


def close_fast_paths(module: nn.Module) -> None:
    """Keep PyTorch's fused encoder, which reads float weights itself, away from int8 layers."""
    for part in module.modules():
        if isinstance(part, nn.TransformerEncoderLayer):
            if any(_is_int8(layer) for layer in (part.linear1, part.linear2)):
                part.activation_relu_or_gelu = 0
        elif isinstance(part, nn.TransformerEncoder) and _has_int8(part):
            part.use_nested_tensor = False


def _has_int8(module: nn.Module) -> bool:
    return any(_is_int8(part) for part in module.modules())


def _is_int8(module: nn.Module) -> bool:
    return isinstance(module, Linear) or getattr(module, "is_prepared", False)
