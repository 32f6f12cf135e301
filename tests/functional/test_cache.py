# SPDX-License-Identifier: Apache-2.0
"""Keys and values kept as codes: cut anywhere, attention to them is attention_int8 over all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from octavo import _backend, _numpy, functional, runtime
from reference import assert_same_bits

Array = np.ndarray[Any, np.dtype[Any]]
LAYERS, LAYER = 2, 1
SHAPES = [(1, 1, 1), (6, 2, 16), (4, 4, 17), (9, 3, 64)]
"""Heads, heads of keys, values of each."""
needs_core = pytest.mark.skipif(_backend.name != "native", reason="needs the native module")


def tokens(rng: np.random.Generator, count: int, width: int) -> Array:
    x = rng.normal(0, 2, (count, width)).astype(np.float32)
    x[::5, : width // 2] *= 100
    return x


class Sequence:
    """The q, k and v of a sequence, and what a backend keeps of it."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int, int], count: int) -> None:
        self.heads, self.kv_heads, self.d = shape
        self.q = tokens(rng, count, self.heads * self.d)
        self.k, self.v = (tokens(rng, count, self.kv_heads * self.d) for _ in range(2))
        self.scale = float(np.float32(0.3))

    def cache(self, backend: Any = None, count: int = 0) -> Any:
        backend = backend or _backend.backend
        made = backend.KeyValueCache(LAYERS, self.kv_heads, self.d)
        made.append(LAYER, self.k[:count], self.v[:count])
        return made

    def whole(self, window: int | None = None) -> Array:
        """By the function that keeps nothing."""
        last = np.arange(1, len(self.q) + 1)
        first = np.zeros_like(last) if window is None else np.maximum(last - window, 0)
        return functional.attention_int8(
            self.q[None], self.k[None], self.v[None],
            heads=self.heads, kv_heads=self.kv_heads, scale=self.scale,
            key_ranges=np.stack([first, last], axis=1),
        )[0]  # fmt: skip

    def steps(self, cache: Any, sizes: list[int], window: int | None, backend: Any) -> Array:
        """So many tokens at a time."""
        out = np.empty_like(self.q)
        at = cache.lengths()[LAYER]
        for size in sizes:
            rows = slice(at, at + size)
            cache.append(LAYER, self.k[rows], self.v[rows])
            attend(backend, self, [self.q[rows]], [cache], window, out[rows])
            at += size
        assert at == len(self.q)
        return out


def attend(
    backend: Any, like: Sequence, q: list[Array], caches: list[Any], window: int | None, out: Array
) -> None:
    offsets = np.cumsum([0, *map(len, q)])
    arguments = (LAYER, like.heads, window, like.scale, out)
    backend.attention_cached(np.concatenate(q), offsets, caches, *arguments)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [None, 1, 40])
def test_cut_anywhere(
    isa: str,
    threads: int,
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    window: int | None,
) -> None:
    sequence = Sequence(rng, shape, 90)
    expected = sequence.whole(window)
    for sizes in ([90], [1] * 90, [16, 16, 1, 15, 32, 10], [7, 0, 60, 23]):
        found = sequence.steps(sequence.cache(), sizes, window, _backend.backend)
        assert_same_bits(found, expected)
    by_twin = sequence.steps(sequence.cache(_numpy), [50, 40], window, _numpy)
    assert_same_bits(by_twin, expected)


@pytest.mark.parametrize("window", [None, 600])
def test_blocks(isa: str, threads: int, rng: np.random.Generator, window: int | None) -> None:
    sequence = Sequence(rng, (2, 1, 24), 1200)
    expected = sequence.whole(window)
    for sizes in ([500, 1, 11, 1, 200, 487], [512, 512, 176], [1100, *[1] * 100]):
        found = sequence.steps(sequence.cache(), sizes, window, _backend.backend)
        assert_same_bits(found, expected)


def test_batches_are_single_sequences(isa: str, threads: int, rng: np.random.Generator) -> None:
    sequences = [Sequence(rng, (6, 2, 16), count) for count in (3, 700, 1, 40)]
    new = [2, 1, 1, 40]
    alone, caches = [], []
    for sequence, size in zip(sequences, new, strict=True):
        caches.append(sequence.cache(count=len(sequence.q)))
        out = np.empty((size, sequence.q.shape[1]), np.float32)
        attend(_backend.backend, sequence, [sequence.q[-size:]], caches[-1:], None, out)
        assert_same_bits(out, sequence.whole()[-size:])
        alone.append(out)
    together = np.empty((sum(new), alone[0].shape[1]), np.float32)
    queries = [sequence.q[-size:] for sequence, size in zip(sequences, new, strict=True)]
    attend(_backend.backend, sequences[0], queries, caches, None, together)
    assert_same_bits(together, np.concatenate(alone))


