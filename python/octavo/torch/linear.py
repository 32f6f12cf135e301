# SPDX-License-Identifier: Apache-2.0
"""The linear layer as a torch module."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from octavo import nn
from octavo._types import Array
from octavo.nn.weights import Layout
from octavo.torch import _ops
from octavo.torch._form import beside_weight
from octavo.torch._module import Int8Module, require_float
from octavo.torch._pruned import weight_of
from octavo.torch.memory import LayerMemory
from octavo.torch.tensors import is_eager, to_array, to_numpy

_STATIC = ("input_scale", "input_zero_point")

# Older releases of PyTorch do not tell whether what they compile is for export.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class Linear(Int8Module):
    """``x @ weight.T + bias`` with int8 weights and int8 activations.

    Made by `quantize_`, from a float layer by `from_float`, or of a layer of `octavo.nn`, whose
    weight may be of any kind.  Activations are quantized row by row as they come, or all with the
    `input_scale` that `convert_qat_` found.  The result has the dtype of `x` (float32, bfloat16 or
    float16); a row's result depends on that row alone.
    Gradients flow to `x`, through the dequantized weight; the weight itself does not train.

    State dicts hold ``weight`` (int8 codes), ``weight_scale`` (float32, one row each), ``bias``
    (float32), and if there are such ``input_scale``, ``input_zero_point``, ``input_multiplier``,
    ``outlier_columns`` and ``outlier_weight``: the names in files.  Those of a `SparseLinear` load
    too; the layer stays dense.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> layer = octavo.torch.Linear.from_float(torch.nn.Linear(384, 512))
    >>> layer(torch.randn(2, 7, 384)).shape
    torch.Size([2, 7, 512])
    >>> {key: value.dtype for key, value in layer.state_dict().items()}
    {'weight': torch.int8, 'weight_scale': torch.float32, 'bias': torch.float32}
    """

    weight_scale: Tensor
    held_bias: Tensor | None
    transposed = False

    def __init__(
        self,
        layer: nn.Linear | LayerMemory,
        bias: Tensor | None = None,
        *,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Hold a layer of `octavo.nn`; `bias` is added on top, for weights that modules share."""
        super().__init__()
        self.dtype = dtype
        self._hold(LayerMemory(layer) if isinstance(layer, nn.Linear) else layer, bias)

    @classmethod
    def from_float(cls, module: torch.nn.Linear, **options: Any) -> Linear:
        """Quantize a float layer, which is left as it is.

        Parameters
        ----------
        module : torch.nn.Linear
            On the CPU; float32, bfloat16 or float16; finite.
        **options
            symmetric, to quantize the rows of `x` symmetrically instead of over their own range; or
            bits=4, and group if not each 32 inputs share a scale.

        Raises
        ------
        TypeError
            If `module` is not a `torch.nn.Linear`.
        ValueError
            If its numbers are on another device, without data, sparse, or not finite.
        """
        require_float(module, torch.nn.Linear)
        bias = None if module.bias is None else to_numpy(module.bias)
        layer = nn.Linear.from_float(to_numpy(weight_of(module)), bias, **options)
        return cls(layer, dtype=module.weight.dtype).train(module.training)

    def _hold(self, memory: LayerMemory, bias: Tensor | None) -> None:
        self._weight = memory
        self._adds_bias = bias is not None
        self.out_features, self.in_features = memory.shape
        for name in memory.names:
            self.register_buffer(name, getattr(memory, name), persistent=False)
        self.register_buffer("held_bias", memory.bias if bias is None else bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer.

        Parameters
        ----------
        x : tensor, shape (..., in_features), float32, bfloat16 or float16

        Returns
        -------
        tensor, shape (..., out_features), the dtype of `x`
        """
        if torch.compiler.is_compiling() or not is_eager(x):
            operator = _ops.linear_operator(x)
            tensors, text = self._operands()
            return operator(x, tensors, self.held_bias, text)
        bias = self.held_bias if self._adds_bias else None
        if x.requires_grad and torch.is_grad_enabled():
            return _ops.Differentiable.apply(x, self._weight, bias)
        return _ops.call(self._weight, x, bias)

    def _operands(self) -> tuple[list[Tensor], str]:
        """Return the tensors that operators take for the weight, and the text that goes with them.

        A compiled graph works with this layer, which the tensors over its memory tell.
        """
        memory = self._weight
        tensors = [getattr(self, name) for name in memory.names]
        if memory.whole or (torch.compiler.is_compiling() and not _is_exporting()):
            return tensors, memory.text
        memory.make_parts()
        parts = [getattr(memory, name) for name in memory.part_names]
        return [*parts, *tensors], memory.part_text

    @property
    def kind(self) -> str:
        """What the weight is: "int8", "int4" or another of `octavo.nn.weights.KINDS`."""
        return self._weight.layer.kind

    @property
    def symmetric(self) -> bool:
        """Whether rows of `x` are quantized by their largest magnitude."""
        return self._weight.layer.options.symmetric

    @property
    def input_scale(self) -> float | None:
        """The fixed scale of `x`; None if each row has its own."""
        return self._weight.layer.options.input_scale

    @property
    def input_zero_point(self) -> int:
        """The fixed zero point of `x`."""
        return self._weight.layer.options.input_zero_point

    @property
    def bias(self) -> Tensor | None:
        """The bias in the dtype of the float module; `held_bias` is the float32 one that counts."""
        return None if self.held_bias is None else self.held_bias.to(self.dtype)

    def _weight_shape(self) -> tuple[int, int]:
        shape = self.out_features, self.in_features
        return shape[::-1] if self.transposed else shape

    def _dequantized(self) -> Tensor:
        if torch.compiler.is_compiling():
            weight = torch.ops.octavo.linear_weight(*self._operands())
        else:
            weight = torch.tensor(self._weight.current().weight)
        return (weight.t() if self.transposed else weight).to(self.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weight, its scales and its bias."""
        extra = self.held_bias.nbytes if self._adds_bias and self.held_bias is not None else 0
        return self._weight.nbytes + extra

    def _stored(self) -> dict[str, Array]:
        layer = self._weight.current()
        bias = {} if self.held_bias is None else {"bias": to_array(self.held_bias)}
        return {
            **layer.held_weight.portable(),
            **bias,
            **beside_weight(layer),
            **layer.options.static(),
        }

    def _layouts(self) -> tuple[list[Layout], Layout]:
        layer = self._weight.layer
        known = {**beside_weight(layer), **layer.options.static()}
        beside: Layout = {name: (array.dtype, array.shape) for name, array in known.items()}
        if self.held_bias is not None:
            beside["bias"] = (np.dtype(np.float32), (self.out_features,))
        return layer.held_weight.layouts(), beside

    def _replace(self, parts: dict[str, Tensor]) -> None:
        rest = dict(parts)
        bias = rest.pop("bias", None)
        options = {name: rest.pop(name).item() for name in _STATIC if name in rest}
        self._weight.replace(rest, None if self._adds_bias else bias, **options)
        if self._adds_bias and self.held_bias is not None and bias is not None:
            self.held_bias.copy_(bias)

    def __getstate__(self) -> dict[str, Any]:
        held = (*self._weight.names, *(() if self._adds_bias else ("held_bias",)))
        buffers = {name: b for name, b in self._buffers.items() if name not in held}
        return {**self.__dict__, "_buffers": buffers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._hold(self._weight, self._buffers.pop("held_bias", None))

    def extra_repr(self) -> str:
        """Describe the layer as `torch.nn.Linear` does, and what is special about it."""
        layer = self._weight.layer
        parts: dict[str, Any] = {"in_features": self.in_features, "out_features": self.out_features}
        parts["bias"] = self.held_bias is not None
        if layer.kind != "int8":
            parts["kind"] = repr(layer.kind)
        if self.input_scale is not None:
            parts["input_scale"] = f"{self.input_scale:.4g}"
        if self.symmetric:
            parts["symmetric"] = True
        if layer.options.input_multiplier is not None:
            parts["input_multiplier"] = True
        parts |= layer.held_weight.described()
        if layer.side_path is not None:
            parts |= layer.side_path.described()
        return ", ".join(f"{name}={value}" for name, value in parts.items())
