# SPDX-License-Identifier: Apache-2.0
"""Weights that share values, in PyTorch: the values are trained, who has which stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import nn

from octavo import nn as layers
from octavo.algorithms import sharing
from octavo.models import Encoder
from octavo.nn.tree import map_layers

_LARGEST = 127


class _Lookup(torch.autograd.Function):
    """``codebook[indices]``; the gradient of a centroid is the sum over its weights."""

    @staticmethod
    def forward(ctx: Any, codebook: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(indices)
        ctx.entries = len(codebook)
        return codebook[indices.long()]

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        (indices,) = ctx.saved_tensors
        gradient = gradients[0]
        # Sums of many small terms: float64, as bincount's weights are.
        total = torch.bincount(
            indices.reshape(-1).int(), gradient.reshape(-1).double(), minlength=ctx.entries
        )
        return total.to(gradient.dtype), None


class _Shared(nn.Module):
    """A matrix ``codebook[indices] * scale``; a centroid that is 0 stays 0."""

    indices: torch.Tensor
    scale: torch.Tensor

    def __init__(self, codes: np.ndarray, scale: np.ndarray) -> None:
        super().__init__()
        values, places = np.unique(codes, return_inverse=True)
        self.codebook = nn.Parameter(torch.from_numpy(values.astype(np.float32)))
        indices = places.reshape(codes.shape).astype(np.uint8)
        self.register_buffer("indices", torch.from_numpy(indices))
        self.register_buffer("scale", torch.from_numpy(np.array(scale, np.float32)[:, None]))
        self.register_buffer("_moves", torch.from_numpy((values != 0).astype(np.float32)))

    def centroids(self) -> torch.Tensor:
        """Return the codebook with its zero held where it is."""
        moves: Any = self._moves
        return self.codebook * moves

    @property
    def weight(self) -> torch.Tensor:
        """The matrix, with a gradient for the codebook; made on every access."""
        looked_up: torch.Tensor = _Lookup.apply(self.centroids(), self.indices)
        return looked_up * self.scale

    def quantized(self) -> tuple[np.ndarray, np.ndarray]:
        """Return int8 codes and scales, float32 of shape (N,): centroids over the largest of them.

        Rounding moves a centroid by at most 1 / 254 of the largest.
        """
        centroids = self.centroids().detach().double().cpu().numpy()
        top = float(np.abs(centroids).max())
        unit = top / _LARGEST if top > 0 else 1.0
        book = np.rint(centroids / unit).astype(np.int8)
        scale = self.scale.detach().float().cpu().numpy()[:, 0] * np.float32(unit)
        return book[self.indices.cpu().numpy()], scale


class SharedLinear(_Shared):
    """A linear layer whose weight has few values; the values and the bias are its parameters.

    Parameters
    ----------
    codes : int8 array, shape (out_features, in_features)
    scale : float32 array, shape (out_features,)
    bias : float32 array, shape (out_features,), optional

    Examples
    --------
    >>> import numpy as np, torch
    >>> from octavo.algorithms import sharing
    >>> from octavo.torch import SharedLinear
    >>> codes, scale, codebook = sharing.share(np.eye(4, dtype=np.float32), 4)
    >>> layer = SharedLinear(codes, scale)
    >>> layer(torch.ones(1, 4)).sum().backward()
    >>> layer.codebook.detach().tolist(), layer.codebook.grad.mul(127).round().tolist()
    ([0.0, 127.0], [0.0, 4.0])
    """

    def __init__(
        self, codes: np.ndarray, scale: np.ndarray, bias: np.ndarray | None = None
    ) -> None:
        super().__init__(codes, scale)
        self.out_features, self.in_features = codes.shape
        self.bias = None if bias is None else nn.Parameter(torch.from_numpy(np.array(bias)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to x (..., in_features)."""
        return nn.functional.linear(x, self.weight, self.bias)

    def to_octavo(self, activation: str = "none") -> layers.Linear:
        """Return the int8 layer: an `octavo.SparseLinear` if one weight in eight is zero."""
        codes, scale = self.quantized()
        bias = None if self.bias is None else self.bias.detach().float().cpu().numpy().copy()
        format = "auto" if np.mean(codes == 0) > 1 / 8 else None
        return layers.Linear.from_quantized(
            codes, scale, bias, format=format, activation=activation
        )


