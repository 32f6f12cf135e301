# SPDX-License-Identifier: Apache-2.0
"""Arrays next to an inaccessible page: a read or write past the end ends the process."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

import numpy as np
import pytest

_PROT_NONE = 0
Array = np.ndarray[Any, np.dtype[Any]]


def guarded(values: Array, *, front: bool = False) -> Array:
    """A copy of `values` that ends right before (or, with `front`, begins right after) the page."""
    if os.name != "posix":
        pytest.skip("guard pages need mprotect")
    page = mmap.PAGESIZE
    body = -(-max(values.nbytes, 1) // page) * page
    memory = mmap.mmap(-1, body + page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    fence = address if front else address + body
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(fence), ctypes.c_size_t(page), _PROT_NONE):
        raise OSError(ctypes.get_errno(), "mprotect failed")
    start = page if front else body - values.nbytes
    array = np.frombuffer(memory, values.dtype, values.size, start).reshape(values.shape)
    array[...] = values
    return array


def guarded_empty(shape: tuple[int, ...], dtype: Any, *, front: bool = False) -> Array:
    """The same, to be written to."""
    return guarded(np.zeros(shape, dtype), front=front)
