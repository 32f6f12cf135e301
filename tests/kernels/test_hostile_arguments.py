# SPDX-License-Identifier: Apache-2.0
"""Arguments that no checked function would make: foreign booleans, wrapping sizes, odd addresses,
arrays that another thread writes to, objects that were never initialised.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import octavo
from grids import slow
from model_files import write_random
from native import core, needs_core
from octavo import _backend, _checks
from reference import assert_same_bits

if TYPE_CHECKING:
    from pathlib import Path

F32 = np.float32
HUGE = 2**62


def nothing(shape: tuple[int, ...], dtype: Any = np.int8) -> Any:
    """An array of any shape, without memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def odd_bytes(mask: np.ndarray) -> np.ndarray:
    """The same booleans, for NumPy, by other bytes than 0 and 1."""
    truths = np.array([2, 128, 254, 255], np.uint8)[np.arange(mask.size) % 4]
    return (mask * truths.reshape(mask.shape)).view(bool)


def test_masks_of_foreign_bytes(isa: str, rng: np.random.Generator) -> None:
    q = rng.standard_normal((2, 40, 32)).astype(F32)
    mask = rng.random((2, 40)) < 0.6
    mask[1, 5:] = False
    attention = octavo.functional.attention
    expected = attention(q, q, q, mask=mask, heads=4)
    assert_same_bits(attention(q, q, q, mask=odd_bytes(mask), heads=4), expected)
    full = np.frombuffer(b"\xff" * 512, bool).reshape(1, 512)
    long = rng.standard_normal((1, 512, 64)).astype(F32)
    wanted = attention(long, long, long, heads=4)
    assert_same_bits(attention(long, long, long, mask=full, heads=4), wanted)


def test_models_take_masks_of_foreign_bytes(tmp_path: Path) -> None:
    model = octavo.models.load(write_random(tmp_path))
    ids = np.full((2, 9), 3)
    mask = np.array([[1] * 9, [1] * 4 + [0] * 5], bool)
    for call in (model, model.encode):
        assert_same_bits(call(ids, odd_bytes(mask)), call(ids, mask))


def test_as_bool_looks_at_bytes() -> None:
    odd = np.array([[0, 1, 2], [255, 0, 128]], np.uint8).view(bool)
    for view in (odd, odd.T, odd[:, ::2]):
        truth = _checks.as_bool(view)
        assert truth.dtype == bool
        assert truth.flags.c_contiguous
        assert truth.view(np.uint8).max() == 1
        assert np.array_equal(truth, view.view(np.uint8) != 0)


WRAPPING = {
    "columns of a packed matrix": lambda: core.PackedMatrix(nothing((0, HUGE))),
    "k of a product": lambda: core.matmul_int8(
        nothing((1, 1, 2**60)), nothing((1, 2**60, 1)), None, None, np.empty((1, 1, 1), np.int32)
    ),
    "rows without columns": lambda: core.format_cost(nothing((HUGE, 0)), "windowed16"),
    "a layout": lambda: core.quantize_linear(
        np.zeros(0, F32), np.ones(1, F32), None, HUGE, 4, 1, 0, np.zeros(0, np.int8)
    ),
    "keys of attention": lambda: core.attention(
        np.zeros((1, 1, 1), F32),
        nothing((1, 2**60, 1), F32),
        nothing((1, 2**60, 1), F32),
        None,
        None,
        None,
        1,
        1.0,
        np.zeros((1, 1, 1), F32),
    ),
    "rows of an embedding": lambda: core.embedding(
        nothing((0, HUGE)), np.zeros(0, F32), np.zeros(4, np.int64), np.zeros((4, 0), F32)
    ),
    "a probe": lambda: core.bench_copy(2**63 - 1, 1),
}


@needs_core
@pytest.mark.parametrize("case", WRAPPING)
def test_sizes_that_wrap(case: str) -> None:
    with pytest.raises((ValueError, MemoryError)):
        WRAPPING[case]()


@needs_core
def test_products_without_results() -> None:
    out = np.empty((1, 0, 1), np.int32)
    core.matmul_int8(nothing((1, 0, 2**60)), nothing((1, 2**60, 1)), None, None, out)


def test_rows_without_columns_have_scale_1(isa: str) -> None:
    for rows in (0, 1, 3, 100_000):
        _, scale, zero_point = octavo.quantize_dynamic(np.zeros((rows, 0), F32))
        assert_same_bits(scale, np.ones(rows, F32))
        assert not zero_point.any() or (zero_point == -128).all()


