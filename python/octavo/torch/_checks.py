# SPDX-License-Identifier: Apache-2.0
"""Which layers can be int8, which stay float and why, and which are an error."""

from __future__ import annotations

import math
import sys
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn

from octavo import timing
from octavo._checks import LARGEST_PRODUCT, inner_bound
from octavo.timing import geometric_mean
from octavo.torch._conv_ops import Windows
from octavo.torch._pruned import stored_weight
from octavo.torch.config import Dynamic, Int4Dynamic, Int8Training
from octavo.torch.conv import Conv2d
from octavo.torch.linear import Linear
from octavo.torch.tensors import FLOATS, unusable

_MAX_K = inner_bound(LARGEST_PRODUCT)
# Below these int8 loses at some number of rows: on AVX2, one thread, 0.5 to 1.1 times float32's
# speed at 512 rows, and ahead everywhere above (layers of 2 to 256 outputs, 64 to 1024 inputs).
SMALL = 1 << 15
NARROW = 16

CONV1D = "Conv1D"
"""The linear layer of GPT-2 in transformers, whose weight is (in_features, out_features)."""

CONV2D = "Conv2d"
# Where a convolution's groups have fewer channels, float is faster: a depthwise one 50 times, 16 in
# each of 4 groups 1.3 times, 32 in each of 8 groups 0.6 times (AVX-512 with VNNI, one thread,
# channels last).
FEW_CHANNELS = 32


def float_kinds() -> dict[type[nn.Module], str]:
    """Return the classes of layers that can be int8, and what they are called."""
    kinds: dict[type[nn.Module], str] = {
        nn.Linear: "Linear",
        nn.Embedding: "Embedding",
        nn.Conv2d: CONV2D,
    }
    # Who has such a layer has imported this.
    known: Any = sys.modules.get("transformers.pytorch_utils")
    return kinds if known is None else {**kinds, known.Conv1D: CONV1D}


def kind_of(module: nn.Module) -> str | None:
    """Return what a layer is, one of the values of `float_kinds`; None for all other modules."""
    return next((name for kind, name in float_kinds().items() if isinstance(module, kind)), None)


def shape_of(module: Any) -> tuple[int, int]:
    """Return (out_features, in_features) or (num_embeddings, embedding_dim).

    Of a convolution, outputs and what is summed up for each.
    """
    if isinstance(module, nn.Conv2d):
        inputs = module.in_channels // module.groups
        return module.out_channels, inputs * module.kernel_size[0] * module.kernel_size[1]
    if kind_of(module) == CONV1D:
        return module.nf, module.nx
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    return module.num_embeddings, module.embedding_dim


def rows_of(module: nn.Module, weight: torch.Tensor) -> torch.Tensor:
    """Return the weight of a layer with a row for each output or entry: that of a Conv1D turned."""
    return weight.t() if kind_of(module) == CONV1D else weight


def reason_to_keep(name: str, module: nn.Module, config: Dynamic) -> str | None:
    """Return why a layer stays float, or None."""
    if getattr(module, "is_prepared", False):
        return "it trains for int8; convert_qat_ makes it int8"
    if type(module) not in float_kinds():
        return f"{type(module).__name__} computes in a way of its own"
    if "forward" in vars(module):
        return "its forward is patched; remove the hook that did it"
    weight = stored_weight(module)
    if weight is None:
        return "its weight is computed (parametrized); make it permanent first"
    if type(weight.data) is not torch.Tensor and not weight.is_meta:
        return f"its weight is a {type(weight.data).__name__}"
    if isinstance(config, Int8Training) and kind_of(module) == CONV1D:
        return "a Conv1D does not train for int8; quantize_ makes it int8"
    if isinstance(module, nn.Embedding):
        if not config.embeddings:
            return "embeddings are switched off"
        if module.max_norm is not None:
            return "max_norm rewrites the table while it is used"
    if isinstance(module, nn.Conv2d):
        if isinstance(config, Int8Training) and config.activations == "static":
            return "convolutions train with dynamic activations; octavo.Converter finds static ones"
        try:
            Windows.of(module)
        except ValueError as error:
            return str(error)
    _require_usable(name, module)
    if weight.dtype not in FLOATS:
        return f"its weight is {weight.dtype}"
    n, k = shape_of(module)
    if n == 0 or k == 0:
        return "it is empty"
    if not isinstance(module, nn.Embedding):
        if k > _MAX_K:
            return f"more than {_MAX_K} inputs: int32 sums might not be exact"
        return _reason_of_speed(module, config)
    return None


