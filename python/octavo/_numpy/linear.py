# SPDX-License-Identifier: Apache-2.0
"""Int8 matrix products, the quantized linear layer and the quantized embedding."""

from __future__ import annotations

import numpy as np

from octavo._float_mode import in_default_mode
from octavo._numpy.float_ops import activation
from octavo._numpy.quantize import quantize_dynamic, quantize_linear, written
from octavo._numpy.weights import DensePanels, PackedWeight, hold
from octavo._types import Array

# Integers up to 2**24 are exact in float32: while every partial sum stays below, the order in
# which BLAS adds them does not matter and the float product is the integer product.
_FLOAT32_EXACT = 1 << 24
_LARGEST_CODE = {"i": 128, "u": 255}


def exact_product(a: Array, b: Array) -> Array:
    """Multiply (..., M, K) by (..., K, N) int8 or uint8 to int32, by BLAS in exact pieces of K."""
    k = a.shape[-1]
    step = _FLOAT32_EXACT // (_LARGEST_CODE[a.dtype.kind] * _LARGEST_CODE[b.dtype.kind])
    total: Array = _float_product(a[..., :step], b[..., :step, :])
    for start in range(step, k, step):
        # int32 may wrap where a zero point brings the sum back later.
        piece = slice(start, start + step)
        total += _float_product(a[..., piece], b[..., piece, :])
    return total


def _float_product(a: Array, b: Array) -> Array:
    product: Array = np.matmul(a.astype(np.float32), b.astype(np.float32))
    return product.astype(np.int32)


def matmul_int8(
    a: Array, b: Array, a_zero_point: Array | None, b_zero_point: Array | None, out: Array
) -> None:
    """Out (B, M, N) = (a - a_zero_point) @ (b - b_zero_point), exact int32.

    The zero points are undone after the product with the row and column sums; int32 may wrap on
    the way, but the final value fits, so it is exact.
    """
    out[...] = exact_product(a, b)
    k = np.int32(a.shape[2])
    if a_zero_point is not None:
        out -= a_zero_point[:, None] * b.sum(axis=1, dtype=np.int32)[:, None, :]
    if b_zero_point is not None:
        rows = a.sum(axis=2, dtype=np.int32)[:, :, None]
        if a_zero_point is not None:
            rows = rows - k * a_zero_point[:, None]
        out -= rows * b_zero_point


class PackedMatrix:
    """The right operand of an int8 product, prepared once for many left ones."""

    def __init__(self, b: Array) -> None:
        self._codes = np.array(b, np.int8)

    @property
    def shape(self) -> tuple[int, int]:
        """(K, N)."""
        return self._codes.shape[0], self._codes.shape[1]

    @property
    def nbytes(self) -> int:
        """Bytes this object holds."""
        return self._codes.nbytes

    def matmul(self, a: Array, out: Array) -> None:
        """Out (M, N) = a (M, K) int8 or uint8 @ b, exact int32."""
        out[...] = exact_product(a, self._codes)


def embedding(codes: Array, scale: Array, ids: Array, out: Array) -> None:
    """out[i] = codes[ids[i]] * scale[ids[i]]."""
    np.multiply(codes[ids].astype(np.float32), scale[ids][:, None], out=out)


def _is_plain(x: object, shape: tuple[int, ...]) -> bool:
    return (
        type(x) is np.ndarray
        and x.dtype == np.float32
        and x.shape == shape
        and x.flags.c_contiguous
        and x.flags.aligned
    )


