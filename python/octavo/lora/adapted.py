# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters beside the layers of a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeVar

from octavo import nn
from octavo._text import shown
from octavo.lora.adapter import Adapter
from octavo.lora.config import TASKS
from octavo.lora.fitting import fitting_modules, fitting_pairs
from octavo.lora.heads import NoHead
from octavo.lora.layer import AdaptedLayer
from octavo.lora.merging import merged
from octavo.lora.switch import ByRows, Switch

Model = TypeVar("Model", bound="Adapted")


class Adapted(nn.Module):
    """A model with layers that adapters are trained beside.

    Attributes
    ----------
    config : dataclass
        With `prefix`, `hidden_size`, `task`, `labels`, and `raw`, the fields of its file.
    head_prefixes : tuple of str
        Beginnings of the names of a classification head's tensors.
    output_of_task : mapping of str to str
        The layer that gives the logits, by what a head is for.
    """

    config: Any
    head_prefixes: tuple[str, ...] = ()
    output_of_task: Mapping[str, str] = MappingProxyType({})
    _adapters: Mapping[str, Adapter] = MappingProxyType({})

    @classmethod
    def prefixes(cls) -> tuple[str, ...]:
        """Beginnings of the names of all tensors that belong to the model proper."""
        raise NotImplementedError

    def missing_for_head(self, task: str) -> str:
        """Name the part that a new classifier would read and the model lacks, if any."""
        reads_pooler = task in ("", TASKS["SEQ_CLS"])
        return "pooler" if reads_pooler and getattr(self, "pooler", self) is None else ""

    @cached_property
    def _switch(self) -> Switch:
        return Switch()

    def load_adapter(
        self, adapter: str | os.PathLike[str] | Adapter, name: str = "default"
    ) -> Adapter:
        """Put a low-rank adapter beside the layers, which keep their weights.

        A classification head that was trained with it takes the place of the model's, or gives it
        one. The first adapter is in use from then on; others when `set_adapter` or `use_adapter`
        say so.

        Parameters
        ----------
        adapter : path of a folder that peft wrote, or octavo.lora.Adapter
        name : str
            What to call it.

        Returns
        -------
        octavo.lora.Adapter

        Raises
        ------
        ValueError
            If the folder is corrupt or no plain LoRA, the adapter is of another base, or the name
            is taken; nothing has changed then.
        """
        if not isinstance(name, str) or not name:
            raise TypeError(f"name: expected a name, got {shown(name)}")
        if name in self._adapters:
            raise ValueError(
                f"name: expected a new one, got {shown(name)}; unload_adapter it first"
            )
        loaded = adapter if isinstance(adapter, Adapter) else Adapter.load(adapter)
        parts: dict[str, nn.SidePath | nn.Module] = {**fitting_modules(self, loaded)}
        parts |= {path: side.path() for path, side in fitting_pairs(self, loaded).items()}
        for path, part in parts.items():
            self._adapted(path).add(name, part)
        self._adapters = {**self._adapters, name: loaded}
        if len(self._adapters) == 1:
            self._switch.default = name
        return loaded

    @property
    def adapters(self) -> dict[str, Adapter]:
        """The loaded adapters by name."""
        return dict(self._adapters)

    @property
    def active_adapter(self) -> str | None:
        """The adapter that a call made here and now uses; None is the base alone."""
        choice = self._switch.current()
        return None if isinstance(choice, ByRows) else choice

    @property
    def adapter_key(self) -> Hashable:
        """What programs made of the layers depend on: which adapter is in use, or several."""
        return self._switch.key()

    def set_adapter(self, name: str | None) -> None:
        """Say which adapter all calls use outside of `use_adapter`; None is the base alone."""
        if name is not None:
            self._require(name)
        self._switch.default = name

    def use_adapter(self, name: str | None) -> AbstractContextManager[None]:
        """Use an adapter, or with None the base alone, in a ``with`` block.

        It counts for the thread or task that runs the block; others are not disturbed.
        """
        if name is not None:
            self._require(name)
        return self._switch.use(name)

    def unload_adapter(self, name: str) -> None:
        """Let go of an adapter; without any, the layers are what they were."""
        self._require(name)
        self._adapters = {key: one for key, one in self._adapters.items() if key != name}
        if self._switch.default == name:
            self._switch.default = None
        for path, layer in list(self.named_modules()):
            if isinstance(layer, AdaptedLayer):
                layer.forget(name)
                if not layer.names:
                    self._put(path, layer.base)

    def merge_adapter(
        self: Model, name: str, *, on_layer: Callable[[str, float], None] | None = None
    ) -> Model:
        """Return a model whose weights have the adapter in them; see `octavo.lora.merge`."""
        self._require(name)
        return merge(self, self._adapters[name], on_layer=on_layer)

    def require_no_adapters(self) -> None:
        """Raise ValueError if there are adapters, where the weights alone count."""
        if self.adapters:
            names = ", ".join(map(repr, self.adapters))
            raise ValueError(
                f"model: expected no adapters, got {names}; merge_adapter gives a model with one in"
                " its weights, unload_adapter removes them"
            )

    def _require(self, name: str, argument: str = "name") -> None:
        if name not in self._adapters:
            known = ", ".join(map(repr, self._adapters)) or "none is loaded"
            raise ValueError(f"{argument}: expected an adapter ({known}), got {shown(name)}")

    def _adapted(self, path: str) -> AdaptedLayer:
        """Return the layer at a path as one that takes adapters, made so now if it was not."""
        missing = path in vars(self) and vars(self)[path] is None
        layer = NoHead() if missing else self.get_submodule(path)
        if isinstance(layer, AdaptedLayer):
            return layer
        made = AdaptedLayer(layer, self._switch)
        self._put(path, made)
        return made

    def _put(self, path: str, layer: nn.Module) -> None:
        if "." in path:
            self.set_submodule(path, layer)
        else:
            # A head: an attribute that is None without one.
            setattr(self, path, None if isinstance(layer, NoHead) else layer)


def merge(
    model: Model,
    adapter: str | os.PathLike[str] | Adapter,
    *,
    on_layer: Callable[[str, float], None] | None = None,
) -> Model:
    """Add an adapter to the weights of a model.

    Float layers take the sum.  Int8 layers are dequantized, changed and quantized anew, with a
    scale per output channel; layers that hold only their non-zero weights become dense, for the sum
    has no zeros.  A classification head of the adapter becomes the model's.

    Parameters
    ----------
    model : Encoder or Decoder
        Left as it is, its own adapters too; layers that do not change are shared.
    adapter : Adapter, or path of its folder
    on_layer : callable, optional
        Called with each changed layer's name and what its rounding lost: the norm of the error over
        the norm of the float sum, 0 for float layers.

    Returns
    -------
    Encoder or Decoder
        Without adapters.

    Raises
    ------
    TypeError
        If `model` is no model.
    ValueError
        If the adapter is of another base, or its sum with the base is not finite.

    Examples
    --------
    >>> import octavo
    >>> octavo.lora.merge("no/such/folder", "some/adapter")
    Traceback (most recent call last):
    ...
    TypeError: model: expected one of octavo.models, got str
    """
    if not isinstance(model, Adapted):
        raise TypeError(f"model: expected one of octavo.models, got {type(model).__name__}")
    source = adapter if isinstance(adapter, Adapter) else Adapter.load(adapter)
    made = merged(model, source, on_layer)
    for name in ("_adapters", "_switch"):
        vars(made).pop(name, None)
    return made
