# SPDX-License-Identifier: Apache-2.0
"""Memory that a process takes which loads and runs a TensorFlow Lite file in one engine.

It is this file, run as a program that imports nothing but that engine: what the benchmark itself
has loaded would count for both.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

_SECONDS = 60.0
_CALLS = 3


class Resident(NamedTuple):
    """Bytes that a process had at most: in all, and since the engine was imported."""

    peak: int
    growth: int


def resident(engine: str, path: str, threads: int) -> Resident | None:
    """Return what a process takes; None if it fails, or the system does not tell.

    Parameters
    ----------
    engine : str
        A key of `LOADERS`.
    path : str
        Of the file.
    threads : int
    """
    command = [sys.executable, __file__, engine, path, str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
        return Resident(*map(int, done.stdout.split()[-2:]))
    except (OSError, subprocess.SubprocessError, TypeError, ValueError):
        return None


def _octavo() -> Callable[[str, int], Callable[[], Any]]:
    from octavo import runtime, tflite

    def load(path: str, threads: int) -> Callable[[], Any]:
        runtime.set_num_threads(threads)
        return _run(tflite.Interpreter(model_path=path))

    return load


def _litert() -> Callable[[str, int], Callable[[], Any]]:
    made = import_module("ai_edge_litert.interpreter").Interpreter
    return lambda path, threads: _run(made(model_path=path, num_threads=threads))


def _run(interpreter: Any) -> Callable[[], Any]:
    interpreter.allocate_tensors()
    for given in interpreter.get_input_details():
        array = interpreter.tensor(given["index"])()
        array[...] = 0
        del array
    run: Callable[[], Any] = interpreter.invoke
    return run


LOADERS = {"octavo": _octavo, "LiteRT": _litert}
"""What imports an engine; what it returns loads a file, and that runs it."""


def _peak() -> int:
    # Not getrusage, which begins with what the parent had.
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def _main(engine: str, path: str, threads: str) -> None:
    load = LOADERS[engine]()
    imported = _peak()
    run = load(path, int(threads))
    for _ in range(_CALLS):
        run()
    sys.stdout.write(f"{_peak()} {_peak() - imported}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
