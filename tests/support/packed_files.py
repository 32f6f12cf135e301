# SPDX-License-Identifier: Apache-2.0
"""Weights in the layouts of GPTQ, AWQ and compressed-tensors, packed one number at a time."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class Packed(NamedTuple):
    """A weight (N, K) of codes from 0 on, and what stands for 0 in each group of inputs."""

    codes: Array
    scale: Array
    zero: Array
    bits: int
    size: int
    groups: Array
    """Of each input."""

    @property
    def weight(self) -> Array:
        """What it stands for, in float32."""
        steps = self.codes.astype(np.float32) - self.zero[:, self.groups].astype(np.float32)
        return self.scale.astype(np.float32)[:, self.groups] * steps


def random(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    bits: int = 4,
    size: int = -1,
    symmetric: bool = True,
    ordered: bool = False,
    scale: Any = np.float16,
) -> Packed:
    """A weight whose inputs are grouped as they come, or in any order."""
    n, k = shape
    size = k if size == -1 else size
    count = -(-k // size)
    codes = rng.integers(0, 1 << bits, shape)
    zero = np.full((n, count), 1 << (bits - 1))
    if not symmetric:
        zero = rng.integers(0, 1 << bits, (n, count))
    groups = np.arange(k) // size
    scales = (rng.random((n, count)) + 0.5) / 2**bits / np.sqrt(k)
    return Packed(
        codes,
        scales.astype(scale),
        zero,
        bits,
        size,
        rng.permutation(groups) if ordered else groups,
    )


def words(rows: Array, bits: int, *, padded: bool = False) -> Array:
    """Rows of codes as int32: each row one long number, or words with no code in two of them."""
    made = []
    for row in rows.tolist():
        in_part = 32 // bits if padded else len(row)
        data = b""
        for start in range(0, len(row), max(1, in_part)):
            part = row[start : start + in_part]
            number = sum(int(code) << (i * bits) for i, code in enumerate(part))
            data += number.to_bytes(4 * -(-len(part) * bits // 32), "little")
        made.append(np.frombuffer(data, "<i4"))
    return np.array(made, np.int32).reshape(len(rows), -1)


def gptq(one: Packed, *, version: int = 1) -> dict[str, Array]:
    """The tensors of a layer as GPTQ's libraries write them."""
    zero = words(one.zero.T, one.bits).view(np.uint32)
    if version == 1:
        less = int("".join(f"{1:0{one.bits}b}" for _ in range(32 // one.bits)), 2)
        zero = zero - np.uint32(less)
    return {
        "qweight": np.ascontiguousarray(words(one.codes, one.bits).T),
        "qzeros": zero.view(np.int32),
        "scales": np.ascontiguousarray(one.scale.T),
        "g_idx": one.groups.astype(np.int32),
    }


def awq(one: Packed) -> dict[str, Array]:
    """The tensors of a layer as AutoAWQ writes them."""

    def mixed(rows: Array) -> Array:
        order = [8 * (i // 8) + (0, 2, 4, 6, 1, 3, 5, 7)[i % 8] for i in range(rows.shape[1])]
        return words(rows[:, order], 4)

    return {
        "qweight": mixed(one.codes.T),
        "qzeros": mixed(one.zero.T),
        "scales": np.ascontiguousarray(one.scale.T),
    }


def pack_quantized(
    one: Packed, *, zeros: bool = True, padded: bool = False, plain_zeros: bool = False
) -> dict[str, Array]:
    """The tensors of a layer as compressed-tensors writes them."""
    found: dict[str, Array] = {
        "weight_packed": words(one.codes, one.bits, padded=padded),
        "weight_scale": one.scale,
        "weight_shape": np.array(one.codes.shape, np.int64),
    }
    if zeros and plain_zeros:
        found["weight_zero_point"] = (one.zero - (1 << (one.bits - 1))).astype(np.int8)
    elif zeros:
        packed = words(one.zero.T, one.bits, padded=padded).T
        found["weight_zero_point"] = np.ascontiguousarray(packed)
    if (np.diff(one.groups) < 0).any():
        found["weight_g_idx"] = one.groups.astype(np.int32)
    return found


GPTQ: dict[str, Any] = {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": False}
AWQ: dict[str, Any] = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True}


def compressed(**weights: Any) -> dict[str, Any]:
    """The description of a checkpoint whose linear layers are packed, by compressed-tensors."""
    known = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group"}
    group = {"targets": ["Linear"], "weights": {**known, "group_size": 32, **weights}}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": group},
        "ignore": ["lm_head"],
    }


FORMS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "gptq": (gptq, GPTQ, {"symmetric": False}),
    "gptq, symmetric": (gptq, {**GPTQ, "sym": True}, {}),
    "gptq, ordered": (gptq, {**GPTQ, "desc_act": True}, {"symmetric": False, "ordered": True}),
    "gptq, 8 bits": (gptq, {**GPTQ, "bits": 8}, {"bits": 8}),
    "gptq, 8 bits, rows": (gptq, {**GPTQ, "bits": 8, "group_size": -1}, {"bits": 8, "size": -1}),
    "gptq, 3 bits": (gptq, {**GPTQ, "bits": 3, "sym": True}, {"bits": 3}),
    "awq": (awq, AWQ, {"symmetric": False}),
    "packed": (partial(pack_quantized, zeros=False), compressed(), {}),
    "packed, rows": (
        partial(pack_quantized, zeros=False),
        compressed(strategy="channel", group_size=None),
        {"size": -1},
    ),
    "packed, zeros": (pack_quantized, compressed(symmetric=False), {"symmetric": False}),
    "packed, ordered": (
        pack_quantized,
        compressed(symmetric=False, actorder="group"),
        {"symmetric": False, "ordered": True},
    ),
    "packed, 5 bits": (
        pack_quantized,
        compressed(symmetric=False, num_bits=5),
        {"symmetric": False, "bits": 5},
    ),
    "packed, 6 bits": (partial(pack_quantized, zeros=False), compressed(num_bits=6), {"bits": 6}),
}
"""How layers are packed, how a config.json describes it, and what `random` makes for it."""


def packed_model(
    tensors: dict[str, Array], linear: tuple[str, ...], form: str
) -> tuple[dict[str, Array], dict[str, Array], dict[str, Any]]:
    """Return a model with some layers packed, the same in float, and its description.

    `linear` are endings of the names of those layers.
    """
    pack, described, options = FORMS[form]
    rng = np.random.default_rng(3)
    packed, floats = {}, dict(tensors)
    for name, value in tensors.items():
        layer = name.removesuffix(".weight")
        if not name.endswith(".weight") or not layer.endswith(linear):
            packed[name] = value
            continue
        one = random(rng, value.shape, **{"size": 32, **options})
        floats[name] = one.weight
        packed |= {f"{layer}.{key}": part for key, part in pack(one).items()}
    return packed, floats, described
