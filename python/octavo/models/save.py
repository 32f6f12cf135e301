# SPDX-License-Identifier: Apache-2.0
"""Writing a model as a Hugging Face folder in the compressed-tensors convention."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from octavo import nn
from octavo._version import __version__
from octavo.io.description import describe
from octavo.io.folder import check_replaceable, write_files, write_json
from octavo.io.replacing import replaced_folder
from octavo.io.safetensors import TensorPlan, write_tensor_file
from octavo.io.scheme import Scheme
from octavo.models.config import HEADS
from octavo.models.specs import LayerSpec, layer_specs
from octavo.nn.weights import Stored, StoredTensor

if TYPE_CHECKING:
    from octavo.models.decoder import Decoder
    from octavo.models.encoder import Encoder

_ROLES = {
    "linear": "a Linear",
    "embedding": "an Embedding",
    "layer_norm": "a LayerNorm",
    "rms_norm": "an RMSNorm",
}
_NORMS = ("layer_norm", "rms_norm")
_NAMES = {"linear": "Linear", "embedding": "Embedding"}
"""Roles whose weights a quantization_config speaks of, and what it calls them."""


def save_model(
    model: Encoder | Decoder,
    folder: str | os.PathLike[str],
    on_tensor: Callable[[str], None] | None = None,
) -> None:
    """Write `model` to `folder`, as `Encoder.save` does; tell each tensor's name once written."""
    model.require_no_adapters()
    check_replaceable(folder)
    specs = layer_specs(model)
    prefix = f"{model.config.prefix}." if model.task else ""
    layers = {name: _layer(model, name, spec) for name, spec in specs.items()}
    _refuse_others(model, set(layers))
    stored = _stored_weights(model, layers)
    weights = "model.safetensors" if _store(model) == "plain" else "model.safetensors.zst"
    switched = _switched(model, layers)
    plans = [
        plan
        for name, layer in layers.items()
        for plan in _plans(
            _full_name(prefix, name), layer, stored.get(name), switched[model.bias_switch(name)]
        )
    ]
    with replaced_folder(folder) as fresh:
        write_tensor_file(fresh / weights, plans, {"format": "pt"}, on_tensor)
        config = _config(model, layers, stored, prefix)
        config.update({key: True for key, is_on in switched.items() if key and is_on})
        write_json(fresh / "config.json", config)
        write_files(model.files, fresh)


def _full_name(prefix: str, name: str) -> str:
    """Return a layer's name in the file: the head stands beside the encoder."""
    return name if f"{name}.".startswith(HEADS) else prefix + name


def _layer(model: Encoder | Decoder, name: str, spec: LayerSpec) -> Any:
    """Return layer `name` if a file can hold it and loading would give it back."""
    module: Any = model.get_submodule(name)
    if module.role != spec.kind:
        raise TypeError(
            f"layer {name!r} is a {type(module).__name__}; only {_ROLES[spec.kind]} can be saved"
            " there"
        )
    layer: Any = module.merged() if module.role == "linear" else module
    if layer.shape != spec.shape:
        raise ValueError(
            f"layer {name!r} has shape {layer.shape}, the model's config asks {spec.shape}"
        )
    if spec.kind in _NORMS and layer.eps != spec.epsilon:
        raise ValueError(
            f"layer {name!r} has eps {layer.eps}, the model's config asks {spec.epsilon}"
        )
    if spec.kind == "linear":
        if layer.activation != spec.activation:
            raise ValueError(
                f"layer {name!r} has activation {layer.activation!r}, the model's config asks "
                f"{spec.activation!r}"
            )
        if layer.options.output_scale is not None:
            raise ValueError(f"layer {name!r} gives int8 output, which the file cannot tell")
    if spec.offset:
        with np.errstate(all="ignore"):
            return nn.RMSNorm(layer.weight - np.float32(spec.offset), layer.eps)
    return layer


def _refuse_others(model: Encoder | Decoder, known: set[str]) -> None:
    for name, module in model.named_modules():
        is_leaf = not any(True for _ in module.named_children())
        if is_leaf and name and name not in known:
            raise TypeError(f"layer {name!r} is not part of the architecture; it cannot be saved")


def _stored_weights(model: Encoder | Decoder, layers: dict[str, Any]) -> dict[str, Stored]:
    """Return how the weight of each layer is stored.

    Codebooks are for who asks for shared weights or a compressed file: an int8 model that has few
    codes by chance stays what every reader of compressed-tensors reads.
    """
    store = _store(model)
    shares = store != "plain" or "share" in (model.recipe or {})
    found = {}
    for name, layer in layers.items():
        if layer.role in _NAMES:
            found[name] = layer.held_weight.stored(store, shares)
            if layer.role == "linear" and found[name].scheme is None:
                _refuse_beside_float(name, layer)
    return found


