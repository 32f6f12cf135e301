# SPDX-License-Identifier: Apache-2.0
"""The int8 linear layer that computes a few columns of its input in float."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _checks
from octavo.nn import _linear_arguments as arguments
from octavo.nn import _state
from octavo.nn.linear import Linear
from octavo.qtensor import QTensor

if TYPE_CHECKING:
    from collections.abc import Mapping

Array = NDArray[Any]
O = TypeVar("O", bound="OutlierLinear")  # noqa: E741  (as Linear has L)


class OutlierLinear(Linear):
    """A `Linear` whose outlier columns are multiplied in float32 (Dettmers et al. 2022).

    ``activation(int8 product + bias + x[..., columns] @ outlier_weight.T) + residual``: the rows of
    `x` are quantized without the outlier columns, so that these do not widen the range of all
    others. The float product runs in NumPy's BLAS, so the last bits of a result may depend on the
    machine and on the number of rows.

    Made by `from_float` or `from_state_dict`.

    Notes
    -----
    LLM.int8() looks for columns that reach 6.0 while it runs; here they are fixed when the layer is
    made, from calibration data (`octavo.smoothing.outlier_columns`).

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

    def __init__(
        self,
        codes: Array,
        scale: Array,
        bias: Array | None,
        config: dict[str, Any],
        columns: Array,
        outlier_weight: Array,
    ) -> None:
        """Take checked arguments; use `from_float` to have them checked."""
        self._columns, self._outlier_weight = columns, outlier_weight
        self._activation = config["activation"]
        given = config["input_multiplier"]
        self._has_multiplier = given is not None
        multiplier = np.ones(codes.shape[1], np.float32) if given is None else given.copy()
        multiplier[columns] = 0
        codes = codes.copy()
        codes[:, columns] = 0
        # The activation follows the sum of both products.
        config = {**config, "activation": "none", "input_multiplier": multiplier}
        super().__init__(codes, scale, bias, config)

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
            activation, symmetric, input_scale, input_zero_point as in `Linear.from_float`.

        Raises
        ------
        TypeError, ValueError
            For columns that are not ascending integers of the layer's inputs, and as
            `Linear.from_float`.
        """
        values = _checks.as_float32(weight, "weight", float64=True)
        _checks.check_shape(values, (None, None), "weight")
        _checks.check_finite(values, "weight")
        columns = _columns(outlier_columns, values.shape[1])
        floats = np.ascontiguousarray(values[:, columns])
        multiplier = arguments.multiplier(input_multiplier, values.shape[1])
        if multiplier is not None:
            floats *= multiplier[columns]
        rest = values.copy()
        rest[:, columns] = 0
        codes, scale = arguments.quantized_weight(rest)
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
        **options
            activation, symmetric, input_scale, input_zero_point, input_multiplier as in
            `Linear.from_float`.
        """
        array, scales, biases, config = arguments.checked(codes, scale, bias, **options)
        if config["output_scale"] is not None:
            raise ValueError("output_scale: expected none, a layer with outliers gives float32")
        columns = _columns(outlier_columns, array.shape[1])
        if outlier_weight is None:
            floats = array[:, columns] * scales[:, None]
            if config["input_multiplier"] is not None:
                floats *= config["input_multiplier"][columns]
        else:
            shape = (array.shape[0], len(columns))
            floats = _state.parameter(outlier_weight, shape, "outlier_weight")
            _checks.check_finite(floats, "outlier_weight")
        return cls(array, scales, biases, config, columns, floats)

    @classmethod
    def from_state_dict(cls: type[O], state: Mapping[str, Any], **config: Any) -> O:
        """Rebuild a layer from `state_dict()` and `config()`."""
        optional = ("bias", "input_scale", "input_zero_point", "input_multiplier")
        required = ("weight", "weight_scale", "outlier_columns", "outlier_weight")
        _state.check_keys(state, required, optional)
        static = {key: _state.scalar(state[key], key) for key in optional[1:3] if key in state}
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
        x : float32 array, shape (..., in_features)
        residual : float32 array, shape (..., out_features), optional
            Added after the activation.
        addend : float32 array, shape (..., out_features), optional
            Added before the activation.

        Returns
        -------
        float32 ndarray, shape (..., out_features)
        """
        if isinstance(x, QTensor):
            raise ValueError(f"x: expected float values, which outliers need, got codes: {x!r}")
        array, shape = arguments.float_input(x, *self._packed.shape)
        after, before = arguments.added(residual, addend, shape)
        rows = _checks.rows_of(array)
        with np.errstate(all="ignore"):
            floats = np.matmul(rows[:, self._columns], self._outlier_weight.T)
            if before is not None:
                floats += before.reshape(floats.shape)
            y: Array = self._packed.run(rows, floats)
            return arguments.activated(y, self._activation, after, shape)

    @property
    def weight(self) -> Array:
        """What `x` is multiplied by, (out_features, in_features) float32."""
        weight = super().weight
        weight[:, self._columns] = self._outlier_weight
        return weight

    @property
    def outlier_columns(self) -> Array:
        """The columns of `x` that are computed in float, (count,) int64, ascending."""
        columns: Array = self._columns.copy()
        return columns

    @property
    def outlier_weight(self) -> Array:
        """Their weights, (out_features, count) float32."""
        weight: Array = self._outlier_weight.copy()
        return weight

    @property
    def activation(self) -> str:
        """Name of the activation."""
        return str(self._activation)

    @property
    def nbytes(self) -> int:
        """Bytes the layer holds: those of a `Linear`, and the float columns."""
        return super().nbytes + self._columns.nbytes + self._outlier_weight.nbytes

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters; the codes of outlier columns are 0."""
        state = super().state_dict()
        if not self._has_multiplier:
            del state["input_multiplier"]
        state["outlier_columns"] = self.outlier_columns
        state["outlier_weight"] = self.outlier_weight
        return state

    def config(self) -> dict[str, Any]:
        """Return the options that are no tensors, as `from_state_dict` takes them."""
        return {**super().config(), "activation": self._activation}

    def __repr__(self) -> str:
        text = super().__repr__()[:-1]
        if not self._has_multiplier:
            text = text.replace(", input_multiplier=True", "")
        return f"{text}, outliers={len(self._columns)})"


def _columns(values: ArrayLike, k: int) -> Array:
    """Check column numbers: ascending, within [0, k)."""
    array = np.asarray(values)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"outlier_columns: expected integers, got {array.dtype}")
    _checks.check_shape(array, (None,), "outlier_columns")
    columns = array.astype(np.int64)
    if columns.size and (columns[0] < 0 or columns[-1] >= k or (np.diff(columns) <= 0).any()):
        raise ValueError(
            f"outlier_columns: expected ascending numbers from 0 to {k - 1}, got {values!r}"
        )
    return columns
