# SPDX-License-Identifier: Apache-2.0
"""The ``quantization_config`` of a checkpoint that is int8 already, and of a model to be saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from octavo.io.compressed_tensors import QuantizationConfig, Scheme
from octavo.io.description import describe
from octavo.io.safetensors import TensorFile
from octavo.io.snapshot import read_consistently, stamp_of
from octavo.torch import Embedding, Linear

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from octavo.io.snapshot import OpenFolder, Stamp

__all__ = ["Layout", "Save", "description", "require_float", "stored_names"]

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

    def layers(
        self, model: nn.Module, stored: set[str] | None = None
    ) -> Iterator[tuple[nn.Module, Scheme, bool]]:
        """Yield module, scheme and whether scales are per channel, for each int8 layer.

        With the names of the tensors that are `stored`, a head that the checkpoint knows nothing of
        is left float: it is new in this model, and has to be trained.
        """
        prefix = getattr(model, "base_model_prefix", "") + "."
        has_head = isinstance(getattr(model, prefix[:-1], None), nn.Module)
        for name, module in model.named_modules():
            weight = module._parameters.get("weight")
            if weight is None or weight.ndim < 2:
                continue
            names = (name, name.removeprefix(prefix) if name.startswith(prefix) else prefix + name)
            found = self._find(names, type(module).__name__)
            if found is None:
                continue
            outside = stored is not None and has_head and not name.startswith(prefix)
            if outside and not any(key.startswith(f"{name}.") for key in stored or ()):
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


def stored_names(folder: Path) -> set[str] | None:
    """Return the names of all tensors in a folder; None if they are not to be had there."""
    return read_consistently(folder, _names) if folder.is_dir() else None


def _names(folder: OpenFolder) -> set[str] | None:
    files = [file for file in folder.names() if file.endswith(".safetensors")]
    opened = [TensorFile(folder.path / file, folder.open(file)) for file in files]
    return {name for file in opened for name in file} if files else None


class Save:
    """The files in a folder, to be told from those of another save.

    transformers opens config and weights by path, one after another: what it made of two saves
    cannot be mended here, but refused.

    Parameters
    ----------
    folder : pathlib.Path
        One that does not exist has no files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stamps = self._now()

    def _now(self) -> dict[str, Stamp]:
        names = ("config.json", "*.safetensors", "*.safetensors.index.json")
        files = [path for name in names for path in self.folder.glob(name)]
        try:
            return {path.name: stamp_of(path.stat()) for path in files}
        except OSError:
            return {}

    def require_current(self, folder: Path) -> None:
        """Refuse a folder, unless it is another one, whose files are not those of this save.

        Raises
        ------
        OSError
        """
        if folder == self.folder and self._now() != self._stamps:
            raise OSError(f"{folder}: another save took its place while it was read; load it again")


def require_float(folder: Path) -> None:
    """Refuse a checkpoint of a method that transformers has never heard of.

    It passes over such a method with a warning, and takes the numbers for floats.

    Raises
    ------
    ValueError
        Naming the method.
    """
    stored = read_consistently(folder, _quantization) if folder.is_dir() else None
    if isinstance(stored, dict):
        raise _other_method(stored.get("quant_method"))


def _quantization(folder: OpenFolder) -> Any:
    if not folder.is_file("config.json"):
        return None
    return folder.read_json("config.json").get("quantization_config")


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