@needs_core
def test_outputs_over_inputs_are_refused() -> None:
    memory = np.linspace(-1, 1, 200, dtype=F32)
    x = memory[:128].reshape(8, 16)
    over, one, codes = memory[1:129].reshape(8, 16), np.ones(1, F32), memory.view(np.int8)
    tokens, sums = x.reshape(1, 8, 16), memory.view(np.int32)[4:68].reshape(1, 8, 8)
    layout = (1, 1, 128, 0)
    sparse = core.SparseF32(np.arange(9), np.arange(8, dtype=np.int32), np.ones(8, F32), 8)
    for call in (
        lambda: core.softmax(x, over),
        lambda: core.softmax(np.broadcast_to(x[:1], x.shape), x),
        lambda: core.activation(x.reshape(-1), "gelu", over.reshape(-1)),
        lambda: core.layer_norm(x, None, None, 1e-5, None, over),
        lambda: core.layer_norm(over, None, None, 1e-5, x, over),
        lambda: core.layer_norm(x.copy(), x[0], None, 1e-5, None, x),
        lambda: core.rms_norm(x, None, 1e-5, None, over),
        lambda: core.rms_norm(x.copy(), x[0], 1e-5, None, x),
        lambda: core.gated(x, x, "silu", over),
        lambda: core.rotary(x, x[:, :4].copy(), x[:, :4].copy(), np.arange(8), 2, over),
        lambda: core.attention(tokens, tokens, tokens, None, None, None, 2, 1.0, over[None]),
        lambda: core.quantize_linear(x, one, None, *layout, codes[:128]),
        lambda: core.dequantize_linear(codes[:128], one, None, *layout, x),
        lambda: core.embedding(codes[:128].reshape(8, 16), np.ones(8, F32), np.arange(8), x),
        lambda: core.widen(memory.view(np.float16)[:128], x.reshape(-1)),
        lambda: core.matmul_int8(
            codes[:64].reshape(1, 8, 8), codes[:64].reshape(1, 8, 8), None, None, sums
        ),
        lambda: sparse.matmul(x, over),
    ):
        before = memory.copy()
        with pytest.raises(ValueError, match=r"^out: expected memory that does not overlap"):
            call()
        assert_same_bits(memory, before)


@pytest.mark.parametrize("size", [1, 5, 64, 1000])
def test_outputs_that_are_inputs(isa: str, rng: np.random.Generator, size: int) -> None:
    x, residual = rng.standard_normal((2, 9, size)).astype(F32)
    backend = _backend.backend
    for call in (
        lambda a, b, out: backend.softmax(a, out),
        lambda a, b, out: backend.activation(a.reshape(-1), "silu", out.reshape(-1)),
        lambda a, b, out: backend.layer_norm(a, None, None, 1e-5, b, out),
        lambda a, b, out: backend.rms_norm(a, None, 1e-5, b, out),
        lambda a, b, out: backend.gated(a, b, "silu", out),
    ):
        wanted, in_place, on_residual = np.empty_like(x), x.copy(), residual.copy()
        call(x, residual, wanted)
        call(in_place, residual, in_place)
        assert_same_bits(in_place, wanted)
        call(x, on_residual, on_residual)
        assert_same_bits(on_residual, wanted)


def misaligned(values: Any) -> Any:
    """The values in an array that begins one byte behind an aligned address."""
    values = np.asarray(values)
    memory = np.zeros(values.nbytes + 64, np.uint8)
    view = memory[1 : 1 + values.nbytes].view(values.dtype).reshape(values.shape)
    view[...] = values
    assert not view.flags.aligned
    return view