def _require_usable(name: str, module: nn.Module) -> None:
    for key, tensor in module._parameters.items():
        if tensor is None:
            continue
        what = f"{name}.{key}" if name else key
        problem = unusable(tensor)
        if problem is not None:
            raise ValueError(f"{what}: {problem}, or leave this layer out with filter_fn")
        if tensor.is_floating_point() and not torch.isfinite(tensor.detach()).all():
            raise ValueError(f"{what}: expected finite values, got NaN or infinity")


def _reason_of_speed(module: Any, config: Dynamic) -> str | None:
    n, k = shape_of(module)
    is_image = isinstance(module, nn.Conv2d)
    if config.if_slower == "keep":
        if is_image and module.groups > 1 and module.in_channels // module.groups < FEW_CHANNELS:
            return f"float is faster (fewer than {FEW_CHANNELS} channels in each of its groups)"
        if n * k < SMALL or n < NARROW:
            return f"too small to gain (fewer than {SMALL} weights or {NARROW} outputs)"
    if config.if_slower == "measure":
        dtype, threads = stored_weight(module).dtype, torch.get_num_threads()
        has_bias = module.bias is not None
        if is_image:
            windows = module.in_channels, n, module.kernel_size, *Windows.of(module)
            speedup = _speedup_of_images(windows, has_bias, dtype, config.rows, threads)
        else:
            group = config.group if isinstance(config, Int4Dynamic) else None
            speedup = _speedup(n, k, has_bias, dtype, config.rows, threads, group)
        if speedup < 1:
            return f"measured {speedup:.2f}x of the float layer's speed"
    return None


@lru_cache(maxsize=1024)
def _speedup(
    n: int,
    k: int,
    bias: bool,
    dtype: torch.dtype,
    rows: tuple[int, ...],
    threads: int,
    group: int | None = None,
) -> float:
    """Time both layers on this machine: the float one's time over ours, mean over `rows`.

    Ours is int8, or 4 bits with a scale for each `group` of inputs.
    """
    del threads  # part of the cache's key
    layer = nn.Linear(k, n, bias=bias, dtype=dtype)
    options = {} if group is None else {"bits": 4, "group": group}
    ours = Linear.from_float(layer, **options)
    return _measured(layer, ours, [torch.randn(count, k).to(dtype) for count in rows])


@lru_cache(maxsize=1024)
def _speedup_of_images(
    windows: tuple[Any, ...], bias: bool, dtype: torch.dtype, rows: tuple[int, ...], threads: int
) -> float:
    """Do the same for a convolution of images with about as many windows."""
    del threads
    layer = nn.Conv2d(*windows, bias=bias, dtype=dtype)
    inputs, _, kernel, stride, _, dilation, _ = windows
    images = []
    for count in rows:
        steps = [step * (math.isqrt(count) - 1) for step in stride]
        reach = [(size - 1) * far + 1 for size, far in zip(kernel, dilation, strict=True)]
        size = [a + b for a, b in zip(steps, reach, strict=True)]
        images.append(torch.randn(1, inputs, *size).to(dtype))
    return _measured(layer, Conv2d.from_float(layer), images)


@torch.no_grad()
def _measured(layer: nn.Module, ours: nn.Module, inputs: list[torch.Tensor]) -> float:
    ratios = []
    for x in inputs:
        calls = {"float": partial(layer, x), "ours": partial(ours, x)}
        timed = timing.run(calls, rounds=5, seconds=0.02).timings
        ratios.append(timed["float"].low / timed["ours"].low)
    return geometric_mean(ratios)
