# SPDX-License-Identifier: Apache-2.0
"""Tensors as bitmaps and values, bit by bit as docs/artifact.md describes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from model_files import BERT, W8A8, quantized_tensors, random_tensors

Tensors = dict[str, np.ndarray]


def bits_of(rows: np.ndarray) -> np.ndarray:
    """The bitmap of (rows, columns): bit k % 8 of byte k // 8 says whether column k is not 0."""
    bitmap = np.zeros((len(rows), -(-rows.shape[1] // 8)), np.uint8)
    for row, column in zip(*np.nonzero(rows), strict=True):
        bitmap[row, column // 8] |= 1 << (column % 8)
    return bitmap


def own_parts(name: str, codes: np.ndarray) -> Tensors:
    """octavo's layout of the weight of layer `name`."""
    return {
        f"{name}.weight_shape": np.array(codes.shape, np.int64),
        f"{name}.weight_bitmap": bits_of(codes),
        f"{name}.weight_values": codes[codes != 0],
    }


def retired_parts(name: str, value: np.ndarray) -> Tensors:
    """The layout of compressed-tensors before 0.14 for a tensor of one or two dimensions."""
    rows = np.atleast_2d(value)
    counts = np.array([np.count_nonzero(row) for row in rows])
    offsets = np.array([counts[:row].sum() for row in range(len(rows))], np.int64)
    return {
        f"{name}.shape": np.array(value.shape, np.int64),
        f"{name}.bitmask": bits_of(rows).reshape(*value.shape[:-1], -1),
        f"{name}.compressed": value[value != 0],
        f"{name}.row_offsets": offsets.reshape(value.shape[:-1]),
    }


def pruned_tensors(share: float = 0.7, seed: int = 0) -> Tensors:
    """A random BERT with zeros in its linear layers; one of them has a row of zeros."""
    tensors = random_tensors(BERT, seed)
    rng = np.random.default_rng(seed + 1)
    for name, value in tensors.items():
        if is_linear(name, value):
            value[rng.random(value.shape) < share] = 0
    tensors["encoder.layer.0.output.dense.weight"][3] = 0
    return tensors


def is_linear(name: str, value: np.ndarray) -> bool:
    """Whether a tensor is the weight of a linear layer."""
    return value.ndim == 2 and "embeddings" not in name and name.endswith(".weight")


def retired_checkpoint(
    quantized: bool, everything: bool
) -> tuple[dict[str, Any], Tensors, Tensors]:
    """Return config, stored tensors, and the tensors they stand for.

    `everything`: as releases before the format named its targets wrote it, with the parts below
    each tensor's own name.  Else only linear layers, the parts below the layer's name.
    """
    dense = pruned_tensors()
    if quantized:
        dense["encoder.layer.0.output.dense.weight"][3, 0] = 1  # the helper divides by row maxima
        dense = quantized_tensors(dense, low=-128)
    stored: Tensors = {}
    for name, value in dense.items():
        if everything:
            stored |= retired_parts(name, value)
        elif is_linear(name, value):
            stored |= retired_parts(name.removesuffix(".weight"), value)
        else:
            stored[name] = value
    sparsity = {"format": "sparse-bitmask", "global_sparsity": 0.7, "ignore": [], "targets": []}
    described = {"quant_method": "compressed-tensors", "sparsity_config": sparsity}
    if quantized:
        described = {**W8A8, **described}
    return {**BERT, "quantization_config": described}, stored, dense
