# SPDX-License-Identifier: Apache-2.0
"""The error each compressed layer makes on its own, on real activations."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo import nn
from octavo._float_mode import in_default_mode
from octavo.models.encoder import Encoder
from octavo.nn import hooks
from octavo.nn.tree import untied


@dataclass(frozen=True)
class LayerError:
    """Error of one layer, relative to its float output.

    Attributes
    ----------
    relative : float
        Root of (sum of squared differences / sum of squared float outputs).
    sqnr_db : float
        The same as a signal-to-noise ratio in decibels.
    zeros : float
        Share of its compressed weights that are zero.
    held : str
        How they are held: "dense", or the format of a `SparseLinear`.
    """

    name: str
    relative: float
    sqnr_db: float
    zeros: float = 0.0
    held: str = "dense"


class _Errors:
    """Sums over the calls of one layer: of its outputs, and of the compressed one's errors."""

    def __init__(self, exact: Any, compressed: Any) -> None:
        # A copy: the layer itself is being watched.
        self._exact, self.compressed = copy.copy(exact), compressed
        self.signal = 0.0
        self.noise = 0.0

    def update(self, x: Any) -> None:
        """Take in what the layer reads."""
        wanted = self._exact(x)
        difference = (self.compressed(x) - wanted).astype(np.float64)
        self.signal += float(np.square(wanted.astype(np.float64)).sum())
        self.noise += float(np.square(difference).sum())


@in_default_mode
def layer_errors(
    model: Encoder,
    compressed: Encoder,
    ids: npt.NDArray[np.int64],
    mask: npt.NDArray[np.int64],
) -> list[LayerError]:
    """Measure the error of every compressed linear layer and embedding.

    Each layer gets the input it has in the float model, so errors do not add up from layer to
    layer and can be compared with each other.

    Parameters
    ----------
    model, compressed : Encoder
        The float model and its compressed form.
    ids, mask : int64 arrays, shape (sentences, tokens)
        What to run.
    """
    model = untied(model)
    errors = {
        name: _Errors(layer, compressed.get_submodule(name))
        for name, layer in model.named_modules()
        if nn.is_linear(layer, "float32") or nn.is_embedding(layer, "float32")
    }
    with hooks.watching(model, errors, lambda name, x, _: errors[name].update(x)):
        model(ids, mask)
    return [_summary(name, error) for name, error in errors.items() if error.signal]


def _summary(name: str, error: _Errors) -> LayerError:
    relative = math.sqrt(error.noise / error.signal)
    sqnr = -20 * math.log10(relative) if relative else math.inf
    layer = error.compressed
    return LayerError(name, relative, sqnr, zeros_in(layer), held_as(layer))


def zeros_in(layer: Any) -> float:
    """Return the share of a layer's weights that are zero."""
    if layer.kind:
        return float(layer.sparsity)
    weight = np.asarray(layer.weight)
    return 1.0 - np.count_nonzero(weight) / max(1, weight.size)


def held_as(layer: nn.Module) -> str:
    """Return how a layer holds its weights: "dense", or the format of a `SparseLinear`."""
    return layer.format if nn.is_linear(layer) else "dense"
