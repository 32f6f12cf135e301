# SPDX-License-Identifier: Apache-2.0
"""Results that every tier of every machine must have, and their hashes in `recorded.json`.

Inputs come from integer arithmetic, since streams of `numpy.random` may change with its releases.
`PYTHONPATH=python python tests/support/recorded.py` writes the hashes anew, as the native tier
`scalar` computes them: only where a change of results is meant.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

import graph_steps
import octavo
from octavo import _backend, functional, nn, runtime, tuning
from octavo.models.bert import BertModel
from octavo.models.config import read_config
from octavo.models.decoder import Decoder
from octavo.models.decoder_config import read_decoder_config
from octavo.models.modernbert import ModernBertModel
from octavo.models.rotary import rotary_table
from octavo.nn.weights import KINDS, Int4Weight, Int5Weight, Int8GroupWeight, SteppedScale
from octavo.qtensor import QTensor
from octavo.sparse import SparseMatrix

FILE = Path(__file__).with_name("recorded.json")

Array = np.ndarray[Any, np.dtype[Any]]
Results = Iterable[Array]
ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu", "tanh")
ROWS = (1, 4, 33)


def bits(seed: int, *shape: int) -> Array:
    """Random 64-bit integers, by SplitMix64."""
    x = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64) + np.uint64(seed << 32)
    x *= np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    return x.reshape(shape)


def values(seed: int, *shape: int, scale: float = 1.0) -> Array:
    """Float32 values between -scale, a power of two, and scale."""
    steps = (bits(seed, *shape) >> np.uint64(40)).astype(np.int64) - 2**23
    return steps.astype(np.float32) * np.float32(scale / 2**23)


def all_magnitudes(seed: int, *shape: int, special: bool = True) -> Array:
    """Values from 2**-12 to 2**12, some of them awkward."""
    exponents = (bits(seed + 1, *shape) % np.uint64(25)).astype(np.int32) - 12
    x = np.ldexp(values(seed, *shape), exponents)
    if special:
        awkward = [np.nan, np.inf, -np.inf, -0.0, 0.5, 2.5, 3e38, -3e38, 1e-45, 65504.0]
        places = x.reshape(-1)[7::11]
        places[...] = np.resize(np.array(awkward, np.float32), places.size)
    return x


def codes(seed: int, dtype: str, *shape: int) -> Array:
    """All values of an integer type are as likely."""
    return (bits(seed, *shape) >> np.uint64(16)).astype(dtype)


def pruned(seed: int, *shape: int) -> Array:
    """A weight without three values of four, some of them a whole block."""
    weight = values(seed, *shape)
    weight[bits(seed + 1, *shape) % np.uint64(4) != 0] = 0
    weight[:16, : shape[1] // 2] = 0
    return weight


def _quantize_linear() -> Results:
    x = all_magnitudes(1, 6, 70)
    for number, dtype in enumerate(("int8", "uint8", "int16", "uint16")):
        points = codes(number, dtype, 70)
        scales = np.abs(values(number, 70, scale=2)) + np.float32(0.013)
        for source in (x, np.clip(x, -6e4, 6e4).astype(np.float16)):
            yield functional.quantize_linear(source, 0.37, points[0], dtype=dtype)
            yield functional.quantize_linear(source, scales, points, axis=1)
            blocks = scales[:30].reshape(6, 5)
            yield functional.quantize_linear(source, blocks, axis=1, block_size=16, dtype=dtype)


def _dequantize_linear() -> Results:
    for number, dtype in enumerate(("int8", "uint8", "int16", "uint16", "int32")):
        x = codes(number, dtype, 6, 70)
        scales = np.abs(values(number, 70)) + np.float32(0.013)
        points = None if dtype == "int32" else codes(number + 9, dtype, 70)
        yield functional.dequantize_linear(x, 0.37)
        yield functional.dequantize_linear(x, scales, points, axis=1)
        yield functional.dequantize_linear(x, scales[:30].reshape(6, 5), axis=1, block_size=16)


def _quantize() -> Results:
    for symmetric in (True, False):
        q = octavo.quantize(all_magnitudes(3, 9, 70, special=False), axis=0, symmetric=symmetric)
        yield from (q.data, q.scale, q.zero_point)


def _quantize_dynamic() -> Results:
    for special, symmetric in itertools.product((False, True), repeat=2):
        x = all_magnitudes(4, 33, 75, special=special)
        yield from functional.quantize_dynamic(x, symmetric=symmetric)
        halves = np.clip(x, -6e4, 6e4).astype(np.float16)
        yield from functional.quantize_dynamic(halves, symmetric=symmetric)


def _matmul_int8() -> Results:
    for left, right in itertools.product(("int8", "uint8"), repeat=2):
        a, b = codes(5, left, 2, 33, 203), codes(6, right, 203, 75)
        yield octavo.matmul_int8(a, b)
        yield octavo.matmul_int8(a, b, codes(7, left, 1)[0], codes(8, right, 75))
        yield octavo.matmul_int8(a[0, :1], b)


def _activation(name: str) -> Results:
    function = functional.gelu if name == "gelu_tanh" else getattr(functional, name)
    choice = {"approximate": "tanh"} if name == "gelu_tanh" else {}
    yield function(all_magnitudes(10, 3001), **choice)
    yield function(values(11, 3001, scale=16), **choice)


def _softmax() -> Results:
    yield functional.softmax(all_magnitudes(12, 33, 75))
    for axis in (-1, 0):
        yield functional.softmax(values(13, 33, 75, scale=16), axis=axis)


def _layer_norm() -> Results:
    x, gain, shift = values(14, 33, 75, scale=4), 1 + values(15, 75), values(16, 75)
    yield functional.layer_norm(x, gain, shift)
    yield functional.layer_norm(x, gain, None, 1e-12, values(17, 33, 75))
    yield functional.layer_norm(all_magnitudes(18, 33, 75))


def _rms_norm() -> Results:
    x, gain = values(60, 33, 75, scale=4), 1 + values(61, 75)
    yield functional.rms_norm(x, gain)
    yield functional.rms_norm(x, gain, 1e-12, values(62, 33, 75))
    yield functional.rms_norm(all_magnitudes(63, 33, 75))


def _rotary() -> Results:
    for theta in (1e4, 16e4):
        table = rotary_table(512, 64, theta)
        yield from table
        x = values(43, 2, 512, 128)
        yield functional.rotary_embedding(x, *table, np.arange(512), heads=2)
    cosine, sine = values(64, 40, 9), values(65, 40, 9)
    x = values(66, 2, 37, 60, scale=4)
    yield functional.rotary_embedding(x, cosine, sine, np.arange(37), heads=3)


def _gated() -> Results:
    gate, x = values(67, 33, 75, scale=8), values(68, 33, 75)
    for name in ("silu", "gelu_tanh"):
        yield functional.gated(gate, x, name)


def _attention(function: Callable[..., Array], **shared: Any) -> Results:
    """Without and with a mask and a bias, and packed; `shared` are what int8 has besides."""
    size, kept = 96, 96 // (4 // shared.get("kv_heads", 4))
    q = values(20, 2, 37, size, scale=4)
    k, v = values(21, 2, 37, kept, scale=4), values(22, 2, 37, kept)
    mask = bits(23, 2, 37) % np.uint64(3) != 0
    bias = values(24, 4, 37, 37, scale=2)
    options = {"heads": 4, **shared}
    yield function(q, k, v, **options)
    yield function(q, k, v, mask, bias, scale=0.3, **options)
    packed = bias[:, :31, :31]
    yield function(q[:1], k[:1], v[:1], bias=packed, offsets=[0, 5, 5, 6, 37], **options)


def _attention_int8_ranges() -> Results:
    rows = np.arange(37)
    ranges = np.stack([np.maximum(rows - 9, 0), rows + 1], axis=1)
    return _attention(functional.attention_int8, key_ranges=ranges, kv_heads=2)


def _attention_int8_blocks() -> Results:
    """More keys than a block has."""
    q, k, v = values(25, 1, 3, 64, scale=4), values(26, 1, 1100, 64), values(27, 1, 1100, 64)
    yield functional.attention_int8(q, k, v, heads=2)


def _minima() -> Results:
    """Weights with minima in each form of numbers, one with an order of inputs."""
    n, k, groups = 19, 300, 10
    codes = (values(70, n, k, scale=8).view(np.uint32) >> 8 & 15).astype(np.uint8)
    halves = values(71, n, groups).astype(np.float16)
    steps = SteppedScale(codes[:, :groups], values(72, n, 2).astype(np.float16))
    order = np.arange(k)[::-1]
    for cls, form in (
        (Int4Weight, {"scale": halves, "minimum": values(73, n, groups), "order": order}),
        (Int5Weight, {"scale": steps, "minimum": steps}),
        (Int8GroupWeight, {"scale": values(74, n, groups), "minimum": halves}),
    ):
        layer = nn.Linear.of(cls.from_quantized(codes, group=32, **form))
        yield from (layer(values(75, rows, k, scale=4)) for rows in ROWS)


def _linear(weight: Array, **options: Any) -> Results:
    """A layer on one row and on several, with what is added before and after the activation."""
    n, k = weight.shape
    layer = nn.Linear.from_float(weight, values(31, n), **options)
    for rows in ROWS:
        x = values(32, rows, k, scale=4)
        y = layer(x)
        if isinstance(y, QTensor):
            yield y.data
        else:
            yield y
            yield layer(x, values(33, rows, n), addend=values(34, rows, n))


def _embedding(kind: str) -> Results:
    table = nn.Embedding.from_float(values(37, 50, 96), kind=kind)
    yield table((bits(38, 5, 9) % np.uint64(50)).astype(np.int64))


def _sparse_linear() -> Results:
    matrix = SparseMatrix.from_dense(pruned(39, 75, 203))
    for rows in ROWS:
        yield functional.sparse_linear(values(40, rows, 203), matrix)


def _spmm() -> Results:
    matrix = SparseMatrix.from_dense(pruned(41, 75, 203))
    for columns in ROWS:
        yield octavo.sparse.spmm(matrix, values(42, 203, columns))


class IntegerSource:
    """Where the constructor of a model gets layers from: weights of one kind."""

    def __init__(self, kind: str) -> None:
        self._kind, self._seeds = kind, itertools.count(100)

    def has(self, name: str) -> bool:
        return "pooler" in name

    def linear(
        self, name: str, n: int, k: int, activation: str = "none", *, has_bias: bool = True
    ) -> nn.Linear:
        weight, bias = values(next(self._seeds), n, k, scale=0.25), None
        if has_bias:
            bias = values(next(self._seeds), n, scale=0.125)
        return nn.Linear.from_float(weight, bias, kind=self._kind, activation=activation)

    def embedding(self, name: str, rows: int, columns: int) -> nn.Embedding:
        return nn.Embedding.from_float(values(next(self._seeds), rows, columns), kind=self._kind)

    def layer_norm(
        self, name: str, size: int, epsilon: float, *, has_bias: bool = True
    ) -> nn.LayerNorm:
        gain = 1 + values(next(self._seeds), size, scale=0.125)
        shift = values(next(self._seeds), size, scale=0.125) if has_bias else None
        return nn.LayerNorm(gain, shift, epsilon)

    def rms_norm(self, name: str, size: int, epsilon: float, offset: float = 0.0) -> nn.RMSNorm:
        return nn.RMSNorm(1 + values(next(self._seeds), size, scale=0.125), epsilon)


SIZES = {"vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
SIZES |= {"intermediate_size": 96, "max_position_embeddings": 24, "type_vocab_size": 2}
BERT = {"model_type": "bert", "hidden_act": "gelu", **SIZES}
MODERNBERT = {
    "model_type": "modernbert",
    "hidden_activation": "gelu",
    "local_attention": 8,
    **SIZES,
}
MODERNBERT |= dict.fromkeys(("pad_token_id", "bos_token_id", "cls_token_id"), 0)
MODERNBERT |= dict.fromkeys(("eos_token_id", "sep_token_id"), 0)


LLAMA = {
    "model_type": "llama",
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0},
    "tie_word_embeddings": True,
    **SIZES,
}


def _decoder() -> Results:
    """Logits, of a text at once, and tokens that are drawn behind others."""
    model = Decoder(read_decoder_config(LLAMA), IntegerSource("int8"))
    ids = (bits(45, 4, 20) % np.uint64(100)).astype(np.int64)
    yield model(ids)
    prompts = [row[: 4 + 5 * place].tolist() for place, row in enumerate(ids)]
    drawn = {"temperature": 0.7, "top_p": 0.95, "min_p": 0.01, "seed": 5}
    for text in model.generate(prompts, 12, return_log_probs=True, **drawn):
        yield np.array(text.ids, np.int64)
        yield np.array(text.log_probs)


def _encoder(make: Callable[..., Any], config: dict[str, Any], kind: str) -> Results:
    model = make(read_config(config), IntegerSource(kind))
    ids = (bits(44, 4, 20) % np.uint64(100)).astype(np.int64)
    mask = np.arange(20) < np.array([[20], [3], [11], [1]])
    for rows in (slice(None), slice(1)):  # packed, and without padding
        hidden = model(ids[rows], mask[rows])
        yield hidden
        if model.pooler is not None:
            yield model.pooler(hidden)


EXACT = [kind for kind in KINDS if kind not in ("float16", "bfloat16")]
"""Kinds of weights whose products do not go to BLAS, as those of 16 bits and side paths do."""
WEIGHT, ZEROS = values(30, 75, 160), pruned(29, 75, 203)
OPTIONS: dict[str, dict[str, Any]] = {
    "symmetric": {"symmetric": True},
    "static": {"input_scale": 0.031, "input_zero_point": -5},
    "codes out": {"output_scale": 0.2, "output_zero_point": 3},
    "multiplier": {"input_multiplier": 1 + values(28, 160, scale=0.5)},
    **{name: {"activation": name} for name in ACTIVATIONS},
}

IMAGES = (
    *(values(80, 1, 9, 9, 19), codes(81, "int8", 1, 9, 9, 19), codes(82, "int8", 19, 3, 3, 19)),
    codes(83, "int16", 19).astype(np.int32),
)

FAMILIES: dict[str, Callable[[], Results]] = {
    "quantize_linear": _quantize_linear,
    "dequantize_linear": _dequantize_linear,
    "quantize": _quantize,
    "quantize_dynamic": _quantize_dynamic,
    "matmul_int8": _matmul_int8,
    **{name: lambda name=name: _activation(name) for name in ACTIVATIONS},
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "rotary": _rotary,
    "gated": _gated,
    "attention": lambda: _attention(functional.attention),
    "attention_int8": lambda: _attention(functional.attention_int8),
    "attention_int8, ranges": _attention_int8_ranges,
    "attention_int8, blocks": _attention_int8_blocks,
    **{f"linear, {kind}": lambda kind=kind: _linear(WEIGHT, kind=kind) for kind in EXACT},
    **{
        f"linear, {format}": lambda format=format: _linear(ZEROS, format=format)
        for format in tuning.SPARSE_FORMATS
    },
    **{f"linear, {name}": lambda own=own: _linear(WEIGHT, **own) for name, own in OPTIONS.items()},
    **{f"embedding, {kind}": lambda kind=kind: _embedding(kind) for kind in KINDS},
    "sparse_linear": _sparse_linear,
    "spmm": _spmm,
    "bert, float32": lambda: _encoder(BertModel, BERT, "float32"),
    "bert, int8": lambda: _encoder(BertModel, BERT, "int8"),
    "linear, minima of groups": _minima,
    "bert, int4": lambda: _encoder(BertModel, BERT, "int4"),
    "llama, int8": _decoder,
    "modernbert, int8": lambda: _encoder(ModernBertModel, MODERNBERT, "int8"),
    "images": lambda: graph_steps.convolutions(*IMAGES),
}
BY_BLAS = ("linear, float32", "bert, float32")
"""What goes to BLAS in the NumPy backend, and on a CPU without fused multiply-adds."""


def digest(results: Results) -> str:
    """Hash dtypes, shapes and bits; all NaN are one, since their signs differ between CPUs."""
    found = hashlib.sha256()
    for result in map(np.ascontiguousarray, results):
        pattern = result.view(f"i{result.dtype.itemsize}")
        if result.dtype.kind == "f":
            pattern = np.where(np.isnan(result), -1, pattern).astype(pattern.dtype)
        found.update(f"{result.dtype.str} {result.shape};".encode())
        found.update(pattern.astype(pattern.dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()[:16]


def mismatch(family: str, results: Results, tier: str) -> str | None:
    """Say which family has other bits on which tier of which machine; None if they are those."""
    wanted, got = json.loads(FILE.read_text("utf-8")).get(family), digest(results)
    if got == wanted:
        return None
    cpu = f"{platform.machine()} ({runtime.cpu_info()['cpu']}), NumPy {np.__version__}"
    return f"{family}, tier {tier}, on {cpu}: expected {wanted}, as recorded, got {got}"


def record() -> None:
    """Write the file."""
    with _backend.use("native"), runtime.use_isa("scalar"):
        hashes = {family: digest(make()) for family, make in FAMILIES.items()}
    FILE.write_text(json.dumps(hashes, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    record()
