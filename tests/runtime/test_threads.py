# SPDX-License-Identifier: Apache-2.0
"""The thread pool as Python sees it: forks, concurrent callers, limits, nothing at import."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

import octavo
from native import core, needs_core
from reference import assert_same_bits

pytestmark = needs_core

LAYER = """
import os, sys, threading
import numpy as np
import octavo

octavo.runtime.set_num_threads(3)
rng = np.random.default_rng(0)
layer = octavo.Linear.from_float(rng.normal(0, 1, (512, 512)).astype(np.float32))
x = rng.normal(0, 1, (200, 512)).astype(np.float32)
wanted = layer(x)

def same():
    return all((layer(rows) == wanted[: len(rows)]).all() for rows in (x, x[:1], x[:20]))

def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def run(code: str, timeout: float = 120) -> str:
    """Run code after LAYER in a fresh interpreter; a hang is an error."""
    program = LAYER + textwrap.dedent(code)
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_cpus_that_come_and_go_change_nothing() -> None:
    run(
        """
        cpus = sorted(os.sched_getaffinity(0))
        assert same()
        for some in 20 * [cpus[:1], cpus[-1:], cpus]:
            for thread in os.listdir("/proc/self/task"):
                os.sched_setaffinity(int(thread), some)
            assert same()
        """
    )


@posix
def test_a_forked_child_computes_and_exits() -> None:
    out = run(
        """
        for _ in range(5):
            child = os.fork()
            if child == 0:
                sys.exit(0 if same() else 1)
            assert wait(child) == 0
            assert same()
        print("ok")
        """
    )
    assert out == "ok"


@posix
def test_a_child_of_a_child_computes() -> None:
    out = run(
        """
        child = os.fork()
        if child == 0:
            good = same()
            grandchild = os.fork()
            if grandchild == 0:
                os._exit(0 if same() else 1)
            sys.exit(0 if good and wait(grandchild) == 0 and same() else 1)
        print(wait(child))
        """
    )
    assert out == "0"


@posix
def test_fork_while_other_threads_compute() -> None:
    out = run(
        """
        stop = threading.Event()
        def work():
            while not stop.is_set():
                assert same()
        workers = [threading.Thread(target=work) for _ in range(3)]
        for worker in workers: worker.start()
        codes = []
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if same() else 1)
            codes.append(wait(child))
        stop.set()
        for worker in workers: worker.join()
        print(codes == [0] * 10)
        """
    )
    assert out == "True"


@posix
def test_multiprocessing_with_fork() -> None:
    out = run(
        """
        import multiprocessing
        def work(i):
            return (layer(x[i:]) == wanted[i:]).all()
        with multiprocessing.get_context("fork").Pool(3) as pool:
            print(all(pool.map(work, range(12))))
        """
    )
    assert out == "True"


def test_exit_does_not_wait_for_workers() -> None:
    assert run("print(same())", timeout=60) == "True"
    assert run("print(same()); sys.stdout.flush(); os._exit(0)", timeout=60) == "True"


def test_no_thread_before_the_first_call_that_needs_one() -> None:
    if not Path("/proc/self/task").is_dir():
        pytest.skip("needs /proc")
    code = """
    import os
    import numpy as np
    count = lambda: len(os.listdir("/proc/self/task"))
    before = count()
    import octavo
    print(count() - before)
    octavo.runtime.set_num_threads(3)
    layer = octavo.Linear.from_float(np.ones((512, 512), np.float32))
    layer(np.ones((1, 512), np.float32)[:, :512])
    octavo.runtime.set_num_threads(1)
    print(count() - before <= 2)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["0", "True"]


def test_concurrent_callers_get_equal_results() -> None:
    rng = np.random.default_rng(1)
    layers = [
        octavo.Linear.from_float(rng.normal(0, 1, (n, 256)).astype(np.float32))
        for n in (64, 300, 1000)
    ]
    xs = [rng.normal(0, 1, (m, 256)).astype(np.float32) for m in (1, 17, 130)]
    before = octavo.runtime.get_num_threads()
    octavo.runtime.set_num_threads(1)
    wanted = {(i, j): layers[i](x) for i in range(3) for j, x in enumerate(xs)}
    octavo.runtime.set_num_threads(3)
    errors: list[BaseException] = []
    start = threading.Barrier(6)

    def work(seed: int) -> None:
        try:
            start.wait(30)
            for step in range(60):
                i, j = (seed + step) % 3, (seed * 5 + step // 3) % 3
                assert_same_bits(layers[i](xs[j]), wanted[i, j])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    finally:
        octavo.runtime.set_num_threads(before)
    assert not any(thread.is_alive() for thread in threads)
    assert not errors, errors[0]


def test_changing_the_number_of_threads_while_others_compute() -> None:
    rng = np.random.default_rng(2)
    layer = octavo.Linear.from_float(rng.normal(0, 1, (400, 300)).astype(np.float32))
    x = rng.normal(0, 1, (90, 300)).astype(np.float32)
    before, wanted = octavo.runtime.get_num_threads(), layer(x)
    stop = threading.Event()
    wrong: list[int] = []

    def work() -> None:
        while not stop.is_set():
            if not np.array_equal(layer(x), wanted):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(2)]
    try:
        for worker in workers:
            worker.start()
        for step in range(100):
            octavo.runtime.set_num_threads(1 + step % 5)
            layer(x[:5])
    finally:
        stop.set()
        for worker in workers:
            worker.join(60)
        octavo.runtime.set_num_threads(before)
    assert not wrong


def test_limits_of_the_native_module() -> None:
    before = core.get_num_threads()
    for wrong in (0, -1):
        with pytest.raises(ValueError, match=r"^n: "):
            core.set_num_threads(wrong)
    for kind in ("2", 1.5, None):
        with pytest.raises(TypeError):
            core.set_num_threads(kind)
    assert core.get_num_threads() == before
    assert core.default_num_threads() >= 1
