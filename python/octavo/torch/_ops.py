# SPDX-License-Identifier: Apache-2.0
"""The operators ``torch.ops.octavo.*``: their CPU kernels, fake kernels and gradients.

Registered with `torch.library.Library` rather than `custom_op`, whose checks around each call cost
more than a small layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from octavo import _backend, _checks, _results
from octavo.nn.weights import Weight
from octavo.torch._form import Form
from octavo.torch.memory import LayerMemory, layer_of, refuse_gradient, weight_of
from octavo.torch.tensors import FLOATS, TensorCache, borrowed, explain, require_tensor

_TABLES: TensorCache[Weight] = TensorCache()

LIBRARY = torch.library.Library("octavo", "DEF")
TAGS = (torch.Tag.pt2_compliant_tag,)
_LINEAR = "(Tensor x, Tensor[] weight, Tensor? bias, str form) -> Tensor"
# Two operators that compute the same: a gradient registered from Python costs each call 10 us, also
# the calls that need none.
LIBRARY.define("linear" + _LINEAR, tags=TAGS)
LIBRARY.define("linear_inference" + _LINEAR, tags=TAGS)
LIBRARY.define("linear_weight(Tensor[] weight, str form) -> Tensor", tags=TAGS)
LIBRARY.define("embedding(Tensor ids, Tensor[] weight, str form) -> Tensor", tags=TAGS)
LIBRARY.define("int_mm(Tensor a, Tensor b) -> Tensor", tags=TAGS)


def apply(layer: Any, x: Tensor) -> Tensor:
    """Apply an octavo layer to a tensor; the result has the tensor's dtype."""
    if x.requires_grad:
        x = x.detach()
    if x.dtype == torch.float32:
        return torch.from_numpy(layer(_array(x)))
    check_float(x)
    return torch.from_numpy(layer(_array(x.float()))).to(x.dtype)


def _array(x: Tensor) -> Any:
    """Return the memory of `x`: asking first whether it has any costs more than a small layer."""
    try:
        return x.numpy()
    except (RuntimeError, TypeError):
        return explain(x, "x").numpy()


def check_float(x: Tensor) -> None:
    """Refuse what cannot be an activation."""
    if x.dtype not in FLOATS:
        raise TypeError(f"x: expected float32, bfloat16 or float16, got {x.dtype}")
    if x.layout != torch.strided:
        raise TypeError(f"x: expected a dense tensor, got layout {x.layout}")


def linear_operator(x: Tensor) -> Any:
    """Return the operator for `x`: the one with a gradient if somebody may ask for it."""
    require_tensor(x, "x")
    if x.requires_grad and torch.is_grad_enabled():
        return torch.ops.octavo.linear.default
    return torch.ops.octavo.linear_inference.default


@torch.library.impl(LIBRARY, "linear", "CPU")
@torch.library.impl(LIBRARY, "linear_inference", "CPU")
def _linear(x: Tensor, weight: list[Tensor], bias: Tensor | None, form: str) -> Tensor:
    layer, adds_bias = layer_of(weight, form, bias)
    return add_bias(layer, x, bias) if adds_bias else apply(layer, x)


@torch.library.impl(LIBRARY, "linear_weight", "CPU")
def _weight(weight: list[Tensor], form: str) -> Tensor:
    return weight_of(weight, form)


