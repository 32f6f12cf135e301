# SPDX-License-Identifier: Apache-2.0
"""Layers that `torch.nn.utils.prune` has reparametrized: ``weight_orig`` times ``weight_mask``."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune

_NAMES = ("weight", "bias")


def stored_weight(module: nn.Module) -> Any:
    """Return the parameter that holds the weight, None if it is computed in some other way."""
    parameter = module._parameters.get("weight")
    if parameter is not None or not _is_masked(module, "weight"):
        return parameter
    return module._parameters["weight_orig"]


def weight_of(module: nn.Module) -> torch.Tensor:
    """Return the weight as the next call would compute it, pruned or not."""
    if module._parameters.get("weight") is not None or not _is_masked(module, "weight"):
        return module.weight
    with torch.no_grad():
        mask: Any = module._buffers["weight_mask"]
        original: Any = module._parameters["weight_orig"]
        return original * mask.to(original.dtype)


def make_permanent(module: nn.Module) -> None:
    """Let zeros be zeros: weight and bias become plain parameters again, the hooks go."""
    for name in _NAMES:
        if _is_masked(module, name):
            prune.remove(module, name)


def refresh(module: nn.Module) -> None:
    """Compute the masked tensors of a module anew, as constants.

    What the last call left there is of older numbers after an optimizer's step, and part of a
    graph, which `copy.deepcopy` refuses.
    """
    for name in _NAMES:
        if _is_masked(module, name):
            with torch.no_grad():
                mask: Any = module._buffers[f"{name}_mask"]
                original: Any = module._parameters[f"{name}_orig"]
                setattr(module, name, original * mask.to(original.dtype))


def _is_masked(module: nn.Module, name: str) -> bool:
    hooks = module._forward_pre_hooks.values()
    return (
        module._parameters.get(f"{name}_orig") is not None
        and module._buffers.get(f"{name}_mask") is not None
        and any(
            isinstance(hook, prune.BasePruningMethod) and hook._tensor_name == name
            for hook in hooks
        )
    )
