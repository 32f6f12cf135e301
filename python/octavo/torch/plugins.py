# SPDX-License-Identifier: Apache-2.0
"""octavo's exact int8 product under libraries that compute with another one on the CPU.

A plug-in replaces CPU kernels of operators, so it reaches every user of them in this process, and
nothing has to be converted.  Right operands are packed when they are seen a second time (weights
are, products of two activations are not), and the packed copy goes when the tensor does.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from octavo import _backend, _checks
from octavo.nn.options import LinearOptions
from octavo.torch import _ops
from octavo.torch.tensors import TensorCache, to_numpy

_LARGEST = np.float32(127)
# [times seen, packed form]
_SEEN: TensorCache[list[Any]] = TensorCache()


class PlugIn:
    """Kernels that are in place until `remove` is called.

    Also a context manager that removes them at its end.
    """

    def __init__(self, name: str, library: torch.library.Library) -> None:
        self.name = name
        self._library: torch.library.Library | None = library

    def remove(self) -> None:
        """Give the operators their own kernels back; a second call does nothing."""
        library, self._library = self._library, None
        if library is not None:
            library._destroy()

    def __enter__(self) -> PlugIn:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        return f"PlugIn({self.name!r}, active={self._library is not None})"


def plug_in(name: str) -> PlugIn:
    """Put octavo's int8 product under another library, on the CPU and in this process.

    Parameters
    ----------
    name : "torch" or "bitsandbytes"
        ``"torch"`` replaces the CPU kernel of `torch._int_mm`, and so reaches torchao's and
        optimum-quanto's int8 tensors.  ``"bitsandbytes"`` registers ``int8_linear_matmul``,
        ``int8_scaled_mm`` and ``int8_vectorwise_quant``, which is what its ``Linear8bitLt``
        computes with.

    Returns
    -------
    PlugIn
        Call its `remove`, or use it in a ``with`` statement, to undo this.

    Raises
    ------
    ValueError
        For an unknown name.
    ImportError
        If the library is not installed.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> a = torch.full((1, 64), -128, dtype=torch.int8)
    >>> with octavo.torch.plug_in("torch"):
    ...     int(torch._int_mm(a, a.t()))
    1048576
    """
    if not isinstance(name, str) or name not in _MAKERS:
        raise ValueError(f"name: expected one of {', '.join(_MAKERS)}, got {name!r}")
    return PlugIn(name, _MAKERS[name]())


def _weight_product(a: Tensor, b: Tensor) -> Tensor:
    """Exact a @ b, with b packed once if it comes again."""
    _ops.check_product(a, b)
    seen = _SEEN.get((b,), "matrix", lambda: [0, None])
    seen[0] += 1
    if seen[0] == 1:
        return _ops.product(a, b.numpy())
    if seen[1] is None:
        seen[1] = _backend.backend.PackedMatrix(b.numpy())
    return _ops.product(a, seen[1])


def _torch_library() -> torch.library.Library:
    library = torch.library.Library("aten", "IMPL")

    def write(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
        result = _weight_product(a, b)
        out.resize_(result.shape)
        return out.copy_(result)

    _implement(library, "_int_mm", _weight_product)
    _implement(library, "_int_mm.out", write)
    return library


def _bitsandbytes_library() -> torch.library.Library:
    try:
        importlib.import_module("bitsandbytes")
    except ModuleNotFoundError as error:
        if error.name != "bitsandbytes":
            raise
        raise ImportError("plug_in needs bitsandbytes: pip install bitsandbytes") from error
    library = torch.library.Library("bitsandbytes", "IMPL")

    def matmul(a: Tensor, b: Tensor) -> Tensor:
        rows = a.reshape(-1, a.shape[-1])
        return _weight_product(rows, b.t()).reshape(*a.shape[:-1], b.shape[0])

    def write(a: Tensor, b: Tensor, out: Tensor) -> None:
        out.copy_(matmul(a, b))

    _implement(library, "int8_linear_matmul", matmul)
    _implement(library, "int8_linear_matmul.out", write)
    _implement(library, "int8_vectorwise_quant", _vectorwise_quant)
    if hasattr(torch.ops.bitsandbytes, "int8_scaled_mm"):
        _implement(library, "int8_scaled_mm", _scaled_mm)
    return library


def _vectorwise_quant(a: Tensor, threshold: float = 0.0) -> tuple[Tensor, Tensor, Tensor | None]:
    """Quantize rows symmetrically; columns with a value of `threshold` or more become 0.

    bitsandbytes' own arithmetic in float32 instead of float16; a value halfway between two codes
    may get the other one.
    """
    rows, columns = a.to(torch.float32), None
    if threshold > 0.0:
        outliers = rows.abs() >= threshold
        columns = outliers.any(dim=0).nonzero().view(-1)
        rows = rows.masked_fill(outliers, 0.0)
    matrix = rows if rows.ndim == 2 else rows.reshape(-1, rows.shape[-1])
    numbers, scales, _ = _backend.backend.quantize_dynamic(matrix.contiguous().numpy(), True)
    codes, stats = torch.from_numpy(numbers), torch.from_numpy(scales * _LARGEST)
    if matrix is not rows:
        codes, stats = codes.reshape(rows.shape), stats.reshape(rows.shape[:-1])
    if columns is not None and a.numel() > a.shape[-1]:
        codes[:, columns] = 0
    return codes, stats, columns


def _scaled_mm(
    a: Tensor,
    b: Tensor,
    row_stats: Tensor,
    col_stats: Tensor,
    bias: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Return ``(a @ b.T) * row_stats * col_stats / 127**2 + bias``, computed in one pass.

    bitsandbytes' statistics are largest absolute values: 127 times the scales.  What is small is
    left to NumPy, whose calls cost a fifth of PyTorch's.
    """
    rows = a if a.ndim == 2 else a.reshape(-1, a.shape[-1])
    tensors = (b, col_stats) if bias is None else (b, col_stats, bias)
    layer = _SEEN.get(tensors, "linear", lambda: [_scaled_layer(b, col_stats, bias)])[0]
    scales = row_stats.float().numpy().reshape(-1) / _LARGEST
    zero_points = np.zeros(len(scales), np.int32)
    y = torch.from_numpy(layer.run_codes(rows.contiguous().numpy(), scales, zero_points))
    if a.ndim != 2:
        y = y.reshape(*a.shape[:-1], b.shape[0])
    return y if dtype == torch.float32 else y.to(dtype or torch.float16)


def _scaled_layer(b: Tensor, col_stats: Tensor, bias: Tensor | None) -> Any:
    """Return the backend's layer, whose scales may be 0 (a channel of zeros) or of any sign."""
    _checks.check_inner(b.shape[1], 128 * 128, "B")
    codes, scales = b.contiguous().numpy(), to_numpy(col_stats.float()) / _LARGEST
    biases = None if bias is None else to_numpy(bias.float())
    return _backend.backend.PackedLinear(codes, scales, biases, **LinearOptions().to_dict())


def _implement(library: torch.library.Library, name: str, function: Callable[..., Any]) -> None:
    """Register a CPU kernel over the one that is there, which PyTorch warns about."""
    options: dict[str, Any] = {}
    if "allow_override" in inspect.signature(library.impl).parameters:
        options["allow_override"] = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        library.impl(name, function, "CPU", **options)


_MAKERS: dict[str, Callable[[], torch.library.Library]] = {
    "torch": _torch_library,
    "bitsandbytes": _bitsandbytes_library,
}
