# SPDX-License-Identifier: Apache-2.0
"""From hidden states to sentence vectors, as the folder of a sentence model says.

``modules.json`` lists what sentence-transformers runs behind the encoder: pooling, then modules
that change the vectors.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo import nn
from octavo._text import shown
from octavo._types import Float32
from octavo.io.checkpoint import Checkpoint
from octavo.io.folder import parse_json
from octavo.io.header import Tensors
from octavo.io.safetensors import TensorFile
from octavo.io.torch_file import TorchFile
from octavo.models.pooling import POOLINGS, pool

Step = Callable[[Float32], Float32]

# The older form has a switch for each; vectors of several stand in this order.
_SWITCHES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_TANH = "torch.nn.modules.activation.Tanh"
_ACTIVATIONS = {
    "torch.nn.modules.linear.Identity": "none",
    _TANH: "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.SiLU": "silu",
}
_NORM_EPSILON = 1e-5
_VECTOR = "sentence_embedding"


class SentenceModules:
    """Pooling, and the modules behind it.

    Parameters
    ----------
    size : int
        Of a hidden state.
    modes : sequence of str
        How to pool; the vectors of several stand side by side.
    include_prompt : bool
        Whether a prompt's tokens are pooled too.
    steps : sequence of callables
        What changes the vectors afterwards.
    width : int, optional
        Of a vector in the end, if a step changes it.
    """

    def __init__(
        self,
        size: int,
        modes: Sequence[str] = ("mean",),
        include_prompt: bool = True,
        steps: Sequence[Step] = (),
        width: int | None = None,
    ) -> None:
        self.modes, self.include_prompt, self.steps = tuple(modes), include_prompt, tuple(steps)
        self.width = len(self.modes) * size if width is None else width

    def __call__(
        self,
        hidden: Float32,
        mask: npt.NDArray[np.bool_] | None = None,
        *,
        normalize: bool | None = None,
        prompt_tokens: int = 0,
    ) -> Float32:
        """Compute sentence vectors; see `octavo.models.Encoder.encode`.

        Parameters
        ----------
        hidden : float32 array, shape (batch, tokens, size)
        mask : bool array, shape (batch, tokens), optional
        normalize, prompt_tokens
            As for `encode`.

        Returns
        -------
        numpy.ndarray of float32, shape (batch, width)
        """
        vectors = pool(hidden, mask, self.modes, 0 if self.include_prompt else prompt_tokens)
        steps = self.steps
        if normalize is not None:
            steps = steps[:-1] if steps[-1:] == (normalized,) else steps
            steps = (*steps, normalized) if normalize else steps
        for step in steps:
            vectors = step(vectors)
        return vectors


def normalized(vectors: Float32) -> Float32:
    """Return vectors of length 1; one of zeros stays."""
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    return vectors / np.maximum(lengths, np.float32(1e-12))


def read_modules(files: Mapping[str, bytes], size: int) -> SentenceModules:
    """Return what a model's folder says of sentence vectors; without ``modules.json``, the mean.

    Parameters
    ----------
    files : mapping of str to bytes
        The folder's side files by their names.
    size : int
        Of a hidden state.

    Raises
    ------
    ValueError
        If a module is of a kind that octavo does not run, a file is corrupt or missing, or they
        contradict each other; the message names the module or the file.
    """
    modules = _listed(files)
    if not modules:
        return SentenceModules(size)
    (kind, path), *others = modules
    if kind != "Pooling":
        raise ValueError(f"modules.json: expected Pooling behind the encoder, got {shown(kind)}")
    pooling = _Config(files, path)
    modes, include_prompt = _read_pooling(pooling, size)
    width, steps = len(modes) * size, []
    for kind, path in others:
        if kind not in _READERS:
            known = ", ".join(sorted(_READERS))
            raise ValueError(
                f"modules.json: module {shown(path)} is a {shown(kind)}; octavo runs {known}"
            )
        config = _Config(files, path)
        step, width = _READERS[kind](config, width)
        config.check_all_used()
        if step is not None:
            steps.append(step)
    return SentenceModules(size, modes, include_prompt, steps, width)


def _listed(files: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Return kind and folder of the modules behind the encoder."""
    if "modules.json" not in files:
        return []
    found = []
    for entry in parse_json(Path("modules.json"), files["modules.json"], list):
        known = entry if isinstance(entry, dict) else {}
        kind, path = known.get("type"), known.get("path")
        if not isinstance(kind, str) or not isinstance(path, str):
            raise ValueError("modules.json: expected a type and a path for each module")
        package, _, name = kind.rpartition(".")
        # A class of the same name in another package may do something else.
        found.append((name if package.partition(".")[0] == "sentence_transformers" else kind, path))
    if found[:1] != [("Transformer", "")]:
        raise ValueError(
            f"modules.json: expected a Transformer with the path '' first, got {shown(found[:1])}"
        )
    return found[1:]


