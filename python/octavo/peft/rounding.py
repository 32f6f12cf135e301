# SPDX-License-Identifier: Apache-2.0
"""What merging into quantized layers costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from octavo.lora.merging import rounding_error
from octavo.peft.layer import LoraLinear
from octavo.torch.tensors import to_numpy

if TYPE_CHECKING:
    import torch


def requantization_error(
    model: torch.nn.Module, adapter_names: Sequence[str] | None = None
) -> dict[str, float]:
    """Tell what merging adapters into a quantized base rounds away, layer by layer.

    Parameters
    ----------
    model : torch.nn.Module
        With adapters of peft on quantized layers; it is left as it is.
    adapter_names : sequence of str, optional
        Default: each layer's active adapters.

    Returns
    -------
    dict of str to float
        For each quantized layer with one of the adapters, the norm of what is lost when base and
        deltas are quantized together, over the norm of their sum.

    Raises
    ------
    ValueError
        If no quantized layer has the adapters, or their sum with the base is not finite.

    Examples
    --------
    >>> import peft, torch, octavo.peft
    >>> layer = octavo.torch.Linear.from_float(torch.nn.Linear(64, 32))
    >>> config = peft.LoraConfig(r=4, target_modules=["0"], init_lora_weights=False)
    >>> adapted = peft.get_peft_model(torch.nn.Sequential(layer), config)
    >>> errors = octavo.peft.requantization_error(adapted)
    >>> list(errors), 0 < errors["base_model.model.0"] < 0.01
    (['base_model.model.0'], True)
    """
    errors = {}
    for name, module in model.named_modules():
        if not isinstance(module, LoraLinear):
            continue
        wanted = module.active_adapters if adapter_names is None else adapter_names
        names = [adapter for adapter in wanted if adapter in module.lora_A]
        if names:
            weight, _ = module.float_sum(names)
            layer = module.base_layer._weight.layer
            errors[name] = rounding_error(layer, to_numpy(weight))
    if not errors:
        raise ValueError(
            "adapter_names: expected adapters on quantized layers of the model, got"
            f" {adapter_names!r}"
        )
    return errors