class SharedEmbedding(_Shared):
    """A table whose entries have few values, relative to the scale of their row.

    Parameters
    ----------
    codes : int8 array, shape (num_embeddings, embedding_dim)
    scale : float32 array, shape (num_embeddings,)
    padding_idx : int, optional
        For code that reads it.
    """

    def __init__(
        self, codes: np.ndarray, scale: np.ndarray, padding_idx: int | None = None
    ) -> None:
        super().__init__(codes, scale)
        self.num_embeddings, self.embedding_dim = codes.shape
        self.padding_idx = padding_idx

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Look up the rows of ids of any shape."""
        rows: torch.Tensor = _Lookup.apply(self.centroids(), self.indices[ids])
        return rows * self.scale[ids]

    def to_octavo(self) -> layers.Embedding:
        """Return the int8 table."""
        return layers.Embedding(*self.quantized())


def share_(
    model: nn.Module,
    clusters: int = 16,
    *,
    embedding_clusters: int = 16,
    exclude: Sequence[str] = (),
    like: Encoder | None = None,
) -> nn.Module:
    """Let the weights of a model's linear layers and embeddings share values, in place.

    What is left to train are the codebooks, biases, norms and excluded layers. Subclasses, which
    compute in ways of their own, stay as they are.

    Parameters
    ----------
    model : torch.nn.Module
    clusters, embedding_clusters : int
        As `octavo.compression.Share` has them.
    exclude : sequence of str
        Names of layers to leave as they are; ``*`` stands for anything.
    like : Encoder, optional
        A model that `octavo.compress` made of this one: its int8 layers give the codes, scales and
        biases (pruned by calibration, say) instead of this one's weights.

    Returns
    -------
    torch.nn.Module
        The same model.

    Raises
    ------
    ValueError
        If a weight is not finite, or of another shape than in `like`.

    Notes
    -----
    Han, Mao, Dally: Deep Compression, arXiv 1510.00149: gradients are summed over the weights of a
    cluster.

    Examples
    --------
    >>> import torch
    >>> from octavo.torch import share_
    >>> model = share_(torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Tanh()), 4)
    >>> [name for name, _ in model.named_parameters()]
    ['0.codebook', '0.bias']
    """
    given = {} if like is None else dict(like.named_modules())
    for name, module in list(model.named_modules()):
        if type(module) not in (nn.Linear, nn.Embedding) or not name:
            continue
        if any(fnmatchcase(name, pattern) for pattern in exclude):
            continue
        ready = next((given[key] for key in _names(name) if key in given), None)
        if like is not None and getattr(ready, "kind", "") != "int8":
            continue
        try:
            made = _shared(module, ready, clusters, embedding_clusters)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from None
        model.set_submodule(name, made.to(module.weight).train(module.training))
    return model


def _names(name: str) -> Iterator[str]:
    """Yield what a layer may be called in an encoder: with or without its first part."""
    yield name
    yield name.partition(".")[2]


def _shared(module: Any, ready: Any, clusters: int, embedding_clusters: int) -> _Shared:
    linear = isinstance(module, nn.Linear)
    bias = module.bias if linear else None
    if ready is not None:
        codes, scale = ready.weight_codes, ready.weight_scale
        if codes.shape != tuple(module.weight.shape):
            wanted = tuple(module.weight.shape)
            raise ValueError(f"like: expected a weight of shape {wanted}, got {codes.shape}")
        bias = ready.bias if linear else None
    else:
        weight = module.weight.detach().float().cpu().numpy()
        codes, scale, _ = sharing.share(weight, clusters if linear else embedding_clusters)
        bias = None if bias is None else bias.detach().float().cpu().numpy()
    if linear:
        return SharedLinear(codes, scale, bias)
    return SharedEmbedding(codes, scale, module.padding_idx)


def with_shared(encoder: Encoder, model: nn.Module) -> Encoder:
    """Return a copy of an encoder with the layers of a model that `share_` changed.

    Parameters
    ----------
    encoder : Encoder
        Of the architecture of `model`; its recipe and source stay.
    model : torch.nn.Module
        Trained since; its norms and layers that do not share are taken too.

    Raises
    ------
    ValueError
        If a layer of the encoder is not in the model.
    """
    found: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        for key in _names(name):
            found.setdefault(key, module)

    def taken(name: str, layer: Any) -> layers.Module:
        module: Any = found.get(name)
        if isinstance(module, SharedLinear):
            return module.to_octavo(getattr(layer, "activation", "none"))
        if isinstance(module, SharedEmbedding):
            return module.to_octavo()
        if module is None:
            raise ValueError(f"model: expected the layer {name!r}, got a model without it")
        state = {key: value.detach().float().cpu().numpy().copy() for key, value in _state(module)}
        if layer.role == "layer_norm" or layer.kind == "float32":
            return type(layer).from_state_dict(state, **layer.config())
        return layer

    return map_layers(encoder, taken)


def _state(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for key in ("weight", "bias"):
        value = getattr(module, key, None)
        if isinstance(value, torch.Tensor):
            yield key, value
