# SPDX-License-Identifier: Apache-2.0
"""Which parts of a model become int8, together with those that share their weights."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvNd

from octavo import _checks
from octavo.torch._checks import CONV1D, SMALL, kind_of, reason_to_keep, shape_of
from octavo.torch._pruned import stored_weight
from octavo.torch.config import Dynamic
from octavo.torch.summary import Kept
from octavo.torch.tensors import require_module

LEFT_OUT = "filter_fn left it out"


@dataclass
class Candidate:
    """A layer that might become int8, and why it does not."""

    name: str
    kind: str
    module: Any
    reason: str | None


def choose(
    module: nn.Module,
    config: Dynamic,
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
    return groups, kept + _others(module, candidates)


def _scan(
    module: nn.Module,
    config: Dynamic,
    filter_fn: Callable[[nn.Module, str], bool] | None,
) -> list[Candidate]:
    found = []
    for name, part in module.named_modules():
        kind = kind_of(part)
        if kind is None:
            continue
        if filter_fn is not None and not filter_fn(part, name):
            reason: str | None = LEFT_OUT
        else:
            reason = reason_to_keep(name, part, config)
        found.append(Candidate(name, kind, part, reason))
    return found


def _others(module: nn.Module, candidates: list[Candidate]) -> list[Kept]:
    """List the large float weights of other modules, which have no int8 form."""
    layers = {name for c in candidates for name, _ in c.module.named_modules(prefix=c.name)}
    found = []
    for path, parameter in module.named_parameters():
        owner, _, key = path.rpartition(".")
        is_large = parameter.is_floating_point() and parameter.numel() >= SMALL
        if owner in layers or parameter.ndim < 2 or not is_large:
            continue
        part = module.get_submodule(owner)
        kind = type(part).__name__
        reason = f"a {kind} has no int8 form"
        if parameter.ndim == 3 and not isinstance(part, _ConvNd):
            reason = "several weights in one, as of fused experts, have no int8 form"
        what = kind if key == "weight" else f"{kind}.{key}"
        found.append(Kept(owner, what, tuple(parameter.shape), reason))
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
            if id(part) not in chosen
            or not where.endswith(("weight", "weight_orig"))
            or (kind_of(part) == CONV1D) != (candidate.kind == CONV1D)
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
