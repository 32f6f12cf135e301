# SPDX-License-Identifier: Apache-2.0
"""`adaround_`: int8 layers whose weights are rounded so that outputs on real data stay the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from octavo import _checks
from octavo._warn import warn
from octavo.nn import LinearOptions
from octavo.torch._capture import Group, batches_of, evaluating, input_groups, inputs_of
from octavo.torch._checks import CONV1D, CONV2D, rows_of, shape_of
from octavo.torch._choice import Candidate, choose
from octavo.torch._fake import fake_rows, weight_scale
from octavo.torch._pruned import make_permanent, refresh
from octavo.torch._rounding import InputMoments, Moments, learn_rounding
from octavo.torch.config import AdaRound
from octavo.torch.convert import (
    become_linear,
    close_fast_paths,
    convert_group,
    entry_of,
)
from octavo.torch.memory import LayerMemory, held_int8
from octavo.torch.summary import Converted, Summary


def adaround_(
    module: nn.Module,
    data: Any,
    config: AdaRound | None = None,
    filter_fn: Callable[[nn.Module, str], bool] | None = None,
    on_progress: Callable[[str, float], None] | None = None,
) -> Summary:
    """Make the linear layers of a model int8, in place, with rounding learned from data.

    As `quantize_`, but each weight is rounded up or down, whichever keeps the layer's outputs close
    to those of the float model. Layers are done in the order in which data reaches them; a layer's
    inputs come through the int8 layers before it. No labels are needed, a hundred sentences do.

    Parameters
    ----------
    module : torch.nn.Module
        On the CPU, float.
    data : iterable of batches
        Each a tensor, a tuple of arguments or a mapping of them, as the model is called. Padding
        that an ``attention_mask`` tells of is left out.
    config : AdaRound, optional
    filter_fn : callable, optional
        ``filter_fn(module, name)`` says whether a layer may become int8; default: all may.
    on_progress : callable, optional
        ``on_progress(what, share)``; what it raises ends the run.

    Returns
    -------
    Summary
        As `quantize_`. Embeddings, convolutions and tied weights are rounded to nearest.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If there is no data or no layer; for data that the model refuses, that leads to NaN, or that
        never reaches a layer; and as `quantize_`.

    Notes
    -----
    Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, arXiv 2004.10568,
    with the exact gradient over all data instead of a sampled one, so there is nothing random in
    it. Beside two copies of the model, memory holds two matrices of a layer's inputs by its inputs,
    however much data there is. Nothing is changed if an error is raised or the run is interrupted.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU())
    >>> data = [torch.randn(64, 256) for _ in range(4)]
    >>> print(octavo.torch.adaround_(model, data, octavo.torch.AdaRound(steps=20)))
    1 layer is int8, 0.26 MB -> 0.07 MB; 0 stay float
    """
    settings = AdaRound() if config is None else config
    if not isinstance(settings, AdaRound):
        raise TypeError(f"config: expected an AdaRound, got {config!r}")
    _checks.function(on_progress, "on_progress")
    groups, kept = choose(module, settings, filter_fn)
    if not any(map(_is_single, groups)):
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in kept) or "it has none"
        raise ValueError(f"module: expected float linear layers, got none ({reasons})")
    batches = batches_of(data)
    wanted = {candidate.name for group in groups for candidate in group}
    rounding = _Rounding(module, batches, settings, wanted)
    made = rounding.run(on_progress or _silent)
    if rounding.unlearned:
        warn(
            f"data: it says nothing about {', '.join(rounding.unlearned)}: all rows that are read"
            " there are alike; rounded to nearest. More data helps"
        )
    converted: list[Converted] = []
    for group in groups:
        if _is_single(group):
            converted.append(_become(group[0], made[group[0].name]))
        else:
            converted += convert_group(group, settings)
    close_fast_paths(module)
    return Summary.of(module, converted, kept)


def _silent(_: str, __: float) -> None:
    pass


def _is_single(group: list[Candidate]) -> bool:
    return len(group) == 1 and group[0].kind not in {"Embedding", CONV2D}


def _become(candidate: Candidate, weight: LayerMemory) -> Converted:
    layer = candidate.module
    make_permanent(layer)
    before = layer.weight.nbytes + (0 if layer.bias is None else layer.bias.nbytes)
    turned = candidate.kind == CONV1D
    become_linear(layer, weight, layer.weight.dtype, adds_bias=False, transposed=turned)
    return entry_of(candidate.name, layer, weight.shape, before, layer.nbytes)


class _Rounding:
    """The run over all layers: a copy of the model becomes int8, layer after layer."""

    def __init__(
        self, module: nn.Module, batches: list[Any], config: AdaRound, names: set[str]
    ) -> None:
        self._float, self._batches, self._config = module, batches, config
        self.unlearned: list[str] = []  # layers whose inputs never varied
        for part in module.modules():
            refresh(part)
        self._int8 = copy.deepcopy(module)
        chosen, _ = choose(self._int8, config, lambda _, name: name in names)
        self._copies = {group[0].name: group[0] for group in chosen if _is_single(group)}
        for group in chosen:
            if not _is_single(group):
                convert_group(group, config)

    def run(self, say: Callable[[str, float], None]) -> dict[str, LayerMemory]:
        """Return the packed weight of each layer."""
        made: dict[str, LayerMemory] = {}
        with torch.no_grad(), evaluating(self._float), evaluating(self._int8):
            close_fast_paths(self._int8)
            groups = input_groups(self._float, list(self._copies), self._batches)
            for index, group in enumerate(groups):
                _, features = shape_of(self._float.get_submodule(group.names[0]))
                moments = self._moments(group, InputMoments(features), index / len(groups), say)
                for place, name in enumerate(group.names):
                    share = (index + (1 + place) / (1 + len(group.names))) / len(groups)
                    say(f"rounding {name}", share)
                    made[name] = self._rounded(name, moments)
                    _become(self._copies[name], made[name])
        say("done", 1.0)
        return made

    def _moments(
        self, group: Group, moments: InputMoments, share: float, say: Callable[[str, float], None]
    ) -> InputMoments:
        for index, batch in enumerate(self._batches):
            say(f"reading what {group.names[0]} reads", share)
            floats = inputs_of(self._float, group, batch, index)
            int8s = inputs_of(self._int8, group, batch, index)
            for one, other in zip(floats, int8s, strict=True):
                moments.update(one, fake_rows(other, self._config.symmetric))
        return moments

    def _rounded(self, name: str, inputs: InputMoments) -> LayerMemory:
        config = self._config
        layer: Any = self._copies[name].module
        weight = rows_of(layer, layer.weight.detach()).float()
        scale = weight_scale(weight, config.largest_code)
        has_bias = layer.bias is not None and config.correct_bias
        try:
            moments = inputs.finish(has_bias)
        except ValueError as error:
            raise ValueError(f"data: layer {name!r}: {error}") from None
        if not moments.gram.any():
            self.unlearned.append(name)
        codes = learn_rounding(weight, scale, moments, config)
        bias = None if layer.bias is None else layer.bias.detach().float()
        if has_bias:
            bias = bias + _shift(weight, codes * scale, moments)
        options = LinearOptions(symmetric=config.symmetric)
        return held_int8(codes.to(torch.int8), scale[:, 0], bias, options, config.sparse)


def _shift(weight: torch.Tensor, rounded: torch.Tensor, moments: Moments) -> torch.Tensor:
    """Return how far the mean output of a layer is from the float one's."""
    return weight @ moments.mean_float - rounded @ moments.mean_int8
