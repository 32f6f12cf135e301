# SPDX-License-Identifier: Apache-2.0
"""The ``quantization_config`` of a checkpoint that is int8 already, and of a model to be saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from octavo.io.compressed_tensors import QuantizationConfig, Scheme, describe
from octavo.io.folder import read_json
from octavo.torch import Embedding, Linear

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Layout", "description", "require_float"]

_HELP = (
    "octavo reads compressed-tensors W8A8 (format int-quantized); load the float checkpoint with"
    " OctavoConfig(), or this one with its own library and without OctavoConfig"
)


class Layout:
    """Which layers of a model a checkpoint holds as int8, and how.

    Parameters
    ----------
    config : dict
        The checkpoint's ``quantization_config``.

    Raises
    ------
    ValueError
        If it is of another scheme; the message says which, and what to do.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        method = config.get("quant_method")
        if method != "compressed-tensors":
            raise _other_method(getattr(method, "value", method))
        try:
            unusual = QuantizationConfig(config).unusual
            if unusual is not None:
                raise ValueError(f"quantization_config: the format {unusual!r} is octavo's own")
            groups = config["config_groups"].items()
            # One by one, so that the strategy of the group that counts is known.
            self._groups = [
                (QuantizationConfig({**config, "config_groups": {name: group}}), _strategy(group))
                for name, group in groups
            ]
        except ValueError as error:
            raise ValueError(f"{error}; {_HELP}") from error

    def layers(self, model: nn.Module) -> Iterator[tuple[nn.Module, Scheme, bool]]:
        """Yield module, scheme and whether scales are per channel, for each int8 layer."""
        prefix = getattr(model, "base_model_prefix", "") + "."
        for name, module in model.named_modules():
            weight = module._parameters.get("weight")
            if weight is None or weight.ndim < 2:
                continue
            names = (name, name.removeprefix(prefix) if name.startswith(prefix) else prefix + name)
            found = self._find(names, type(module).__name__)
            if found is None:
                continue
            scheme, per_channel = found
            _require_readable(name, module, scheme)
            yield module, scheme, per_channel

    def _find(self, names: tuple[str, ...], kind: str) -> tuple[Scheme, bool] | None:
        for config, strategy in self._groups:
            scheme = config.scheme(names, kind)
            if scheme is not None:
                return scheme, strategy == "channel"
        return None


def require_float(folder: Path) -> None:
    """Refuse a checkpoint of a method that transformers has never heard of.

    It passes over such a method with a warning, and takes the numbers for floats.

    Raises
    ------
    ValueError
        Naming the method.
    """
    path = folder / "config.json"
    stored = read_json(path).get("quantization_config") if path.is_file() else None
    if isinstance(stored, dict):
        raise _other_method(stored.get("quant_method"))


def _other_method(name: Any) -> ValueError:
    return ValueError(f"quantization_config: the checkpoint is quantized with {name!r}; {_HELP}")


def _strategy(group: Any) -> str:
    # A preset, given as a list of targets, means one scale per channel.
    return str(group["weights"]["strategy"]) if isinstance(group, dict) else "channel"


def _require_readable(name: str, module: nn.Module, scheme: Scheme) -> None:
    if type(module) not in (nn.Linear, nn.Embedding):
        kind = type(module).__name__
        raise ValueError(f"{name}: the checkpoint holds int8 for a {kind}; {_HELP}")
    if isinstance(module, nn.Embedding):
        return
    if not scheme.has_activations:
        raise ValueError(f"{name}: int8 weights with float activations (W8A16); {_HELP}")
    if scheme.static:
        raise ValueError(f"{name}: activations with stored scales (static W8A8); {_HELP}")


def description(model: nn.Module) -> dict[str, Any]:
    """Describe the int8 layers of a model as a config.json has it."""
    quantized: list[tuple[str, str, Scheme]] = []
    floats: list[tuple[str, str]] = []
    for name, module in model.named_modules():
        if isinstance(module, Linear):
            static = module.input_scale is not None
            symmetric = not module.input_zero_point if static else module.symmetric
            quantized.append((name, "Linear", Scheme(symmetric=symmetric, static=static)))
        elif isinstance(module, Embedding):
            quantized.append((name, "Embedding", Scheme(has_activations=False)))
        elif type(module) in (nn.Linear, nn.Embedding):
            floats.append((name, type(module).__name__))
    kinds = {kind for _, kind, _ in quantized}
    return describe(quantized, [name for name, kind in floats if kind in kinds])
