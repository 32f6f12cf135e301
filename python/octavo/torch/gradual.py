# SPDX-License-Identifier: Apache-2.0
"""Pruning little by little while a model trains."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.nn.utils import prune as torch_prune

from octavo import _checks
from octavo.algorithms.pruning import selection as _select
from octavo.torch._pruned import refresh

Place = tuple[nn.Module, str]


class GradualPruning:
    """A schedule that raises the share of zeros along a cubic curve; call `step` once a batch.

    Between steps `begin` and `end` the sparsity is
    ``final + (initial - final) * (1 - (step - begin) / (end - begin))**3``: fast at first, while
    there is much to spare. What is pruned stays pruned; the rest trains on.

    Parameters
    ----------
    parameters : torch.nn.Module, or sequence of (module, name)
        What to prune; a model stands for the weights of all its linear layers.
    method : callable
        ``method(module, name, amount=share)`` prunes that share of what is left: any function of
        `octavo.torch.prune`, with other arguments bound by `functools.partial`. ``nm`` with `m`
        bound is called with a falling `n` instead. A class, `L1Unstructured` for instance, compares
        all parameters with each other, as in `global_unstructured`.
    final : float
        Share of zeros at the end, in (0, 1).
    end : int
        The step that reaches it.
    initial : float
        Share of zeros at `begin`.
    begin : int
        The first step that prunes.
    every : int
        Prune at every so many steps.

    Notes
    -----
    Zhu, Gupta: To prune, or not to prune, arXiv 1710.01878.

    Examples
    --------
    >>> import torch
    >>> from octavo.torch import prune
    >>> layer = torch.nn.Linear(16, 16)
    >>> schedule = prune.GradualPruning(layer, prune.l1_unstructured, 0.75, end=4)
    >>> for _ in range(4):
    ...     # forward, backward and optimizer.step() come here
    ...     print(schedule.step())
    0.43359375
    0.65625
    0.73828125
    0.75
    """

    def __init__(
        self,
        parameters: nn.Module | Sequence[Place],
        method: Callable[..., Any],
        final: float,
        *,
        end: int,
        initial: float = 0.0,
        begin: int = 0,
        every: int = 1,
    ) -> None:
        if not callable(method):
            raise TypeError(f"method: expected a function, got {type(method).__name__}")
        self._places = _places(parameters)
        self._method = method
        self.initial = _select.share(initial, "initial")
        self.final = _select.share(final, "final")
        if self.final <= self.initial:
            raise ValueError(f"final: expected more than initial = {self.initial}, got {final}")
        self.begin = _checks.integer(begin, "begin", 0)
        self.end = _checks.integer(end, "end", self.begin + 1)
        self.every = _checks.integer(every, "every", 1)
        self.steps = 0
        # From the start on the parameters are weight_orig and weight_mask: state dicts and
        # optimizers made now fit until the end.
        for module, name in self._places:
            if not hasattr(module, f"{name}_mask"):
                torch_prune.identity(module, name)

    def sparsity(self, step: int | None = None) -> float:
        """Return the share of zeros that is due at a step (default: the last one)."""
        at = self.steps if step is None else step
        if at < self.begin:
            return 0.0
        left = 1 - min(1.0, (at - self.begin) / (self.end - self.begin))
        return self.final + (self.initial - self.final) * left**3

    def step(self) -> float:
        """Count one training step, prune if it is time; return the share of zeros there is."""
        self.steps += 1
        at = self.steps
        due = (at - self.begin) % self.every == 0 or at == self.end
        if self.begin <= at <= self.end and due:
            self._prune(self.sparsity())
        zeros, total = self._zeros(self._places)
        return zeros / total

    def _prune(self, target: float) -> None:
        for module, _ in self._places:
            refresh(module)
        if isinstance(self._method, type):
            share = self._share(self._places, target)
            if share > 0:
                torch_prune.global_unstructured(self._places, self._method, amount=share)
            return
        bound = getattr(self._method, "keywords", {})
        for module, name in self._places:
            if "m" in bound:
                m = bound["m"]
                kept = math.ceil(round(m * (1 - target), 6))
                if kept < m:
                    self._method(module, name, n=max(1, kept))
                continue
            share = self._share([(module, name)], target)
            if share > 0:
                self._method(module, name, amount=share)

    def _share(self, places: Sequence[Place], target: float) -> float:
        """Return which part of what is left has to go, 0 if there are zeros enough."""
        zeros, total = self._zeros(places)
        missing = round(target * total) - zeros
        return missing / (total - zeros) if missing > 0 else 0.0

    @staticmethod
    def _zeros(places: Sequence[Place]) -> tuple[int, int]:
        masks = [getattr(module, f"{name}_mask") for module, name in places]
        return sum(int((mask == 0).sum()) for mask in masks), sum(mask.numel() for mask in masks)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes; the masks are in the model's own state dict."""
        keys = ("steps", "initial", "final", "begin", "end", "every")
        return {key: getattr(self, key) for key in keys}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another schedule was; ValueError for keys that are missing or unknown."""
        own = self.state_dict()
        if set(state) != set(own):
            raise ValueError(f"state: expected the keys {', '.join(own)}, got {sorted(state)}")
        vars(self).update(state)


def _places(parameters: Any) -> list[Place]:
    if isinstance(parameters, nn.Module):
        found: list[Place] = [
            (part, "weight") for part in parameters.modules() if isinstance(part, nn.Linear)
        ]
    elif isinstance(parameters, (list, tuple)):
        found = [_place(item) for item in parameters]
    else:
        raise TypeError(
            "parameters: expected a model or a list of (module, name), got "
            f"{type(parameters).__name__}"
        )
    if not found:
        raise ValueError("parameters: expected something to prune, got nothing")
    return found


def _place(item: Any) -> Place:
    if (
        not isinstance(item, tuple)
        or len(item) != 2
        or not isinstance(item[0], nn.Module)
        or not isinstance(item[1], str)
    ):
        raise TypeError(f"parameters: expected pairs of (module, name), got {item!r}")
    if not hasattr(item[0], item[1]):
        raise ValueError(f"parameters: expected the name of a parameter, got {item[1]!r}")
    return item
