# SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

class PackedLinear:
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
    @staticmethod
    def int4(
        codes: NDArray[np.int8],
        scale: NDArray[np.float32],
        group: int,
        bias: NDArray[np.float32] | None,
        activation: str,
        output_scale: float | None,
        output_zero_point: int,
        input_multiplier: NDArray[np.float32] | None = None,
    ) -> PackedLinear: ...
    def call(self, x: object, residual: object = None, addend: object = None) -> Array | None: ...
    def run(
        self,
        x: NDArray[np.float32],
        residual: NDArray[np.float32] | None = None,
        addend: NDArray[np.float32] | None = None,
    ) -> Array: ...
    def run_codes(
        self,
        codes: NDArray[np.int8],
        scales: NDArray[np.float32],
        zero_points: NDArray[np.int32],
        residual: NDArray[np.float32] | None = None,
        addend: NDArray[np.float32] | None = None,
    ) -> Array: ...
    def memory(
        self,
    ) -> tuple[NDArray[np.int8] | None, NDArray[np.float32] | None, NDArray[np.float32] | None]: ...
    def unpack(self) -> NDArray[np.int8]: ...
    @property
    def scale(self) -> NDArray[np.float32]: ...
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

class PackedMatrix:
    def __init__(self, b: NDArray[np.int8]) -> None: ...
    def matmul(self, a: Array, out: NDArray[np.int32]) -> None: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def shape(self) -> tuple[int, int]: ...

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
    x: NDArray[np.float32], symmetric: bool
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
def softmax(x: NDArray[np.float32], out: NDArray[np.float32]) -> None: ...
def attention(
    q: NDArray[np.float32],
    k: NDArray[np.float32],
    v: NDArray[np.float32],
    mask: NDArray[np.bool_] | None,
    heads: int,
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
def select_gemm_s8(m: int, tokens: list[str]) -> str: ...
def bench_dot_peak(seconds: float) -> float: ...
def bench_read(nbytes: int, repeats: int) -> float: ...
def bench_copy(nbytes: int, repeats: int) -> float: ...
def kernel_gemm_s8(
    name: str,
    a: NDArray[np.uint8],
    a_abs_offset: int,
    b: NDArray[np.int8],
    b_panel_stride: int,
    b_orders: NDArray[np.uint8] | None,
    c: NDArray[np.int32],
    m: int,
    panels: int,
    k_groups: int,
    accumulate: bool,
) -> None: ...
def kernel_gemm_s8_form(name: str) -> str: ...
def kernel_pack_b(
    b: Array, flip: int = 0
) -> tuple[NDArray[np.int8], NDArray[np.uint8], NDArray[np.int32]]: ...
def kernel_repack_b(b: Array, flip: int = 0) -> NDArray[np.int8]: ...
def kernel_quantize_rows(
    name: str,
    x: NDArray[np.float32],
    form: str,
    symmetric: bool,
    static_scale: float | None,
    static_zero_point: int,
    a: NDArray[np.uint8],
    a_abs_offset: int,
    pad: bool,
    scale: NDArray[np.float32],
    zero_point: NDArray[np.int32],
    multiplier: NDArray[np.float32] | None = None,
) -> None: ...
def kernel_epilogue(
    name: str,
    acc: NDArray[np.int32],
    zero_point: NDArray[np.int32],
    col_sum: NDArray[np.int32],
    row_scale: NDArray[np.float32],
    col_scale: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    addend: NDArray[np.float32] | None,
    residual: NDArray[np.float32] | None,
    activation: str,
    out: Array,
    out_scale: float | None,
    out_zero_point: int,
) -> None: ...
def kernel_spmm_f32(
    name: str,
    count: NDArray[np.uint16],
    row: NDArray[np.uint8],
    column: NDArray[np.uint8],
    value: NDArray[np.float32],
    x: NDArray[np.float32],
    out: NDArray[np.float32],
) -> None: ...
