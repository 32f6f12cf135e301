# SPDX-License-Identifier: Apache-2.0
"""How near a quantized graph comes to a float one, tensor by tensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from octavo._text import columns
from octavo._types import Array
from octavo.algorithms.measures import decibels
from octavo.compression.graph_data import Feeds
from octavo.compression.graph_run import Exposed
from octavo.compression.graph_scales import activations
from octavo.compression.rows import Rows
from octavo.data.sources import CalibrationData
from octavo.graph import Graph


@dataclass(frozen=True)
class TensorError:
    """What has become of one tensor.

    Attributes
    ----------
    name, kind : str
        The tensor, and the operator that makes it; of an input, "input".
    dtype : str
        What it is in the quantized graph.
    sqnr_db : float
        Its signal-to-quantization-noise ratio, in decibels; errors of the operators before it count
        too.
    largest : float
        The largest difference.
    """

    name: str
    kind: str
    dtype: str
    sqnr_db: float
    largest: float


class Comparison(Rows[TensorError]):
    """The tensors that two graphs have in common, in the order in which they are made.

    Behaves as a sequence of `TensorError`; printed, it is a table.

    Parameters
    ----------
    rows : sequence of TensorError

    Examples
    --------
    >>> from octavo.compression import Comparison, TensorError
    >>> print(Comparison([TensorError("y", "conv_2d", "int8", 41.25, 0.5)]))
    tensor  operator  type  SQNR, dB  largest error
    y       conv_2d   int8  41.2      0.5
    """

    def __str__(self) -> str:
        header = ("tensor", "operator", "type", "SQNR, dB", "largest error")
        return columns(
            [
                header,
                *(
                    (row.name, row.kind, row.dtype, f"{row.sqnr_db:.1f}", f"{row.largest:.3g}")
                    for row in self._rows
                ),
            ]
        )

    def __repr__(self) -> str:
        return f"<Comparison of {len(self)} tensors>"


def compare(exact: Graph, quantized: Graph, data: CalibrationData) -> Comparison:
    """Run a float graph and a quantized one side by side, and compare their tensors.

    Parameters
    ----------
    exact : Graph
        Float.
    quantized : Graph
        What `octavo.compress` made of it; tensors that were fused away have no line.
    data
        Inputs of the float graph, as `octavo.compress` takes them.

    Returns
    -------
    Comparison
        In which the first line with a low ratio tells where quality is lost.

    Raises
    ------
    TypeError, ValueError
        For data that do not fit, or graphs with different inputs.
    """
    types = [exact.tensors[i].shape for i in exact.inputs]
    if types != [quantized.tensors[i].shape for i in quantized.inputs]:
        raise ValueError("quantized: expected a graph with the inputs of the float one")
    pairs = _pairs(exact, quantized)
    run_exact, run_quantized = Exposed(exact, pairs), Exposed(quantized, pairs.values())
    sums = {index: np.zeros(3) for index in pairs}
    for feed in Feeds(exact, data, "data"):
        wanted, got = run_exact(feed), run_quantized(feed)
        for index, other in pairs.items():
            sums[index] = _added(sums[index], wanted[index], got[other])
    kinds = {i: one.kind for one in exact.operators for i in one.outputs}
    return Comparison(
        [
            TensorError(
                exact.tensors[index].name,
                kinds.get(index, "input"),
                str(quantized.tensors[other].dtype),
                decibels(*sums[index][:2]),
                float(sums[index][2]),
            )
            for index, other in pairs.items()
        ]
    )


def _pairs(exact: Graph, quantized: Graph) -> dict[int, int]:
    """Return the tensors of one graph and what has become of them, codes before floats."""
    made = [i for one in quantized.operators for i in one.outputs] + quantized.inputs
    names = {quantized.tensors[i].name: i for i in made}
    pairs = {}
    for index in activations(exact):
        name = exact.tensors[index].name
        other = names.get(f"{name}_int8", names.get(name))
        if other is not None:
            pairs[index] = other
    return pairs


def _added(sums: Array, wanted: Array, got: Array) -> Array:
    """Add the powers of signal and noise; keep the largest difference."""
    signal = wanted.astype(np.float64)
    noise = signal - got
    largest = max(sums[2], float(np.abs(noise).max(initial=0.0)))
    return np.array([sums[0] + np.square(signal).sum(), sums[1] + np.square(noise).sum(), largest])
