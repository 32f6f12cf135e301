# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters of decoders: texts that run side by side may have one each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from octavo._text import shown
from octavo.lora.adapted import Adapted
from octavo.lora.adapter import Adapter
from octavo.lora.switch import choice_of
from octavo.models.decoder_config import DecoderConfig
from octavo.models.gguf import is_gguf
from octavo.models.gguf_adapter import read_gguf_adapter

if TYPE_CHECKING:
    from octavo.models.cache import Cache


class AdaptedDecoder(Adapted):
    """A decoder with adapters; see `Decoder`."""

    config: DecoderConfig

    def load_adapter(
        self, adapter: str | os.PathLike[str] | Adapter, name: str = "default"
    ) -> Adapter:
        """Do what `Encoder.load_adapter` does, but for adapters that replace whole layers.

        The adapter may also be a GGUF file, as llama.cpp converts those of peft.

        Raises
        ------
        ValueError
            Also if the adapter has such (``modules_to_save``).
        """
        if isinstance(adapter, Adapter):
            loaded = adapter
        elif is_gguf(adapter):
            loaded = read_gguf_adapter(adapter, self.config)
        else:
            loaded = Adapter.load(adapter)
        if loaded.modules:
            raise ValueError(
                "adapter: expected low-rank changes alone, got a whole layer"
                f" {shown(min(loaded.modules))}, which a decoder does not switch; merge it"
                " (octavo.lora.merge)"
            )
        return super().load_adapter(loaded, name)

    def adapters_named(self, names: Sequence[str | None]) -> list[Adapter | None]:
        """Return adapters by their names; None stays None, the base alone."""
        for name in names:
            if name is not None:
                self._require(name, "adapter")
        return [None if name is None else self.adapters[name] for name in names]

    def using(self, caches: Sequence[Cache], counts: Sequence[int]) -> AbstractContextManager[None]:
        """Use the adapters of texts in a ``with`` block, whose layers read so many rows of each.

        Raises
        ------
        ValueError
            If one of them is not loaded.
        """
        names = [self._name_of(cache) for cache in caches] or [None]
        return self._switch.use(choice_of(names, counts))

    def _name_of(self, cache: Cache) -> str | None:
        wanted = cache.adapter
        if wanted is None:
            return None
        for name, adapter in self.adapters.items():
            if adapter is wanted or adapter.fingerprint == wanted.fingerprint:
                return name
        raise ValueError(
            f"cache: its adapter, with the fingerprint {wanted.fingerprint[:12]}, is not loaded"
        )
