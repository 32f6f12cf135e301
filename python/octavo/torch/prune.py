# SPDX-License-Identifier: Apache-2.0
"""Pruning while a PyTorch model trains: the functions of `torch.nn.utils.prune`, and more.

`l1_unstructured`, `random_unstructured`, `ln_structured`, `random_structured`,
`global_unstructured`, `custom_from_mask`, `identity`, `remove` and `is_pruned` are PyTorch's own.
`nm` and `block` stand beside them and leave the same ``weight_orig`` and ``weight_mask`` behind, so
all of them mix. `prune_` prunes all linear layers of a model; `GradualPruning` does so little by
little. `octavo.torch.quantize_` takes pruned modules as they are.

Examples
--------
>>> import torch
>>> from octavo.torch import prune
>>> layer = prune.nm(torch.nn.Linear(8, 4), "weight", 2, 4)
>>> layer.weight_mask.reshape(-1, 4).sum(dim=1).unique()
tensor([2.])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.prune import (
    BasePruningMethod,
    L1Unstructured,
    LnStructured,
    RandomStructured,
    RandomUnstructured,
    custom_from_mask,
    global_unstructured,
    identity,
    is_pruned,
    l1_unstructured,
    ln_structured,
    random_structured,
    random_unstructured,
    remove,
)

from octavo import _checks
from octavo.algorithms.pruning import selection as _select
from octavo.torch.gradual import GradualPruning
from octavo.torch.tensors import require_module

__all__ = [
    "NM",
    "BasePruningMethod",
    "Block",
    "GradualPruning",
    "L1Unstructured",
    "LnStructured",
    "RandomStructured",
    "RandomUnstructured",
    "block",
    "custom_from_mask",
    "global_unstructured",
    "identity",
    "is_pruned",
    "l1_unstructured",
    "ln_structured",
    "nm",
    "prune_",
    "random_structured",
    "random_unstructured",
    "remove",
]


class NM(BasePruningMethod):
    """At most `n` of every `m` neighbours along a row stay, those of largest magnitude.

    A tensor of more than two axes counts as (first axis, all others).

    Examples
    --------
    >>> import torch
    >>> from octavo.torch.prune import NM
    >>> NM(1, 2).prune(torch.tensor([[1.0, -3.0, 2.0, 0.5]]))
    tensor([[ 0., -3.,  2.,  0.]])
    """

    PRUNING_TYPE = "global"  # sees the whole tensor, with what is pruned already

    def __init__(self, n: int, m: int) -> None:
        self.n, self.m = _select.group_of(n, m)

    def compute_mask(self, t: torch.Tensor, default_mask: torch.Tensor) -> torch.Tensor:
        """Return the mask; what `default_mask` prunes goes first."""
        scores = _scores(t, default_mask)
        return _as_mask(_select.keep_groups(scores, self.n, self.m), default_mask)

    @classmethod
    def apply(cls, module: nn.Module, name: str, n: int, m: int) -> Any:
        """Prune ``module.name`` and leave a hook, as all methods of PyTorch do."""
        return super().apply(module, name, n, m)


class Block(BasePruningMethod):
    """Whole blocks of `rows` by `cols` go, those of smallest L2 norm.

    Parameters
    ----------
    amount : float or int
        The share of the blocks that are not pruned already, or their number.
    rows, cols : int
        Blocks at the edges are as if padded with zeros.

    Examples
    --------
    >>> import torch
    >>> from octavo.torch.prune import Block
    >>> Block(0.5, 1, 2).prune(torch.tensor([[1.0, -3.0, 2.0, 0.5]]))
    tensor([[ 1., -3.,  0.,  0.]])
    """

    PRUNING_TYPE = "global"

    def __init__(self, amount: float, rows: int, cols: int) -> None:
        if isinstance(amount, int) and not isinstance(amount, bool):
            self.amount: float = _checks.integer(amount, "amount", 0)
        else:
            self.amount = _checks.real(amount, "amount", "[0, 1]")
        self.rows, self.cols = _select.block_of(rows, cols)

    def compute_mask(self, t: torch.Tensor, default_mask: torch.Tensor) -> torch.Tensor:
        """Return the mask; blocks that `default_mask` prunes stay pruned."""
        # Norms are compared as sums of squares.
        scores = _scores(t, default_mask).astype(np.float64) ** 2
        sums = _select.block_sums(scores, self.rows, self.cols)
        alive = _select.block_sums(_flat(default_mask), self.rows, self.cols) != 0
        left = int(alive.sum())
        dropped = self.amount if isinstance(self.amount, int) else round(self.amount * left)
        if dropped > left:
            raise ValueError(f"amount: expected at most {left} blocks, got {dropped}")
        sums[~alive] = -1
        keep = _select.drop_smallest(sums, alive.size - left + int(dropped))
        return _as_mask(_select.spread(keep, self.rows, self.cols, scores.shape), default_mask)

    @classmethod
    def apply(cls, module: nn.Module, name: str, amount: float, rows: int, cols: int) -> Any:
        """Prune ``module.name`` and leave a hook, as all methods of PyTorch do."""
        return super().apply(module, name, amount, rows, cols)


def nm(module: nn.Module, name: str, n: int, m: int) -> nn.Module:
    """Keep at most `n` of every `m` neighbours in each row of a parameter.

    Parameters
    ----------
    module : torch.nn.Module
    name : str
        The parameter, ``"weight"`` for instance.
    n, m : int
        ``1 <= n < m <= 16``. Where `m` does not divide the row, its last group keeps at most `n`.

    Returns
    -------
    torch.nn.Module
        `module`, now with ``{name}_orig`` and ``{name}_mask``.

    Examples
    --------
    >>> import torch
    >>> from octavo.torch import prune
    >>> layer = prune.nm(torch.nn.Linear(8, 4), "weight", 1, 4)
    >>> float((layer.weight == 0).float().mean())
    0.75
    """
    NM.apply(module, name, n, m)
    return module


def block(module: nn.Module, name: str, rows: int, cols: int, amount: float = 0.5) -> nn.Module:
    """Prune whole blocks of a parameter, those of smallest L2 norm.

    Parameters
    ----------
    module : torch.nn.Module
    name : str
        The parameter, ``"weight"`` for instance.
    rows, cols : int
        Shape of a block.
    amount : float or int
        The share of the blocks that are not pruned already, or their number.

    Returns
    -------
    torch.nn.Module
        `module`, now with ``{name}_orig`` and ``{name}_mask``.

    Examples
    --------
    >>> import torch
    >>> from octavo.torch import prune
    >>> layer = prune.block(torch.nn.Linear(16, 4), "weight", 1, 4, amount=0.75)
    >>> int(layer.weight_mask.sum())
    16
    """
    Block.apply(module, name, amount, rows, cols)
    return module


_METHODS: dict[str, Callable[..., Any]] = {
    "l1_unstructured": l1_unstructured,
    "random_unstructured": random_unstructured,
    "ln_structured": ln_structured,
    "random_structured": random_structured,
    "nm": nm,
    "block": block,
}


def prune_(
    module: nn.Module,
    method: str | Callable[..., Any] = "l1_unstructured",
    *,
    filter_fn: Callable[[nn.Module, str], bool] | None = None,
    **arguments: Any,
) -> dict[str, float]:
    """Prune the weights of all linear layers of a model, in place.

    Parameters
    ----------
    module : torch.nn.Module
    method : str or callable
        A function of `octavo.torch.prune` or its name: ``"l1_unstructured"``, ``"nm"``,
        ``"block"``, ...; or ``"global_unstructured"``, which compares all layers with each other
        (by magnitude unless `pruning_method` says otherwise).
    filter_fn : callable, optional
        ``filter_fn(module, name)`` says whether a layer may be pruned; default: all may.
    **arguments
        What the function takes after the module and the name.

    Returns
    -------
    dict of str to float
        The share of zeros of each layer that was pruned.

    Raises
    ------
    TypeError, ValueError
        For an unknown method or arguments that it does not take. A model without linear layers is
        an error too.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 8))
    >>> octavo.torch.prune_(model, "nm", n=2, m=4)
    {'0': 0.5, '2': 0.5}
    """
    require_module(module)
    _checks.function(filter_fn, "filter_fn")
    chosen = {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and (filter_fn is None or filter_fn(part, name))
    }
    if not chosen:
        raise ValueError("module: expected linear layers to prune, got none")
    if method in ("global_unstructured", global_unstructured):
        arguments.setdefault("pruning_method", L1Unstructured)
        global_unstructured([(part, "weight") for part in chosen.values()], **arguments)
    else:
        apply: Any = method
        if not callable(method):
            known = (*_METHODS, "global_unstructured")
            apply = _METHODS[_checks.choice(method, "method", known)]
        for part in chosen.values():
            apply(part, "weight", **arguments)
    return {name: float((part.weight == 0).float().mean()) for name, part in chosen.items()}


def _flat(t: torch.Tensor) -> Any:
    """Return a tensor as (first axis, all others), float32 or float64 in NumPy."""
    wide = t.detach().cpu()
    wide = wide.to(torch.float64 if wide.dtype == torch.float64 else torch.float32)
    return wide.reshape(wide.shape[0] if wide.dim() > 1 else 1, -1).numpy()


def _scores(t: torch.Tensor, mask: torch.Tensor) -> Any:
    """Return magnitudes, 0 where the mask prunes already."""
    scores = np.abs(_flat(t)) * (_flat(mask) != 0)
    _checks.check_finite(scores, "weight")
    return scores


def _as_mask(keep: Any, like: torch.Tensor) -> torch.Tensor:
    kept = torch.from_numpy(np.ascontiguousarray(keep)).reshape(like.shape)
    return like * kept.to(device=like.device, dtype=like.dtype)
