# SPDX-License-Identifier: Apache-2.0
"""The int8 embedding table as a torch module."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from octavo import _backend, _checks, nn
from octavo.torch._module import Int8Module, has_all, require_float, take
from octavo.torch._pruned import weight_of
from octavo.torch._tensors import FLOATS, explain, is_plain, require_tensor, to_numpy
from octavo.torch._weight import LayerMemory

functional = torch.nn.functional


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

    def __init__(
        self,
        codes: Tensor | LayerMemory,
        scale: Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        padding_idx: int | None = None,
    ) -> None:
        """Hold int8 codes (num_embeddings, embedding_dim), or the weight of a tied linear layer."""
        super().__init__()
        self.dtype, self.padding_idx = dtype, padding_idx
        self._hold(codes, scale)

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
        with torch.inference_mode(False):
            codes = torch.from_numpy(table.weight_codes)
            scale = torch.from_numpy(table.weight_scale)
        made = cls(codes, scale, dtype=module.weight.dtype, padding_idx=module.padding_idx)
        return made.train(module.training)

    def _hold(self, codes: Tensor | LayerMemory, scale: Tensor) -> None:
        self._weight = codes if isinstance(codes, LayerMemory) else None
        tensor: Any = codes if self._weight is None else self._weight.packed
        shape = codes.shape
        self.num_embeddings, self.embedding_dim = int(shape[0]), int(shape[1])
        self.register_buffer("codes", tensor, persistent=False)
        self.register_buffer("weight_scale", scale, persistent=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (the name torch.nn.Embedding has)
        """Look up rows.

        Parameters
        ----------
        input : integer tensor of any shape

        Returns
        -------
        tensor, shape (*input.shape, embedding_dim)
        """
        if self._weight is None and not torch.compiler.is_compiling() and is_plain(input):
            return self._look_up(input)
        require_tensor(input, "input")
        scale = functional.embedding(input, self.weight_scale[:, None])
        if self._weight is None:
            rows = functional.embedding(input, self.codes)
        else:
            width = self.codes.shape[2]
            rows = self.codes[input // width, :, input % width].flatten(-2)
            rows = rows[..., : self.embedding_dim]
        return (rows.to(torch.float32) * scale).to(self.dtype)

    def _look_up(self, ids: Tensor) -> Tensor:
        """Do it in one pass, for a table of its own."""
        if ids.dtype not in (torch.int64, torch.int32):
            raise TypeError(f"input: expected int64 or int32, got {ids.dtype}")
        array = _checks.as_ids(explain(ids, "input").numpy(), "input", own=True)
        if array.size and not 0 <= array.min() <= array.max() < self.num_embeddings:
            low, high = array.min(), array.max()
            raise IndexError(
                f"input: expected ids in [0, {self.num_embeddings - 1}],"
                f" got {low if low < 0 else high}"
            )
        out = np.empty((array.size, self.embedding_dim), np.float32)
        codes, scale = self.codes.numpy(), self.weight_scale.numpy()
        _backend.backend.embedding(codes, scale, np.ravel(array), out)
        rows = torch.from_numpy(out.reshape(*array.shape, self.embedding_dim))
        return rows if self.dtype == torch.float32 else rows.to(self.dtype)

    def _plain_codes(self) -> Tensor:
        if self._weight is None:
            return self.codes
        return self._weight.codes()

    @property
    def weight(self) -> Tensor:
        """The table as float32, computed on every access."""
        return self._plain_codes().float().mul_(self.weight_scale[:, None])

    @property
    def nbytes(self) -> int:
        """Bytes of the codes and the scales."""
        return self.codes.nbytes + self.weight_scale.nbytes

    def _float_dtype_changed(self, dtype: torch.dtype) -> None:
        if dtype in FLOATS:
            self.dtype = dtype

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self._plain_codes()
        destination[f"{prefix}weight_scale"] = self.weight_scale[:, None]

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
        names = ("weight", "weight_scale")
        if not has_all(state_dict, prefix, names, strict, missing_keys, unexpected_keys):
            return
        n, d = self.num_embeddings, self.embedding_dim
        codes = take(state_dict, f"{prefix}weight", (n, d), (torch.int8,), error_msgs)
        scale = take(state_dict, f"{prefix}weight_scale", (n, 1), FLOATS, error_msgs)
        if codes is None or scale is None:
            return
        if self._weight is None:
            self.codes.copy_(codes)
            self.weight_scale.copy_(scale[:, 0])
        else:
            parts = {"weight": codes, "weight_scale": scale.float()}
            self._weight.replace(parts, self._weight.bias)

    def __getstate__(self) -> dict[str, Any]:
        if self._weight is None:
            return self.__dict__
        held = ("codes", "weight_scale")
        buffers = {name: b for name, b in self._buffers.items() if name not in held}
        return {**self.__dict__, "_buffers": buffers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self._weight is not None:
            self._hold(self._weight, self._weight.weight_scale)

    def extra_repr(self) -> str:
        """Describe the table as `torch.nn.Embedding` does."""
        padding = f", padding_idx={self.padding_idx}" if self.padding_idx is not None else ""
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
