# SPDX-License-Identifier: Apache-2.0
"""The int8 linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _backend, _checks
from octavo.nn import _linear_arguments as arguments
from octavo.nn import _state
from octavo.nn.module import Module
from octavo.qtensor import QTensor

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = NDArray[Any]
L = TypeVar("L", bound="Linear")

_STATIC = ("input_scale", "input_zero_point", "output_scale", "output_zero_point")


class Linear(Module):
    """``activation(x @ weight.T + bias + addend) + residual`` with int8 weights and activations.

    Made by `from_float`, `from_quantized` or `from_state_dict`.  The weights are symmetric int8
    codes with a scale per output channel, kept packed for this CPU.  The rows of `x` are quantized
    as they come, each from its own range (asymmetric unless `symmetric`), or with the fixed
    `input_scale`.  With an `input_multiplier` the layer computes with ``x * input_multiplier``.  A
    row's result depends on that row alone, and a row with NaN or infinity gives NaN.  Layers do not
    change after construction and may be called from many threads.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> weight = np.array([[1.0, 0.0], [0.0, -1.0], [1.0, 1.0]], np.float32)
    >>> layer = octavo.Linear.from_float(weight, np.ones(3, np.float32))
    >>> layer
    Linear(in_features=2, out_features=3)
    >>> layer(np.array([[0.0, 255.0]], np.float32))
    array([[   1., -254.,  256.]], dtype=float32)
    """

    def __init__(
        self,
        codes: Array,
        scale: Array,
        bias: Array | None,
        config: dict[str, Any],
    ) -> None:
        """Take checked arguments; use `from_quantized` to have them checked."""
        self._config = {key: config[key] for key in config if key != "input_multiplier"}
        self._packed = _backend.backend.PackedLinear(codes, scale, bias, **config)
        self._call = self._packed.call
        if config["output_scale"] is not None:
            self._call = arguments.wrapping(self._packed.call, config)

    @classmethod
    def from_float(
        cls: type[L],
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        activation: str = "none",
        symmetric: bool = False,
        input_scale: float | None = None,
        input_zero_point: int = 0,
        output_scale: float | None = None,
        output_zero_point: int = 0,
        input_multiplier: ArrayLike | None = None,
    ) -> L:
        """Quantize float weights.

        Parameters
        ----------
        weight : float array, shape (out_features, in_features), finite
        bias : float array, shape (out_features,), optional
        activation : "none", "relu", "gelu", "gelu_tanh", "silu" or "tanh"
        symmetric : bool
            Quantize the rows of `x` symmetrically.
        input_scale, input_zero_point : float, int, optional
            Quantize `x` with these instead of each row's own range.
        output_scale, output_zero_point : float, int, optional
            Return a `QTensor` of int8 codes with these instead of float32.
        input_multiplier : float array, shape (in_features,), finite and at least 0, optional
            Each column of `x` is multiplied by its value before it is quantized; the weight has
            been divided by it, or leaves columns out that have 0.
        """
        codes, weight_scale = arguments.quantized_weight(weight)
        return cls.from_quantized(
            codes,
            weight_scale,
            bias,
            activation=activation,
            symmetric=symmetric,
            input_scale=input_scale,
            input_zero_point=input_zero_point,
            output_scale=output_scale,
            output_zero_point=output_zero_point,
            input_multiplier=input_multiplier,
        )

    @classmethod
    def from_quantized(
        cls: type[L],
        codes: ArrayLike,
        scale: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        activation: str = "none",
        symmetric: bool = False,
        input_scale: float | None = None,
        input_zero_point: int = 0,
        output_scale: float | None = None,
        output_zero_point: int = 0,
        input_multiplier: ArrayLike | None = None,
    ) -> L:
        """Take weights that are quantized already.

        Parameters
        ----------
        codes : int8 array, shape (out_features, in_features), within [-127, 127]
        scale : positive float array, shape (out_features,) or (out_features, 1) or one value
        bias, activation, symmetric, input_scale, ...
            As in `from_float`.
        """
        return cls(
            *arguments.checked(
                codes,
                scale,
                bias,
                activation=activation,
                symmetric=symmetric,
                input_scale=input_scale,
                input_zero_point=input_zero_point,
                output_scale=output_scale,
                output_zero_point=output_zero_point,
                input_multiplier=input_multiplier,
            )
        )

    @classmethod
    def from_state_dict(cls: type[L], state: Mapping[str, Any], **config: Any) -> L:
        """Rebuild a layer from `state_dict()` and `config()`."""
        optional = ("bias", *_STATIC, "input_multiplier")
        _state.check_keys(state, ("weight", "weight_scale"), optional)
        static = {key: _state.scalar(state[key], key) for key in _STATIC if key in state}
        return cls.from_quantized(
            state["weight"],
            state["weight_scale"],
            state.get("bias"),
            input_multiplier=state.get("input_multiplier"),
            **static,
            **config,
        )

    def __call__(
        self,
        x: ArrayLike | QTensor,
        residual: ArrayLike | None = None,
        *,
        addend: ArrayLike | None = None,
    ) -> Any:
        """Apply the layer.

        Parameters
        ----------
        x : float32 array, shape (..., in_features); or float16; or an int8 QTensor
            A QTensor has one scale, or one per row; a layer with a multiplier takes none.
        residual : float32 array, shape (..., out_features), optional
            Added after the activation.
        addend : float32 array, shape (..., out_features), optional
            Added before the activation.

        Returns
        -------
        float32 ndarray, shape (..., out_features); or a QTensor if the layer has an output scale
        """
        y = self._call(x, residual, addend)
        return y if y is not None else self._call_checked(x, residual, addend)

    def _call_checked(self, x: Any, residual: Any, addend: Any) -> Any:
        """Do the same for everything the fast path leaves: other dtypes, strides, errors."""
        n, k = self._packed.shape
        quantized = isinstance(x, QTensor)
        array = x.data if quantized else _checks.as_float32(x, "x")
        if array.ndim == 0 or array.shape[-1] != k:
            raise ValueError(f"x: expected shape (..., {k}), got {array.shape}")
        shape = (*array.shape[:-1], n)
        added = arguments.added_rows(residual, addend, shape)
        if quantized:
            if self.input_multiplier is not None:
                raise ValueError(
                    "x: expected float values, which the layer's input_multiplier is for, got "
                    f"codes: {x!r}"
                )
            y = self._packed.run_codes(*arguments.rows_of_codes(x), *added)
        else:
            y = self._packed.run(_checks.rows_of(array), *added)
        return arguments.wrap(y.reshape(shape), self._config)

    @property
    def in_features(self) -> int:
        """K, the width of `x`."""
        return int(self._packed.shape[1])

    @property
    def out_features(self) -> int:
        """N, the width of the result."""
        return int(self._packed.shape[0])

    @property
    def weight_codes(self) -> Array:
        """The int8 codes, (out_features, in_features), unpacked on every access."""
        codes: Array = self._packed.unpack()
        return codes

    @property
    def weight_scale(self) -> Array:
        """The scale of each output channel, (out_features,) float32, read-only."""
        scale: Array = self._packed.scale
        return scale

    @property
    def weight(self) -> Array:
        """What `x` is multiplied by, (out_features, in_features), computed on every access.

        Codes times scales, and times the input multiplier if there is one; float32.
        """
        weight: Array = self.weight_codes.astype(np.float32)
        weight *= self.weight_scale[:, None]
        if self.input_multiplier is not None:
            weight *= self.input_multiplier
        return weight

    @property
    def bias(self) -> Array | None:
        """The bias, (out_features,) float32, read-only, or None."""
        bias: Array | None = self._packed.bias
        return bias

    @property
    def input_multiplier(self) -> Array | None:
        """What each column of `x` is multiplied by, (in_features,) float32, read-only, or None."""
        multiplier: Array | None = self._packed.input_multiplier
        return multiplier

    @property
    def activation(self) -> str:
        """Name of the activation."""
        return str(self._config["activation"])

    @property
    def nbytes(self) -> int:
        """Bytes the layer holds: packed codes, scales, bias, column sums, multiplier."""
        return int(self._packed.nbytes)

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters in the compressed-tensors convention, the same on every CPU."""
        state = {"weight": self.weight_codes, "weight_scale": self.weight_scale[:, None].copy()}
        if self.bias is not None:
            state["bias"] = self.bias.copy()
        if self.input_multiplier is not None:
            state["input_multiplier"] = self.input_multiplier.copy()
        for side in ("input", "output"):
            scale = self._config[f"{side}_scale"]
            if scale is not None:
                point = self._config[f"{side}_zero_point"]
                state[f"{side}_scale"] = np.array([scale], np.float32)
                state[f"{side}_zero_point"] = np.array([point], np.int8)
        return state

    def config(self) -> dict[str, Any]:
        """Return the options that are no tensors, as `from_state_dict` takes them."""
        return {key: self._config[key] for key in ("activation", "symmetric")}

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in vars(self).items() if k not in ("_packed", "_call")}
        held = (self.weight_codes, self.weight_scale, self.bias, self.input_multiplier)
        return {**state, "_weights": held}

    def __setstate__(self, state: dict[str, Any]) -> None:
        rest = dict(state)
        codes, scale, bias, multiplier = rest.pop("_weights")
        config = {**rest.pop("_config"), "input_multiplier": multiplier}
        Linear.__init__(self, codes, scale, bias, config)
        vars(self).update(rest)

    def __repr__(self) -> str:
        parts = [f"in_features={self.in_features}", f"out_features={self.out_features}"]
        if self.bias is None:
            parts.append("bias=False")
        if self.activation != "none":
            parts.append(f"activation={self.activation!r}")
        if self.input_multiplier is not None:
            parts.append("input_multiplier=True")
        return f"{type(self).__name__}({', '.join(parts)})"
