# SPDX-License-Identifier: Apache-2.0
"""The target of layers as GPTQ, AWQ and compressed-tensors pack them.

What their words mean is worked out a second time, one bit at a time.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fuzz.engine import Target
from fuzz.mutate import Files, change_files
from fuzz.weights import Array, Arrays, array_of, independent, packed_file
from octavo._packed_words import pack
from octavo.io import Checkpoint
from octavo.io.folder import parse_json
from octavo.io.quantization import read_description
from octavo.io.scheme import PACK_QUANTIZED, Scheme
from octavo.models.build import CheckpointBuilder

if TYPE_CHECKING:
    from pathlib import Path

_SHAPE = (32, 96)
_FILE, _CONFIG = "model.safetensors", "config.json"
_AWQ = (0, 2, 4, 6, 1, 3, 5, 7)


class Layer(NamedTuple):
    """A layer that was read, and how its description was understood."""

    weight: Array
    scheme: Scheme


def _numbers(bits: int, size: int, *, symmetric: bool) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(bits)
    n, groups = _SHAPE[0], -(-_SHAPE[1] // size)
    zero = np.full((n, groups), 1 << (bits - 1), np.uint8)
    if not symmetric:
        zero = rng.integers(0, 1 << bits, zero.shape, np.uint8)
    codes = rng.integers(0, 1 << bits, _SHAPE, np.uint8)
    return codes, rng.random((n, groups)).astype(np.float16), zero


def _words(described: dict[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    bits, size = described["bits"], described["group_size"]
    symmetric = described.get("sym", False)
    codes, scale, zero = _numbers(bits, _SHAPE[1] if size == -1 else size, symmetric=symmetric)
    groups = np.arange(_SHAPE[1], dtype=np.int32) // (_SHAPE[1] if size == -1 else size)
    if described["quant_method"] == "awq":
        order = (np.arange(_SHAPE[0]) // 8 * 8).reshape(-1, 8) + np.array(_AWQ)
        mixed = [pack(np.ascontiguousarray(a.T[:, order.ravel()]), 4) for a in (codes, zero)]
        return {"x.qweight": mixed[0], "x.qzeros": mixed[1], "x.scales": scale.T}, described
    tensors = {
        "x.qweight": pack(codes, bits).T,
        "x.qzeros": pack(np.ascontiguousarray(zero.T), bits),
        "x.scales": scale.T,
        "x.g_idx": groups[::-1].copy() if described.get("desc_act") else groups,
    }
    return tensors, described


def _packed(bits: int, **changes: Any) -> tuple[Arrays, dict[str, Any]]:
    known = {"num_bits": bits, "type": "int", "symmetric": True, "strategy": "group"}
    weights = {**known, "group_size": 32, **changes}
    codes, scale, zero = _numbers(
        bits, weights["group_size"] or _SHAPE[1], symmetric=weights["symmetric"]
    )
    tensors = {
        "x.weight_packed": pack(codes, bits),
        "x.weight_scale": scale,
        "x.weight_shape": np.array(_SHAPE, np.int64),
    }
    if not weights["symmetric"]:
        tensors["x.weight_zero_point"] = pack(np.ascontiguousarray(zero.T), bits).T
    if weights.get("actorder"):
        tensors["x.weight_g_idx"] = np.arange(_SHAPE[1], dtype=np.int32)[::-1] // 32
    return tensors, {
        "quant_method": "compressed-tensors",
        "format": PACK_QUANTIZED,
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }


def _seeds(place: Path) -> list[Files]:
    gptq: dict[str, Any] = {"quant_method": "gptq", "bits": 4, "group_size": 32}
    made = [
        *(_words({**gptq, "checkpoint_format": "gptq_v2", "bits": bits}) for bits in (2, 3, 4)),
        _words({**gptq, "group_size": -1, "desc_act": False}),
        _words({**gptq, "desc_act": True, "group_size": 64}),
        _words({**gptq, "bits": 8, "sym": True}),
        _words({"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}),
        *(_packed(bits) for bits in (2, 3, 4, 6, 8)),
        _packed(8, strategy="channel", group_size=None),
        *(_packed(bits, symmetric=False, actorder="group") for bits in (4, 5)),
        _packed(7, symmetric=False, strategy="channel", group_size=None),
    ]
    return [
        {
            _FILE: packed_file(place, _FILE, tensors),
            _CONFIG: json.dumps({"quantization_config": described}).encode(),
        }
        for tensors, described in made
    ]


def _read(place: Path) -> Layer:
    raw = parse_json(place / _CONFIG, (place / _CONFIG).read_bytes())
    described = read_description(raw)
    if described is None:
        raise ValueError("a float model")
    builder = CheckpointBuilder(Checkpoint(place), described)
    layer: Any = builder.linear("x", *_SHAPE, has_bias=False)
    scheme = described.scheme(("x",), "Linear")
    if scheme is None or scheme.packing is None or layer.kind == "float32":
        raise ValueError("a layer that is not packed")
    return Layer(layer.weight, scheme)


def _bits(words: Array, bits: int, count: int) -> Array:
    """Return codes (rows, count) out of the bits of words, side by side."""
    flat = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")
    steps = flat[:, : count * bits].reshape(len(words), count, bits).astype(np.int64)
    found: Array = steps @ (1 << np.arange(bits))
    return found


def _padded(words: Array, bits: int, count: int) -> Array:
    """Return codes of which no word holds a part."""
    flat = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")
    used = flat.reshape(*words.shape, 32)[:, :, : 32 // bits * bits]
    steps = used.reshape(len(words), -1, bits).astype(np.int64)
    found: Array = (steps @ (1 << np.arange(bits)))[:, :count]
    return found


def _meaning(tensors: Arrays, scheme: Scheme) -> tuple[Array, Array, Array, Array]:
    """Return codes, scales and zero points of groups, and the group of each input."""
    (n, k), bits, half = _SHAPE, scheme.bits, 1 << (scheme.bits - 1)
    groups = np.arange(k) // min(k, scheme.group or k)
    if scheme.packing == PACK_QUANTIZED:
        words, zero = tensors["weight_packed"], tensors.get("weight_zero_point")
        take = _bits if words.shape[1] == -(-k * bits // 32) else _padded
        scale = np.broadcast_to(
            tensors["weight_scale"].reshape(-1, groups[-1] + 1), (n, groups[-1] + 1)
        )
        if zero is None:
            zero = np.full(scale.shape, half)
        else:
            zero = zero + half if zero.dtype == np.int8 else take(zero.T, bits, n).T
        order = tensors.get("weight_g_idx", groups)
        return take(words, bits, k), scale, zero, groups if (order == -1).all() else order
    scale = tensors["scales"].T
    if scheme.packing == "awq":
        back = np.argsort((np.arange(n) // 8 * 8).reshape(-1, 8) + np.array(_AWQ), axis=None)
        codes, zero = (_bits(tensors[key], 4, n)[:, back].T for key in ("qweight", "qzeros"))
        return codes, scale, zero, groups
    codes, zero = _bits(tensors["qweight"].T, bits, k), np.full(scale.shape, half)
    if scheme.zeros:
        stored = tensors["qzeros"].astype(np.int64) & 0xFFFFFFFF
        if scheme.packing == "gptq":
            stored += sum(1 << at for at in range(0, 32, bits))
        zero = _bits((stored & 0xFFFFFFFF).astype(np.uint32), bits, n).T
    order = tensors.get("g_idx", groups)
    return codes, scale, zero, groups if (order == -1).all() else order


def _check(place: Path, layer: Layer) -> None:
    found = independent((place / _FILE).read_bytes())
    tensors = {
        name.removeprefix("x."): array_of(*tensor)
        for name, tensor in found.items()
        if tensor[0] != "BF16"
    }
    if not {"weight_scale", "scales"} & {*tensors}:
        return  # they are of a type that NumPy does not have
    codes, scale, zero, groups = _meaning(tensors, layer.scheme)
    with np.errstate(all="ignore"):
        scales = scale.astype(np.float32)[:, groups]
        wanted = scales * (codes - zero[:, groups]).astype(np.float32)
        # Where a minimum is added, a product and a sum of float32 are rounded, which those of
        # 16 bits need not be.
        bound = np.abs(scales) * np.float32(2.0 ** (layer.scheme.bits - 22))
        close = np.abs(layer.weight - wanted) <= bound
    exact = scale.dtype == np.float16
    same = np.array_equal(layer.weight, wanted) if exact else (close | ~np.isfinite(wanted)).all()
    assert same, f"other weights, {layer.scheme}"


TARGET = Target("packed", _seeds, change_files, _read, _check)
