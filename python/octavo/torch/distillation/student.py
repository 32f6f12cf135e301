# SPDX-License-Identifier: Apache-2.0
"""Students made of a teacher: some of its layers, or a smaller model of its kind."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from octavo import _checks
from octavo.torch.distillation._random import Generators
from octavo.torch.distillation.mapping import evenly
from octavo.torch.tensors import require_module


def student_of(
    teacher: nn.Module,
    layers: int | Sequence[int] | None = None,
    *,
    config: Any = None,
    stack: str | None = None,
    seed: int = 0,
) -> nn.Module:
    """Make a student: a copy of the teacher with fewer layers, or a new model of a smaller config.

    Parameters
    ----------
    teacher : torch.nn.Module
        Is not changed; the student shares no memory with it.
    layers : int or sequence of int, optional
        Which of the teacher's layers to keep, counted from 0; a number keeps so many, evenly
        spread. Everything else (embeddings, head) is copied whole.
    config : dict or config of transformers, optional
        Instead of `layers`: a dict of what differs from the teacher's config (``hidden_size``,
        ``intermediate_size``, ``num_hidden_layers`` ...), or a whole config. The student starts
        from random weights.
    stack : str, optional
        The name of the `torch.nn.ModuleList` that holds the layers, where it cannot be told.
    seed : int
        Of random weights; the generators of the process are left as they are.

    Returns
    -------
    torch.nn.Module
        Of the teacher's class, in evaluation mode; all parameters can be trained.

    Raises
    ------
    TypeError
        If an argument is of another kind.
    ValueError
        If there is no such layer, if the layers cannot be told, if the config has no such field,
        or if neither or both of `layers` and `config` are given.

    Notes
    -----
    Keeping some of the teacher's layers is how DistilBERT starts (Sanh et al., arXiv 1910.01108).

    Examples
    --------
    >>> import torch
    >>> import octavo.torch
    >>> teacher = torch.nn.Sequential()
    >>> teacher.blocks = torch.nn.ModuleList(torch.nn.Linear(4, 4) for _ in range(6))
    >>> student = octavo.torch.student_of(teacher, layers=[0, 2, 5])
    >>> len(student.blocks), torch.equal(student.blocks[1].weight, teacher.blocks[2].weight)
    (3, True)
    """
    require_module(teacher, "teacher")
    if (layers is None) == (config is None):
        given = "neither" if layers is None else "both"
        raise ValueError(f"student_of: expected layers or config, got {given}")
    if layers is not None:
        student = _with_layers(teacher, layers, stack)
    else:
        student = _of_config(teacher, config, _checks.integer(seed, "seed", 0))
    for parameter in student.parameters():
        parameter.requires_grad_(True)
        parameter.grad = None
    return student.eval()


def _with_layers(teacher: nn.Module, layers: Any, stack: str | None) -> nn.Module:
    name, blocks = _stack_of(teacher, stack)
    kept = _kept(layers, len(blocks))
    unused = [block for index, block in enumerate(blocks) if index not in kept]
    # What the memo holds is not copied: dropped layers cost no memory.
    student: nn.Module = copy.deepcopy(teacher, {id(block): nn.Identity() for block in unused})
    ours: Any = student.get_submodule(name)
    chosen: list[nn.Module] = []
    for index in kept:
        taken_before = any(block is ours[index] for block in chosen)
        chosen.append(copy.deepcopy(ours[index]) if taken_before else ours[index])
    parent, _, last = name.rpartition(".")
    setattr(student.get_submodule(parent), last, nn.ModuleList(chosen))
    for index, block in enumerate(chosen):
        for part in block.modules():
            if hasattr(part, "layer_idx"):
                part.layer_idx = index
    _tell_config(getattr(student, "config", None), kept, len(blocks))
    return student


def _tell_config(config: Any, kept: list[int], before: int) -> None:
    """Write the number of layers, and lists with an entry for each, into a config."""
    if getattr(config, "num_hidden_layers", None) != before:
        return
    config.num_hidden_layers = len(kept)
    types = getattr(config, "layer_types", None)
    if isinstance(types, list) and len(types) == before:
        config.layer_types = [types[index] for index in kept]


def _stack_of(teacher: nn.Module, stack: str | None) -> tuple[str, nn.ModuleList]:
    found = {
        name: part
        for name, part in teacher.named_modules()
        if isinstance(part, nn.ModuleList) and len(part) > 1 and len(set(map(type, part))) == 1
    }
    if stack is not None:
        if stack not in found:
            raise ValueError(
                f"stack: expected the name of a list of like layers ({_listed(found)}), got "
                f"{stack!r}"
            )
        return stack, found[stack]
    count = getattr(getattr(teacher, "config", None), "num_hidden_layers", None)
    fitting = {name: part for name, part in found.items() if count in (None, len(part))}
    # The layers of a layer are no stack of their own.
    outer = {
        name: part
        for name, part in fitting.items()
        if not any(name.startswith(f"{other}.") for other in fitting)
    }
    if len(outer) != 1:
        raise ValueError(
            f"teacher: expected one list of like layers, found {_listed(outer)}; name it with stack"
        )
    return next(iter(outer.items()))


def _listed(found: Mapping[str, Any]) -> str:
    return ", ".join(found) or "none"


def _kept(layers: Any, total: int) -> list[int]:
    if isinstance(layers, (str, bytes)):
        raise TypeError(f"layers: expected a number or a list of numbers, got {layers!r}")
    if not isinstance(layers, Sequence):
        return evenly(_checks.integer(layers, "layers", 1, total), total)
    if not layers:
        raise ValueError("layers: expected at least one layer, got none")
    return [_checks.integer(index, "layers", 0, total - 1) for index in layers]


def _of_config(teacher: nn.Module, config: Any, seed: int) -> nn.Module:
    own = getattr(teacher, "config", None)
    if not hasattr(own, "to_dict"):
        raise ValueError(
            "config: expected a teacher of transformers, which has a config, got "
            f"{type(teacher).__name__}; make the student yourself"
        )
    if isinstance(config, Mapping):
        changed: Any = copy.deepcopy(own)
        for key, value in config.items():
            if not isinstance(key, str) or not hasattr(changed, key):
                raise ValueError(f"config: expected fields of {type(own).__name__}, got {key!r}")
            setattr(changed, key, value)
    elif isinstance(config, type(own)):
        changed = copy.deepcopy(config)
    else:
        raise TypeError(
            f"config: expected a dict or a {type(own).__name__}, got {type(config).__name__}"
        )
    with Generators() as generators:
        generators.seed(seed)
        student: nn.Module = type(teacher)(changed)
    return student
