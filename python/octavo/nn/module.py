# SPDX-License-Identifier: Apache-2.0
"""The base of layers and models: plain Python objects whose attributes are their parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from octavo._types import Array

_last_change = object()


def last_change() -> object:
    """Return an object that is another whenever a part or an option of any module has changed."""
    return _last_change


def _changed(name: str) -> None:
    # Another class, of a module with hooks, is a change too.
    if not name.startswith("_") or name == "__class__":
        global _last_change
        _last_change = object()


class Module:
    """A callable with parts.

    Attributes that are modules, or lists or tuples of modules, are the children; a child is
    replaced by assigning the attribute (or with `set_submodule`).  Attributes whose name starts
    with an underscore are private and no children.

    Examples
    --------
    >>> import numpy as np, octavo
    >>> class Block(octavo.nn.Module):
    ...     def __init__(self, layers):
    ...         self.layer = layers
    >>> block = Block([octavo.Linear.from_float(np.eye(4, dtype=np.float32))])
    >>> [name for name, _ in block.named_modules()]
    ['', 'layer.0']
    >>> sorted(block.state_dict())
    ['layer.0.weight', 'layer.0.weight_scale']
    """

    role: ClassVar[str] = ""
    """What a layer with weights is for: "linear", "embedding", "layer_norm" or "rms_norm"."""

    kind: str = ""
    """The kind of the weight of a layer that has one, as `octavo.nn.weights` calls it."""

    def __setattr__(self, name: str, value: Any) -> None:
        # First: who asks for the last change, and then reads, must not have read what was before.
        object.__setattr__(self, name, value)
        _changed(name)

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        _changed(name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the module; subclasses define what that means."""
        raise NotImplementedError(f"{type(self).__name__} does not define __call__")

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the direct children and their names; a list's are `name.0`, `name.1`, ..."""
        for name, value in vars(self).items():
            if name.startswith("_"):
                continue
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, (list, tuple)):
                for index, item in enumerate(value):
                    if isinstance(item, Module):
                        yield f"{name}.{index}", item

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module, named `prefix`, and all below it, parents first."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def get_submodule(self, path: str) -> Module:
        """Return the module at a dotted path, as `named_modules` spells it."""
        module: Any = self
        for part in path.split(".") if path else ():
            module = _step(module, part, path)
        if not isinstance(module, Module):
            raise ValueError(f"path: expected the name of a module, got {path!r}")
        return module

    def set_submodule(self, path: str, module: Module) -> None:
        """Replace the module at a dotted path."""
        if not isinstance(module, Module):
            raise TypeError(f"module: expected a Module, got {type(module).__name__}")
        self.get_submodule(path)
        *parents, last = path.split(".")
        owner: Any = self
        for part in parents:
            owner = _step(owner, part, path)
        if not path:
            raise ValueError("path: expected the name of a part, got an empty string")
        if isinstance(owner, list):
            owner[int(last)] = module
        elif isinstance(owner, tuple):
            raise ValueError(f"path: expected a replaceable part, got {path!r} inside a tuple")
        else:
            setattr(owner, last, module)

    @property
    def nbytes(self) -> int:
        """Bytes of all parameters below; a part that appears twice counts once."""
        seen = {id(child): child for _, child in self.named_children()}
        return sum(child.nbytes for child in seen.values())

    def state_dict(self) -> dict[str, Array]:
        """Return the parameters of all parts under their dotted names."""
        state: dict[str, Array] = {}
        for name, child in self.named_children():
            for key, value in child.state_dict().items():
                state[f"{name}.{key}"] = value
        return state


def _step(module: Any, part: str, path: str) -> Any:
    """One step of a dotted path, through an attribute or a list index."""
    try:
        if isinstance(module, (list, tuple)):
            return module[int(part)]
        return vars(module)[part]
    except (KeyError, IndexError, ValueError, TypeError):
        raise ValueError(
            f"path: expected the name of a module, got {path!r} (nothing at {part!r})"
        ) from None
