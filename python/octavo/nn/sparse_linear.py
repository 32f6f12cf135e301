# SPDX-License-Identifier: Apache-2.0
"""The int8 linear layer that keeps only the non-zero weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from octavo import _checks, tuning
from octavo.nn import _linear_arguments as arguments
from octavo.nn.linear import Linear
from octavo.sparse.dense import as_dense
from octavo.sparse.matrix import SparseMatrix

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = NDArray[Any]
S = TypeVar("S", bound="SparseLinear")

FORMATS = ("auto", "dense", *tuning.SPARSE_FORMATS)


class SparseLinear(Linear):
    """A `Linear` whose zero weights cost neither memory nor time.

    Its results have the same bits as those of a `Linear` with the same codes: on every instruction
    set, thread count and backend, in every format.

    ``format`` says how the weight is held:

    ``"slots16"``, ``"slots64"``
        The non-zero codes of 16 outputs in steps of 4 slots each; the slots of a step lie within
        16 or 64 neighbouring inputs.  About 1.5 bytes per non-zero weight between 50 and 80% zeros
        (and for 2:4 patterns), about 2 bytes above.
    ``"csr"``
        For each output its non-zero codes and their places, 3 bytes each: compressed rows.  No slot
        stays empty, so that with many rows it is the fastest for zeros in random places from about
        80% on; slots are faster for one row.
    ``"bitmap"``
        One bit for each weight, and the non-zero codes: the smallest up to 95% zeros, 0.63 times
        ``"dense"`` at 50%.  Made for few rows on the ``avx512vbmi2`` tier, where time follows
        bytes; elsewhere it costs time.
    ``"blocks16x4"``
        The blocks of 16 outputs by 4 inputs that are not all zero, 66 bytes each.  Any weight
        fits; it pays where whole blocks were pruned (`octavo.pruning.block` with 16 rows, or a
        multiple, and 4 columns, or a multiple; 64 columns for AMX).
    ``"blocks1x4"``
        The blocks of 1 output by 4 inputs that are not all zero, 6 bytes each: for weights pruned
        so (`octavo.pruning.block` with 4 columns and any number of rows).
    ``"blocks4x1"``
        The blocks of 4 outputs by 1 input that are not all zero, 6 bytes each: for weights pruned
        so (`octavo.pruning.block` with 4 rows, or a multiple, and any number of columns).
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
    >>> layer = octavo.SparseLinear.from_float(weight, format="slots64")
    >>> layer
    SparseLinear(in_features=256, out_features=256, bias=False, sparsity=0.90, format='slots64')
    >>> layer.nbytes < octavo.Linear.from_float(weight).nbytes / 2
    True
    """

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
        codes, scale = arguments.quantized_weight(as_dense(weight, "weight"))
        return cls.from_quantized(codes, scale, bias, format=format, rows=rows, **options)

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
        codes : int8 array, shape (out_features, in_features), within [-127, 127]
            Or an int8 matrix of `scipy.sparse`, or an int8 sparse tensor of PyTorch.
        scale : positive float array, shape (out_features,) or (out_features, 1) or one value
        bias, format, rows, **options
            As in `from_float`.
        """
        wanted = _checks.choice(format, "format", FORMATS)
        array, scales, biases, config = arguments.checked(
            as_dense(codes, "codes", codes=True), scale, bias, **options
        )
        if wanted == "auto":
            wanted = tuning.choose(array, rows)
        elif rows is not None:
            raise ValueError(f"rows: expected None with format={wanted!r}, got {rows!r}")
        return cls(array, scales, biases, {**config, "format": wanted})

    def __init__(
        self, codes: Array, scale: Array, bias: Array | None, config: dict[str, Any]
    ) -> None:
        """Take checked arguments; use `from_quantized` to have them checked."""
        wanted, most = config["format"], tuning.MOST_INPUTS
        if wanted != "dense" and codes.shape[1] > most:
            raise ValueError(
                f"format: {wanted!r} takes at most {most} inputs, got {codes.shape[1]}"
            )
        super().__init__(codes, scale, bias, config)
        self._density = np.count_nonzero(codes) / codes.size if codes.size else 0.0

    @property
    def format(self) -> str:
        """How the weight is held: "dense" or one of `octavo.tuning.SPARSE_FORMATS`."""
        return str(self._packed.format)

    @property
    def sparsity(self) -> float:
        """The share of weights that are zero."""
        return 1.0 - self._density

    def to_sparse(self) -> SparseMatrix:
        """Return the weights as a float32 `SparseMatrix`, (out_features, in_features)."""
        return SparseMatrix.from_dense(self.weight)

    def with_format(
        self, format: str = "auto", *, rows: int | Sequence[int] | None = None
    ) -> SparseLinear:
        """Return the same layer with its weight held in another format.

        Parameters
        ----------
        format, rows
            As in `from_float`.

        Examples
        --------
        >>> import numpy as np, octavo
        >>> layer = octavo.SparseLinear.from_float(np.eye(64, dtype=np.float32))
        >>> layer.with_format("bitmap").format
        'bitmap'
        """
        options = {**self.config(), "format": format, "rows": rows}
        return type(self).from_state_dict(self.state_dict(), **options)

    def config(self) -> dict[str, Any]:
        """Return the options that are no tensors, as `from_state_dict` takes them."""
        return {**super().config(), "format": self.format}

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, sparsity={self.sparsity:.2f}, format={self.format!r})"
