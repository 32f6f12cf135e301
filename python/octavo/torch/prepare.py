# SPDX-License-Identifier: Apache-2.0
"""`prepare_qat_` and `convert_qat_`: into quantization-aware training and out of it, in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from octavo import nn as layers
from octavo.torch._checks import CONV2D, shape_of
from octavo.torch._choice import LEFT_OUT, Candidate, choose
from octavo.torch._pruned import make_permanent
from octavo.torch.config import Int8Training
from octavo.torch.convert import (
    become_convolution,
    become_embedding,
    become_linear,
    close_fast_paths,
    entry_of,
)
from octavo.torch.memory import held_int8
from octavo.torch.qat import QatConv2d, QatEmbedding, QatLinear
from octavo.torch.summary import Converted, Kept, Summary
from octavo.torch.tensors import require_module, to_numpy, unusable

if TYPE_CHECKING:
    from torch import nn


def prepare_qat_(
    module: nn.Module,
    config: Int8Training | None = None,
    filter_fn: Callable[[nn.Module, str], bool] | None = None,
) -> Summary:
    """Let the linear layers and convolutions of a model train for int8, in place.

    The layers compute in float what they will compute as int8 layers, so that training makes up for
    the rounding. Prepare first, then make the optimizer (the layers have new parameters, their
    scales), train, and call `convert_qat_`.

    Parameters
    ----------
    module : torch.nn.Module
        On the CPU, float; it may move to another device to train.
    config : Int8Training, optional
    filter_fn : callable, optional
        ``filter_fn(module, name)`` says whether a layer may become int8; default: all may.

    Returns
    -------
    Summary
        Which layers train for int8; which stay float, and why. Tied weights stay float.

    Raises
    ------
    TypeError
        If an argument is of the wrong kind.
    ValueError
        If there is nothing to prepare; and as `quantize_` for a layer that cannot be.

    Notes
    -----
    Straight-through gradients, clipped where codes are; scales learn as in LSQ (Esser et al.,
    arXiv 1902.08153), as the logarithm of their ratio to the first one. Parameters named
    ``*_log_scale`` may be given a learning rate of their own, or ``requires_grad_(False)``.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.Linear(256, 2))
    >>> print(octavo.torch.prepare_qat_(model))
    1 layer trains for int8, 0.26 MB -> 0.07 MB; 1 stays float
      1  Linear 2x256: too small to gain (fewer than 32768 weights or 16 outputs)
    >>> optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    >>> model(torch.randn(8, 256)).square().mean().backward()
    >>> optimizer.step()
    >>> _ = octavo.torch.convert_qat_(model)
    >>> type(model[0])
    <class 'octavo.torch.linear.Linear'>
    """
    settings = Int8Training() if config is None else config
    if not isinstance(settings, Int8Training):
        raise TypeError(f"config: expected an Int8Training, got {config!r}")
    groups, kept = choose(module, settings, filter_fn)
    for group in groups:
        if len(group) > 1:
            reason = f"its weight is shared with {group[0].name}; tied layers train in float"
            kept += [Kept(c.name, c.kind, shape_of(c.module), reason) for c in group]
    prepared = [_prepare(group[0], settings) for group in groups if len(group) == 1]
    if not prepared:
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in kept) or "it has none"
        raise ValueError(f"module: expected float layers to prepare, got none ({reasons})")
    close_fast_paths(module)
    return Summary(tuple(prepared), tuple(kept), state="training")


_QAT: dict[str, Any] = {"Linear": QatLinear, "Embedding": QatEmbedding, CONV2D: QatConv2d}
_KINDS: dict[type[Any], str] = {kind: name for name, kind in _QAT.items()}


def _prepare(candidate: Candidate, config: Int8Training) -> Converted:
    layer = candidate.module
    layer.__class__ = _QAT[candidate.kind]
    layer.start(config)
    return _entry(candidate.name, layer)


def convert_qat_(module: nn.Module) -> Summary:
    """Make int8 layers of those that `prepare_qat_` made, in place.

    Codes and scales are those of the last forward pass, if no optimizer step came after it; pruned
    weights stay zero. Nothing is changed if an error is raised.

    Parameters
    ----------
    module : torch.nn.Module
        On the CPU.

    Returns
    -------
    Summary
        Which layers are int8 now; which stayed float.

    Raises
    ------
    TypeError
        If `module` is no module.
    ValueError
        If there is nothing to convert, and naming the first layer that is on another device, has
        weights or scales that are not finite, or was never reached by data although its activations
        are static.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(256, 256))
    >>> _ = octavo.torch.prepare_qat_(model)
    >>> before = model(torch.ones(1, 256))
    >>> print(octavo.torch.convert_qat_(model))
    1 layer is int8, 0.26 MB -> 0.07 MB; 0 stay float
    >>> torch.testing.assert_close(model(torch.ones(1, 256)), before)
    """
    require_module(module)
    found = [(name, part) for name, part in module.named_modules() if type(part) in _KINDS]
    if not found:
        raise ValueError("module: expected layers that prepare_qat_ made, got none")
    made = [(name, part, _made(name, part)) for name, part in found]
    entries = []
    for name, part, layer in made:
        before = _entry(name, part)
        _become(part, layer)
        entries.append(entry_of(name, part, before.shape, before.bytes_before, part.nbytes))
    _, floats = choose(module, Int8Training(), lambda *_: False)
    untrained = "it did not train for int8"
    kept = [replace(one, reason=untrained) if one.reason == LEFT_OUT else one for one in floats]
    return Summary(tuple(entries), tuple(kept))


def _made(name: str, part: Any) -> Any:
    """Return what a layer becomes: a packed weight, a table, or codes with their scales."""
    where = f"{name}: " if name else ""
    for key, tensor in [*part._parameters.items(), *part._buffers.items()]:
        problem = None if tensor is None else unusable(tensor)
        if problem is not None:
            raise ValueError(f"{where}{key}: {problem}")
    try:
        codes, scale = part.int8_weight()
        if isinstance(part, QatEmbedding):
            return layers.Embedding(*map(to_numpy, (codes, scale)))
        if isinstance(part, QatConv2d):
            return codes, scale
        return held_int8(codes, scale, part.bias, part.input_options(), part.sparse)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from None


def _become(part: Any, made: Any) -> None:
    make_permanent(part)
    dtype = part.weight.dtype
    for name in ("weight_log_scale", "input_log_scale"):
        part._parameters.pop(name, None)
    for name in ("weight_scale", "input_range", "input_batches"):
        part._buffers.pop(name, None)
    if isinstance(part, QatLinear):
        become_linear(part, made, dtype, adds_bias=False)
    elif isinstance(part, QatConv2d):
        become_convolution(part, *made)
    else:
        become_embedding(part, made, dtype)


def _entry(name: str, part: Any) -> Converted:
    """Tell what a layer takes in float, and as int8."""
    kind = _KINDS[type(part)]
    rows, columns = shape_of(part)
    bias = getattr(part, "bias", None)
    before = rows * columns * part.weight.element_size() + (0 if bias is None else bias.nbytes)
    after = rows * columns + 4 * rows + (0 if bias is None else 4 * rows)
    return Converted(name, kind, (rows, columns), before, after)
