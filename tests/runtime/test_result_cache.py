# SPDX-License-Identifier: Apache-2.0
"""Memory kept for results: who gets it, when it comes back, and how much there is at most."""

from __future__ import annotations

import gc
import itertools
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import octavo
from native import core, needs_core
from octavo import _backend, runtime
from reference import assert_same_bits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [needs_core, pytest.mark.usefixtures("own_limit")]

MIB = 1 << 20
LIMIT = 8 * MIB
Array = np.ndarray[Any, np.dtype[Any]]


@pytest.fixture
def own_limit() -> Iterator[None]:
    before = runtime.result_cache().limit
    runtime.set_result_cache(0)
    runtime.set_result_cache(LIMIT)
    yield
    runtime.set_result_cache(0)
    runtime.set_result_cache(before)


def result(mib: float, value: int = 1) -> Array:
    """A result of so many MiB, all of it `value`."""
    codes = np.full(int(mib * MIB / 4), value, np.int8)
    return octavo.dequantize_linear(codes, 1.0)


def kept() -> tuple[int, int]:
    cache = runtime.result_cache()
    return cache.nbytes // MIB, cache.buffers


MAKERS: dict[str, Callable[[], Any]] = {
    "quantize": lambda: octavo.quantize_linear(np.zeros((1024, 1024), np.float32), 0.1),
    "dynamic": lambda: octavo.quantize_dynamic(np.zeros((1024, 1024), np.float32))[0],
    "matmul": lambda: octavo.matmul_int8(np.ones((512, 8), np.int8), np.ones((8, 512), np.int8)),
    "gelu": lambda: octavo.functional.gelu(np.zeros((512, 512), np.float32)),
    "attention": lambda: octavo.functional.attention(*[np.ones((1, 256, 1024), "f4")] * 3, heads=8),
    "int8 layer": lambda: octavo.Linear.from_float(np.eye(512))(np.zeros((512, 512), np.float32)),
    "float layer": lambda: octavo.nn.FloatLinear(np.eye(512))(np.zeros((512, 512), np.float32)),
    "table": lambda: octavo.Embedding.from_float(np.eye(512))(np.arange(512)),
}


@pytest.mark.parametrize("maker", MAKERS)
def test_large_results_use_the_same_memory(maker: str) -> None:
    first = MAKERS[maker]()
    place, bits = first.ctypes.data, first.copy()
    assert first.flags.writeable
    assert place % 64 == 0
    assert kept() == (0, 0)
    del first
    assert kept() == (1, 1)
    again = MAKERS[maker]()
    assert again.ctypes.data == place
    assert_same_bits(again, bits)


def test_which_results_are_kept() -> None:
    small, over = result(0.99), result(8.01)
    assert small.flags.owndata
    assert over.flags.owndata
    del small, over
    assert kept() == (0, 0)
    place = result(2).ctypes.data
    other = result(2.6)  # a class above
    assert other.ctypes.data != place
    near = result(1.99)
    assert near.ctypes.data == place
    runtime.set_result_cache(0)
    assert result(2).flags.owndata
    del near, other
    assert runtime.result_cache() == (0, 0, 0)


