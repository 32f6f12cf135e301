# SPDX-License-Identifier: Apache-2.0
"""The name for linear layers of int8 codes that leave zeros out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from octavo import _checks
from octavo.nn.linear import Linear
from octavo.nn.side_paths import SidePath
from octavo.nn.weights import Weight
from octavo.nn.weights.int8 import FORMATS
from octavo.sparse.matrix import SparseMatrix

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


S = TypeVar("S", bound="SparseLinear")


class SparseLinear(Linear):
    """A `Linear` of int8 codes whose zeros cost neither memory nor time.

    Its results have the same bits as those of a `Linear` with the same codes: on every instruction
    set, thread count and backend, in every format.

    ``format`` says how the weight is held:

    ``"windowed16"``, ``"windowed64"``
        The non-zero codes of 16 outputs in steps of 4 slots each; the slots of a step lie within
        16 or 64 neighbouring inputs.  About 1.5 bytes per non-zero weight between 50 and 80% zeros
        (and for 2:4 patterns), about 2 bytes above.
    ``"bsr1x1"``
        For each output its non-zero codes and their places, 3 bytes each: compressed rows.  No slot
        stays empty, so that with many rows it is the fastest for zeros in random places from about
        80% on; slots are faster for one row.
    ``"bitmap"``
        One bit for each weight, and the non-zero codes: the smallest up to 95% zeros, 0.63 times
        ``"dense"`` at 50%.  Made for few rows on the ``avx512vbmi2`` tier, where time follows
        bytes; elsewhere it costs time.
    ``"bsr16x4"``
        The blocks of 16 outputs by 4 inputs that are not all zero, 66 bytes each.  Any weight
        fits; it pays where whole blocks were pruned (`octavo.algorithms.pruning.block` with 16
        rows, or a multiple, and 4 columns, or a multiple; 64 columns for AMX).
    ``"bsr1x4"``
        The blocks of 1 output by 4 inputs that are not all zero, 6 bytes each: for weights pruned
        so (`octavo.algorithms.pruning.block` with 4 columns and any number of rows).
    ``"bsr4x1"``
        The blocks of 4 outputs by 1 input that are not all zero, 6 bytes each: for weights pruned
        so (`octavo.algorithms.pruning.block` with 4 rows, or a multiple, and any number of
        columns).
    ``"dense"``
        Every code, as in `Linear`.
    ``"auto"``
        One of these that is not slower than ``"dense"`` for any number of rows, and not larger: the
        one that stays nearest to the fastest for all of them.  With ``rows`` only those numbers of
        rows count: ``rows=1`` for a layer that always gets one row.  What is fast on a tier is a
        small table (`octavo.tuning`), which ``octavo tune`` measures anew.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> weight = np.zeros((256, 256), np.float32)
    >>> weight[:, ::10] = 1.0
    >>> layer = octavo.nn.SparseLinear.from_float(weight, format="windowed64")
    >>> layer
    SparseLinear(in_features=256, out_features=256, bias=False, sparsity=0.90, format='windowed64')
    >>> layer.nbytes < octavo.Linear.from_float(weight).nbytes / 2
    True
    """

    @classmethod
    def _stands_for(cls, weight: Weight, side_path: SidePath | None = None, *_: Any) -> bool:
        return weight.leaves_zeros_out and side_path is None

    @classmethod
    def from_float(
        cls: type[S],
        weight: Any,
        bias: ArrayLike | None = None,
        *,
        format: str = "auto",
        rows: int | Sequence[int] | None = None,
        **options: Any,
    ) -> S:
        """Quantize float weights; zeros stay zeros.

        Parameters
        ----------
        weight : float array, shape (out_features, in_features), finite
            Or a matrix of `scipy.sparse`, a sparse tensor of PyTorch, or a `SparseMatrix`.
        bias : float array, shape (out_features,), optional
        format : str
            "auto", "dense" or one of `octavo.tuning.SPARSE_FORMATS`.
        rows : int or sequence of int, optional
            How many rows calls will have, for "auto"; see `octavo.tuning.choose`.
        **options
            activation, symmetric, input_scale, ... as in `Linear.from_float`.

        Raises
        ------
        ValueError
            For an unknown format, a weight that is not finite, or more than 65,536 inputs in a
            sparse format.
        """
        _checks.choice(format, "format", FORMATS)
        return super().from_float(weight, bias, format=format, rows=rows, **options)

    @classmethod
    def from_quantized(
        cls: type[S],
        codes: Any,
        scale: ArrayLike,
        bias: ArrayLike | None = None,
        *,
        format: str = "auto",
        rows: int | Sequence[int] | None = None,
        **options: Any,
    ) -> S:
        """Take weights that are quantized already.

        Parameters
        ----------
        codes : int8 array, shape (out_features, in_features)
            Or an int8 matrix of `scipy.sparse`, or an int8 sparse tensor of PyTorch.
        scale : positive float array, shape (out_features,) or (out_features, 1) or one value
        bias, format, rows, **options
            As in `from_float`.
        """
        _checks.choice(format, "format", FORMATS)
        return super().from_quantized(codes, scale, bias, format=format, rows=rows, **options)

    @classmethod
    def from_state_dict(
        cls: type[S], state: Mapping[str, Any], *, format: str = "auto", **config: Any
    ) -> S:
        """Rebuild a layer from `state_dict()` and `config()`."""
        _checks.choice(format, "format", FORMATS)
        return super().from_state_dict(state, format=format, **config)

    def to_sparse(self) -> SparseMatrix:
        """Return the weights as a float32 `SparseMatrix`, (out_features, in_features)."""
        return SparseMatrix.from_dense(self.weight)


Linear.shorthands.append(SparseLinear)
