# SPDX-License-Identifier: Apache-2.0
"""What the int8 modules share: they stay on the CPU, and their numbers are no parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from octavo._types import Array
from octavo.nn.weights import Layout
from octavo.torch._dequantized import DequantizedWeight
from octavo.torch.tensors import FLOATS, dtypes_of, to_tensor, unusable

if TYPE_CHECKING:
    from typing_extensions import Self


class Int8Module(torch.nn.Module):
    """A module whose buffers are the memory of an int8 layer.

    Attributes
    ----------
    dtype : torch.dtype
        Of the float module that it replaced, or what `.to` made of it later.
    """

    dtype: torch.dtype

    @property
    def weight(self) -> torch.Tensor:
        """The weight as floats, in dtype and shape that of the float module.

        Its numbers are made whenever something computes with it, which costs their full size for a
        moment; shape, dtype and device cost nothing.  It cannot be written to.
        """
        if torch.compiler.is_compiling():
            return self._dequantized()
        return DequantizedWeight.of(self._dequantized, self._weight_shape(), self.dtype)

    def _weight_shape(self) -> tuple[int, ...]:
        """Return the shape of `weight`."""
        raise NotImplementedError

    def _dequantized(self) -> torch.Tensor:
        """Return the numbers of `weight`, as a graph can hold them while one is compiled."""
        raise NotImplementedError

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:  # noqa: ARG002
        """Keep codes and scales as they are under ``.to``, ``.half`` and the like; CPU only."""
        probe = fn(torch.zeros(1))
        if probe.device.type != "cpu":
            raise ValueError(
                f"{type(self).__name__}: int8 layers run on the CPU, got device {probe.device};"
                " move the float model first and quantize what stays on the CPU"
            )
        if probe.dtype in FLOATS:
            self.dtype = probe.dtype
        return self

    def _stored(self) -> dict[str, Array]:
        """Return the arrays that state dicts hold."""
        raise NotImplementedError

    def _layouts(self) -> tuple[list[Layout], Layout]:
        """Return how weights may come in a state dict, its own way first; and what is beside."""
        raise NotImplementedError

    def _replace(self, parts: dict[str, torch.Tensor]) -> None:
        """Take other numbers; ValueError if they are no such layer."""
        raise NotImplementedError

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, array in self._stored().items():
            held = self._buffers.get("held_bias" if name == "bias" else name)
            tensor = to_tensor(array) if held is None else held.reshape(array.shape)
            destination[prefix + name] = tensor

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],  # noqa: ARG002
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        (own, *others), beside = self._layouts()
        found = {key.removeprefix(prefix) for key in state_dict if key.startswith(prefix)}
        for other in others:
            if found & ({*other} - {*own}) and not found & ({*own} - {*other}):
                own = other
        layout = {**own, **beside}
        if not has_all(state_dict, prefix, tuple(layout), strict, missing_keys, unexpected_keys):
            return
        parts = {}
        for name, (dtype, shape) in layout.items():
            part = take(state_dict, prefix + name, shape, dtypes_of(dtype), error_msgs)
            if part is not None:
                parts[name] = part.float() if dtype == np.float32 else part
        if len(parts) == len(layout):
            try:
                self._replace(parts)
            except ValueError as error:
                error_msgs.append(f"{prefix.removesuffix('.')}: {error}")

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Refuse True: integers do not train.  Gradients pass to the input all the same."""
        if requires_grad:
            raise ValueError(
                f"requires_grad: expected False for {type(self).__name__}, got True: int8 weights"
                " do not train; gradients flow to the input, so train what stands before it,"
                " or beside it"
            )
        return self


def require_float(module: object, kind: type[torch.nn.Module]) -> None:
    """Refuse what `from_float` cannot read."""
    if not isinstance(module, kind):
        raise TypeError(f"module: expected a torch.nn.{kind.__name__}, got {type(module).__name__}")
    for name in ("weight", "bias"):
        tensor = getattr(module, name, None)
        problem = None if tensor is None else unusable(tensor)
        if problem is not None:
            raise ValueError(f"module.{name}: {problem}")


def take(
    state: dict[str, Any],
    key: str,
    shape: tuple[int | None, ...],
    dtypes: tuple[torch.dtype, ...],
    errors: list[str],
) -> torch.Tensor | None:
    """Return ``state[key]`` if it fits, else None and a line in `errors`.

    None in `shape` stands for any size.
    """
    value = state[key]
    if not isinstance(value, torch.Tensor):
        errors.append(f"{key}: expected a tensor, got {type(value).__name__}")
    elif not has_shape(value, shape):
        wanted = str(shape).replace("None", "any")
        errors.append(f"{key}: expected shape {wanted}, got {tuple(value.shape)}")
    elif value.dtype not in dtypes:
        errors.append(f"{key}: expected {' or '.join(map(str, dtypes))}, got {value.dtype}")
    elif value.device.type != "cpu":
        errors.append(f"{key}: expected a CPU tensor, got {value.device}")
    else:
        return value
    return None


def has_shape(value: torch.Tensor, shape: tuple[int | None, ...]) -> bool:
    """Whether a tensor has a shape; None stands for any size."""
    pairs = zip(shape, value.shape, strict=True)
    return value.ndim == len(shape) and all(want in (None, got) for want, got in pairs)


def has_all(
    state: dict[str, Any],
    prefix: str,
    names: tuple[str, ...],
    strict: bool,
    missing: list[str],
    unexpected: list[str],
) -> bool:
    """Whether all `names` are in `state`; lists what is missing and, if `strict`, what is extra."""
    own = [prefix + name for name in names]
    if strict:
        unexpected += [key for key in state if key.startswith(prefix) and key not in own]
    absent = [key for key in own if key not in state]
    if strict or len(absent) < len(names):
        missing += absent
    return not absent
