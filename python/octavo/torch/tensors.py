# SPDX-License-Identifier: Apache-2.0
"""Torch tensors as NumPy arrays and back, over the same memory; values made from tensors."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from octavo._types import Array

T = TypeVar("T")

FLOATS = (torch.float32, torch.bfloat16, torch.float16)


def to_numpy(tensor: torch.Tensor) -> Array:
    """Return the tensor's memory as an array (through DLPack); bfloat16 widens to float32."""
    plain = tensor.detach()
    if plain.dtype == torch.bfloat16:
        plain = plain.float()
    return np.from_dlpack(plain)


def to_array(tensor: torch.Tensor) -> Array:
    """Return the tensor's memory as an array as octavo has them: bfloat16 as uint16."""
    plain = tensor.detach()
    if plain.dtype == torch.bfloat16:
        return np.from_dlpack(plain.view(torch.int16)).view(np.uint16)
    return np.from_dlpack(plain)


def borrowed(tensor: torch.Tensor) -> Array:
    """Do what `to_array` does, without keeping the memory: for what goes when the tensor does."""
    plain = to_array(tensor.contiguous())
    if not (plain.size and tensor.is_contiguous()):
        return plain
    memory: Any = (ctypes.c_char * plain.nbytes).from_address(tensor.data_ptr())
    return np.frombuffer(memory, plain.dtype).reshape(plain.shape)


def to_tensor(array: Array) -> torch.Tensor:
    """Return an array's memory as a tensor, or a copy if it is read-only; uint16 as bfloat16."""
    if array.dtype == np.uint16:
        return to_tensor(array.view(np.int16)).view(torch.bfloat16)
    # What traces operators sees torch.from_numpy and makes something else of its result; not so
    # DLPack.
    return torch.from_dlpack(array if array.flags.writeable else array.copy())


def dtypes_of(dtype: np.dtype[Any]) -> tuple[torch.dtype, ...]:
    """Return the types of the tensors that can be read as arrays of a type: floats as float32."""
    if dtype == np.float32:
        return FLOATS
    return (to_tensor(np.empty(0, dtype)).dtype,)


def unusable(tensor: torch.Tensor) -> str | None:
    """Return why the numbers of a tensor cannot be read here, and what to do; None if they can."""
    if tensor.is_meta:
        return "expected a CPU tensor, got a meta tensor without data; load the weights first"
    if tensor.device.type != "cpu":
        return f"expected a CPU tensor, got one on {tensor.device}; move it with .cpu()"
    if tensor.layout != torch.strided:
        return f"expected a dense tensor, got layout {tensor.layout}; convert it with .to_dense()"
    return None


def require_tensor(x: object, name: str) -> None:
    """Refuse what is no tensor."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name}: expected a torch.Tensor, got {type(x).__name__}")


def require_module(module: object, name: str = "module") -> None:
    """Refuse what is no module."""
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"{name}: expected a torch.nn.Module, got {type(module).__name__}")


def explain(x: torch.Tensor, name: str) -> torch.Tensor:
    """Return what NumPy takes in place of a tensor that it refused, or say what is wrong."""
    if x.is_nested or x.layout != torch.strided:
        layout = "a nested one" if x.is_nested else f"layout {x.layout}"
        raise TypeError(f"{name}: expected a dense tensor, got {layout}")
    if x.device.type != "cpu":
        raise ValueError(f"{name}: expected a CPU tensor, got one on {x.device}")
    return x.detach().resolve_neg()


def is_plain(x: torch.Tensor) -> bool:
    """Whether a call on `x` may bypass the dispatcher: nobody traces, differentiates or wraps it.

    The dispatcher costs more than a small layer; everything that needs it still gets it.
    """
    return is_eager(x) and not (x.requires_grad and torch.is_grad_enabled())


def is_eager(x: torch.Tensor) -> bool:
    """Whether nobody traces or wraps a call on `x`; its gradient may be asked for."""
    return (
        type(x) is torch.Tensor
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
    goes when a storage does, so it must not keep one alive: `borrowed`.
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
