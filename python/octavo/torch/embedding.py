# SPDX-License-Identifier: Apache-2.0
"""The embedding table as a torch module."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from octavo import nn
from octavo._types import Array
from octavo.nn.weights import Layout, Weight
from octavo.torch import _ops
from octavo.torch._form import Form
from octavo.torch._module import Int8Module, require_float
from octavo.torch._pruned import weight_of
from octavo.torch.memory import LayerMemory
from octavo.torch.tensors import (
    is_plain,
    require_tensor,
    to_array,
    to_numpy,
    to_tensor,
    version_of,
)

functional = torch.nn.functional


class Table(NamedTuple):
    """A weight of any kind as tensors, which several modules may share."""

    form: Form
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, table: nn.Embedding) -> Table:
        """Return that of a table of `octavo.nn`; it may share the memory."""
        weight = table.held_weight
        with torch.inference_mode(False):
            tensors = {key: to_tensor(array) for key, array in weight.tensors().items()}
        return cls(Form(weight.kind, weight.shape, weight.form(), {}), tensors)


class Embedding(Int8Module):
    """A table of int8 rows, each with a scale of its own.

    Made by `quantize_`, or from a float table by `from_float`.  The result has the dtype of the
    float table (or what `.to` made of it later).  A table whose weight is tied to a linear layer
    shares that layer's packed weight.

    State dicts hold ``weight`` (int8 codes) and ``weight_scale`` (float32, one row each).

    Examples
    --------
    >>> import torch, octavo.torch
    >>> table = octavo.torch.Embedding.from_float(torch.nn.Embedding(100, 16))
    >>> table(torch.tensor([[3, 5]])).shape
    torch.Size([1, 2, 16])
    """

    codes: Tensor
    weight_scale: Tensor
    _made: tuple[Weight | None, tuple[tuple[int, int], ...]]

    def __init__(
        self,
        table: nn.Embedding | Table | LayerMemory,
        *,
        dtype: torch.dtype = torch.float32,
        padding_idx: int | None = None,
    ) -> None:
        """Hold a table of `octavo.nn`, or the weight of a tied linear layer."""
        super().__init__()
        self.dtype, self.padding_idx = dtype, padding_idx
        self._hold(table)

    @classmethod
    def from_float(cls, module: torch.nn.Embedding) -> Embedding:
        """Quantize a float table on the CPU, which is left as it is.

        Raises
        ------
        TypeError
            If `module` is not a `torch.nn.Embedding`.
        ValueError
            If its numbers are on another device, without data, sparse, or not finite.
        """
        require_float(module, torch.nn.Embedding)
        table = nn.Embedding.from_float(to_numpy(weight_of(module)))
        made = cls(table, dtype=module.weight.dtype, padding_idx=module.padding_idx)
        return made.train(module.training)

    def _hold(self, table: nn.Embedding | Table | LayerMemory) -> None:
        if isinstance(table, nn.Embedding):
            table = Table.of(table)
        if isinstance(table, LayerMemory) and table.form.kind != "int8":
            table = Table(table.form, {name: getattr(table, name) for name in table.names})
        self._weight = table if isinstance(table, LayerMemory) else None
        self._form, self._made = table.form, (None, ())
        self.num_embeddings, self.embedding_dim = table.form.shape
        if isinstance(table, LayerMemory):
            tensors = {"weight": table.packed, "weight_scale": table.weight_scale}
        else:
            tensors = table.tensors
        self._text = table.form.text((*tensors,))
        # `weight` is the table as floats.
        self._names = {key: "codes" if key == "weight" else key for key in tensors}
        for key, tensor in tensors.items():
            self.register_buffer(self._names[key], tensor, persistent=False)

    @property
    def kind(self) -> str:
        """What the table is: "int8" or another of `octavo.nn.weights.KINDS`."""
        return self._form.kind

    def _tensors(self) -> dict[str, Tensor]:
        return {key: getattr(self, name) for key, name in self._names.items()}

    def table(self) -> Table | LayerMemory:
        """Return what another module holds to share this one's tensors."""
        return self._weight or Table(self._form, self._tensors())

    def _held(self) -> Weight:
        """Return what looks rows up, made anew if somebody wrote to the tensors in place."""
        if self._weight is not None:
            return self._weight.current().held_weight
        tensors = self._tensors()
        versions = tuple((t.data_ptr(), version_of(t)) for t in tensors.values())
        weight, seen = self._made
        if weight is None or seen != versions:
            weight = self._form.weight({key: to_array(t) for key, t in tensors.items()})
            self._made = weight, versions
        return weight

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name torch.nn.Embedding has)
        """Look up rows.

        Parameters
        ----------
        input : integer tensor of any shape

        Returns
        -------
        tensor, shape (*input.shape, embedding_dim)
        """
        if self._weight is None:
            if not torch.compiler.is_compiling() and is_plain(input):
                rows = _ops.look_up(input, self._held())
            else:
                require_tensor(input, "input")
                tensors = [getattr(self, name) for name in self._names.values()]
                rows = torch.ops.octavo.embedding(input, tensors, self._text)
            return rows.to(self.dtype)
        require_tensor(input, "input")
        scale = functional.embedding(input, self.weight_scale[:, None])
        width = self.codes.shape[2]
        rows = self.codes[input // width, :, input % width].flatten(-2)
        rows = rows[..., : self.embedding_dim]
        return (rows.to(torch.float32) * scale).to(self.dtype)

    def _weight_shape(self) -> tuple[int, int]:
        return self.num_embeddings, self.embedding_dim

    def _dequantized(self) -> Tensor:
        if not torch.compiler.is_compiling():
            weight = torch.tensor(self._held().dequantized())
        elif self._weight is None:
            weight = torch.ops.octavo.linear_weight([*self._tensors().values()], self._text)
        else:
            held = self._weight
            tensors = [getattr(held, name) for name in held.names]
            weight = torch.ops.octavo.linear_weight(tensors, held.text)
        return weight.to(self.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors: codes and scales."""
        return sum(tensor.nbytes for tensor in self._tensors().values())

    def _stored(self) -> dict[str, Array]:
        return self._held().portable()

    def _layouts(self) -> tuple[list[Layout], Layout]:
        return self._held().layouts()[:1], {}

    def _replace(self, parts: dict[str, Tensor]) -> None:
        if self._weight is not None:
            self._weight.replace(parts, self._weight.bias)
            return
        made = self._form.weight({key: to_array(part) for key, part in parts.items()})
        arrays = made.tensors().values()
        for tensor, array in zip(self._tensors().values(), arrays, strict=True):
            tensor.copy_(to_tensor(array).reshape(tensor.shape))

    def __getstate__(self) -> dict[str, Any]:
        shared = () if self._weight is None else tuple(self._names.values())
        buffers = {name: b for name, b in self._buffers.items() if name not in shared}
        return {**self.__dict__, "_buffers": buffers, "_made": (None, ())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self._weight is not None:
            self._hold(self._weight)

    def extra_repr(self) -> str:
        """Describe the table as `torch.nn.Embedding` does."""
        padding = f", padding_idx={self.padding_idx}" if self.padding_idx is not None else ""
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
