# SPDX-License-Identifier: Apache-2.0
"""What ends a native call early: a signal whose handler raises, and the interpreter's end."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from native import core, needs_core
from octavo import runtime
from reference import assert_same_bits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = needs_core
needs_timer = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs signal.setitimer")

F32 = np.float32


def rows(m: int, n: int) -> Any:
    return np.broadcast_to(np.linspace(-3, 3, n, dtype=F32), (m, n))


def packed(codes: Any, format: str = "dense") -> Any:
    plain = (np.ones(len(codes), F32), None, "none", False, None, 0, None, 0)
    return core.PackedLinear(codes, *plain, format)


def linear(m: int = 512) -> Callable[[], Any]:
    layer, x = packed(np.ones((1024, 4096), np.int8)), rows(m, 4096)
    return lambda: layer.run(x)


def program(m: int = 512) -> Callable[[], Any]:
    layer, x = packed(np.ones((1024, 1024), np.int8)), np.ascontiguousarray(rows(m, 1024))
    made, offsets = core.Program(1024), np.arange(0, m + 1, m // 8)
    for step in range(4):
        made.linear(layer, step, None, 0)
    made.attention(4, 4, 4, 16, 1.0, True, False)
    made.attention_cached(5, 5, 5, 0, 16, 16, None, 1.0)
    made.finish(6)
    caches = [core.KeyValueCache(1, 16, 64) for _ in range(8)]

    def call() -> Any:
        for cache in caches:
            cache.truncate(0)
        return made.run(x, offsets, None, None, (), caches)

    return call


def convolution(m: int = 4096) -> Callable[[], Any]:
    """A convolution and one by channels, each of which takes long."""
    side = int(m**0.5)
    shape = {"shape": (1, side, side, 128), "size": (side, side), "padding": (1, 1)}
    place = {"x": 0, "multiplier": np.full(128, 1e-3, F32), "zero_point": 3, "out_zero_point": -3}
    made, tensor = core.GraphProgram(3 * side * side * 128), side * side * 128
    weight = np.ones((128, 3, 3, 128), np.int8)
    made.add_conv(out=tensor, weight=weight, **place, **shape)
    made.add_depthwise(out=2 * tensor, weight=weight[0], **place, **shape)
    arena = core.empty((3 * tensor,), np.dtype(np.uint8))
    arena[:tensor] = 1

    def call() -> Any:
        made.run(arena)
        return arena.copy()

    return call


def matmul() -> Callable[[], Any]:
    codes, out = np.ones((1, 1400, 1400), np.int8), np.empty((1, 1400, 1400), np.int32)
    return lambda: core.matmul_int8(codes, codes, None, None, out)


def attention() -> Callable[[], Any]:
    q, out = np.ascontiguousarray(rows(900, 64))[None], np.empty((1, 900, 64), F32)
    return lambda: core.attention(q, q, q, None, None, None, 1, 1.0, out)


def spmm() -> Callable[[], Any]:
    starts, columns = np.arange(0, 512 * 512 + 1, 512), np.tile(np.arange(512, dtype=np.int32), 512)
    matrix = core.SparseF32(starts, columns, np.ones(512 * 512, F32), 512)
    x, out = rows(512, 448), np.empty((512, 448), F32)
    return lambda: matrix.matmul(x, out)


def softmax() -> Callable[[], Any]:
    x, out = rows(20000, 512), np.empty((20000, 512), F32)
    return lambda: core.softmax(x, out)


def gelu() -> Callable[[], Any]:
    x = np.zeros(10_000_000, F32)
    return lambda: core.activation(x, "gelu", x)


def quantize_rows() -> Callable[[], Any]:
    x = rows(160000, 512)
    return lambda: core.quantize_dynamic(x, False)


def pack(format: str, outputs: int = 8192) -> Callable[[], Any]:
    codes = np.resize(np.arange(256).astype(np.int8), (outputs, 8192))
    return lambda: packed(codes, format)


LONG_CALLS: dict[str, Callable[[], Callable[[], Any]]] = {
    **{
        f.__name__: f
        for f in (
            linear,
            program,
            convolution,
            matmul,
            attention,
            spmm,
            softmax,
            gelu,
            quantize_rows,
        )
    },
    **{f"pack {name}": partial(pack, name) for name in ("dense", "windowed64")},
    "pack bsr4x1": partial(pack, "bsr4x1", 20480),
}


@contextlib.contextmanager
def slowly(threads: int) -> Iterator[None]:
    """The scalar tier: calls take long on little memory."""
    before = runtime.get_num_threads()
    runtime.set_num_threads(threads)
    try:
        with runtime.use_isa("scalar"):
            yield
    finally:
        runtime.set_num_threads(before)


@contextlib.contextmanager
def alarms(first: float, every: float, handler: Callable[[], Any]) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_REAL, first, every)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@needs_timer
@pytest.mark.parametrize("name", LONG_CALLS)
def test_handlers_run_while_a_long_call_computes(name: str) -> None:
    with slowly(1):
        call = LONG_CALLS[name]()
        runs: list[int] = []
        with alarms(0.01, 0.01, lambda: runs.append(1)):
            call()
    # Unasked, it would see one before the call and one after it at most.
    assert len(runs) >= 3


class StopError(Exception):
    pass


@needs_timer
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("made", [linear, program, convolution])
def test_an_error_of_a_handler_ends_the_call(made: Any, threads: int) -> None:
    short, long = made(8), made(4096)
    with slowly(threads):
        wanted, inner = short(), []

        def stop() -> None:
            inner.append(short())  # in the middle of the other call, with its own scratch
            if len(inner) == 2:
                raise StopError
            signal.setitimer(signal.ITIMER_REAL, 0.05)  # not in the middle of this one

        with pytest.raises(StopError), alarms(0.01, 0, stop):
            long()
        for got in (*inner, short()):
            assert_same_bits(got, wanted)


@needs_timer
def test_a_call_that_goes_on_gives_the_same_bits() -> None:
    call, other = linear(), linear(300)
    with slowly(2):
        wanted = call()
        with alarms(0.08, 0, other):
            assert_same_bits(call(), wanted)


DAEMONS = """
import threading, time
import numpy as np
import octavo
from octavo import _core

octavo.runtime.set_num_threads({threads})
codes, ones = np.ones((2048, 2048), np.int8), np.ones(2048, np.float32)
layer = octavo.Linear.from_quantized(codes, ones)
x = np.ones((600, 2048), np.float32)
calls = [
    lambda: layer(x),
    lambda: octavo.nn.SparseLinear.from_quantized(codes, ones, format="bitmap"),
    lambda: _core.softmax(x, np.empty_like(x)),
]

def repeat(call):
    while True:
        call()

for call in calls:
    threading.Thread(target=repeat, args=(call,), daemon=True).start()
time.sleep(0.3)
"""


@pytest.mark.parametrize("threads", [1, 3])
def test_the_interpreter_ends_while_daemon_threads_compute(threads: int) -> None:
    for _ in range(3):
        command = [sys.executable, "-c", DAEMONS.format(threads=threads)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
