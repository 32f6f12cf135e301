# SPDX-License-Identifier: Apache-2.0
"""What a linear layer is made of: parts that can be asked for, replaced, and written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from numpy.typing import ArrayLike

from octavo._types import Array
from octavo.nn import _calls as calls
from octavo.nn import _state
from octavo.nn.options import LinearOptions
from octavo.nn.side_paths import SidePath
from octavo.nn.weighted import Weighted
from octavo.nn.weights import Bound, Weight

if TYPE_CHECKING:
    from octavo.nn.linear import Linear

L = TypeVar("L", bound="LinearParts")


class LinearParts(Weighted):
    """A weight, a bias, options and perhaps a side path, bound together; see `Linear`."""

    role = "linear"

    def __init__(
        self,
        weight: Weight,
        bias: ArrayLike | None = None,
        options: LinearOptions | None = None,
        side_path: SidePath | None = None,
    ) -> None:
        n, k = weight.shape
        checked = (options or LinearOptions()).checked(k, weight.takes, weight.kind)
        biases = None if bias is None else _state.parameter(bias, (n,), "bias")
        self._weight, self._options, self._side_path = weight, checked, side_path
        self._bind(biases)

    def _bind(self, bias: Array | None) -> None:
        options, side = self._options, self._side_path
        if side is not None:
            masked = side.masked(options.input_multiplier, self._weight.shape[1])
            options = options.replace(input_multiplier=masked)
        self._bound: Bound = self._weight.bind(bias, options)
        call = self._bound.call
        if call is not None and side is not None:
            call = calls.beside(call, side, self._weight.shape[1])
        if call is not None and options.output_scale is not None:
            call = calls.wrapping(call, options)
        self._call: Callable[..., Any] = call or calls.nothing

    @classmethod
    def of(
        cls: type[L],
        weight: Weight,
        bias: ArrayLike | None = None,
        options: LinearOptions | None = None,
        side_path: SidePath | None = None,
    ) -> L:
        """Return the layer of these parts, under the name that such a layer has."""
        made: L = object.__new__(cls._named(weight, side_path))
        LinearParts.__init__(made, weight, bias, options, side_path)
        return made

    @property
    def bound(self) -> Bound:
        """What computes: the weight bound to the bias and the options, without the side path."""
        return self._bound

    @property
    def in_features(self) -> int:
        """K, the width of `x`."""
        return self._weight.shape[1]

    @property
    def out_features(self) -> int:
        """N, the width of the result."""
        return self._weight.shape[0]

    @property
    def weight(self) -> Array:
        """What `x` is multiplied by, (out_features, in_features) float32; made on every access.

        With the input multiplier and the side path in it, if there are such.
        """
        weight = self._weight.dequantized()
        if self.input_multiplier is not None:
            weight = weight * self.input_multiplier
        return weight if self._side_path is None else weight + self._side_path.delta(self.shape[1])

    @property
    def bias(self) -> Array | None:
        """The bias, (out_features,) float32, or None; read-only beside an int8 weight."""
        return self._bound.bias

    @property
    def options(self) -> LinearOptions:
        """What the layer does besides the product."""
        return self._options

    @property
    def input_multiplier(self) -> Array | None:
        """What each column of `x` is multiplied by, (in_features,) float32, or None.

        It is 0 for columns that a side path reads instead.
        """
        return self._bound.input_multiplier

    @property
    def activation(self) -> str:
        """Name of the activation."""
        return self._options.activation

    @property
    def side_path(self) -> SidePath | None:
        """What is added before the activation, beside the product with the weight."""
        return self._side_path

    @property
    def nbytes(self) -> int:
        """Bytes the layer holds: weight, bias, multiplier, side path."""
        side = 0 if self._side_path is None else self._side_path.nbytes
        return int(self._bound.nbytes) + side

    def replace(self, **changes: Any) -> Linear:
        """Return a layer with some parts changed.

        Parameters
        ----------
        **changes
            weight (a `Weight`), bias, side_path, or options by their names.

        Examples
        --------
        >>> import numpy as np, octavo
        >>> layer = octavo.Linear.from_float(np.eye(2, dtype=np.float32))
        >>> layer.replace(activation="relu")
        Linear(in_features=2, out_features=2, bias=False, activation='relu')
        """
        kept = {"weight": self._weight, "bias": self.bias, "side_path": self._side_path}
        parts = {key: changes.pop(key, value) for key, value in kept.items()}
        plain = next(cls for cls in type(self).__mro__ if "shorthands" in vars(cls))
        return plain.of(  # type: ignore[attr-defined]
            **parts, options=self._options.replace(**changes)
        )

    def with_format(self, format: str = "auto", *, rows: Any = None) -> Linear:
        """Return the same layer with its int8 weight held in another format.

        Parameters
        ----------
        format, rows
            As in `SparseLinear.from_float`.

        Examples
        --------
        >>> import numpy as np, octavo
        >>> layer = octavo.nn.SparseLinear.from_float(np.eye(64, dtype=np.float32))
        >>> layer.with_format("bitmap").format
        'bitmap'
        """
        weight = self._int8()
        made = weight.from_quantized(weight.codes, weight.scale, format=format, rows=rows)
        return self.replace(weight=made)

    def merged(self) -> Linear:
        """Return the same layer with the multiplier in its weight, where that loses nothing."""
        multiplier = self._options.input_multiplier
        weight = None if multiplier is None else self._weight.times(multiplier)
        if weight is None:
            return cast("Linear", self)
        return self.replace(weight=weight, input_multiplier=None)

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters in the compressed-tensors convention, the same on every CPU."""
        return {**self._weight.tensors(), **self.state_beside_weight()}

    def state_beside_weight(self) -> dict[str, Array]:
        """Return what `state_dict` does, but for the weight."""
        state = {} if self.bias is None else {"bias": calls.owned(self.bias)}
        if self._options.input_multiplier is not None and self.input_multiplier is not None:
            state["input_multiplier"] = calls.owned(self.input_multiplier)
        state |= self._options.static()
        return state if self._side_path is None else {**state, **self._side_path.tensors()}

    def config(self) -> dict[str, Any]:
        """Return the options that are no tensors, as `from_state_dict` takes them."""
        options = {"activation": self.activation, "symmetric": self._options.symmetric}
        config = {key: value for key, value in options.items() if key in self._weight.takes}
        if not type(self)._stands_for(self._weight, self._side_path):
            config["kind"] = self.kind
        return {**config, **self._weight.form()}

    def __copy__(self: L) -> L:
        made = object.__new__(type(self))
        vars(made).update(vars(self))
        return made

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in vars(self).items() if k not in ("_bound", "_call")}
        return {**state, "_bias": self.bias}

    def __setstate__(self, state: dict[str, Any]) -> None:
        rest = dict(state)
        bias = rest.pop("_bias")
        vars(self).update(rest)
        self._bind(bias)

    def __repr__(self) -> str:
        parts = {"in_features": str(self.in_features), "out_features": str(self.out_features)}
        if self.bias is None:
            parts["bias"] = "False"
        if self.activation != "none":
            parts["activation"] = repr(self.activation)
        if self._options.input_multiplier is not None:
            parts["input_multiplier"] = "True"
        if not type(self)._stands_for(self._weight, self._side_path):
            parts["kind"] = repr(self.kind)
        parts |= self._weight.described()
        if self._side_path is not None:
            parts |= self._side_path.described()
        return f"{type(self).__name__}({', '.join(map('='.join, parts.items()))})"
