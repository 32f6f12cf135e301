# SPDX-License-Identifier: Apache-2.0
"""The float weight that an int8 module stands for, made when somebody computes with it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_map_only


class DequantizedWeight(torch.Tensor):
    """A tensor without memory: its numbers are made anew for each operation on it.

    Shape, dtype and device are told without making them, since models ask at every call.
    """

    _make: Callable[[], torch.Tensor]

    @classmethod
    def of(
        cls, make: Callable[[], torch.Tensor], shape: tuple[int, ...], dtype: torch.dtype
    ) -> DequantizedWeight:
        """Return one whose numbers are what `make` returns."""
        found: DequantizedWeight = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=dtype)
        found._make = make
        return found

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, operator: Any, _types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Compute with the numbers.

        Raises
        ------
        ValueError
            For what would write to them.
        """
        if args and isinstance(args[0], cls) and operator._schema.is_mutable:
            raise ValueError(
                f"weight: expected a float weight for {operator.__name__}, got that of an int8"
                " layer, which is made of codes on every access; load_state_dict replaces those"
            )
        plain_args, plain_kwargs = tree_map_only(cls, lambda one: one._make(), (args, kwargs or {}))
        return operator(*plain_args, **plain_kwargs)

    # What PyTorch does for plain tensors alone.
    def numpy(self, **options: Any) -> Any:
        """Return the numbers as an array."""
        return self._make().numpy(**options)

    def tolist(self) -> Any:
        """Return the numbers as lists."""
        return self._make().tolist()

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        return copy.deepcopy(self._make(), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self._make().__reduce_ex__(protocol)