def _refuse_beside_float(name: str, layer: Any) -> None:
    """Refuse what only the description of a quantized weight can tell."""
    beside = {"a side path": layer.side_path, "a multiplier": layer.options.input_multiplier}
    for what, value in beside.items():
        if value is not None:
            raise ValueError(
                f"layer {name!r} has {what} beside a weight of kind {layer.kind!r}, which the file"
                " cannot tell"
            )


def _store(model: Encoder | Decoder) -> str:
    return str((model.recipe or {}).get("store", "plain"))


def _switched(model: Encoder | Decoder, layers: dict[str, Any]) -> dict[str | None, bool]:
    """Tell which layers are stored with a bias, by the key of config.json that says so.

    One that compression gave a bias switches it on for all those of its key.
    """
    found: dict[str | None, bool] = {None: True}
    for name, layer in layers.items():
        key = model.bias_switch(name)
        if key is not None and layer.role != "embedding":
            bias = getattr(layer, "bias", None)
            if bias is not None and not key:
                raise ValueError(
                    f"layer {name!r} has a bias, for which a {model.architecture} has no place"
                )
            is_told = key != "" and model.config.raw.get(key) is True
            has_bias = is_told or bias is not None
            found[key] = found.get(key, False) or has_bias
    return found


def _plans(name: str, layer: Any, stored: Stored | None, has_bias: bool) -> list[TensorPlan]:
    """List the tensors of one layer; packed codes are unpacked when their turn comes."""
    plans = []
    if stored is not None:
        plans = [TensorPlan(f"{name}.{one.key}", *one[1:]) for one in stored.tensors]
    for key, value in _beside_weight(layer, has_bias).items():
        plans.append(TensorPlan(f"{name}.{key}", *StoredTensor.of(key, value)[1:]))
    return plans


def _beside_weight(layer: Any, has_bias: bool) -> dict[str, Any]:
    """Return what is stored beside the weight, as the convention has it.

    A symmetric scale has no zero point.
    """
    if layer.role == "embedding":
        return {}
    is_norm = layer.role in _NORMS
    state: dict[str, Any] = layer.state_dict() if is_norm else layer.state_beside_weight()
    if has_bias and layer.role != "rms_norm":
        state.setdefault("bias", np.zeros(layer.shape[0], np.float32))
    if is_norm:
        return state
    if not state.get("input_zero_point", np.zeros(1)).any():
        state.pop("input_zero_point", None)
    return state


def _config(
    model: Encoder | Decoder, layers: dict[str, Any], stored: dict[str, Stored], prefix: str
) -> dict[str, Any]:
    config = {**model.config.raw, "model_type": model.config.model_type}
    for key in ("quantization_config", "compression_config", "dtype", "_name_or_path"):
        config.pop(key, None)
    config["torch_dtype"] = _torch_dtype([layers[name] for name in stored])
    family = model.architecture.removesuffix("Model")
    config["architectures"] = [f"{family}For{model.task}" if model.task else model.architecture]
    config.pop("octavo", None)
    made_by: dict[str, Any] = {}
    if model.recipe is not None:
        made_by["recipe"] = model.recipe
    if model.attention_precision == "mixed":
        raise ValueError(
            "attention_precision: expected one for all blocks, got several, which the file cannot "
            "tell"
        )
    if model.attention_precision != "auto":
        made_by["attention_precision"] = model.attention_precision
    if made_by:
        config["octavo"] = {"version": __version__, **made_by}
    quantized: list[tuple[str, str, Scheme]] = []
    floats: list[tuple[str, str]] = []
    for bare, weight in stored.items():
        name, layer = _full_name(prefix, bare), layers[bare]
        if weight.scheme is None:
            floats.append((name, _NAMES[layer.role]))
        else:
            quantized.append((name, _NAMES[layer.role], scheme_of(layer, weight.scheme)))
    if quantized:
        kinds = {kind for _, kind, _ in quantized}
        ignore = [name for name, kind in floats if kind in kinds]
        # Others have a layer for a head of the table's numbers, which no tensors are there for.
        if getattr(model, "lm_head", model) is None and "Linear" in kinds:
            ignore.append("lm_head")
        config["quantization_config"] = describe(quantized, ignore)
    return config


def _torch_dtype(layers: list[Any]) -> str:
    """Return what others should compute in: 16 bits if all weights are held so."""
    found = {layer.kind for layer in layers}
    return found.pop() if found in ({"float16"}, {"bfloat16"}) else "float32"


def scheme_of(layer: Any, of_weight: dict[str, Any]) -> Scheme:
    """Return how a layer is quantized, with what its weight says of that (`Stored.scheme`)."""
    if layer.role == "embedding":
        return Scheme(has_activations=False, **of_weight)
    options = layer.options
    static = options.input_scale is not None
    symmetric = not options.input_zero_point if static else options.symmetric
    return Scheme(
        symmetric=symmetric,
        static=static,
        multiplier=options.input_multiplier is not None,
        outliers=layer.side_path is not None,
        **of_weight,
    )
