# SPDX-License-Identifier: Apache-2.0
"""Writing a model as a Hugging Face folder in the compressed-tensors convention."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from octavo import nn
from octavo._version import __version__
from octavo.io.bitmap import is_smaller, pack_bitmap
from octavo.io.compressed_tensors import Scheme, describe
from octavo.io.folder import check_replaceable, copy_side_files, replaced_folder, write_json
from octavo.io.safetensors import TensorPlan, write_tensor_file
from octavo.models.encoder import HEADS
from octavo.models.loader import layer_specs

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from octavo.models.build import LayerSpec
    from octavo.models.encoder import Encoder

__all__ = ["save_model"]

_CLASSES: dict[str, tuple[type[nn.Module], ...]] = {
    "linear": (nn.Linear, nn.FloatLinear),
    "embedding": (nn.Embedding, nn.FloatEmbedding),
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
    check_replaceable(folder)
    specs = layer_specs(model.config, model)
    prefix = "" if model.classifier is None else f"{model.config.model_type}."
    layers = {name: _layer(model, name, spec) for name, spec in specs.items()}
    _refuse_others(model, set(layers))
    sparse = {name for name, layer in layers.items() if _is_sparse(layer)}
    plans = [
        plan
        for name, layer in layers.items()
        for plan in _plans(_full_name(prefix, name), layer, name in sparse)
    ]
    with replaced_folder(folder) as fresh:
        write_tensor_file(fresh / "model.safetensors", plans, {"format": "pt"}, on_tensor)
        write_json(fresh / "config.json", _config(model, layers, sparse, prefix))
        if model.source is not None:
            copy_side_files(model.source, model.side_files, fresh)


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
    layer: Any = module
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
    if isinstance(layer, (nn.Linear, nn.FloatLinear)):
        return (layer.out_features, layer.in_features)
    if isinstance(layer, (nn.Embedding, nn.FloatEmbedding)):
        return (layer.num_embeddings, layer.embedding_dim)
    return tuple(layer.weight.shape)


def _refuse_others(model: Encoder, known: set[str]) -> None:
    for name, module in model.named_modules():
        is_leaf = not any(True for _ in module.named_children())
        if is_leaf and name and name not in known:
            raise TypeError(f"layer {name!r} is not part of the architecture; it cannot be saved")


def _is_sparse(layer: Any) -> bool:
    return isinstance(layer, nn.SparseLinear) and is_smaller(layer.weight_codes)


def _plans(name: str, layer: Any, sparse: bool) -> list[TensorPlan]:
    """List the tensors of one layer; packed codes are unpacked when their turn comes."""
    plans = []
    for key, value in _stored(layer).items():
        make: Callable[[], Any] = partial(_same, value)
        if key == "weight" and sparse:
            plans += _sparse_plans(f"{name}.weight", layer, value)
            continue
        if key == "weight" and isinstance(layer, nn.Linear):
            make = partial(getattr, layer, "weight_codes")
        plans.append(TensorPlan(f"{name}.{key}", value.dtype, value.shape, make))
    return plans


def _sparse_plans(name: str, layer: nn.SparseLinear, codes: Any) -> list[TensorPlan]:
    """List the parts of a weight that is stored as a bitmap and its non-zero codes."""
    n, k = codes.shape
    count = int(np.count_nonzero(codes))
    shape = np.array([n, k], np.int64)

    def part(index: int) -> Any:
        return pack_bitmap(layer.weight_codes)[index]

    return [
        TensorPlan(f"{name}_shape", shape.dtype, shape.shape, partial(_same, shape)),
        TensorPlan(f"{name}_bitmap", np.dtype(np.uint8), (n, -(-k // 8)), partial(part, 0)),
        TensorPlan(f"{name}_values", np.dtype(np.int8), (count,), partial(part, 1)),
    ]


def _same(value: Any) -> Any:
    return value


def _stored(layer: Any) -> dict[str, Any]:
    """Return the layer's state as the convention has it.

    A symmetric scale has no zero point; every linear layer and norm of a BERT has a bias.
    """
    state: dict[str, Any] = layer.state_dict()
    if not isinstance(layer, (nn.Embedding, nn.FloatEmbedding)) and "bias" not in state:
        state["bias"] = np.zeros(state["weight"].shape[0], np.float32)
    if isinstance(layer, nn.Linear) and not state.get("input_zero_point", np.zeros(1)).any():
        state.pop("input_zero_point", None)
    return state


def _config(
    model: Encoder, layers: dict[str, Any], sparse: set[str], prefix: str
) -> dict[str, Any]:
    config = dict(model.config.raw)
    for key in ("quantization_config", "compression_config", "dtype", "_name_or_path"):
        config.pop(key, None)
    config["torch_dtype"] = "float32"
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
            quantized.append((name, "Linear", _scheme(layer, bare in sparse)))
        elif isinstance(layer, nn.Embedding):
            quantized.append((name, "Embedding", Scheme(has_activations=False)))
        elif isinstance(layer, nn.FloatLinear):
            floats.append((name, "Linear"))
        elif isinstance(layer, nn.FloatEmbedding):
            floats.append((name, "Embedding"))
    if quantized:
        kinds = {kind for _, kind, _ in quantized}
        ignore = [name for name, kind in floats if kind in kinds]
        config["quantization_config"] = describe(quantized, ignore)
    return config


def _scheme(layer: nn.Linear, sparse: bool) -> Scheme:
    state = _stored(layer)
    if "input_scale" in state:
        symmetric = "input_zero_point" not in state
        return Scheme(symmetric=symmetric, static=True, bitmap=sparse)
    return Scheme(symmetric=bool(layer.config()["symmetric"]), bitmap=sparse)
