# SPDX-License-Identifier: Apache-2.0
"""The call that PyTorch is retiring, for those who use it: the same signature, octavo's layers."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from octavo.torch._checks import float_kinds
from octavo.torch._pruned import refresh
from octavo.torch.config import Int8Dynamic
from octavo.torch.convert import quantize_
from octavo.torch.embedding import Embedding
from octavo.torch.linear import Linear
from octavo.torch.tensors import require_module


def _ours() -> dict[Any, Any]:
    """Return what each class of float layers becomes."""
    kinds = (kind for kind in float_kinds() if kind is not nn.Conv2d)
    return {kind: Embedding if kind is nn.Embedding else Linear for kind in kinds}


def quantize_dynamic(
    model: nn.Module,
    qconfig_spec: set[Any] | Mapping[Any, Any] | None = None,
    dtype: torch.dtype = torch.qint8,
    mapping: Mapping[Any, Any] | None = None,
    inplace: bool = False,
) -> nn.Module:
    """Quantize as `torch.ao.quantization.quantize_dynamic` does, to octavo's layers.

    Parameters
    ----------
    model : torch.nn.Module
    qconfig_spec : set of types or module names, or a dict from them to qconfigs, optional
        Which modules, and everything below them; a qconfig of None leaves that part float.
        Default: ``{torch.nn.Linear}``.
    dtype : torch.qint8
    mapping : dict from float types to octavo's, optional
        Limits the types that are swapped.
    inplace : bool
        Change `model` itself instead of a copy.

    Returns
    -------
    torch.nn.Module
        The quantized model.  Layers too small to gain stay float; `quantize_` lists them.

    Raises
    ------
    ValueError
        For types, dtypes or qconfigs that octavo has no layers for.

    Examples
    --------
    >>> import torch, octavo.torch
    >>> model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.ReLU())
    >>> octavo.torch.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    Sequential(
      (0): Linear(in_features=256, out_features=256, bias=True)
      (1): ReLU()
    )
    """
    require_module(model, "model")
    if dtype != torch.qint8:
        raise ValueError(f"dtype: expected torch.qint8, got {dtype}")
    spec = _read_spec(model, qconfig_spec)
    allowed = set(_ours() if mapping is None else _read_mapping(mapping))
    chosen: set[str] = set()
    _choose(model, "", spec, None, chosen)
    if not inplace:
        for part in model.modules():
            refresh(part)
        model = copy.deepcopy(model)
    quantize_(model, Int8Dynamic(), lambda part, name: type(part) in allowed and name in chosen)
    return model


def _read_spec(model: nn.Module, spec: Any) -> dict[Any, Any]:
    """Return type or name -> whether it is to be quantized."""
    if spec is None:
        spec = {nn.Linear}
    if isinstance(spec, (set, frozenset)):
        wanted: dict[Any, Any] = dict.fromkeys(spec, True)
    elif isinstance(spec, dict):
        wanted = {key: _is_int8(key, value) for key, value in spec.items()}
    else:
        raise TypeError(f"qconfig_spec: expected a set or a dict, got {type(spec).__name__}")
    names = {name for name, _ in model.named_modules()}
    for key in wanted:
        if isinstance(key, str):
            if key not in names:
                raise ValueError(f"qconfig_spec: expected names of modules, got {key!r}")
        elif key not in _ours() and wanted[key]:
            raise ValueError(
                "qconfig_spec: expected torch.nn.Linear, torch.nn.Embedding or transformers'"
                f" Conv1D, got {key!r};"
                " name the types you want, the rest stays float"
            )
    return wanted


def _is_int8(key: Any, qconfig: Any) -> bool:
    if qconfig is None:
        return False
    weight = getattr(qconfig, "weight", None)
    kind = getattr(weight() if callable(weight) else weight, "dtype", None)
    if kind != torch.qint8:
        raise ValueError(f"qconfig_spec[{key!r}]: expected weights of torch.qint8, got {kind}")
    return True


def _read_mapping(mapping: Any) -> list[Any]:
    if not hasattr(mapping, "items"):
        raise TypeError(f"mapping: expected a dict, got {type(mapping).__name__}")
    for source, target in mapping.items():
        if _ours().get(source) is not target:
            raise ValueError(
                f"mapping: expected torch.nn.Linear -> octavo.torch.Linear or torch.nn.Embedding"
                f" -> octavo.torch.Embedding, got {source!r} -> {target!r}"
            )
    return list(mapping)


def _choose(
    module: nn.Module, name: str, spec: dict[Any, Any], above: bool | None, chosen: set[str]
) -> None:
    """Collect the names to quantize: a module's own entry counts, else its type's, else above's."""
    wanted = spec.get(name, spec.get(type(module), above))
    if wanted:
        chosen.add(name)
    for child_name, child in module.named_children():
        _choose(child, f"{name}.{child_name}" if name else child_name, spec, wanted, chosen)