LOOKS: dict[str, Callable[[Array], Any]] = {
    "slice": lambda y: y[5:9],
    "reshaped": lambda y: y.reshape(4, -1).T[1:],
    "memoryview": memoryview,
    "dlpack": np.from_dlpack,
    "other dtype": lambda y: y.view(np.uint8),
    "frombuffer": lambda y: np.frombuffer(y, np.int32),
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_view_keeps_its_memory(look: str) -> None:
    y = result(1, 5)
    view = LOOKS[look](y)
    bits = np.asarray(view).tobytes()
    del y
    assert kept() == (0, 0)
    for value in (6, 7):
        result(1, value)
        assert np.asarray(view).tobytes() == bits
    runtime.set_result_cache(0)
    runtime.set_result_cache(LIMIT)
    assert np.asarray(view).tobytes() == bits
    del view
    assert kept() == (1, 1)


def test_copies_have_memory_of_their_own() -> None:
    y = result(1, 5)
    copies = [pickle.loads(pickle.dumps(y)), y.copy(), y + 0]
    del y
    assert kept() == (1, 1)
    result(1, 6)
    assert all((copy == 5).all() for copy in copies)


def test_cycles_and_resurrection() -> None:
    saved: list[Any] = []

    class Phoenix:
        def __init__(self, array: Array) -> None:
            self.array, self.itself = array, self

        def __del__(self) -> None:
            saved.append(self.array)

    phoenix = Phoenix(result(1, 5))
    array = weakref.ref(phoenix.array)
    del phoenix
    gc.collect()
    assert kept() == (0, 0)
    result(1, 6)
    assert array() is saved[0]
    assert (saved.pop() == 5).all()
    assert array() is None
    assert kept()[1] == 2


def test_the_oldest_go_first() -> None:
    arrays = [result(mib, 1) for mib in (1, 2, 3, 4)]
    places = [array.ctypes.data for array in arrays]
    while arrays:
        del arrays[0]
    assert kept() == (7, 2)  # 3 and 4: with the 2 it would be 9
    assert [result(mib).ctypes.data for mib in (3, 4)] == places[2:]
    held = [result(1) for _ in range(40)]
    held.clear()
    assert kept() == (8, 8)
    runtime.set_result_cache(LIMIT * 8)
    held = [result(1) for _ in range(40)]
    held.clear()
    assert kept() == (16, 16)
    runtime.set_result_cache(3 * MIB)
    assert kept() == (3, 3)


@given(st.lists(st.tuples(st.sampled_from([1, 1, 1.3, 2]), st.integers(-4, 3)), max_size=40))
def test_nothing_alive_shares_memory(steps: list[tuple[float, int]]) -> None:
    alive: list[Array] = []
    for value, (mib, drop) in enumerate(steps):
        alive.append(result(mib, value)[value:])
        if drop >= 0:
            del alive[drop : drop + 1]
        if value % 3 == 0:
            core.limit_result_cache(value % 5 * MIB)
    ranges = sorted((a.ctypes.data, a.ctypes.data + a.nbytes, float(a[0])) for a in alive)
    assert all(one[1] <= next_one[0] for one, next_one in itertools.pairwise(ranges))
    assert all((a == a[0]).all() for a in alive)
    assert len({float(a[0]) for a in alive}) == len(alive)


def stress(threads: int, rounds: int) -> list[str]:
    """Make and drop results on threads; return what went wrong."""
    wrong: list[str] = []

    def work(seed: int) -> None:
        rng, held = np.random.default_rng(seed), []
        for turn in range(rounds):
            value = (seed * 13 + turn) % 100
            held.append((value, result(float(rng.choice([1, 1.5, 2])), value)))
            if len(held) > rng.integers(1, 5):
                wanted, array = held.pop(int(rng.integers(len(held))))
                if not (array == wanted).all():
                    wrong.append(f"{seed} found other values")
                del array
            cache = runtime.result_cache()
            if cache.nbytes > cache.limit or cache.buffers > 16:
                wrong.append(f"kept {cache}")

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return wrong


def test_the_bound_holds_under_threads() -> None:
    assert not stress(8, 60)
    cache = runtime.result_cache()
    assert 0 < cache.nbytes <= LIMIT


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_memory_of_its_own() -> None:
    y, beside = result(2, 5), threading.Thread(target=stress, args=(2, 150))
    beside.start()
    children = []
    while beside.is_alive() or not children:
        child = os.fork()
        if child == 0:
            fine = (y == 5).all() and not stress(1, 5)
            del y
            os._exit(0 if fine and (result(2, 9) == 9).all() else 1)
        children.append(child)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    beside.join()
    assert (y == 5).all()


def test_leaving_with_results_alive() -> None:
    program = """
        import threading, numpy as np, octavo
        codes = np.ones(1 << 20, np.int8)
        kept = [octavo.dequantize_linear(codes, 1.0) for _ in range(3)]
        kept.append(kept)
        def work():
            while True:
                octavo.dequantize_linear(codes, 1.0)
        for _ in range(2):
            threading.Thread(target=work, daemon=True).start()
        print(octavo.runtime.result_cache().limit)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "OCTAVO_RESULT_CACHE": "12000000"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "12000000\n", "")


def test_the_numpy_backend_keeps_none() -> None:
    with _backend.use("numpy"):
        runtime.set_result_cache(LIMIT)
        assert result(2).flags.owndata
        assert runtime.result_cache() == (0, 0, 0)


def test_shapes_and_types_that_are_none() -> None:
    for shape, dtype in (
        ((-1,), "f4"),
        ((2**40, 2**40), "f4"),
        ((MIB,), "O"),
        ((MIB // 2,), "f4,O"),
    ):
        with pytest.raises(ValueError, match=r"^(shape|sizes|dtype): "):
            core.empty(shape, np.dtype(dtype))


def test_limits_that_are_none() -> None:
    for wrong in (-1, 2**41, 1.5, None):
        with pytest.raises((TypeError, ValueError), match=r"^limit: "):
            runtime.set_result_cache(wrong)  # type: ignore[arg-type]
    assert runtime.result_cache().limit == LIMIT