def add_bias(layer: Any, x: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a layer without a bias, then add one: bit for bit what a layer with a bias gives."""
    if bias is not None and bias.requires_grad:
        refuse_gradient()
    check_float(x)
    return apply(layer, x.float()).add_(bias).to(x.dtype)


@torch.library.register_fake("octavo::linear", lib=LIBRARY)
@torch.library.register_fake("octavo::linear_inference", lib=LIBRARY)
def _linear_fake(x: Tensor, weight: list[Tensor], bias: Tensor | None, form: str) -> Tensor:  # noqa: ARG001
    n, k = Form.read(form)[1].shape
    check_float(x)
    torch._check(
        x.shape[-1] == k,
        lambda: f"x: expected shape (..., {k}), got {tuple(x.shape)}",
    )
    return x.new_empty((*x.shape[:-1], n))


@torch.library.register_fake("octavo::linear_weight", lib=LIBRARY)
def _weight_fake(weight: list[Tensor], form: str) -> Tensor:
    return weight[0].new_empty(Form.read(form)[1].shape, dtype=torch.float32)


def _linear_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    x, weight, _, ctx.form = inputs
    ctx.save_for_backward(*weight)  # which tells if somebody writes to them meanwhile
    ctx.dtype = x.dtype


def _linear_backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    """Let the rounding of activations pass gradients through: dx = dy @ dequantized weight."""
    tensors = list(ctx.saved_tensors)
    weight = torch.ops.octavo.linear_weight.default(tensors, ctx.form)
    return (gradient.float() @ weight).to(ctx.dtype), [None] * len(tensors), None, None


torch.library.register_autograd(
    "octavo::linear", _linear_backward, setup_context=_linear_context, lib=LIBRARY
)


@torch.library.impl(LIBRARY, "embedding", "CPU")
def _embedding(ids: Tensor, weight: list[Tensor], form: str) -> Tensor:
    def make() -> Weight:
        names, known = Form.read(form)
        return known.weight(dict(zip(names, map(borrowed, weight), strict=True)))

    return look_up(ids, _TABLES.get(tuple(weight), form, make))


def look_up(ids: Tensor, table: Weight) -> Tensor:
    """Return rows of a table as float32."""
    if ids.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"input: expected int64 or int32, got {ids.dtype}")
    array = _checks.as_ids(explain(ids, "input").numpy(), "input", own=True)
    count = table.shape[0]
    if array.size and not 0 <= array.min() <= array.max() < count:
        low, high = array.min(), array.max()
        raise IndexError(f"input: expected ids in [0, {count - 1}], got {low if low < 0 else high}")
    rows = _results.result(None, (*array.shape, table.shape[1]), _results.FLOAT32, {})
    table.lookup(array, rows)
    return torch.from_numpy(rows)


@torch.library.register_fake("octavo::embedding", lib=LIBRARY)
def _embedding_fake(ids: Tensor, weight: list[Tensor], form: str) -> Tensor:  # noqa: ARG001
    return ids.new_empty((*ids.shape, Form.read(form)[1].shape[1]), dtype=torch.float32)


def _embedding_vmap(_: Any, dims: tuple[Any, ...], ids: Tensor, *rest: Any) -> tuple[Tensor, int]:
    return torch.ops.octavo.embedding(ids.movedim(dims[0], 0), *rest), 0


def _linear_vmap(_: Any, dims: tuple[Any, ...], x: Tensor, *rest: Any) -> tuple[Tensor, int]:
    """Take the axis that is mapped over for one more of rows."""
    tensors = (*dims[1], dims[2])
    if any(dim is not None for dim in tensors):
        raise ValueError("weight: expected one for all of torch.vmap, got one for each")
    return linear_operator(x)(x.movedim(dims[0], 0), *rest), 0


# PyTorch 2.4 and 2.5 have no such function, and no vmap over operators that take lists.
if hasattr(torch.library, "register_vmap"):
    for _name in ("linear", "linear_inference"):
        torch.library.register_vmap(f"octavo::{_name}", _linear_vmap, lib=LIBRARY)
    torch.library.register_vmap("octavo::embedding", _embedding_vmap, lib=LIBRARY)


class Differentiable(torch.autograd.Function):
    """An eager call with a gradient, past the dispatcher."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, memory: LayerMemory, bias: Tensor | None) -> Tensor:
        """Apply the layer, and add a bias if one is given."""
        ctx.memory, ctx.dtype = memory, x.dtype
        ctx.save_for_backward(*(getattr(memory, name) for name in memory.names))
        return call(memory, x, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Do what `_linear_backward` does."""
        _ = ctx.saved_tensors
        weight = torch.from_numpy(ctx.memory.current().weight)
        return (gradients[0].float() @ weight).to(ctx.dtype), None, None


def call(memory: LayerMemory, x: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a layer to a tensor that nobody traces, and add a bias if one is given."""
    layer = memory.current()
    return apply(layer, x) if bias is None else add_bias(layer, x, bias)


def check_codes(tensor: Tensor, name: str, dtypes: tuple[torch.dtype, ...]) -> None:
    """Refuse what is no dense matrix of codes on the CPU."""
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(tensor).__name__}")
    if tensor.dtype not in dtypes:
        raise TypeError(f"{name}: expected {' or '.join(map(str, dtypes))}, got {tensor.dtype}")
    if tensor.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense tensor, got layout {tensor.layout}")
    if tensor.ndim != 2:
        raise ValueError(f"{name}: expected two dimensions, got shape {tuple(tensor.shape)}")


def check_product(a: Tensor, b: Tensor) -> None:
    """Refuse operands of `int_mm` that do not go together."""
    check_codes(a, "a", (torch.int8, torch.uint8))
    check_codes(b, "b", (torch.int8,))
    if a.shape[1] != b.shape[0]:
        raise ValueError(
            f"b: expected {a.shape[1]} rows to match a of shape {tuple(a.shape)},"
            f" got shape {tuple(b.shape)}"
        )


def product(a: Tensor, b: Any) -> Tensor:
    """Exact a @ b: `b` is an array, or a `PackedMatrix` of the backend."""
    k, n = b.shape
    _checks.check_inner(k, 128 * (255 if a.dtype == torch.uint8 else 128), "a")
    out = np.empty((a.shape[0], n), np.int32)
    codes = a.numpy()
    if isinstance(b, np.ndarray):
        _backend.backend.matmul_int8(codes[None], b[None], None, None, out[None])
    else:
        b.matmul(codes, out)
    return torch.from_numpy(out)


@torch.library.impl(LIBRARY, "int_mm", "CPU")
def int_mm_cpu(a: Tensor, b: Tensor) -> Tensor:
    """Multiply; the CPU kernel of ``octavo::int_mm``."""
    check_product(a, b)
    return product(a, b.numpy())


@torch.library.register_fake("octavo::int_mm", lib=LIBRARY)
def _int_mm_fake(a: Tensor, b: Tensor) -> Tensor:
    check_product(a, b)
    return a.new_empty((a.shape[0], b.shape[1]), dtype=torch.int32)