@pytest.mark.parametrize("kept", [0, 1, 16, 21, 512, 530])
def test_forks_and_truncation(isa: str, rng: np.random.Generator, kept: int) -> None:
    sequence, other = (Sequence(rng, (2, 1, 20), 560) for _ in range(2))
    other.q[:kept], other.k[:kept], other.v[:kept] = (
        x[:kept] for x in (sequence.q, sequence.k, sequence.v)
    )
    cache = sequence.cache(count=560)
    fork = cache.fork()
    fork.truncate(kept)
    assert fork.lengths() == [0, kept]
    assert cache.lengths() == [0, 560]
    found = other.steps(fork, [1, 559 - kept], None, _backend.backend)
    assert_same_bits(found[kept:], other.whole()[kept:])
    out = np.empty_like(sequence.q)
    attend(_backend.backend, sequence, [sequence.q], [cache], None, out)
    assert_same_bits(out, sequence.whole())


def test_codes_are_the_same_everywhere(isa: str, rng: np.random.Generator) -> None:
    sequence = Sequence(rng, (6, 2, 17), 530)
    sequence.k[3, 2], sequence.v[5, 20], sequence.v[7, 0] = np.nan, np.inf, -np.nan
    sequence.k[9], sequence.v[11] = 0, np.float32(1e-44)
    caches = [sequence.cache(backend, 530) for backend in (_backend.backend, _numpy)]
    for found, expected in zip(*(cache.codes(LAYER) for cache in caches), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    again = _backend.backend.KeyValueCache(LAYERS, 2, 17)
    codes = caches[0].codes(LAYER)
    for rows in (slice(0, 5), slice(5, 21), slice(21, 530)):
        again.restore(LAYER, *(np.ascontiguousarray(part[rows]) for part in codes))
    assert again.nbytes == caches[0].nbytes > 0
    results = np.empty((2, 1, 6 * 17), np.float32)
    for cache, out in zip((caches[0], again), results, strict=True):
        attend(_backend.backend, sequence, [sequence.q[-1:]], [cache], None, out)
    assert_same_bits(*results)


def test_a_cache_of_another_tier(rng: np.random.Generator) -> None:
    """A cache goes on with the kernels that it began with."""
    tiers = runtime.cpu_info()["isa_tiers"]
    if len(tiers) < 2:
        pytest.skip("a machine of one tier")
    sequence = Sequence(rng, (2, 1, 20), 40)
    for first, then in ((tiers[0], tiers[-1]), (tiers[-1], tiers[0])):
        with runtime.use_isa(first):
            cache = sequence.cache(count=10)
        with runtime.use_isa(then):
            found = sequence.steps(cache, [30], None, _backend.backend)
            mixed = [cache, sequence.cache(count=40)]
            with pytest.raises(ValueError, match=r"^caches: expected"):
                attend(_backend.backend, sequence, [sequence.q[:1]] * 2, mixed, None, found[:2])
        assert_same_bits(found[10:], sequence.whole()[10:])


@needs_core
def test_bad_arguments(rng: np.random.Generator) -> None:
    core = _backend.backend
    sequence = Sequence(rng, (2, 1, 4), 5)
    cache, other = sequence.cache(count=5), core.KeyValueCache(LAYERS, 1, 8)
    q, offsets, out = sequence.q, np.array([0, 5]), np.empty((5, 8), np.float32)
    k = sequence.k
    codes = cache.codes(LAYER)
    cases = {
        "layers": lambda: core.KeyValueCache(0, 1, 1),
        "kv_heads": lambda: core.KeyValueCache(1, 0, 1),
        "head_size": lambda: core.KeyValueCache(1, 1, 1041),
        "layer": lambda: cache.append(2, k, k),
        "k": lambda: cache.append(0, q, q),
        "v": lambda: cache.append(0, k, k[:2]),
        "tokens": lambda: cache.truncate(-1),
        "k_codes": lambda: cache.restore(0, codes[0][:, :, :2], *codes[1:]),
        "v_scale": lambda: cache.restore(0, *codes[:3], codes[3][:4]),
        "offsets": lambda: core.attention_cached(q, offsets[::-1], [cache], 1, 2, None, 1.0, out),
        "caches": lambda: core.attention_cached(q, offsets, [], 1, 2, None, 1.0, out),
        "heads": lambda: core.attention_cached(q, offsets, [other], 0, 2, None, 1.0, out),
        "window": lambda: core.attention_cached(q, offsets, [cache], 1, 2, 0, 1.0, out),
        "sm_scale": lambda: core.attention_cached(q, offsets, [cache], 1, 2, None, np.nan, out),
        "out": lambda: core.attention_cached(q, offsets, [cache], 1, 2, None, 1.0, out[:4]),
    }
    for name, call in cases.items():
        expected = "offsets" if name == "heads" else name
        with pytest.raises(ValueError, match=rf"^{expected}: expected"):
            call()
    with pytest.raises(RuntimeError, match=r"^caches: another call uses"):
        core.attention_cached(q, np.array([0, 2, 5]), [cache, cache], 1, 2, None, 1.0, out)
    assert cache.lengths() == [0, 5]


@contextlib.contextmanager
def little_memory() -> Iterator[type[Exception]]:
    resource = pytest.importorskip("resource", reason="needs limits of memory")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_bytes().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), limits[1]))
    try:
        yield MemoryError
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


