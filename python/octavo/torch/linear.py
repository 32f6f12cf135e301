# SPDX-License-Identifier: Apache-2.0
"""The int8 linear layer as a torch module."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from octavo import nn
from octavo.torch import _ops
from octavo.torch._form import beside_weight
from octavo.torch._module import Int8Module, has_all, require_float, take
from octavo.torch._pruned import weight_of
from octavo.torch._tensors import dtypes_of, is_eager, to_numpy, to_tensor
from octavo.torch._weight import LayerMemory

if TYPE_CHECKING:
    from octavo.nn.weights import Layout

_STATIC = ("input_scale", "input_zero_point")

# Older releases of PyTorch do not tell whether what they compile is for export.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


class Linear(Int8Module):
    """``x @ weight.T + bias`` with int8 weights and int8 activations.

    Made by `quantize_`, or from a float layer by `from_float`.  Activations are quantized row by
    row as they come, or all with the `input_scale` that `convert_qat_` found.  The result has the
    dtype of `x` (float32, bfloat16 or float16); a row's result depends on that row alone.
    Gradients flow to `x`, through the dequantized weight; the weight itself does not train.

    State dicts hold ``weight`` (int8 codes), ``weight_scale`` (float32, one row each), ``bias``
    (float32), and if they are fixed ``input_scale`` and ``input_zero_point``: the
    compressed-tensors names.  Those of a `SparseLinear` load too; the layer stays dense.

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
    bias: Tensor | None

    def __init__(self, layer: nn.Linear | LayerMemory, bias: Tensor | None = None) -> None:
        """Hold a layer of `octavo.nn`; `bias` is added on top, for weights that modules share."""
        super().__init__()
        self._hold(LayerMemory(layer) if isinstance(layer, nn.Linear) else layer, bias)

    @classmethod
    def from_float(cls, module: torch.nn.Linear, *, symmetric: bool = False) -> Linear:
        """Quantize a float layer, which is left as it is.

        Parameters
        ----------
        module : torch.nn.Linear
            On the CPU; float32, bfloat16 or float16; finite.
        symmetric : bool
            Quantize the rows of `x` symmetrically instead of over their own range.

        Raises
        ------
        TypeError
            If `module` is not a `torch.nn.Linear`.
        ValueError
            If its numbers are on another device, without data, sparse, or not finite.
        """
        require_float(module, torch.nn.Linear)
        bias = None if module.bias is None else to_numpy(module.bias)
        layer = nn.Linear.from_float(to_numpy(weight_of(module)), bias, symmetric=symmetric)
        return cls(layer).train(module.training)

    def _hold(self, memory: LayerMemory, bias: Tensor | None) -> None:
        self._weight = memory
        self._adds_bias = bias is not None
        self.out_features, self.in_features = memory.shape
        for name in memory.names:
            self.register_buffer(name, getattr(memory, name), persistent=False)
        self.register_buffer("bias", memory.bias if bias is None else bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer.

        Parameters
        ----------
        x : tensor, shape (..., in_features), float32, bfloat16 or float16

        Returns
        -------
        tensor, shape (..., out_features), the dtype of `x`
        """
        memory = self._weight
        if torch.compiler.is_compiling() or not is_eager(x):
            operator = _ops.linear_operator(x)
            # A compiled graph works with this layer, which the tensors over its memory tell.
            text, tensors = memory.text, [getattr(self, name) for name in memory.names]
            if not memory.whole and (_is_exporting() or not torch.compiler.is_compiling()):
                memory.make_parts()
                parts = [getattr(memory, name) for name in memory.part_names]
                text, tensors = memory.part_text, [*parts, *tensors]
            return operator(x, tensors, self.bias, text)
        bias = self.bias if self._adds_bias else None
        if x.requires_grad and torch.is_grad_enabled():
            return _ops.Differentiable.apply(x, memory, bias)
        return _ops.call(memory, x, bias)

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
    def weight(self) -> Tensor:
        """What `x` is multiplied by, float32 (out_features, in_features), made on every access."""
        return torch.tensor(self._weight.current().weight)

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weight, its scales and its bias."""
        extra = self.bias.nbytes if self._adds_bias and self.bias is not None else 0
        return self._weight.nbytes + extra

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        layer = self._weight.current()
        arrays = {**layer.held_weight.portable(), **beside_weight(layer), **layer.options.static()}
        for name, array in arrays.items():
            held = self._buffers.get(name)
            tensor = to_tensor(array) if held is None else held.reshape(array.shape)
            destination[prefix + name] = tensor
        if self.bias is not None:
            destination[f"{prefix}bias"] = self.bias

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],  # noqa: ARG002
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        layout = self._layout(state_dict, prefix)
        if not has_all(state_dict, prefix, tuple(layout), strict, missing_keys, unexpected_keys):
            return
        taken = {
            name: take(state_dict, prefix + name, shape, dtypes_of(dtype), error_msgs)
            for name, (dtype, shape) in layout.items()
        }
        parts = {
            name: tensor.float() if layout[name][0] == np.float32 else tensor
            for name, tensor in taken.items()
            if tensor is not None
        }
        if len(parts) < len(layout):
            return
        bias = parts.pop("bias", None)
        options = {name: parts.pop(name).item() for name in _STATIC if name in parts}
        try:
            self._weight.replace(parts, None if self._adds_bias else bias, **options)
        except ValueError as error:
            error_msgs.append(f"{prefix.removesuffix('.')}: {error}")
            return
        if self._adds_bias and self.bias is not None and bias is not None:
            self.bias.copy_(bias)

    def _layout(self, state: dict[str, Any], prefix: str) -> Layout:
        """Return what a state dict has to hold: its own layout of the weight, if it is one."""
        layer = self._weight.layer
        own, *others = layer.held_weight.layouts()

        def has_any(names: set[str]) -> bool:
            return any(prefix + name in state for name in names)

        for other in others:
            if has_any({*other} - {*own}) and not has_any({*own} - {*other}):
                own = other
        beside = {**beside_weight(layer), **layer.options.static()}
        layout = {**own, **{name: (a.dtype, a.shape) for name, a in beside.items()}}
        if self.bias is not None:
            layout["bias"] = (np.dtype(np.float32), (self.out_features,))
        return layout

    def __getstate__(self) -> dict[str, Any]:
        held = (*self._weight.names, *(() if self._adds_bias else ("bias",)))
        buffers = {name: b for name, b in self._buffers.items() if name not in held}
        return {**self.__dict__, "_buffers": buffers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._hold(self._weight, self._buffers.pop("bias", None))

    def extra_repr(self) -> str:
        """Describe the layer as `torch.nn.Linear` does, and what is special about it."""
        layer = self._weight.layer
        parts: dict[str, Any] = {"in_features": self.in_features, "out_features": self.out_features}
        parts["bias"] = self.bias is not None
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
