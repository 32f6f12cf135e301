# SPDX-License-Identifier: Apache-2.0
"""`quantize_`: the layers of a model become int8 in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from octavo._formats import DENSE
from octavo._types import Array
from octavo.nn import Linear as Layer
from octavo.nn import LinearOptions
from octavo.nn.weights import Int4Weight
from octavo.nn.weights.codes import quantized_weight
from octavo.torch._checks import CONV1D, CONV2D, rows_of, shape_of
from octavo.torch._choice import Candidate, choose
from octavo.torch._conv_ops import Windows
from octavo.torch._pruned import make_permanent
from octavo.torch.config import Dynamic, Int4Dynamic, Int8Dynamic, config_of
from octavo.torch.conv import Conv2d, codes_of
from octavo.torch.embedding import Embedding
from octavo.torch.linear import Linear
from octavo.torch.memory import LayerMemory, held_int8
from octavo.torch.sparse_linear import SparseLinear
from octavo.torch.summary import Converted, Summary
from octavo.torch.tensors import to_numpy


def quantize_(
    module: nn.Module,
    config: Dynamic | str | None = None,
    filter_fn: Callable[[nn.Module, str], bool] | None = None,
) -> Summary:
    """Make the linear layers, embeddings and convolutions of a model int8, in place.

    Linear layers are those of PyTorch and the Conv1D of transformers (GPT-2); they may be of 4
    bits. Convolutions are `torch.nn.Conv2d`, whose images are quantized one by one.
    The module objects stay who they are (also `module` itself, if it is a layer): references,
    hooks and names keep working.  Weights that several modules share stay shared; if one of them
    has to stay float, all do.  Layers pruned by `octavo.torch.prune` or `torch.nn.utils.prune` are
    taken as they are, their zeros become permanent, and they become `SparseLinear` where that pays.
    Nothing is changed if an error is raised.

    Parameters
    ----------
    module : torch.nn.Module
        On the CPU, float32, bfloat16 or float16.
    config : Int8Dynamic, Int4Dynamic, or ``"int8_dynamic"``, ``"int4_dynamic"``, optional
    filter_fn : callable, optional
        ``filter_fn(module, name)`` says whether a layer may become int8; default: all may.

    Returns
    -------
    Summary
        What became int8; what stayed float, and why (too small to gain, tied to a float layer,
        a subclass with its own forward, ...); among it every float weight of 32768 numbers or more.

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


def convert_group(group: list[Candidate], config: Dynamic) -> list[Converted]:
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
    elif group[0].kind == CONV2D:
        codes, scale = codes_of(weight.detach())
        for candidate in group:
            become_convolution(candidate.module, codes, scale)
    else:
        alone = len(group) == 1 and _has_bias(group[0].module)
        bias = group[0].module.bias if alone else None
        rows = to_numpy(rows_of(group[0].module, weight))
        has_table = any(candidate.kind == "Embedding" for candidate in group)
        held = _held(rows, bias, config, has_table)
        for candidate in group:
            if candidate.kind == "Embedding":
                become_embedding(candidate.module, held, weight.dtype)
            else:
                turned = candidate.kind == CONV1D
                become_linear(
                    candidate.module, held, weight.dtype, adds_bias=not alone, transposed=turned
                )
    results = []
    for index, (candidate, bias_bytes) in enumerate(zip(group, sizes, strict=True)):
        first = index == 0
        after = candidate.module.nbytes if first else bias_bytes
        old = before * first + bias_bytes
        results.append(entry_of(candidate.name, candidate.module, shape, old, after))
    return results


def _held(rows: Array, bias: torch.Tensor | None, config: Dynamic, has_table: bool) -> LayerMemory:
    """Hold a weight as a config has it."""
    if isinstance(config, Int4Dynamic) and not has_table:
        weight = Int4Weight.from_float(rows, group=config.group)
        return LayerMemory(Layer.of(weight, None if bias is None else to_numpy(bias)))
    own = config if isinstance(config, Int8Dynamic) else Int8Dynamic()
    codes, scale = map(torch.from_numpy, quantized_weight(rows))
    # A table looks rows up in a dense weight.
    sparse = "never" if has_table else own.sparse
    return held_int8(codes, scale, bias, LinearOptions(symmetric=own.symmetric), sparse)


def entry_of(name: str, module: Any, shape: tuple[int, int], before: int, after: int) -> Converted:
    """Tell what became of a layer that computes in integers now."""
    kinds: dict[type[Any], str] = {Embedding: "Embedding", Conv2d: CONV2D}
    kind = kinds.get(type(module), "Linear")
    if kind == "Linear" and module.transposed:
        kind = CONV1D
    is_sparse = isinstance(module, SparseLinear)
    format, sparsity = (module.format, module.sparsity) if is_sparse else (DENSE, None)
    return Converted(name, kind, shape, before, after, format, sparsity, module.kind)


def _has_bias(module: Any) -> bool:
    return getattr(module, "bias", None) is not None


def become_linear(
    module: Any,
    weight: LayerMemory,
    dtype: torch.dtype,
    *,
    adds_bias: bool,
    transposed: bool = False,
) -> None:
    """Make an int8 layer of a module with the parameters `weight` and `bias`.

    Parameters
    ----------
    module : torch.nn.Module
    weight : LayerMemory
    dtype : torch.dtype
        Of its float weight.
    adds_bias : bool
        Whether it has a bias beside that of `weight`.
    transposed : bool
        Whether its float weight is (in_features, out_features).
    """
    bias = module._parameters.pop("bias")
    del module._parameters["weight"]
    module.__class__ = SparseLinear if weight.layer.held_weight.leaves_zeros_out else Linear
    module.dtype, module.transposed = dtype, transposed
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


def become_convolution(module: Any, codes: torch.Tensor, scale: torch.Tensor) -> None:
    """Make an int8 layer of a `torch.nn.Conv2d`, with codes and scales that others may share."""
    windows, dtype = Windows.of(module), module.weight.dtype
    bias = module._parameters.pop("bias")
    del module._parameters["weight"]
    module.__class__ = Conv2d
    module.dtype = dtype
    module.stride, module.padding, module.dilation, module.groups = windows
    with torch.inference_mode(False):
        own = None if bias is None else bias.detach().to(torch.float32, copy=True)
        module._hold(codes, scale, own)


def close_fast_paths(module: nn.Module) -> None:
    """Keep PyTorch's fused encoder, which reads float weights itself, away from int8 layers."""
    for part in module.modules():
        if isinstance(part, nn.TransformerEncoderLayer):
            if any(_is_int8(layer) for layer in (part.linear1, part.linear2)):
                part.activation_relu_or_gelu = 0
        elif isinstance(part, nn.TransformerEncoder) and any(map(_is_int8, part.modules())):
            part.use_nested_tensor = False


def _is_int8(module: nn.Module) -> bool:
    return isinstance(module, Linear) or getattr(module, "is_prepared", False)
