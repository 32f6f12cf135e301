# SPDX-License-Identifier: Apache-2.0
"""Writing a model as a Hugging Face folder in the compressed-tensors convention."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from octavo import nn
from octavo._version import __version__
from octavo.io.compressed_tensors import Scheme, describe
from octavo.io.folder import check_replaceable, replaced_folder, write_files, write_json
from octavo.io.safetensors import TensorPlan, write_tensor_file
from octavo.models.encoder import HEADS
from octavo.models.loader import layer_specs
from octavo.models.stored import code_plans, form_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from octavo.models.build import LayerSpec
    from octavo.models.encoder import Encoder

__all__ = ["save_model"]

_CLASSES: dict[str, tuple[type[nn.Module], ...]] = {
    "linear": (nn.Linear, nn.FloatLinear, nn.HalfLinear),
    "embedding": (nn.Embedding, nn.FloatEmbedding, nn.HalfEmbedding),
    "layer_norm": (nn.LayerNorm,),
}


def save_model(
    model: Encoder,
    folder: str | os.PathLike[str],
    on_tensor: Callable[[str], None] | None = None,
) -> None:
    """Write `model` to `folder`; see `Encoder.save`.

    Parameters
    ----------
    model : Encoder
    folder : str or os.PathLike
    on_tensor : callable, optional
        Called with each tensor's name after it was written.
    """
    model.require_no_adapters()
    check_replaceable(folder)
    specs = layer_specs(model.config, model)
    prefix = "" if model.classifier is None else f"{model.config.model_type}."
    layers = {name: _layer(model, name, spec) for name, spec in specs.items()}
    _refuse_others(model, set(layers))
    forms = _forms(model, layers)
    weights = "model.safetensors" if _store(model) == "plain" else "model.safetensors.zst"
    plans = [
        plan
        for name, layer in layers.items()
        for plan in _plans(_full_name(prefix, name), layer, forms.get(name))
    ]
    with replaced_folder(folder) as fresh:
        write_tensor_file(fresh / weights, plans, {"format": "pt"}, on_tensor)
        write_json(fresh / "config.json", _config(model, layers, forms, prefix))
        write_files(model.files, fresh)


def _full_name(prefix: str, name: str) -> str:
    """Return a layer's name in the file: the head stands beside the encoder."""
    return name if f"{name}.".startswith(HEADS) else prefix + name


def _layer(model: Encoder, name: str, spec: LayerSpec) -> Any:
    """Return layer `name` if a file can hold it and loading would give it back."""
    module = model.get_submodule(name)
    if not isinstance(module, _CLASSES[spec.kind]):
        wanted = " or ".join(cls.__name__ for cls in _CLASSES[spec.kind])
        raise TypeError(
            f"layer {name!r} is a {type(module).__name__}; only {wanted} can be saved there"
        )
    layer: Any = module.merged() if isinstance(module, nn.FloatLinear) else module
    shape = _shape(layer)
    if shape != spec.shape:
        raise ValueError(f"layer {name!r} has shape {shape}, the model's config asks {spec.shape}")
    if spec.kind == "layer_norm" and layer.eps != spec.epsilon:
        raise ValueError(
            f"layer {name!r} has eps {layer.eps}, the model's config asks {spec.epsilon}"
        )
    if spec.kind == "linear":
        if layer.activation != spec.activation:
            raise ValueError(
                f"layer {name!r} has activation {layer.activation!r}, the model's config asks "
                f"{spec.activation!r}"
            )
        if "output_scale" in layer.state_dict():
            raise ValueError(f"layer {name!r} gives int8 output, which the file cannot tell")
    return layer


def _shape(layer: Any) -> tuple[int, ...]:
    if isinstance(layer, (nn.Linear, nn.FloatLinear, nn.HalfLinear)):
        return (layer.out_features, layer.in_features)
    if isinstance(layer, (nn.Embedding, nn.FloatEmbedding, nn.HalfEmbedding)):
        return (layer.num_embeddings, layer.embedding_dim)
    return tuple(layer.weight.shape)


def _refuse_others(model: Encoder, known: set[str]) -> None:
    for name, module in model.named_modules():
        is_leaf = not any(True for _ in module.named_children())
        if is_leaf and name and name not in known:
            raise TypeError(f"layer {name!r} is not part of the architecture; it cannot be saved")


