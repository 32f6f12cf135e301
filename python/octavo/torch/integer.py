# SPDX-License-Identifier: Apache-2.0
"""The exact integer product."""

from __future__ import annotations

import torch

from octavo.torch import _ops
from octavo.torch.tensors import explain, is_plain


def int_mm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply int8 matrices to int32, exactly, on every CPU: what `torch._int_mm` does.

    Under `torch.compile` and `torch.export` it is one operator, ``octavo::int_mm``.

    Parameters
    ----------
    a : int8 or uint8 tensor, shape (M, K), any strides
    b : int8 tensor, shape (K, N), any strides

    Returns
    -------
    int32 tensor, shape (M, N)

    Raises
    ------
    TypeError
        If an operand is no tensor, of another dtype, or sparse.
    ValueError
        If the shapes do not fit, or K is so large that a sum might not fit int32.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> a = torch.tensor([[127, -128]], dtype=torch.int8)
    >>> octavo.torch.int_mm(a, torch.tensor([[127], [-128]], dtype=torch.int8))
    tensor([[32513]], dtype=torch.int32)
    """
    _ops.check_product(a, b)
    if torch.compiler.is_compiling() or not (is_plain(a) and is_plain(b)):
        return torch.ops.octavo.int_mm(a, b)
    return _ops.product(explain(a, "a"), explain(b, "b").numpy())
