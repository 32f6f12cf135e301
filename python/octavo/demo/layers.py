# SPDX-License-Identifier: Apache-2.0
"""The error each compressed layer makes on its own, on real activations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from octavo import nn
from octavo.models.tree import map_layers

if TYPE_CHECKING:
    from octavo.models.encoder import Encoder

__all__ = ["LayerError", "layer_errors"]


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


class _Compared(nn.Module):
    """Stands in for a float layer, feeds its input to the compressed one too, adds up the error."""

    def __init__(self, exact: Any, compressed: Any) -> None:
        self._exact, self.compressed = exact, compressed
        self.signal = 0.0
        self.noise = 0.0

    def __call__(self, x: Any, residual: Any = None) -> Any:
        wanted = self._exact(x)
        difference = (self.compressed(x) - wanted).astype(np.float64)
        self.signal += float(np.square(wanted.astype(np.float64)).sum())
        self.noise += float(np.square(difference).sum())
        return wanted if residual is None else wanted + residual


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
    probes: dict[str, _Compared] = {}

    def watch(name: str, layer: nn.Module) -> nn.Module:
        if not isinstance(layer, (nn.FloatLinear, nn.FloatEmbedding)):
            return layer
        probes[name] = _Compared(layer, compressed.get_submodule(name))
        return probes[name]

    map_layers(model, watch)(ids, mask)
    return [_summary(name, probe) for name, probe in probes.items() if probe.signal]


def _summary(name: str, probe: _Compared) -> LayerError:
    relative = math.sqrt(probe.noise / probe.signal)
    sqnr = -20 * math.log10(relative) if relative else math.inf
    layer = probe.compressed
    return LayerError(name, relative, sqnr, zeros_in(layer.state_dict()["weight"]), held_as(layer))


def zeros_in(weight: npt.NDArray[Any]) -> float:
    """Return the share of weights that are zero."""
    return 1.0 - np.count_nonzero(weight) / max(1, weight.size)


def held_as(layer: nn.Module) -> str:
    """Return how a layer holds its weights: "dense", or the format of a `SparseLinear`."""
    return layer.format if isinstance(layer, nn.SparseLinear) else "dense"
