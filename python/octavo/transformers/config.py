# SPDX-License-Identifier: Apache-2.0
"""`OctavoConfig`: what ``from_pretrained`` takes as ``quantization_config``."""

from __future__ import annotations

import copy
from typing import Any

from transformers.quantizers.auto import register_quantization_config
from transformers.utils.quantization_config import QuantizationConfigMixin

from octavo import _checks
from octavo._text import shown
from octavo._version import __version__
from octavo.torch.config import Dynamic, Int4Dynamic, Int8Dynamic

METHOD = "octavo"
MARK = "octavo"
"""The key that tells, in a saved ``quantization_config``, that octavo wrote the folder."""


@register_quantization_config(METHOD)
class OctavoConfig(QuantizationConfigMixin):
    """Weights of 8 or 4 bits and dynamic int8 activations, on the CPU.

    With a float checkpoint, layers are quantized once the weights are loaded, as
    `octavo.torch.quantize_` does it.  With a quantized checkpoint (of `octavo compress`,
    compressed-tensors, GPTQ or AWQ) its own settings count; options given here are not used, and a
    warning says so.

    Parameters
    ----------
    symmetric : bool
        Quantize activations symmetrically instead of over each row's own range.
    embeddings : bool
        Also quantize embedding tables.
    if_slower : "keep", "measure" or "quantize"
        What becomes of layers that int8 would slow down; see `octavo.torch.Int8Dynamic`.
    rows : sequence of int
        The numbers of rows that ``if_slower="measure"`` tries.
    sparse : "auto", "never" or "always"
        Which layers leave their zeros out, by default those of a pruned model where it pays; see
        `octavo.torch.Int8Dynamic`.
    bits : 8 or 4
        Of the weights of linear layers.  4 has a scale for each group of inputs, in the weight and
        in activations, which are symmetric, and leaves no zeros out; embeddings are int8.
    group : 32, 64 or 128, optional
        How many inputs share a scale, of 4 bits; default: 32.
    modules_to_not_convert : list of str, optional
        Names of modules that stay float with all that is below them: whole names
        (``"encoder.layer.0"``) or parts between dots (``"query"``, ``"layer.0"``).  Default: the
        output head of models that have one, with a table tied to it, and layers that the checkpoint
        lacks: a new classifier is random and has to be trained.  An empty list keeps none.

    Raises
    ------
    TypeError, ValueError
        For an unknown option, or a value it cannot have.

    Examples
    --------
    >>> from octavo.transformers import OctavoConfig
    >>> OctavoConfig(modules_to_not_convert=["pooler"]).to_diff_dict()
    {'quant_method': 'octavo', 'modules_to_not_convert': ['pooler']}
    """

    def __init__(
        self,
        symmetric: bool = False,
        embeddings: bool = True,
        if_slower: str = "keep",
        rows: tuple[int, ...] = (1, 128),
        modules_to_not_convert: list[str] | None = None,
        sparse: str = "auto",
        bits: int = 8,
        group: int | None = None,
        **unknown: Any,
    ) -> None:
        method = unknown.pop("quant_method", METHOD)
        if method != METHOD:
            raise ValueError(f"quant_method: expected {shown(METHOD)}, got {shown(method)}")
        if unknown:
            names = ", ".join(_OPTIONS)
            raise TypeError(
                f"OctavoConfig: unknown option {shown(min(unknown))}; there are {names}"
            )
        self.quant_method: Any = METHOD
        self.symmetric, self.embeddings, self.if_slower = symmetric, embeddings, if_slower
        # A list in JSON.
        self.rows = tuple(rows) if isinstance(rows, list) else rows
        self.modules_to_not_convert = _names(modules_to_not_convert)
        self.sparse = sparse
        self.bits, self.group = bits, group
        self.stored: dict[str, Any] | None = None
        self.settings()

    @classmethod
    def of_checkpoint(cls, stored: dict[str, Any]) -> OctavoConfig:
        """Return the config of a checkpoint whose ``quantization_config`` is `stored`."""
        config = cls()
        config.stored = copy.deepcopy(stored)
        return config

    def settings(self) -> Dynamic:
        """Return the options as `octavo.torch` has them."""
        bits = _checks.integer(self.bits, "bits", 1)
        if bits not in (4, 8):
            raise ValueError(f"bits: expected 8 or 4, got {bits}")
        others = {8: ("group",), 4: ("symmetric", "sparse")}[bits]
        for name in others:
            if getattr(self, name) != _OPTIONS[name]:
                raise ValueError(
                    f"{name}: expected {shown(_OPTIONS[name])} with bits={bits}, got"
                    f" {shown(getattr(self, name))}"
                )
        if bits == 4:
            group = 32 if self.group is None else self.group
            return Int4Dynamic(group, self.embeddings, self.if_slower, self.rows)
        return Int8Dynamic(self.symmetric, self.embeddings, self.if_slower, self.rows, self.sparse)

    def options(self) -> dict[str, Any]:
        """Return the options that differ from the defaults."""
        return {
            name: getattr(self, name)
            for name, default in _OPTIONS.items()
            if getattr(self, name) != default
        }

    def to_dict(self) -> dict[str, Any]:
        """Return what a config.json holds.

        Of a model that is int8: the compressed-tensors description of its layers, which other
        readers know too.
        """
        if self.stored is not None:
            return {**copy.deepcopy(self.stored), MARK: __version__}
        return {
            "quant_method": METHOD,
            **{name: copy.deepcopy(getattr(self, name)) for name in _OPTIONS},
        }

    def to_diff_dict(self) -> dict[str, Any]:
        """Return `to_dict` without what is at its default."""
        if self.stored is not None:
            return self.to_dict()
        return {"quant_method": METHOD, **copy.deepcopy(self.options())}


_OPTIONS: dict[str, Any] = {
    "symmetric": False,
    "embeddings": True,
    "if_slower": "keep",
    "rows": (1, 128),
    "modules_to_not_convert": None,
    "sparse": "auto",
    "bits": 8,
    "group": None,
}


def _names(value: Any) -> list[str] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)):
        raise TypeError(f"modules_to_not_convert: expected a list of names, got {shown(value)}")
    for name in value:
        if not isinstance(name, str) or not name:
            raise TypeError(f"modules_to_not_convert: expected names of modules, got {shown(name)}")
    return list(value)
