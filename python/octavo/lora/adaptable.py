# SPDX-License-Identifier: Apache-2.0
"""What adapters need to know of a model."""

from __future__ import annotations

from typing import Any

from octavo import nn


class Adaptable(nn.Module):
    """A model with layers that adapters are trained beside.

    Attributes
    ----------
    config : dataclass
        With `model_type`, `hidden_size`, `labels`, and `raw`, the fields of its file.
    head_prefixes : tuple of str
        Beginnings of the names of a classification head's tensors.
    output_layer : str
        The layer that gives the logits.
    """

    config: Any
    head_prefixes: tuple[str, ...] = ()
    output_layer: str = ""

    @classmethod
    def prefixes(cls) -> tuple[str, ...]:
        """Beginnings of the names of all tensors that belong to the model proper."""
        raise NotImplementedError
