# SPDX-License-Identifier: Apache-2.0
"""The int8 linear layer as a torch module."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from octavo import nn
from octavo.torch import _codes, _ops
from octavo.torch._module import Int8Module, has_all, require_float, take
from octavo.torch._pruned import weight_of
from octavo.torch._tensors import FLOATS, is_plain, to_numpy
from octavo.torch._weight import LayerWeight, Options, PackedWeight

# Held by the weight, which pickles them as plain codes.
_WEIGHT_BUFFERS = ("packed", "weight_scale")


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

    packed: Tensor
    weight_scale: Tensor
    bias: Tensor | None

    _code_names: ClassVar[tuple[str, ...]] = _codes.DENSE

    def __init__(self, weight: LayerWeight, bias: Tensor | None = None) -> None:
        """Hold a packed weight; `bias` is added on top, for weights that several modules share."""
        super().__init__()
        self._hold(weight, bias)

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
        return cls(PackedWeight(layer)).train(module.training)

    def _hold(self, weight: LayerWeight, bias: Tensor | None) -> None:
        self._weight = weight
        self._adds_bias = bias is not None
        self.symmetric, self.input_scale, self.input_zero_point = weight.options
        self.out_features, self.in_features = weight.shape
        own = weight.bias if bias is None else bias
        for name, tensor in {**weight.tensors(), "bias": own}.items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer.

        Parameters
        ----------
        x : tensor, shape (..., in_features), float32, bfloat16 or float16

        Returns
        -------
        tensor, shape (..., out_features), the dtype of `x`
        """
        if torch.compiler.is_compiling() or not is_plain(x):
            return _ops.linear_operator(x)(
                x,
                self.packed,
                self.weight_scale,
                self.bias,
                self.in_features,
                self.symmetric,
                self.input_scale,
                self.input_zero_point,
            )
        if self._adds_bias:
            return _ops.add_bias(self._weight.current(), x, self.bias)
        return _ops.apply(self._weight.current(), x)

    @property
    def weight(self) -> Tensor:
        """The weight as float32, (out_features, in_features), computed on every access."""
        return self._weight.codes().float().mul_(self.weight_scale[:, None])

    @property
    def nbytes(self) -> int:
        """Bytes of the packed weight, its scales and its bias."""
        extra = self.bias.nbytes if self._adds_bias and self.bias is not None else 0
        return self._weight.nbytes + extra

    def _stored_codes(self) -> dict[str, Tensor]:
        """Return the codes as state dicts have them."""
        return {"weight": self._weight.codes()}

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, tensor in self._stored_codes().items():
            destination[prefix + name] = tensor
        destination[f"{prefix}weight_scale"] = self.weight_scale[:, None]
        if self.bias is not None:
            destination[f"{prefix}bias"] = self.bias
        if self.input_scale is not None:
            destination[f"{prefix}input_scale"] = torch.tensor([self.input_scale])
            point = torch.tensor([self.input_zero_point], dtype=torch.int8)
            destination[f"{prefix}input_zero_point"] = point

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
        code_names = _codes.names_in(state_dict, prefix, self._code_names)
        names = (*code_names, "weight_scale") + ("bias",) * (self.bias is not None)
        names += ("input_scale", "input_zero_point") * (self.input_scale is not None)
        n, k = self.out_features, self.in_features
        if not has_all(state_dict, prefix, names, strict, missing_keys, unexpected_keys):
            return
        codes = _codes.take_codes(state_dict, prefix, code_names, (n, k), error_msgs)
        scale = take(state_dict, f"{prefix}weight_scale", (n, 1), FLOATS, error_msgs)
        bias = None
        if self.bias is not None:
            bias = take(state_dict, f"{prefix}bias", (n,), FLOATS, error_msgs)
        options: Options | None = self._weight.options
        if self.input_scale is not None:
            options = self._static_options(state_dict, prefix, error_msgs)
        absent = (bias is None and self.bias is not None) or options is None
        if codes is None or scale is None or absent:
            return
        try:
            inside = None if self._adds_bias else bias
            self._weight.replace(codes, scale[:, 0], inside, options)
        except ValueError as error:
            error_msgs.append(f"{prefix}weight: {error}")
            return
        self.symmetric, self.input_scale, self.input_zero_point = self._weight.options
        if self._adds_bias and self.bias is not None and bias is not None:
            self.bias.copy_(bias)

    def _static_options(
        self, state: dict[str, Any], prefix: str, errors: list[str]
    ) -> Options | None:
        scale = take(state, f"{prefix}input_scale", (1,), FLOATS, errors)
        point = take(state, f"{prefix}input_zero_point", (1,), (torch.int8,), errors)
        if scale is None or point is None:
            return None
        return Options(self.symmetric, float(scale), int(point))

    def __getstate__(self) -> dict[str, Any]:
        held = _WEIGHT_BUFFERS + ("bias",) * (not self._adds_bias)
        buffers = {name: b for name, b in self._buffers.items() if name not in held}
        return {**self.__dict__, "_buffers": buffers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._hold(self._weight, self._buffers.pop("bias", None))

    def extra_repr(self) -> str:
        """Describe the layer as `torch.nn.Linear` does."""
        text = f"in_features={self.in_features}, out_features={self.out_features}"
        text += f", bias={self.bias is not None}"
        if self.input_scale is not None:
            text += f", input_scale={self.input_scale:.4g}"
        return text + ", symmetric=True" * self.symmetric
