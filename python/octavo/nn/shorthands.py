# SPDX-License-Identifier: Apache-2.0
"""Names for linear layers with some weights: each is a `Linear`, and a short way to make one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from octavo import _checks
from octavo._types import Array
from octavo.nn import _state
from octavo.nn.linear import Linear
from octavo.nn.options import OPTIONS, LinearOptions, checked_multiplier
from octavo.nn.side_paths import SidePath, checked_columns
from octavo.nn.weights import FloatWeight, Int8Weight, Weight
from octavo.nn.weights.codes import quantized_weight
from octavo.nn.weights.half import half_weight

H = TypeVar("H", bound="HalfLinear")
O = TypeVar("O", bound="OutlierLinear")  # noqa: E741  (as Linear has L)


class FloatLinear(Linear):
    """A `Linear` in float32.

    Parameters
    ----------
    weight : float32 array, shape (out_features, in_features)
        Kept as it is until the first call, then packed.
    bias : float32 array, shape (out_features,), optional
    activation : "none", "relu", "gelu", "gelu_tanh", "silu" or "tanh"
    input_multiplier : float array, shape (in_features,), finite and at least 0, optional
        The layer computes with ``x * input_multiplier``; the weight has been divided by it.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> layer = octavo.nn.FloatLinear(np.eye(2, dtype=np.float32), activation="relu")
    >>> layer(np.array([[-1.0, 2.0]], np.float32))
    array([[0., 2.]], dtype=float32)
    """

    kinds = ("float32",)

    def __init__(
        self,
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        activation: str = "none",
        input_multiplier: ArrayLike | None = None,
    ) -> None:
        options = LinearOptions(activation=activation, input_multiplier=input_multiplier)  # type: ignore[arg-type]
        super().__init__(FloatWeight(weight), bias, options)

    @property
    def weight(self) -> Array:
        """The weight as it was given: the input multiplier is not in it."""
        weight, side = self._weight.dequantized(), self._side_path
        return weight if side is None else weight + side.delta(self.in_features)


class HalfLinear(Linear):
    """A `Linear` in float32 whose weight is held in 16 bits.

    A float32 copy of all of it never exists.  The bias is float32.

    Parameters
    ----------
    weight : float16 array, or uint16 array of the bits of bfloat16, shape (out_features,
        in_features)
        Kept as it is.
    bias : float32 array, shape (out_features,), optional
    activation : "none", "relu", "gelu", "gelu_tanh", "silu" or "tanh"

    Examples
    --------
    >>> import numpy as np, octavo
    >>> layer = octavo.nn.HalfLinear.from_float(np.eye(2, dtype=np.float32), dtype="bfloat16")
    >>> layer
    HalfLinear(in_features=2, out_features=2, bias=False, dtype='bfloat16')
    >>> layer(np.array([[0.5, 2.0]], np.float32))
    array([[0.5, 2. ]], dtype=float32)
    """

    kinds = ("float16", "bfloat16")

    def __init__(
        self, weight: ArrayLike, bias: ArrayLike | None = None, activation: str = "none"
    ) -> None:
        super().__init__(half_weight(weight), bias, LinearOptions(activation=activation))

    @classmethod
    def from_float(
        cls: type[H],
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        dtype: str = "float16",
        **options: Any,
    ) -> H:
        """Round a float weight, finite, to ``"float16"`` or ``"bfloat16"``."""
        kind = _checks.choice(dtype, "dtype", cls.kinds)
        return super().from_float(weight, bias, kind=kind, **options)

    @classmethod
    def from_state_dict(cls: type[H], state: Mapping[str, Any], **config: Any) -> H:
        """Rebuild a layer from `state_dict()` and `config()`."""
        _state.check_keys(state, ("weight",), ("bias",))
        kind = half_weight(state["weight"]).kind
        return super().from_state_dict(state, kind=kind, **config)

    @property
    def dtype(self) -> str:
        """How the weight is held: "float16" or "bfloat16"."""
        return self.kind


class OutlierLinear(Linear):
    """A `Linear` of int8 codes, with outlier columns multiplied in float32 (Dettmers et al. 2022).

    ``activation(int8 product + bias + x[..., columns] @ outlier_weight.T) + residual``: the rows of
    `x` are quantized without the outlier columns, so that these do not widen the range of all
    others. The float product is a `SidePath`, computed as a `FloatLinear` is.

    LLM.int8() looks for columns that reach 6.0 while it runs; here they are fixed when the layer is
    made, from calibration data (`octavo.algorithms.smoothing.outlier_columns`).

    Examples
    --------
    >>> import numpy as np, octavo
    >>> rng = np.random.default_rng(0)
    >>> weight = rng.standard_normal((8, 16)).astype(np.float32)
    >>> x = rng.standard_normal((4, 16)).astype(np.float32)
    >>> x[:, 3] *= 1000
    >>> layer = octavo.nn.OutlierLinear.from_float(weight, outlier_columns=[3])
    >>> layer
    OutlierLinear(in_features=16, out_features=8, bias=False, outliers=1)
    >>> plain = octavo.Linear.from_float(weight)
    >>> error = [abs(one(x) - x @ weight.T).max() for one in (layer, plain)]
    >>> bool(100 * error[0] < error[1])
    True
    """

    @classmethod
    def _stands_for(cls, weight: Weight, side_path: SidePath | None = None, *_: Any) -> bool:
        has_columns = side_path is not None and side_path.columns is not None
        return has_columns and weight.kind in cls.kinds

    @classmethod
    def from_float(
        cls: type[O],
        weight: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        outlier_columns: ArrayLike = (),
        input_multiplier: ArrayLike | None = None,
        **options: Any,
    ) -> O:
        """Quantize float weights, but for some columns.

        Parameters
        ----------
        weight : float array, shape (out_features, in_features), finite
        bias : float array, shape (out_features,), optional
        outlier_columns : int array, shape (count,)
            Columns of `x` that stay float, ascending.
        input_multiplier : float array, shape (in_features,), optional
            As in `Linear.from_float`; the weight of outlier columns has been divided by it too, if
            they are not 0 in it.
        **options
            activation, symmetric, input_scale, input_zero_point as in `Linear.from_float`; format,
            rows as in `SparseLinear.from_float`.

        Raises
        ------
        TypeError, ValueError
            For columns that are not ascending integers of the layer's inputs, and as
            `Linear.from_float`.
        """
        values = _checks.as_float32(weight, "weight", float64=True)
        _checks.check_shape(values, (None, None), "weight")
        _checks.check_finite(values, "weight")
        columns = checked_columns(outlier_columns, values.shape[1])
        floats = np.ascontiguousarray(values[:, columns])
        multiplier = checked_multiplier(input_multiplier, values.shape[1])
        if multiplier is not None:
            floats *= multiplier[columns]
        rest = values.copy()
        rest[:, columns] = 0
        codes, scale = quantized_weight(rest)
        return cls.from_quantized(
            codes,
            scale,
            bias,
            outlier_columns=columns,
            outlier_weight=floats,
            input_multiplier=multiplier,
            **options,
        )

    @classmethod
    def from_quantized(
        cls: type[O],
        codes: ArrayLike,
        scale: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        outlier_columns: ArrayLike = (),
        outlier_weight: ArrayLike | None = None,
        format: str | None = None,
        rows: int | Sequence[int] | None = None,
        **options: Any,
    ) -> O:
        """Take weights that are quantized already.

        Parameters
        ----------
        codes, scale, bias
            As in `Linear.from_quantized`.
        outlier_columns : int array, shape (count,)
            Columns of `x` that stay float, ascending.
        outlier_weight : float array, shape (out_features, count), finite, optional
            What these columns are multiplied by; by default, what their codes stand for.
        format, rows, **options
            As in `from_float`.
        """
        plain = Int8Weight.from_quantized(codes, scale, format=None if format is None else "dense")
        own = LinearOptions(**options).checked(plain.shape[1], OPTIONS, plain.kind)
        if own.output_scale is not None:
            raise ValueError("output_scale: expected none, a layer with outliers gives float32")
        columns = checked_columns(outlier_columns, plain.shape[1])
        if outlier_weight is None:
            floats = plain.codes[:, columns] * plain.scale[:, None]
            if own.input_multiplier is not None:
                floats *= own.input_multiplier[columns]
        else:
            shape = (plain.shape[0], len(columns))
            floats = _state.parameter(outlier_weight, shape, "outlier_weight")
            _checks.check_finite(floats, "outlier_weight")
        masked = plain.codes.copy()
        masked[:, columns] = 0
        weight = Int8Weight.from_quantized(masked, plain.scale, format=format, rows=rows)
        return cls.of(weight, bias, own, SidePath([floats.T], columns))

    @classmethod
    def from_state_dict(cls: type[O], state: Mapping[str, Any], **config: Any) -> O:
        """Rebuild a layer from `state_dict()` and `config()`."""
        optional = ("bias", "input_scale", "input_zero_point", "input_multiplier")
        required = ("weight", "weight_scale", "outlier_columns", "outlier_weight")
        _state.check_keys(state, required, optional)
        static = {key: _checks.only_value(state[key], key) for key in optional[1:3] if key in state}
        return cls.from_quantized(
            state["weight"],
            state["weight_scale"],
            state.get("bias"),
            outlier_columns=state["outlier_columns"],
            outlier_weight=state["outlier_weight"],
            input_multiplier=state.get("input_multiplier"),
            **static,
            **config,
        )

    @property
    def outlier_columns(self) -> Array:
        """The columns of `x` that are computed in float, (count,) int64, ascending."""
        return self.state_dict()["outlier_columns"]

    @property
    def outlier_weight(self) -> Array:
        """Their weights, (out_features, count) float32."""
        return self.state_dict()["outlier_weight"]


Linear.shorthands += [OutlierLinear, FloatLinear, HalfLinear]
