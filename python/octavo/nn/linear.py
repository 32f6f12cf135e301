# SPDX-License-Identifier: Apache-2.0
"""The linear layer: a weight of any kind, a bias, options, and perhaps a side path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeGuard, TypeVar

from numpy.typing import ArrayLike

from octavo import _checks
from octavo._types import Array
from octavo.nn import _calls as calls
from octavo.nn import _state
from octavo.nn.linear_parts import LinearParts
from octavo.nn.options import OPTIONS, LinearOptions
from octavo.nn.traced import Traced
from octavo.nn.weights import KINDS, Int8Weight, weight_class
from octavo.qtensor import QTensor

L = TypeVar("L", bound="Linear")

_STATIC = ("input_scale", "input_zero_point", "output_scale", "output_zero_point")


class Linear(LinearParts):
    """``activation(x @ weight.T + bias + addend) + residual`` with a weight of any kind.

    Made by `from_float`, `from_quantized` or `from_state_dict`, of int8 codes unless `kind` says
    otherwise: symmetric, with a scale per output channel, kept packed for this CPU.  The rows of
    `x` are then quantized as they come, each from its own range (asymmetric unless `symmetric`), or
    with the fixed `input_scale`; a row with NaN or infinity gives NaN.  With an `input_multiplier`
    the layer computes with ``x * input_multiplier``.  A row's result depends on that row alone.
    Layers do not change after construction and may be called from many threads.

    Parameters
    ----------
    weight : octavo.nn.weights.Weight
    bias : float array, shape (out_features,), optional
    options : LinearOptions, optional
    side_path : SidePath, optional
        Its result is added before the activation.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> weight = np.array([[1.0, 0.0], [0.0, -1.0], [1.0, 1.0]], np.float32)
    >>> layer = octavo.Linear.from_float(weight, np.ones(3, np.float32))
    >>> layer
    Linear(in_features=2, out_features=3)
    >>> layer(np.array([[0.0, 255.0]], np.float32))
    array([[   1., -254.,  256.]], dtype=float32)
    >>> layer.kind, layer.shape, layer.format
    ('int8', (3, 2), 'dense')
    """

    shorthands: ClassVar[list[type[Linear]]] = []

    @classmethod
    def from_float(
        cls: type[L],
        weight: Any,
        bias: ArrayLike | None = None,
        *,
        kind: str | None = None,
        bits: int | None = None,
        **options: Any,
    ) -> L:
        """Make a layer of a float weight.

        Parameters
        ----------
        weight : float array, shape (out_features, in_features), finite
        bias : float array, shape (out_features,), optional
        kind : str
            What becomes of the weight, one of `octavo.nn.weights.KINDS`; by default int8, and what
            the name of another class says.
        bits : int
            In the place of `kind`: 8 for "int8", 4 for "int4".
        **options
            activation, symmetric, input_scale, input_zero_point, output_scale, output_zero_point,
            input_multiplier as `LinearOptions` explains them; and what the weight's `from_float`
            takes.
        """
        own, form = _split(options)
        kind = _kind(kind, bits) or cls.kinds[0]
        return cls.of(weight_class(kind).from_float(weight, **form), bias, own)

    @classmethod
    def from_quantized(
        cls: type[L],
        codes: ArrayLike,
        scale: ArrayLike,
        bias: ArrayLike | None = None,
        **options: Any,
    ) -> L:
        """Take int8 weights that are quantized already.

        Parameters
        ----------
        codes : int8 array, shape (out_features, in_features)
        scale : positive float array, shape (out_features,) or (out_features, 1) or one value
        bias, **options
            As in `from_float`.
        """
        own, form = _split(options)
        return cls.of(Int8Weight.from_quantized(codes, scale, **form), bias, own)

    @classmethod
    def from_state_dict(
        cls: type[L], state: Mapping[str, Any], *, kind: str | None = None, **config: Any
    ) -> L:
        """Rebuild a layer from `state_dict()` and `config()`."""
        made = weight_class(kind or cls.kinds[0])
        options = [name for name in (*_STATIC, "input_multiplier") if name in made.takes]
        _state.check_keys(state, made.keys, ("bias", *options, *made.optional_keys))
        static = {key: _checks.only_value(state[key], key) for key in _STATIC if key in state}
        own, form = _split({**config, **static})
        own = own.replace(input_multiplier=state.get("input_multiplier"))
        tensors = {key: state[key] for key in (*made.keys, *made.optional_keys) if key in state}
        return cls.of(made.from_tensors(tensors, **form), state.get("bias"), own)

    def __call__(
        self,
        x: ArrayLike | QTensor,
        residual: ArrayLike | None = None,
        *,
        addend: ArrayLike | None = None,
        out: Array | None = None,
    ) -> Any:
        """Apply the layer.

        Parameters
        ----------
        x : float32 array, shape (..., in_features); or float16; or an int8 QTensor
            A QTensor is for int8 weights; it has one scale, or one per row; a layer with a
            multiplier or a side path takes none.
        residual : float32 array, shape (..., out_features), optional
            Added after the activation.
        addend : float32 array, shape (..., out_features), optional
            Added before the activation.
        out : float32 ndarray, shape (..., out_features), optional
            Takes the result, and is returned; of int8, for the codes, if the layer has an output
            scale.  C-contiguous and writable, in memory of its own.

        Returns
        -------
        float32 ndarray, shape (..., out_features); or a QTensor if the layer has an output scale
        """
        y = self._call(x, residual, addend, out)
        return y if y is not None else self._call_checked(x, residual, addend, out)

    def _call_checked(self, x: Any, residual: Any, addend: Any, out: Any) -> Any:
        """Do the same for everything the fast path leaves: other dtypes, strides, errors."""
        if isinstance(x, Traced):
            return x.linear(self, residual, addend, out)
        n, k = self._weight.shape
        codes = isinstance(x, QTensor) and self.kind == "int8"
        array = x.data if codes else _checks.as_float32(x, "x")
        if array.ndim == 0 or array.shape[-1] != k:
            raise ValueError(f"x: expected shape (..., {k}), got {array.shape}")
        shape = (*array.shape[:-1], n)
        after = calls.checked_rows(residual, "residual", shape)
        before = calls.checked_rows(addend, "addend", shape)
        inputs = {"x": array, "residual": after, "addend": before}
        rows_out = calls.output_rows(out, shape, self._options, inputs)
        if codes:
            bound: Any = self._bound
            y = bound.run_codes(*self._rows_of_codes(x), after, before, rows_out)
        else:
            rows = _checks.rows_of(array)
            if self._side_path is not None:
                before = self._side_path(rows, before)
            y = self._bound.run(rows, after, before, rows_out)
        return calls.wrap(y.reshape(shape) if out is None else out, self._options)

    def _rows_of_codes(self, x: QTensor) -> tuple[Array, Array, Array]:
        if self._side_path is not None:
            raise ValueError(f"x: expected float values, which outliers need, got codes: {x!r}")
        if self.input_multiplier is not None:
            raise ValueError(
                "x: expected float values, which the layer's input_multiplier is for, got "
                f"codes: {x!r}"
            )
        return calls.rows_of_codes(x)


def is_linear(layer: object, *kinds: str) -> TypeGuard[Linear]:
    """Whether something is a linear layer, with a weight of one of these kinds if any are given.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> octavo.nn.is_linear(octavo.nn.FloatLinear(np.eye(2)), "int8")
    False
    """
    return isinstance(layer, Linear) and (not kinds or layer.kind in kinds)


def _kind(kind: str | None, bits: int | None) -> str | None:
    """Return the kind of weight that was asked for by its name or its bits."""
    if bits is None:
        return kind
    if kind is not None:
        raise TypeError("bits: expected either kind or bits, got both")
    name = f"int{_checks.integer(bits, 'bits', 1)}"
    if name not in KINDS:
        known = ", ".join(kind for kind in KINDS if kind.startswith("int"))
        raise ValueError(f"bits: expected those of {known}, got {bits}")
    return name


def _split(options: dict[str, Any]) -> tuple[LinearOptions, dict[str, Any]]:
    """Return the options of the layer, and what is left: the weight's."""
    own = {name: value for name, value in options.items() if name in OPTIONS}
    return LinearOptions(**own), {k: v for k, v in options.items() if k not in own}
