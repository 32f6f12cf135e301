# SPDX-License-Identifier: Apache-2.0
"""The adapters of one model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from octavo.lora.adapter import Adapter
from octavo.lora.fitting import fitting_modules, fitting_pairs
from octavo.lora.heads import NoHead
from octavo.lora.layer import AdaptedLayer
from octavo.lora.switch import Switch

if TYPE_CHECKING:
    from octavo import nn
    from octavo.lora.adaptable import Adaptable
    from octavo.nn import SidePath


class Adapters:
    """Adapters by name, and the switch between them.

    Parameters
    ----------
    model : Adaptable
        Its layers are wrapped as adapters come, and restored when the last one goes.
    """

    def __init__(self, model: Adaptable) -> None:
        self._model = model
        self.by_name: dict[str, Adapter] = {}
        self.switch = Switch()

    def load(self, source: str | os.PathLike[str] | Adapter, name: str) -> Adapter:
        """Put an adapter beside the layers; see `Encoder.load_adapter`."""
        if not isinstance(name, str) or not name:
            raise TypeError(f"name: expected a name, got {name!r}")
        if name in self.by_name:
            raise ValueError(f"name: expected a new one, got {name!r}; unload_adapter it first")
        adapter = source if isinstance(source, Adapter) else Adapter.load(source)
        parts: dict[str, SidePath | nn.Module] = {**fitting_modules(self._model, adapter)}
        for path, side in fitting_pairs(self._model, adapter).items():
            parts[path] = side.path()
        for path, part in parts.items():
            self._adapted(path).add(name, part)
        self.by_name[name] = adapter
        if len(self.by_name) == 1:
            self.switch.default = name
        return adapter

    def unload(self, name: str) -> None:
        """Let go of an adapter; see `Encoder.unload_adapter`."""
        self.require(name)
        del self.by_name[name]
        if self.switch.default == name:
            self.switch.default = None
        for path, layer in list(self._model.named_modules()):
            if isinstance(layer, AdaptedLayer):
                layer.forget(name)
                if not layer.names:
                    self._put(path, layer.base)

    def require(self, name: str | None) -> None:
        """Refuse the name of an adapter that is not there."""
        if name not in self.by_name:
            known = ", ".join(map(repr, self.by_name)) or "none is loaded"
            raise ValueError(f"name: expected an adapter ({known}), got {name!r}")

    def _adapted(self, path: str) -> AdaptedLayer:
        missing = path in vars(self._model) and vars(self._model)[path] is None
        layer = NoHead() if missing else self._model.get_submodule(path)
        if isinstance(layer, AdaptedLayer):
            return layer
        made = AdaptedLayer(layer, self.switch)
        self._put(path, made)
        return made

    def _put(self, path: str, layer: nn.Module) -> None:
        if "." in path:
            self._model.set_submodule(path, layer)
        else:
            # A head: an attribute that is None without one.
            setattr(self._model, path, None if isinstance(layer, NoHead) else layer)
