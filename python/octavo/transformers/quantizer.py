# SPDX-License-Identifier: Apache-2.0
"""The adapter between transformers' loading and `octavo.torch`."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.quantizers.auto import AutoHfQuantizer, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils import cached_file

from octavo._text import shown
from octavo._warn import warn
from octavo.torch import Embedding, Linear, Summary, quantize_
from octavo.torch.tensors import to_tensor
from octavo.transformers.checkpoint import (
    Layout,
    Save,
    description,
    require_float,
    saved,
    stored_tensors,
)
from octavo.transformers.compressed import discard, origin_of, weights_of
from octavo.transformers.config import MARK, METHOD, OctavoConfig
from octavo.transformers.stored import Stored, finish, prepare, require_present, restore, unfilled

_AUTOMATIC = ("auto", "balanced", "balanced_low_0", "sequential")


@register_quantizer(METHOD)
class OctavoQuantizer(HfQuantizer):
    """What ``from_pretrained`` calls for an `OctavoConfig`; a model has it as ``hf_quantizer``.

    Attributes
    ----------
    quantization_config : OctavoConfig
        The model's own copy.
    summary : octavo.torch.Summary or None
        What became int8 and what stayed float, and why; None if the checkpoint was int8 before.

    Examples
    --------
    >>> import transformers
    >>> from octavo.transformers import OctavoConfig, OctavoQuantizer
    >>> made = transformers.quantizers.AutoHfQuantizer.from_config(OctavoConfig())
    >>> isinstance(made, OctavoQuantizer)
    True
    """

    def __init__(self, quantization_config: OctavoConfig, **kwargs: Any) -> None:
        super().__init__(copy.deepcopy(quantization_config), **kwargs)
        stored = self.quantization_config.stored
        self._layout = None if stored is None else Layout(stored)
        self.summary: Summary | None = None
        self._missing: list[str] | None = None
        self._save: Save | None = None
        self._weights = Path()

    def validate_environment(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Refuse every place but the CPU, which is where "auto" leads without anything else."""
        device_map = kwargs.get("device_map")
        if _is_automatic(device_map) and not _has_accelerator():
            return
        places = device_map.values() if isinstance(device_map, dict) else [device_map]
        for place in places:
            if place is not None and str(place) != "cpu":
                raise ValueError(
                    f"device_map: expected 'cpu' or nothing, got {shown(device_map)}: octavo's"
                    " layers run on the CPU"
                )

    def update_device_map(self, device_map: Any) -> Any:
        """Put the whole model on the CPU, where "auto" could leave parts of it on the disk."""
        return {"": "cpu"} if _is_automatic(device_map) else device_map

    def update_attn_implementation(self, config: Any) -> Any:
        """Note whose config it is; transformers 5 asks here, as soon as it has read it."""
        self._note(config)
        return super().update_attn_implementation(config)

    def update_tp_plan(self, config: Any) -> Any:
        """Do the same; transformers 4 asks here."""
        self._note(config)
        return super().update_tp_plan(config)

    def _note(self, config: Any) -> None:
        name = getattr(config, "name_or_path", None)
        self._save = Save(Path(name)) if name else None

    def get_new_dtype(self, converter: Any, param: Any, dtype: Any) -> Any:
        """Keep what is stored for int8 weights as it is: casting floats to int8 would hide them."""
        return None if dtype == torch.int8 else super().get_new_dtype(converter, param, dtype)

    def _convert_model_for_quantization(self, model: nn.Module) -> None:
        """Replace no modules: transformers would do so for other methods only."""

    def update_missing_keys(self, model: nn.Module, missing_keys: list[str], *_: Any) -> list[str]:
        """Look for missing tensors; transformers 4 asks here, 5 marks the tensors that it fills."""
        self._missing = list(missing_keys)
        require_present(model, missing_keys)
        return missing_keys

    def _process_model_before_weight_loading(self, model: Any, **options: Any) -> nn.Module:
        self._weights = weights_of(_folder_of(model, options.get("checkpoint_files")))
        folder = origin_of(self._weights)
        if self._save is not None:
            self._save.require_current(folder)
        self._save = Save(folder)
        if self._layout is None:
            require_float(folder)
        else:
            layers = list(self._layout.layers(model, stored_tensors(self._weights)))
            if not layers:
                raise ValueError(
                    "quantization_config: no layer of this model is among the checkpoint's"
                    " config_groups; is the model's class the one that was saved?"
                )
            prepare(layers)
            for module in model.modules():
                # transformers 4 starts GPT-2's blocks anew, also what the file will fill.
                if any(isinstance(one, Stored) and one.transposed for one in module.children()):
                    module._is_hf_initialized = True
        return model

    def _process_model_after_weight_loading(self, model: Any, **_: Any) -> Any:
        config = self.quantization_config
        if self._save is not None:
            self._save.require_current(self._save.folder)
            self._save = None
        if self._layout is not None:
            if self._missing is None:
                require_present(model, unfilled(model, Stored))
            restore(model, self._weights)
            finish(model, origin_of(self._weights))
        else:
            skipped = _names_to_skip(model, config.modules_to_not_convert, self._missing)
            summary = quantize_(
                model,
                config.settings(),
                # Checkpoints hold linear layers and tables.
                lambda part, name: (
                    _reason(name, skipped) is None and not isinstance(part, nn.Conv2d)
                ),
            )
            kept = [replace(k, reason=_reason(k.name, skipped) or k.reason) for k in summary.kept]
            self.summary = replace(summary, kept=tuple(kept))
            _require_gain(self.summary)
        discard(self._weights)
        config.stored = description(model)
        model.config.quantization_config = config
        return model

    def get_state_dict_and_metadata(
        self, model: nn.Module, *_: Any, **__: Any
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return what is saved: all codes, zeros too; what several layers share is there once."""
        state = dict(model.state_dict())
        seen = set()
        for name, module in model.named_modules():
            if isinstance(module, Embedding):
                weight = module._held()
            elif isinstance(module, Linear):
                weight = module._weight.current().held_weight
            else:
                continue
            if module._weight is None and weight.kind == "int8":
                continue
            for key in weight.portable():
                del state[f"{name}.{key}"]
            # Arrays of their own: files hold each tensor for itself.
            tensors = {key: to_tensor(array) for key, array in saved(weight)[0].items()}
            if id(module._weight) in seen:
                tensors.pop("weight", None)
            state |= {f"{name}.{key}": tensor.clone() for key, tensor in tensors.items()}
            seen.add(id(module._weight))
        return state, {}

    def is_serializable(self, *_: Any, **__: Any) -> bool:
        """Codes and scales are plain tensors."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Adapters train beside the int8 weights, which do not (`octavo.peft`)."""
        return True

    @property
    def is_compileable(self) -> bool:
        """The layers are operators that torch.compile knows."""
        return True


def _folder_of(model: Any, files: list[str] | None) -> Path:
    """Return where the checkpoint lies; transformers 4 does not hand its files over."""
    if files:
        return Path(files[0]).parent
    name, commit = model.config.name_or_path, getattr(model.config, "_commit_hash", None)
    if Path(name).is_dir():
        return Path(name)
    config = cached_file(name, "config.json", local_files_only=True, _commit_hash=commit)
    return Path(config).parent


def _is_automatic(device_map: Any) -> bool:
    return isinstance(device_map, str) and device_map in _AUTOMATIC


def _has_accelerator() -> bool:
    # PyTorch has asked one question for all of them since 2.6.
    known = getattr(torch, "accelerator", torch.cuda)
    return bool(known.is_available())


def _names_to_skip(
    model: Any, names: list[str] | None, missing: list[str] | None
) -> dict[str, str]:
    """Return the modules that stay float, as the config or the model has it, and why."""
    modules = dict(model.named_modules())
    if names is None:
        head = model.get_output_embeddings()
        why = "the output head stays float unless modules_to_not_convert is given"
        skipped = {name: why for name, part in modules.items() if head is not None and part is head}
        why = "the checkpoint lacks it: it is random and has to be trained"
        lacking = unfilled(model, nn.Module) if missing is None else missing
        skipped |= {key.removesuffix(".weight"): why for key in lacking if key.endswith(".weight")}
    else:
        skipped = dict.fromkeys(names, "modules_to_not_convert has it")
        for skip in skipped:
            if not any(_is_below(name, skip) for name in modules):
                raise ValueError(
                    f"modules_to_not_convert: no module of {type(model).__name__} is called"
                    f" {shown(skip)}; model.named_modules() lists them"
                )
    wide = getattr(model, "_keep_in_fp32_modules", None) or ()
    return skipped | dict.fromkeys(wide, "the model's code keeps it in float32")


def _reason(name: str, skipped: dict[str, str]) -> str | None:
    return next((why for skip, why in skipped.items() if _is_below(name, skip)), None)


def _is_below(name: str, skip: str) -> bool:
    return f".{skip}." in f".{name}."


def _require_gain(summary: Summary) -> None:
    if not summary.converted:
        reasons = sorted({layer.reason for layer in summary.kept})
        raise ValueError(
            "OctavoConfig: no layer became int8 ("
            + ("; ".join(reasons) or "the model has no linear layers or embeddings")
            + "); load the model without quantization_config, or choose other options"
        )


def _merging(original: Callable[..., Any]) -> Callable[..., Any]:
    """Let `OctavoConfig` read checkpoints that name another method.

    transformers takes a config for a checkpoint that is quantized already only if both are of one
    class, and has no registry for that.  All other pairs of configs go to its own function.
    """

    @functools.wraps(original)
    def merge(quantization_config: Any, quantization_config_from_args: Any) -> Any:
        given = quantization_config_from_args
        ours = isinstance(given, OctavoConfig) or (
            isinstance(given, dict) and given.get("quant_method") == METHOD
        )
        known = isinstance(quantization_config, dict)
        stored = dict(quantization_config) if known else quantization_config.to_dict()
        if not ours and not (given is None and stored.get(MARK) is not None):
            return original(quantization_config, given)
        if isinstance(given, dict):
            given = OctavoConfig.from_dict(given)
        if stored.get("quant_method") == METHOD:
            raise ValueError(
                "quantization_config: the checkpoint's config.json has OctavoConfig's options but"
                " describes no int8 layers; remove quantization_config from it"
            )
        if given is not None and given.options():
            names = ", ".join(given.options())
            warn(f"OctavoConfig: the checkpoint is quantized already, {names} not used")
        return OctavoConfig.of_checkpoint(stored)

    return merge


AutoHfQuantizer.merge_quantization_configs = staticmethod(
    _merging(AutoHfQuantizer.merge_quantization_configs)
)