class PackedLinear:
    """The weights of one int8 linear layer in the form the backend computes with."""

    def __init__(
        self,
        codes: Array | PackedWeight,
        scale: Array,
        bias: Array | None,
        activation: str,
        symmetric: bool,
        input_scale: float | None,
        input_zero_point: int,
        output_scale: float | None,
        output_zero_point: int,
        format: str = "dense",
        input_multiplier: Array | None = None,
    ) -> None:
        self.weight = codes if isinstance(codes, PackedWeight) else hold(codes, format)
        self._scale = scale.copy()
        self._bias = None if bias is None else bias.copy()
        self._multiplier = None if input_multiplier is None else input_multiplier.copy()
        self._col_sum = self.unpack().sum(axis=1, dtype=np.int32)
        self._activation = activation
        self._symmetric = symmetric
        self._input = _parameters(input_scale, input_zero_point)
        self._output = _parameters(output_scale, output_zero_point)

    @property
    def shape(self) -> tuple[int, int]:
        """(N, K): output features, input features."""
        n, k = self.weight.shape
        return n, k

    @property
    def format(self) -> str:
        """How the weight is held: "dense" or one of `octavo.tuning.SPARSE_FORMATS`."""
        return self.weight.format

    @property
    def scale(self) -> Array:
        """Weight scale of each output channel, (N,) float32, read-only."""
        return _read_only(self._scale)

    @property
    def bias(self) -> Array | None:
        """Bias, (N,) float32, read-only."""
        return None if self._bias is None else _read_only(self._bias)

    @property
    def input_multiplier(self) -> Array | None:
        """What each column of the input is multiplied by, (K,) float32, read-only."""
        return None if self._multiplier is None else _read_only(self._multiplier)

    @property
    def activation(self) -> str:
        """Name of the activation after the bias."""
        return self._activation

    @property
    def nbytes(self) -> int:
        """Bytes this object holds."""
        arrays = (self.weight, self._scale, self._bias, self._col_sum, self._multiplier)
        return sum(a.nbytes for a in arrays if a is not None)

    def memory(self) -> tuple[Array | None, Array | None, Array | None]:
        """Return codes (panels, groups, 16, 4), scale and bias: this object's own, writable.

        Codes are None where the weight is sparse.  Scale and bias may be written; codes may not,
        their column sums would no longer fit.
        """
        codes = self.weight.panels if isinstance(self.weight, DensePanels) else None
        return codes, self._scale, self._bias

    def unpack(self) -> Array:
        """Return the canonical codes, (N, K) int8, as a fresh array."""
        return self.weight.unpack()

    def call(
        self, x: object, residual: object = None, addend: object = None, out: object = None
    ) -> Array | None:
        """Apply the layer to a plain float32 array of any leading shape, or return None."""
        n, k = self.shape
        if out is not None or type(x) is not np.ndarray or x.ndim == 0 or x.shape[-1] != k:
            return None
        shape = (*x.shape[:-1], n)
        added = (residual, addend)
        if not _is_plain(x, x.shape) or not all(a is None or _is_plain(a, shape) for a in added):
            return None
        rows = x.size // k if k else int(np.prod(shape[:-1]))
        flat = [a.reshape(rows, n) if isinstance(a, np.ndarray) else None for a in added]
        return self.run(x.reshape(rows, k), *flat).reshape(shape)

    @in_default_mode
    def run(
        self,
        x: Array,
        residual: Array | None = None,
        addend: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """(M, K) float32 rows to (M, N) float32, or int8 when the output is requantized."""
        if self._multiplier is not None:
            with np.errstate(all="ignore"):
                x = x * self._multiplier
        if self._input is None:
            return self.run_codes(*quantize_dynamic(x, self._symmetric), residual, addend, out)
        scale, zero_point = self._input
        codes = np.empty(x.shape, np.int8)
        quantize_linear(x, scale, zero_point, 1, 1, x.size, 0, codes)
        rows = x.shape[0]
        zero_points = np.full(rows, zero_point[0], np.int32)
        return self.run_codes(codes, np.full(rows, scale[0]), zero_points, residual, addend, out)

    @in_default_mode
    def run_codes(
        self,
        codes: Array,
        scales: Array,
        zero_points: Array,
        residual: Array | None = None,
        addend: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """Do the same from quantized rows: int8 codes (M, K), scales and zero points (M,)."""
        acc = exact_product(codes, self.unpack().T)
        acc -= zero_points[:, None] * self._col_sum
        with np.errstate(all="ignore"):
            y = acc.astype(np.float32)
            y *= scales[:, None] * self._scale
        return written(self._finish(y, residual, addend), out)

    def _finish(self, y: Array, residual: Array | None, addend: Array | None) -> Array:
        """Apply to sums (M, N), scaled, what comes after them."""
        with np.errstate(all="ignore"):
            if self._bias is not None:
                y += self._bias
            if addend is not None:
                y += addend
            if self._activation != "none":
                activation(y, self._activation, y)
            if residual is not None:
                y += residual
        if self._output is None:
            return y
        codes = np.empty(y.shape, np.int8)
        quantize_linear(y, *self._output, 1, 1, y.size, 0, codes)
        return codes


def _read_only(values: Array) -> Array:
    """Return a view that cannot be written through a property."""
    view: Array = values.view()
    view.flags.writeable = False
    return view


def _parameters(scale: float | None, zero_point: int) -> tuple[Array, Array] | None:
    if scale is None:
        return None
    return np.array([scale], np.float32), np.array([zero_point], np.int8)
