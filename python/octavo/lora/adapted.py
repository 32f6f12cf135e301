# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters beside the layers of a model."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from octavo.lora.adaptable import Adaptable
from octavo.lora.adapter import Adapter
from octavo.lora.attach import Adapters
from octavo.lora.merging import merged

Model = TypeVar("Model", bound="Adapted")


class Adapted(Adaptable):
    """A model that takes adapters."""

    _adapters: Adapters | None = None

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
        if self._adapters is None:
            self._adapters = Adapters(self)
        return self._adapters.load(adapter, name)

    @property
    def adapters(self) -> dict[str, Adapter]:
        """The loaded adapters by name."""
        return {} if self._adapters is None else dict(self._adapters.by_name)

    @property
    def active_adapter(self) -> str | None:
        """The adapter that a call made here and now uses; None is the base alone."""
        return None if self._adapters is None else self._adapters.switch.current()

    def set_adapter(self, name: str | None) -> None:
        """Say which adapter all calls use outside of `use_adapter`; None is the base alone."""
        self._with_adapters(name).switch.default = name

    def use_adapter(self, name: str | None) -> AbstractContextManager[None]:
        """Use an adapter, or with None the base alone, in a ``with`` block.

        It counts for the thread or task that runs the block; others are not disturbed.
        """
        return self._with_adapters(name).switch.use(name)

    def unload_adapter(self, name: str) -> None:
        """Let go of an adapter; without any, the layers are what they were."""
        self._with_adapters(name, also_base=False).unload(name)

    def merge_adapter(
        self: Model, name: str, *, on_layer: Callable[[str, float], None] | None = None
    ) -> Model:
        """Return a model whose weights have the adapter in them; see `octavo.lora.merge`."""
        adapters = self._with_adapters(name, also_base=False)
        return merge(self, adapters.by_name[name], on_layer=on_layer)

    def require_no_adapters(self) -> None:
        """Raise ValueError if there are adapters, where the weights alone count."""
        if self.adapters:
            names = ", ".join(map(repr, self.adapters))
            raise ValueError(
                f"model: expected no adapters, got {names}; merge_adapter gives a model with one in"
                " its weights, unload_adapter removes them"
            )

    def _with_adapters(self, name: str | None, *, also_base: bool = True) -> Adapters:
        found = Adapters(self) if self._adapters is None else self._adapters
        if name is not None or not also_base:
            found.require(name)
        return found


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
    model : Encoder
        Left as it is, its own adapters too; layers that do not change are shared.
    adapter : Adapter, or path of its folder
    on_layer : callable, optional
        Called with each changed layer's name and what its rounding lost: the norm of the error over
        the norm of the float sum, 0 for float layers.

    Returns
    -------
    Encoder
        Without adapters.

    Raises
    ------
    TypeError
        If `model` is no encoder.
    ValueError
        If the adapter is of another base, or its sum with the base is not finite.

    Examples
    --------
    >>> import octavo
    >>> octavo.lora.merge("no/such/folder", "some/adapter")
    Traceback (most recent call last):
    ...
    TypeError: model: expected an octavo.models encoder, got str
    """
    if not isinstance(model, Adapted):
        raise TypeError(f"model: expected an octavo.models encoder, got {type(model).__name__}")
    source = adapter if isinstance(adapter, Adapter) else Adapter.load(adapter)
    made = merged(model, source, on_layer)
    made._adapters = None
    return made