class _Config:
    """A module's config.json; what nobody asks for is not passed over."""

    def __init__(self, files: Mapping[str, bytes], folder: str) -> None:
        self.folder, self._files = folder, files
        name = f"{folder}/config.json"
        self.is_there = name in files
        self._values = parse_json(Path(name), files[name]) if self.is_there else {}
        self._used: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key."""
        self._used.add(key)
        return self._values.get(key, default)

    def expect(self, key: str, wanted: Any, default: Any) -> None:
        """Refuse another value than the one that everything else asks for."""
        value = self.get(key, default)
        if value != wanted or isinstance(value, bool) != isinstance(wanted, bool):
            raise self.error(f"{key} is {shown(value)}, expected {wanted!r}")

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.error(f"{key} is {shown(value)}, expected true or false")
        return value

    def tensors(self) -> Checkpoint:
        """Open the module's weights."""
        name = f"{self.folder}/model.safetensors"
        old = f"{self.folder}/pytorch_model.bin"
        if name not in self._files and old not in self._files:
            raise ValueError(f"{name} is missing")
        file: Tensors
        if name in self._files:
            file = TensorFile(name, io.BytesIO(self._files[name]))
        else:
            file = TorchFile(old, io.BytesIO(self._files[old]))
        return Checkpoint(self.folder, files=dict.fromkeys(file, file))

    def check_all_used(self) -> None:
        """Refuse keys that nobody asked for."""
        unknown = sorted(set(self._values) - self._used)
        if unknown:
            raise self.error(f"{shown(unknown[0])} is not known")

    def error(self, what: str) -> ValueError:
        """Return an error that names the file."""
        return ValueError(f"{self.folder}/config.json: {what}")


def _read_pooling(config: _Config, size: int) -> tuple[tuple[str, ...], bool]:
    if not config.is_there:
        raise ValueError(f"{config.folder}/config.json is missing")
    for key in ("embedding_dimension", "word_embedding_dimension"):
        config.expect(key, size, size)
    switches = {key: config.flag(key, False) for key in _SWITCHES if config.get(key) is not None}
    switched = tuple(_SWITCHES[key] for key, on in switches.items() if on)
    modes = config.get("pooling_mode", switched if switches else "mean")
    modes = tuple(modes) if isinstance(modes, (list, tuple)) else (modes,)
    if not modes or not all(isinstance(mode, str) and mode in POOLINGS for mode in modes):
        known = ", ".join(POOLINGS)
        raise config.error(f"expected ways to pool ({known}), got {shown(list(modes))}")
    if switches and set(modes) != set(switched):
        raise config.error(
            f"pooling_mode is {shown(list(modes))}, its switches say {list(switched)}"
        )
    include_prompt = config.flag("include_prompt", True)
    config.check_all_used()
    return modes, include_prompt


def _read_dense(config: _Config, inputs: int) -> tuple[Step, int]:
    config.expect("in_features", inputs, None)
    outputs, name = config.get("out_features"), config.get("activation_function", _TANH)
    if not isinstance(outputs, int) or outputs < 1:
        raise config.error(f"out_features is {shown(outputs)}, expected a positive integer")
    activation = _ACTIVATIONS.get(name) if isinstance(name, str) else None
    if activation is None:
        known = ", ".join(_ACTIVATIONS)
        raise config.error(f"activation_function is {shown(name)}, supported: {known}")
    config.expect("use_residual", False, False)
    _expect_vectors(config)
    tensors = config.tensors()
    weight = tensors.float32("linear.weight", (outputs, inputs))
    has_bias = config.flag("bias", True)
    bias = tensors.float32("linear.bias", (outputs,)) if has_bias else None
    return nn.FloatLinear(weight, bias, activation=activation), outputs


def _read_norm(config: _Config, size: int) -> tuple[Step, int]:
    config.expect("dimension", size, None)
    tensors = config.tensors()
    weight, bias = (tensors.float32(f"norm.{key}", (size,)) for key in ("weight", "bias"))
    return nn.LayerNorm(weight, bias, eps=_NORM_EPSILON), size


def _read_normalize(config: _Config, size: int) -> tuple[Step, int]:
    _expect_vectors(config)
    return normalized, size


def _read_dropout(config: _Config, size: int) -> tuple[None, int]:
    config.get("dropout")  # only while training
    return None, size


def _expect_vectors(config: _Config) -> None:
    """Refuse a module that reads or writes something else than sentence vectors."""
    config.expect("module_input_name", _VECTOR, _VECTOR)
    if config.get("module_output_name") is not None:
        config.expect("module_output_name", _VECTOR, _VECTOR)


_READERS: dict[str, Callable[[_Config, int], tuple[Step | None, int]]] = {
    "Dense": _read_dense,
    "Dropout": _read_dropout,
    "LayerNorm": _read_norm,
    "Normalize": _read_normalize,
}