@needs_core
def test_the_native_module_refuses_odd_addresses() -> None:
    x, ones = np.ones((8, 64), F32), np.ones((8, 64), np.int8)
    odd, out = misaligned(x), np.zeros((8, 64), F32)
    layer = core.PackedLinear(
        np.ones((32, 64), np.int8), np.ones(32, F32), None, "none", False, None, 0, None, 0
    )
    sparse = core.SparseF32(np.array([0, 1]), np.zeros(1, np.int32), np.ones(1, F32), 8)
    floats = core.LinearF32(core.PackedF32(x), None, "none", None)
    calls = {
        "quantize_dynamic": lambda: core.quantize_dynamic(odd, False),
        "softmax": lambda: core.softmax(odd, out),
        "softmax out": lambda: core.softmax(x, misaligned(out)),
        "layer_norm": lambda: core.layer_norm(odd, None, None, 1e-5, None, out),
        "activation": lambda: core.activation(odd.reshape(-1), "gelu", out.reshape(-1)),
        "matmul out": lambda: core.matmul_int8(
            ones[None], ones.T[None], None, None, misaligned(np.zeros((1, 8, 8), np.int32))
        ),
        "widen": lambda: core.widen(misaligned(np.zeros(64, np.float16)), np.zeros(64, F32)),
        "ids": lambda: core.embedding(
            ones, np.ones(8, F32), misaligned(np.zeros(8, np.int64)), out
        ),
        "dequantize out": lambda: core.dequantize_linear(
            ones, np.ones(1, F32), None, 1, 1, 512, 0, misaligned(out)
        ),
        "quantize out": lambda: core.quantize_linear(
            x, np.ones(1, F32), None, 1, 1, 512, 0, misaligned(np.zeros((8, 64), np.int16))
        ),
        "spmm": lambda: sparse.matmul(odd, np.zeros((1, 64), F32)),
        "linear": lambda: layer.run(odd),
        "linear f32": lambda: floats.run(odd),
        "weight f32": lambda: core.PackedF32(odd),
        "attention": lambda: core.attention(
            odd[None], odd[None], odd[None], None, None, None, 2, 1.0, out[None]
        ),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match="aligned"):
            call()
    assert layer.call(odd) is None  # the long way copies


def test_checked_functions_take_odd_addresses(isa: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((8, 64)).astype(F32)
    layer = octavo.Linear.from_float(x)
    for function in (
        octavo.functional.softmax,
        octavo.functional.gelu,
        octavo.functional.layer_norm,
        layer,
        lambda a: octavo.quantize_linear(a, 0.1),
        lambda a: octavo.functional.attention(a[None], a[None], a[None], heads=2),
    ):
        assert_same_bits(function(misaligned(x)), function(x))


@needs_core
@pytest.mark.parametrize("name", ["PackedLinear", "PackedMatrix", "PackedF32", "SparseF32"])
def test_objects_that_were_never_initialised(name: str) -> None:
    cls = getattr(core, name)
    empty = cls.__new__(cls)
    for attribute in ("shape", "nbytes"):
        with pytest.raises(TypeError), pytest.warns(RuntimeWarning, match="uninitialized"):
            getattr(empty, attribute)


RACE = """
import sys, threading, time
import numpy as np
import octavo

what, stop = sys.argv[1], []
codes = np.zeros((256, 4096), np.int8)
full = np.random.default_rng(0).integers(-127, 128, codes.shape).astype(np.int8)
starts = np.arange(0, 2000 * 100 + 1, 100)
indptr, indices = starts.copy(), np.tile(np.arange(100, dtype=np.int32) * 50, 2000)
values = np.ones(indices.size, np.float32)
table = octavo.Embedding.from_float(np.ones((1000, 64), np.float32))
ids = np.zeros(100_000, np.int64)

def write():
    while not stop:
        if what == "matrix":
            indptr[1:-1] = 0
            indptr[:] = starts
        elif what == "embedding":
            ids[-1] = 1 << 45
            ids[-1] = 0
        else:
            codes[:] = full
            codes[:] = 0

def call():
    if what == "matrix":
        octavo.sparse.SparseMatrix.from_csr(indptr, indices, values, (2000, 5000))
    elif what == "embedding":
        table(ids)
    else:
        octavo.nn.SparseLinear.from_quantized(codes, np.ones(256, np.float32), format=what)

threading.Thread(target=write, daemon=True).start()
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    try:
        call()
    except (ValueError, IndexError):
        pass
stop.append(1)
"""
FORMATS = ["windowed16", "windowed64", "bitmap", "bsr1x1", "bsr16x4", "bsr1x4", "bsr4x1"]


@needs_core
@pytest.mark.parametrize("seconds", ["0.3", *slow("5")])
@pytest.mark.parametrize("what", [*FORMATS, "matrix", "embedding"])
def test_arrays_that_another_thread_writes_to(what: str, seconds: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(RACE), what, seconds]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{what}: {done.returncode} {done.stderr[-500:]}"