@contextlib.contextmanager
def an_alarm() -> Iterator[type[Exception]]:
    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        yield TimeoutError
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_early_ends(end: Any, held: int) -> None:
    """Calls that end early leave a cache as it was."""
    rng = np.random.default_rng(0)
    sequence = Sequence(rng, (1, 1, 1040), 560)
    cache = sequence.cache(count=held)
    block, many = sequence.cache(count=512).nbytes, 100_000
    k, codes = np.broadcast_to(sequence.k[:1], (many, 1040)), np.ones((many, 1, 1040), np.int8)
    scale = np.ones((many, 1), np.float32)
    calls = [
        lambda: cache.append(LAYER, k, k),
        lambda: cache.restore(LAYER, codes, scale, codes, scale),
    ]
    for call in calls:
        with end() as error, pytest.raises(error):
            call()
        assert cache.lengths() == [0, held]
        assert cache.nbytes <= block
    found = sequence.steps(cache, [5, 555 - held], None, _backend.backend)
    assert_same_bits(found[held:], sequence.whole()[held:])


on_linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs Linux's /proc and signals"
)


@needs_core
@on_linux
@pytest.mark.parametrize("held", [21, 512])
def test_a_signal_leaves_a_cache_as_it_was(held: int) -> None:
    # Signals are asked for every 50 ms, in which other tiers are done where memory is warm.
    with runtime.use_isa("scalar"):
        check_early_ends(an_alarm, held)


@needs_core
@on_linux
@pytest.mark.parametrize("held", [21, 512])
def test_no_memory_leaves_a_cache_as_it_was(held: int) -> None:
    """In a process of its own: this one may have freed more than the calls want."""
    code = f"import test_cache as t; t.check_early_ends(t.little_memory, {held})"
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=100)


@needs_core
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("k_codes", -128), ("v_codes", -128), ("k_scale", -1), ("v_scale", -1)),
        *(("k_scale", np.inf), ("v_scale", np.inf), ("v_scale", np.nan)),
    ],
)
def test_codes_that_no_cache_gives(rng: np.random.Generator, name: str, value: float) -> None:
    cache = Sequence(rng, (2, 1, 4), 5).cache(count=5)
    codes = dict(zip(("k_codes", "k_scale", "v_codes", "v_scale"), cache.codes(LAYER), strict=True))
    codes[name].flat[-1] = value
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        cache.restore(LAYER, **codes)
    assert cache.lengths() == [0, 5]


@needs_core
def test_forks_on_threads(rng: np.random.Generator) -> None:
    """Blocks that forks share are read by all, and written by none."""
    sequence = Sequence(rng, (2, 1, 32), 60)
    base, expected = sequence.cache(count=40), sequence.whole()[40:]
    found = []

    def go_on(fork: Any) -> None:
        for _ in range(20):
            found.append(sequence.steps(fork, [1, 19], None, _backend.backend)[40:])
            fork.truncate(40)

    workers = [threading.Thread(target=go_on, args=(base.fork(),)) for _ in range(3)]
    for worker in workers:
        worker.start()
    go_on(base)
    for worker in workers:
        worker.join()
    for one in found:
        assert_same_bits(one, expected)


@needs_core
def test_threads_that_share_a_cache(rng: np.random.Generator) -> None:
    """Each call is refused or done whole."""
    sequence = Sequence(rng, (2, 1, 32), 3)
    cache, done = sequence.cache(), []

    def append() -> None:
        for _ in range(200):
            with contextlib.suppress(RuntimeError):
                cache.append(LAYER, sequence.k, sequence.v)
                done.append(3)

    workers = [threading.Thread(target=append) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert cache.lengths() == [0, sum(done)]
    codes = cache.codes(LAYER)
    np.testing.assert_array_equal(codes[0], np.tile(codes[0][:3], (len(done), 1, 1)))