def _forms(model: Encoder, layers: dict[str, Any]) -> dict[str, str]:
    """Return how the codes of each int8 layer are stored.

    Codebooks are for who asks for shared weights or a compressed file: an int8 model that has few
    codes by chance stays what every reader of compressed-tensors reads.
    """
    store = _store(model)
    allowed: tuple[str, ...] = ("bitmap", "codebook")
    if store == "plain" and "share" not in (model.recipe or {}):
        allowed = ("bitmap",)
    return {
        name: form_of(layer, store, allowed)
        for name, layer in layers.items()
        if isinstance(layer, (nn.Linear, nn.Embedding))
    }


def _store(model: Encoder) -> str:
    return str((model.recipe or {}).get("store", "plain"))


def _plans(name: str, layer: Any, form: str | None) -> list[TensorPlan]:
    """List the tensors of one layer; packed codes are unpacked when their turn comes."""
    plans = []
    for key, value in _stored(layer).items():
        if key == "weight" and form is not None:
            plans += code_plans(f"{name}.weight", layer, form)
            continue
        code = "BF16" if key == "weight" and value.dtype == np.uint16 else None
        plan = TensorPlan(f"{name}.{key}", value.dtype, value.shape, partial(_same, value), code)
        plans.append(plan)
    return plans


def _same(value: Any) -> Any:
    return value


def _stored(layer: Any) -> dict[str, Any]:
    """Return the layer's state as the convention has it.

    A symmetric scale has no zero point; every linear layer and norm of a BERT has a bias.
    """
    state: dict[str, Any] = layer.state_dict()
    if not isinstance(layer, _CLASSES["embedding"]) and "bias" not in state:
        state["bias"] = np.zeros(state["weight"].shape[0], np.float32)
    if isinstance(layer, nn.Linear) and not state.get("input_zero_point", np.zeros(1)).any():
        state.pop("input_zero_point", None)
    return state


def _config(
    model: Encoder, layers: dict[str, Any], forms: dict[str, str], prefix: str
) -> dict[str, Any]:
    config = dict(model.config.raw)
    for key in ("quantization_config", "compression_config", "dtype", "_name_or_path"):
        config.pop(key, None)
    config["torch_dtype"] = _torch_dtype(layers)
    family = model.architecture.removesuffix("Model")
    config["architectures"] = [
        f"{family}ForSequenceClassification" if prefix else model.architecture
    ]
    config.pop("octavo", None)
    if model.recipe is not None:
        config["octavo"] = {"version": __version__, "recipe": model.recipe}
    quantized: list[tuple[str, str, Scheme]] = []
    floats: list[tuple[str, str]] = []
    for bare, layer in layers.items():
        name = _full_name(prefix, bare)
        if isinstance(layer, nn.Linear):
            quantized.append((name, "Linear", _scheme(layer, forms[bare])))
        elif isinstance(layer, nn.Embedding):
            shared = forms[bare] == "codebook"
            scheme = Scheme(has_activations=False, codebook=shared)
            quantized.append((name, "Embedding", scheme))
        elif isinstance(layer, (nn.FloatLinear, nn.HalfLinear)):
            floats.append((name, "Linear"))
        elif isinstance(layer, (nn.FloatEmbedding, nn.HalfEmbedding)):
            floats.append((name, "Embedding"))
    if quantized:
        kinds = {kind for _, kind, _ in quantized}
        ignore = [name for name, kind in floats if kind in kinds]
        config["quantization_config"] = describe(quantized, ignore)
    return config


def _torch_dtype(layers: dict[str, Any]) -> str:
    """Return what others should compute in: 16 bits if all weights are held so."""
    weights = [layer for layer in layers.values() if not isinstance(layer, nn.LayerNorm)]
    found = {getattr(layer, "dtype", "float32") for layer in weights}
    return found.pop() if len(found) == 1 else "float32"


def _scheme(layer: nn.Linear, form: str) -> Scheme:
    state = _stored(layer)
    static = "input_scale" in state
    symmetric = "input_zero_point" not in state if static else layer.config()["symmetric"]
    return Scheme(
        symmetric=bool(symmetric),
        static=static,
        bitmap=form == "bitmap",
        codebook=form == "codebook",
        multiplier="input_multiplier" in state,
        outliers=isinstance(layer, nn.OutlierLinear),
    )
