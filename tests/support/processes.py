# SPDX-License-Identifier: Apache-2.0
"""Skips tests that start a process where none can be started: under qemu's user mode.

It runs one program, for which the kernel knows no interpreter; and it cannot fork what has threads.
"""

from __future__ import annotations

import contextlib
import multiprocessing.util
import os
import subprocess
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest


def _skip(*_: Any, **__: Any) -> NoReturn:
    pytest.skip("starts a process, which qemu's user mode does not")


@contextlib.contextmanager
def skipped_under_qemu() -> Iterator[None]:
    """Skip the tests that try, where `QEMU_CPU` says which CPU is emulated."""
    with pytest.MonkeyPatch.context() as patch:
        if "QEMU_CPU" in os.environ:
            patch.setattr(os, "fork", _skip)
            patch.setattr(subprocess.Popen, "__init__", _skip)
            patch.setattr(multiprocessing.util, "spawnv_passfds", _skip)
        yield
