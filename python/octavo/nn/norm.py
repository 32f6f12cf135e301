# SPDX-License-Identifier: Apache-2.0
"""Layer normalisation, and by the root mean square alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from numpy.typing import ArrayLike

from octavo import _checks
from octavo._ops.floats import layer_norm, rms_norm
from octavo._types import Array
from octavo.nn import _state
from octavo.nn.module import Module
from octavo.nn.traced import Traced

L = TypeVar("L", bound="LayerNorm")
R = TypeVar("R", bound="RMSNorm")


class Norm(Module):
    """What the norms share: a weight and an epsilon, checked."""

    def __init__(self, weight: ArrayLike, eps: float) -> None:
        self.weight = _state.parameter(weight, (None,), "weight")
        self.eps = _checks.real(eps, "eps", "[0, inf)")

    @property
    def shape(self) -> tuple[int, ...]:
        """(features,)."""
        return self.weight.shape

    @property
    def nbytes(self) -> int:
        """Bytes of the parameters."""
        return sum(parameter.nbytes for parameter in self.state_dict().values())

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters, not copied."""
        return {"weight": self.weight}

    def config(self) -> dict[str, Any]:
        """Return the options that are no tensors, as `from_state_dict` takes them."""
        return {"eps": self.eps}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.weight.shape[0]}, eps={self.eps})"


class LayerNorm(Norm):
    """Normalise the last axis of ``x + residual`` to mean 0 and variance 1; scale and shift.

    Parameters
    ----------
    weight : float32 array, shape (features,)
    bias : float32 array, shape (features,), optional
    eps : float

    Examples
    --------
    >>> import numpy as np, octavo
    >>> norm = octavo.nn.LayerNorm(np.ones(2, np.float32), np.zeros(2, np.float32), eps=0.0)
    >>> norm(np.array([[1.0, 3.0]], np.float32))
    array([[-1.,  1.]], dtype=float32)
    """

    role = "layer_norm"

    def __init__(self, weight: ArrayLike, bias: ArrayLike | None = None, eps: float = 1e-5) -> None:
        super().__init__(weight, eps)
        self.bias: Array | None = None
        if bias is not None:
            self.bias = _state.parameter(bias, self.weight.shape, "bias")

    @classmethod
    def from_state_dict(cls: type[L], state: Mapping[str, Any], **config: Any) -> L:
        """Rebuild a layer from `state_dict()` and `config()`."""
        _state.check_keys(state, ("weight",), ("bias",))
        return cls(state["weight"], state.get("bias"), **config)

    def __call__(
        self, x: ArrayLike, residual: ArrayLike | None = None, *, out: Array | None = None
    ) -> Any:
        """Apply the layer: x and residual (..., features) to float32 (..., features).

        `out` takes the result as in `octavo.functional.layer_norm`.
        """
        if isinstance(x, Traced):
            return x.layer_norm(self, residual, out)
        return layer_norm(x, self.weight, self.bias, self.eps, residual, out=out)

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters, not copied."""
        state = super().state_dict()
        if self.bias is not None:
            state["bias"] = self.bias
        return state


class RMSNorm(Norm):
    """Scale the last axis to a mean square of 1, and by a weight (Zhang and Sennrich, 2019).

    Parameters
    ----------
    weight : float32 array, shape (features,)
    eps : float

    Examples
    --------
    >>> import numpy as np, octavo
    >>> norm = octavo.nn.RMSNorm(np.ones(2, np.float32), eps=0.0)
    >>> norm(np.array([[3.0, -3.0]], np.float32))
    array([[ 1., -1.]], dtype=float32)
    """

    role = "rms_norm"

    def __init__(self, weight: ArrayLike, eps: float = 1e-6) -> None:
        super().__init__(weight, eps)

    @classmethod
    def from_state_dict(cls: type[R], state: Mapping[str, Any], **config: Any) -> R:
        """Rebuild a layer from `state_dict()` and `config()`."""
        _state.check_keys(state, ("weight",))
        return cls(state["weight"], **config)

    def __call__(
        self, x: ArrayLike, addend: ArrayLike | None = None, *, out: Array | None = None
    ) -> Any:
        """Apply the layer, then add: x and addend (..., features) to float32 (..., features).

        `out` takes the result as in `octavo.functional.rms_norm`.
        """
        if isinstance(x, Traced):
            return x.rms_norm(self, addend, out)
        return rms_norm(x, self.weight, self.eps, addend, out=out)
