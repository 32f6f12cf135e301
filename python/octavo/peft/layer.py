# SPDX-License-Identifier: Apache-2.0
"""peft's LoRA layer over an int8 layer: only what touches the base's weight is octavo's."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from peft.tuners.lora import layer as peft_layer
from peft.tuners.tuners_utils import check_adapters_to_merge

from octavo.lora.merging import with_weight
from octavo.torch import Linear
from octavo.torch.memory import LayerMemory
from octavo.torch.tensors import to_numpy

# Options of a LoraConfig that need a float weight to rewrite, or the gradient of one.
_REFUSED = (
    "use_dora",
    "use_qalora",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "use_bdlora",
    "velora_config",
    "fan_in_fan_out",
)
_INITS = (True, False, "gaussian", "orthogonal")


def require_supported(config: Any, transposed: bool) -> None:
    """Refuse what a LoraConfig asks for and an int8 base cannot give.

    Parameters
    ----------
    config : peft.LoraConfig
    transposed : bool
        Whether the base was a Conv1D, whose float weight has ``fan_in_fan_out``.
    """
    for name in _REFUSED:
        if name == "fan_in_fan_out" and transposed:
            continue
        value = getattr(config, name, None)
        if value:
            shown = value if isinstance(value, bool) else type(value).__name__
            raise ValueError(
                f"{name}: expected plain LoRA on int8 layers, got {shown};"
                " train this variant on the float model, and quantize after merging"
            )
    if config.init_lora_weights not in _INITS:
        raise ValueError(
            "init_lora_weights: expected True, False, 'gaussian' or 'orthogonal' on int8 layers,"
            f" got {config.init_lora_weights!r}, which rewrites or reads the base's float weight"
        )
    if config.bias != "none":
        raise ValueError(
            f"bias: expected 'none' on int8 layers, got {config.bias!r}: biases of the base do not"
            " train; lora_bias=True trains one beside each"
        )


class LoraLinear(peft_layer.Linear):
    """A LoRA layer of peft whose base is an `octavo.torch.Linear`.

    ``base(x) + lora_B(lora_A(dropout(x))) * scaling``, where `base` runs in int8 and passes
    gradients to `x` through its dequantized weight.  Made by ``peft.get_peft_model`` once
    `octavo.peft` is imported.

    Merging quantizes the sum of the base's weight and the deltas anew, row by row, always from the
    original codes: `unmerge` puts those back, bit for bit.

    Examples
    --------
    >>> import peft, torch, octavo.peft
    >>> layer = octavo.torch.Linear.from_float(torch.nn.Linear(64, 32))
    >>> model = torch.nn.Sequential(layer, torch.nn.ReLU())
    >>> adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["0"]))
    >>> type(adapted.base_model.model[0]).__name__
    'LoraLinear'
    >>> adapted.get_nb_trainable_parameters()
    (384, 384)
    """

    def __init__(self, base_layer: Linear, adapter_name: str, config: Any, **options: Any) -> None:
        """Take what peft hands to its own layer."""
        super().__init__(base_layer, adapter_name, config=config, **options)
        # Deltas are added to rows of outputs, also where the float layer had columns.
        self.fan_in_fan_out = False
        self._original: tuple[LayerMemory, torch.Tensor | None] | None = None

    def update_layer(self, adapter_name: str, r: int, *args: Any, **options: Any) -> None:
        """Add an adapter.

        Raises
        ------
        ValueError
            If its config asks for what an int8 base cannot give.
        """
        require_supported(options["config"], self.get_base_layer().transposed)
        super().update_layer(adapter_name, r, *args, **options)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:  # noqa: ARG002
        """Quantize the base's weight plus the deltas.

        Parameters
        ----------
        safe_merge : bool
            Without meaning here: the sum is always checked before anything changes.
        adapter_names : list of str, optional
            Default: the active adapters.

        Raises
        ------
        ValueError
            If the sum is not finite, or an adapter has a bias and the base none.
        """
        wanted = check_adapters_to_merge(self, adapter_names)
        names = [name for name in wanted if name in self.lora_A]
        if not names:
            return
        weight, bias = self.float_sum([*self.merged_adapters, *names])
        layer = self.base_layer._weight.layer
        made = with_weight(layer, to_numpy(weight), None if bias is None else to_numpy(bias))
        if layer.held_weight.leaves_zeros_out:
            made = made.with_format()
        if self._original is None:
            self._original = self._base_numbers()
        self.base_layer._hold(LayerMemory(made), None)
        self.merged_adapters.extend(names)

    def unmerge(self) -> None:
        """Put the original codes, scales and bias back."""
        if self._original is None:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        self.base_layer._hold(*self._original)
        self._original = None
        self.merged_adapters.clear()

    @torch.no_grad()
    def float_sum(self, names: list[str]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return weight and bias of the unmerged base plus adapters, float32.

        Raises
        ------
        ValueError
            If they are not finite, or an adapter has a bias and the base none.
        """
        memory, own = self._original or self._base_numbers()
        weight = torch.tensor(memory.current().weight)
        stored = memory.bias if own is None else own
        bias = None if stored is None else stored.clone()
        for name in names:
            weight += self.get_delta_weight(name).to(torch.float32)
            if self.lora_bias[name]:
                if bias is None:
                    raise ValueError(
                        f"adapter {name!r} has a bias (lora_bias) and the int8 layer has none:"
                        " it cannot be merged"
                    )
                bias += self.lora_B[name].bias * self.scaling[name]
            if not (weight.isfinite().all() and (bias is None or bias.isfinite().all())):
                raise ValueError(f"adapter {name!r}: expected finite weights, got NaN or infinity")
        return weight, bias

    def _base_numbers(self) -> tuple[LayerMemory, torch.Tensor | None]:
        base = self.base_layer
        return base._weight, base.held_bias if base._adds_bias else None

    def _get_in_out_features(self, module: Any) -> tuple[int, int]:
        return module.in_features, module.out_features
