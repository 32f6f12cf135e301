# SPDX-License-Identifier: Apache-2.0
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from octavo._numpy.graph_program import GraphProgram as GraphProgram

Array = NDArray[Any]

class PackedWeight:
    def __init__(
        self, packed: NDArray[np.uint8], n: int, k: int, format: str | None = "dense"
    ) -> None: ...
    def unpack(self) -> NDArray[np.int8]: ...
    def numbers(self) -> tuple[Array, Array | None, Array | None, Array | None, Array | None]: ...
    def rows(self, ids: NDArray[np.int64], out: NDArray[np.float32]) -> None: ...
    @property
    def form(self) -> tuple[int, int, str, str | None, bool]: ...
    @property
    def packed(self) -> NDArray[np.uint8]: ...
    @property
    def nbytes(self) -> int: ...

class PackedLinear:
    @overload
    def __init__(
        self,
        codes: NDArray[np.int8],
        scale: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
        activation: str,
        symmetric: bool,
        input_scale: float | None,
        input_zero_point: int,
        output_scale: float | None,
        output_zero_point: int,
        format: str = "dense",
        input_multiplier: NDArray[np.float32] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        weight: PackedWeight,
        scale: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
        activation: str,
        symmetric: bool,
        input_scale: float | None,
        input_zero_point: int,
        output_scale: float | None,
        output_zero_point: int,
        input_multiplier: NDArray[np.float32] | None = None,
    ) -> None: ...
    def call(
        self, x: object, residual: object = None, addend: object = None, out: object = None
    ) -> Array | None: ...
    def run(
        self,
        x: NDArray[np.float32],
        residual: NDArray[np.float32] | None = None,
        addend: NDArray[np.float32] | None = None,
        out: Array | None = None,
    ) -> Array: ...
    def run_codes(
        self,
        codes: NDArray[np.int8],
        scales: NDArray[np.float32],
        zero_points: NDArray[np.int32],
        residual: NDArray[np.float32] | None = None,
        addend: NDArray[np.float32] | None = None,
        out: Array | None = None,
    ) -> Array: ...
    def memory(
        self,
    ) -> tuple[NDArray[np.int8] | None, NDArray[np.float32] | None, NDArray[np.float32] | None]: ...
    def unpack(self) -> NDArray[np.int8]: ...
    @property
    def weight(self) -> PackedWeight: ...
    @property
    def scale(self) -> NDArray[np.float32] | None: ...
    @property
    def bias(self) -> NDArray[np.float32] | None: ...
    @property
    def input_multiplier(self) -> NDArray[np.float32] | None: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def format(self) -> str: ...
    @property
    def activation(self) -> str: ...

class PackedF32:
    @overload
    def __init__(self, values: NDArray[np.float32]) -> None: ...
    @overload
    def __init__(self, packed: NDArray[np.float32], n: int) -> None: ...
    def unpack(self, begin: int, end: int) -> NDArray[np.float32]: ...
    @property
    def packed(self) -> NDArray[np.float32]: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def nbytes(self) -> int: ...

class LinearF32:
    def __init__(
        self,
        weight: PackedF32,
        bias: NDArray[np.float32] | None,
        activation: str,
        input_multiplier: NDArray[np.float32] | None,
    ) -> None: ...
    def call(
        self, x: object, residual: object = None, addend: object = None, out: object = None
    ) -> Array | None: ...
    def run(
        self,
        x: NDArray[np.float32],
        residual: NDArray[np.float32] | None = None,
        addend: NDArray[np.float32] | None = None,
        out: Array | None = None,
    ) -> Array: ...

class KeyValueCache:
    def __init__(self, layers: int, kv_heads: int, head_size: int) -> None: ...
    def append(self, layer: int, k: NDArray[np.float32], v: NDArray[np.float32]) -> None: ...
    def lengths(self) -> list[int]: ...
    def truncate(self, tokens: int) -> None: ...
    def fork(self) -> KeyValueCache: ...
    def codes(
        self, layer: int
    ) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int8], NDArray[np.float32]]: ...
    def restore(
        self,
        layer: int,
        k_codes: NDArray[np.int8],
        k_scale: NDArray[np.float32],
        v_codes: NDArray[np.int8],
        v_scale: NDArray[np.float32],
    ) -> None: ...
    @property
    def nbytes(self) -> int: ...

class PackedMatrix:
    def __init__(self, b: NDArray[np.int8]) -> None: ...
    def matmul(self, a: Array, out: NDArray[np.int32]) -> None: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def shape(self) -> tuple[int, int]: ...

class Program:
    def __init__(self, width: int) -> None: ...
    def linear(
        self, layer: PackedLinear | LinearF32, x: int, addend: int | None, residual: int | None
    ) -> int: ...
    def layer_norm(
        self,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32] | None,
        eps: float,
        x: int,
        residual: int | None,
    ) -> int: ...
    def rms_norm(
        self, weight: NDArray[np.float32], eps: float, x: int, addend: int | None
    ) -> int: ...
    def rotary(self, x: int, heads: int, table: int) -> int: ...
    def gated(self, gate: int, x: int, name: str) -> int: ...
    def columns(self, x: int, begin: int, end: int) -> int: ...
    def attention(
        self, q: int, k: int, v: int, heads: int, sm_scale: float, int8: bool, biased: bool
    ) -> int: ...
    def attention_cached(
        self,
        q: int,
        k: int,
        v: int,
        layer: int,
        heads: int,
        kv_heads: int,
        window: int | None,
        sm_scale: float,
    ) -> int: ...
    def finish(self, result: int) -> None: ...
    def run(
        self,
        x: NDArray[np.float32],
        offsets: NDArray[np.int64],
        bias: NDArray[np.float32] | None = None,
        positions: NDArray[np.int64] | None = None,
        tables: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]] = (),
        caches: Sequence[KeyValueCache] = (),
    ) -> NDArray[np.float32]: ...

