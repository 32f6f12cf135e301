# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters beside the layers of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from octavo import nn

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from octavo.lora.adapter import Adapter
    from octavo.lora.attach import Adapters
    from octavo.models.encoder import Encoder

__all__ = ["Adapted"]


class Adapted(nn.Module):
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
        from octavo.lora.attach import Adapters

        if self._adapters is None:
            self._adapters = Adapters(cast("Encoder", self))
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
        self, name: str, *, on_layer: Callable[[str, float], None] | None = None
    ) -> Encoder:
        """Return a model whose weights have the adapter in them; see `octavo.lora.merge`."""
        from octavo.lora.merging import merge

        adapters = self._with_adapters(name, also_base=False)
        return merge(cast("Encoder", self), adapters.by_name[name], on_layer=on_layer)

    def require_no_adapters(self) -> None:
        """Raise ValueError if there are adapters, where the weights alone count."""
        if self.adapters:
            names = ", ".join(map(repr, self.adapters))
            raise ValueError(
                f"model: expected no adapters, got {names}; merge_adapter gives a model with one in"
                " its weights, unload_adapter removes them"
            )

    def _with_adapters(self, name: str | None, *, also_base: bool = True) -> Adapters:
        from octavo.lora.attach import Adapters

        found = Adapters(cast("Encoder", self)) if self._adapters is None else self._adapters
        if name is not None or not also_base:
            found.require(name)
        return found
