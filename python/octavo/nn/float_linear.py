# SPDX-License-Identifier: Apache-2.0
"""The float32 linear layer, behind the interface of the int8 one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _checks
from octavo.nn import _linear_arguments as arguments
from octavo.nn import _state
from octavo.nn.module import Module

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = NDArray[Any]
F = TypeVar("F", bound="FloatLinear")


class FloatLinear(Module):
    """``activation(x @ weight.T + bias + addend) + residual`` in float32, by NumPy's BLAS.

    Parameters
    ----------
    weight : float32 array, shape (out_features, in_features)
        Kept as it is, also when it is a view of a memory-mapped file.
    bias : float32 array, shape (out_features,), optional
    activation : "none", "relu", "gelu", "gelu_tanh", "silu" or "tanh"
    input_multiplier : float array, shape (in_features,), finite and at least 0, optional
        The layer computes with ``x * input_multiplier``; the weight has been divided by it.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> layer = octavo.FloatLinear(np.eye(2, dtype=np.float32), activation="relu")
    >>> layer(np.array([[-1.0, 2.0]], np.float32))
    array([[0., 2.]], dtype=float32)
    """

    def __init__(
        self,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        activation: str = "none",
        input_multiplier: ArrayLike | None = None,
    ) -> None:
        self.weight = _state.parameter(weight, (None, None), "weight")
        self.bias: Array | None = None
        if bias is not None:
            self.bias = _state.parameter(bias, (self.weight.shape[0],), "bias")
        self.activation = _checks.choice(activation, "activation", _checks.ACTIVATIONS)
        self.input_multiplier = arguments.multiplier(input_multiplier, self.in_features)

    @classmethod
    def from_float(
        cls: type[F],
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        activation: str = "none",
        input_multiplier: ArrayLike | None = None,
    ) -> F:
        """Do what the constructor does, under the name the int8 layer has for it."""
        return cls(weight, bias, activation, input_multiplier)

    @classmethod
    def from_state_dict(cls: type[F], state: Mapping[str, Any], **config: Any) -> F:
        """Rebuild a layer from `state_dict()` and `config()`."""
        _state.check_keys(state, ("weight",), ("bias", "input_multiplier"))
        multiplier = state.get("input_multiplier")
        return cls(state["weight"], state.get("bias"), input_multiplier=multiplier, **config)

    def merged(self) -> FloatLinear:
        """Return the same layer with the input multiplier in its weight."""
        if self.input_multiplier is None:
            return self
        weight = self.weight * self.input_multiplier
        return FloatLinear(weight, self.bias, self.activation)

    def __call__(
        self,
        x: ArrayLike,
        residual: ArrayLike | None = None,
        *,
        addend: ArrayLike | None = None,
    ) -> Array:
        """Apply the layer.

        Parameters
        ----------
        x : float32 array, shape (..., in_features)
        residual : float32 array, shape (..., out_features), optional
            Added after the activation.
        addend : float32 array, shape (..., out_features), optional
            Added before the activation.

        Returns
        -------
        float32 ndarray, shape (..., out_features)
        """
        array, shape = arguments.float_input(x, *self.weight.shape)
        after, before = arguments.added(residual, addend, shape)
        with np.errstate(all="ignore"):
            if self.input_multiplier is not None:
                array = array * self.input_multiplier
            # One product over all rows: NumPy would loop over small ones along leading axes.
            y: Array = np.matmul(_checks.rows_of(array), self.weight.T)
            if self.bias is not None:
                y += self.bias
            if before is not None:
                y += before.reshape(y.shape)
            return arguments.activated(y, self.activation, after, shape)

    @property
    def in_features(self) -> int:
        """K, the width of `x`."""
        return int(self.weight.shape[1])

    @property
    def out_features(self) -> int:
        """N, the width of the result."""
        return int(self.weight.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes of the parameters."""
        return sum(value.nbytes for value in self.state_dict().values())

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters, not copied."""
        state = {"weight": self.weight}
        if self.bias is not None:
            state["bias"] = self.bias
        if self.input_multiplier is not None:
            state["input_multiplier"] = self.input_multiplier
        return state

    def config(self) -> dict[str, Any]:
        """Return the options that are no tensors, as `from_state_dict` takes them."""
        return {"activation": self.activation}

    def __repr__(self) -> str:
        parts = [f"in_features={self.in_features}", f"out_features={self.out_features}"]
        if self.bias is None:
            parts.append("bias=False")
        if self.activation != "none":
            parts.append(f"activation={self.activation!r}")
        if self.input_multiplier is not None:
            parts.append("input_multiplier=True")
        return f"{type(self).__name__}({', '.join(parts)})"