class SparseF32:
    def __init__(
        self,
        indptr: NDArray[np.int64],
        indices: NDArray[np.int32],
        values: NDArray[np.float32],
        k: int,
    ) -> None: ...
    def matmul(self, x: NDArray[np.float32], out: NDArray[np.float32]) -> None: ...
    def unpack(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def nnz(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

def grouped_weight(
    codes: NDArray[np.int8] | NDArray[np.uint8],
    bits: int,
    group: int,
    scale: Array,
    scale_unit: NDArray[np.float16] | None = None,
    minimum: Array | None = None,
    minimum_unit: NDArray[np.float16] | None = None,
    order: NDArray[np.int32] | None = None,
) -> PackedWeight: ...
def grouped_linear(
    weight: PackedWeight,
    bias: NDArray[np.float32] | None,
    activation: str,
    output_scale: float | None,
    output_zero_point: int,
    input_multiplier: NDArray[np.float32] | None = None,
) -> PackedLinear: ...
def format_cost(codes: NDArray[np.int8], format: str) -> tuple[int, int]: ...
def weight_formats() -> list[str]: ...
def matmul_int8(
    a: Array,
    b: Array,
    a_zero_point: NDArray[np.int32] | None,
    b_zero_point: NDArray[np.int32] | None,
    out: NDArray[np.int32],
) -> None: ...
def quantize_linear(
    x: Array,
    scale: Array,
    zero_point: Array | None,
    outer: int,
    channels: int,
    inner: int,
    block_size: int,
    out: Array,
) -> None: ...
def dequantize_linear(
    q: Array,
    scale: Array,
    zero_point: Array | None,
    outer: int,
    channels: int,
    inner: int,
    block_size: int,
    out: Array,
) -> None: ...
def quantize_dynamic(
    x: NDArray[np.float32], symmetric: bool, out: NDArray[np.int8] | None = None
) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.int32]]: ...
def activation(x: NDArray[np.float32], name: str, out: NDArray[np.float32]) -> None: ...
def layer_norm(
    x: NDArray[np.float32],
    weight: NDArray[np.float32] | None,
    bias: NDArray[np.float32] | None,
    eps: float,
    residual: NDArray[np.float32] | None,
    out: NDArray[np.float32],
) -> None: ...
def rms_norm(
    x: NDArray[np.float32],
    weight: NDArray[np.float32] | None,
    eps: float,
    addend: NDArray[np.float32] | None,
    out: NDArray[np.float32],
) -> None: ...
def rotary(
    x: NDArray[np.float32],
    cosine: NDArray[np.float32],
    sine: NDArray[np.float32],
    positions: NDArray[np.int64],
    heads: int,
    out: NDArray[np.float32],
) -> None: ...
def gated(
    gate: NDArray[np.float32],
    x: NDArray[np.float32],
    name: str,
    out: NDArray[np.float32],
) -> None: ...
def softmax(x: NDArray[np.float32], out: NDArray[np.float32]) -> None: ...
def attention(
    q: NDArray[np.float32],
    k: NDArray[np.float32],
    v: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    bias: NDArray[np.float32] | None,
    offsets: NDArray[np.int64] | None,
    heads: int,
    sm_scale: float,
    out: NDArray[np.float32],
) -> None: ...
def attention_int8(
    q: NDArray[np.float32],
    k: NDArray[np.float32],
    v: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    bias: NDArray[np.float32] | None,
    key_ranges: NDArray[np.int64] | None,
    offsets: NDArray[np.int64] | None,
    heads: int,
    kv_heads: int,
    sm_scale: float,
    out: NDArray[np.float32],
) -> None: ...
def attention_cached(
    q: NDArray[np.float32],
    offsets: NDArray[np.int64],
    caches: list[KeyValueCache],
    layer: int,
    heads: int,
    window: int | None,
    sm_scale: float,
    out: NDArray[np.float32],
) -> None: ...
def embedding(
    codes: NDArray[np.int8],
    scale: NDArray[np.float32],
    ids: NDArray[np.int64],
    out: NDArray[np.float32],
) -> None: ...
def widen(x: Array, out: NDArray[np.float32]) -> None: ...

SMALLEST_KEPT: int

def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array: ...
def result_cache() -> tuple[int, int, int]: ...
def limit_result_cache(limit: int) -> None: ...
def version() -> str: ...
def compiler() -> str: ...
def machine() -> dict[str, Any]: ...
def cpu_features() -> dict[str, bool]: ...
def isa_tiers() -> list[str]: ...
def compiled_isa_tiers() -> list[str]: ...
def get_isa() -> str: ...
def set_isa(name: str | None) -> None: ...
def set_num_threads(n: int) -> None: ...
def get_num_threads() -> int: ...
def default_num_threads() -> int: ...
def families() -> list[str]: ...
def kernels(family: str) -> list[dict[str, Any]]: ...
def bench_dot_peak(seconds: float) -> float: ...
def bench_read(nbytes: int, repeats: int) -> float: ...
def bench_copy(nbytes: int, repeats: int) -> float: ...
