# SPDX-License-Identifier: Apache-2.0
"""Torch tensors as NumPy arrays and back, over the same memory; values made from tensors."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

Array = NDArray[Any]
T = TypeVar("T")

FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def to_numpy(tensor: torch.Tensor) -> Array:
    """Return the tensor's memory as an array (through DLPack); bfloat16 widens to float32."""
    plain = tensor.detach()
    if plain.dtype == torch.bfloat16:
        plain = plain.float()
    return np.from_dlpack(plain)


def is_plain(x: torch.Tensor) -> bool:
    """Whether a call on `x` may bypass the dispatcher: nobody traces, differentiates or wraps it.

    The dispatcher costs more than a small layer; everything that needs it still gets it.
    """
    return (
        type(x) is torch.Tensor
        and not (x.requires_grad and torch.is_grad_enabled())
        and not torch._C._len_torch_dispatch_stack()
        and torch._C._get_tracing_state() is None
        and torch._C._functorch.maybe_current_level() is None
    )


def version_of(tensor: torch.Tensor) -> int:
    """Return the count of in-place writes; inference tensors do not keep one."""
    return -1 if tensor.is_inference() else tensor._version


class TensorCache(Generic[T]):
    """Values made from tensors, kept while the tensors live and hold the same numbers.

    A tensor is known by its storage, its place in it, and the count of writes to it.  The value
    goes when a storage does.
    """

    def __init__(self) -> None:
        self._entries: dict[Hashable, tuple[list[Any], tuple[int, ...], T]] = {}

    def get(self, tensors: tuple[torch.Tensor, ...], options: Hashable, make: Callable[[], T]) -> T:
        """Return the value for `tensors` and `options`, made now if there is none that fits."""
        storages = [tensor.untyped_storage() for tensor in tensors]
        places = [(t.storage_offset(), t.shape, t.stride()) for t in tensors]
        key = (*map(id, storages), *places, options)
        versions = tuple(version_of(tensor) for tensor in tensors)
        entry = self._entries.get(key)
        if entry is not None and entry[1] == versions:
            return entry[2]
        value = make()

        def forget(_: object) -> None:
            self._entries.pop(key, None)

        self._entries[key] = ([weakref.ref(s, forget) for s in storages], versions, value)
        return value

    def __len__(self) -> int:
        return len(self._entries)
