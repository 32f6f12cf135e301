# SPDX-License-Identifier: Apache-2.0
"""What each layer costs the model's output if it alone is quantized."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from octavo import nn
from octavo._text import columns
from octavo._types import Float32
from octavo.algorithms.measures import cosines, sqnr_db
from octavo.compression.rows import Rows
from octavo.compression.work import Model, Work
from octavo.data.batches import Batch
from octavo.models.encoder import Encoder
from octavo.nn.tree import map_layers

MOST_TOKENS = 4096
"""More calibration tokens than these would take longer, and hardly change the order."""
MOST_OF_DECODERS = 1024
"""The same of decoders, which have more layers of more weights."""
LOGITS_EACH = 8
"""Of so many tokens, those of one are compared, which are as many as the vocabulary."""


@dataclass(frozen=True)
class LayerSensitivity:
    """What comes out of the model while one layer is quantized and all others are float.

    Attributes
    ----------
    name, kind : str
        The layer, and whether it is "linear" or "embedding".
    cosine, cosine_min : float
        Of the sentence vectors with those of the float model: mean and least.
    sqnr_db : float
        Signal-to-quantization-noise ratio of the sentence vectors, in decibels. For a layer of a
        head, which they do not pass, all three are those of the head's output. Of a decoder, of the
        logits of every eighth token.
    float_bytes, nbytes : int
        Size of the layer in float32, and quantized.
    """

    name: str
    kind: str
    cosine: float
    cosine_min: float
    sqnr_db: float
    float_bytes: int
    nbytes: int


class Sensitivity(Rows[LayerSensitivity]):
    """The layers of a model, the most sensitive first.

    Behaves as a sequence of `LayerSensitivity`; printed, it is a table.

    Parameters
    ----------
    rows : sequence of LayerSensitivity
        In any order.

    Examples
    --------
    >>> from octavo.compression import LayerSensitivity, Sensitivity
    >>> table = Sensitivity([
    ...     LayerSensitivity("a", "linear", 0.9999, 0.9998, 38.0, 4096, 1088),
    ...     LayerSensitivity("b", "linear", 0.9981, 0.9972, 25.5, 4096, 1088),
    ... ])
    >>> print(table)
    layer  kind    cosine   least    SQNR, dB  float32, kB  quantized, kB
    b      linear  0.99810  0.99720  25.5      4.1          1.1
    a      linear  0.99990  0.99980  38.0      4.1          1.1
    >>> table[0].name, len(table)
    ('b', 2)
    """

    def __init__(self, rows: Sequence[LayerSensitivity]) -> None:
        super().__init__(sorted(rows, key=lambda row: row.sqnr_db))

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Return the fields of each layer by its name, in order; ready for JSON.

        Examples
        --------
        >>> from octavo.compression import LayerSensitivity, Sensitivity
        >>> row = LayerSensitivity("a", "linear", 0.9999, 0.9998, 38.0, 4096, 1088)
        >>> Sensitivity([row]).to_dict()["a"]["sqnr_db"]
        38.0
        """
        fields = {}
        for row in self._rows:
            values = asdict(row)
            name = values.pop("name")
            if math.isinf(row.sqnr_db):
                values["sqnr_db"] = None
            fields[name] = values
        return fields

    def __str__(self) -> str:
        header = ("layer", "kind", "cosine", "least", "SQNR, dB", "float32, kB", "quantized, kB")
        return columns([header, *(_cells(row) for row in self._rows)])

    def __repr__(self) -> str:
        return f"<Sensitivity of {len(self)} layers>"


def _cells(row: LayerSensitivity) -> tuple[str, ...]:
    return (
        row.name,
        row.kind,
        f"{row.cosine:.5f}",
        f"{row.cosine_min:.5f}",
        f"{row.sqnr_db:.1f}",
        f"{row.float_bytes / 1e3:.1f}",
        f"{row.nbytes / 1e3:.1f}",
    )


def agreement(wanted: Float32, got: Float32) -> tuple[float, float, float]:
    """Return mean and least cosine of rows, and the SQNR of all in decibels; NaN gives NaN."""
    cosine = cosines(wanted, got)
    return float(cosine.mean()), float(cosine.min()), sqnr_db(wanted, got)


def vectors_of(model: Encoder, batches: Iterable[Batch]) -> Float32:
    """Return the sentence vectors of batches, (rows, size)."""
    return np.concatenate([model.sentence(model.forward(*batch), batch.mask) for batch in batches])


def _vectors(model: Model, hidden: Float32, batch: Batch) -> Float32:
    if isinstance(model, Encoder):
        return model.sentence(hidden, batch.mask)
    return model.logits(hidden[::LOGITS_EACH])


def work_sensitivity(work: Work) -> Sensitivity:
    """Measure each layer of a prepared compression alone, on its batches or a sample of them.

    What comes out of the blocks before a layer's is computed once; only its own block and those
    behind it run again.
    """
    most = MOST_TOKENS if isinstance(work.model, Encoder) else MOST_OF_DECODERS
    batches = _sample(list(work.batches), most)
    probe = _Probe(work.model, batches)
    names = [name for name, layer in work.model.named_modules() if _kind(layer)]
    rows = []
    for index, name in enumerate(names):
        work.progress(f"measuring {name} alone", index / len(names))
        layer: Any = work.model.get_submodule(name)
        quantized: Any = work.forms.quantized(name, layer)
        if quantized is layer:
            continue
        found = probe.measure(name, quantized)
        if found is not None:
            size, small = _size(layer), _size(quantized)
            rows.append(LayerSensitivity(name, _kind(layer), *found, size, small))
    return Sensitivity(rows)


def _size(layer: Any) -> int:
    return sum(int(value.nbytes) for value in layer.state_dict().values())


def _kind(layer: nn.Module) -> str:
    return layer.role if layer.kind == "float32" else ""


def _sample(batches: Iterable[Batch], most: int) -> list[Batch]:
    """Return every n-th row of the batches, so that at most so many tokens are left."""
    total = sum(int(batch.mask.sum()) for batch in batches)
    step = -(-total // most)
    if step <= 1:
        return list(batches)
    chosen = []
    start = 0
    for batch in batches:
        kept = slice((-start) % step, None, step)
        start += len(batch.ids)
        if len(batch.ids[kept]):
            types = None if batch.types is None else batch.types[kept]
            chosen.append(Batch(batch.ids[kept], batch.mask[kept], types))
    return chosen


class _Probe:
    """A float model and what goes into each of its blocks."""

    def __init__(self, model: Model, batches: Sequence[Batch]) -> None:
        self._model, self._batches = model, batches
        self._blocks = model.blocks()
        self._heads = dict(model.heads()) if isinstance(model, Encoder) else {}
        states = [model.embed(batch.ids, batch.types) for batch in batches]
        self._inputs = []
        for _, block in self._blocks:
            self._inputs.append(states)
            states = self._through(block, states)
        self._last = states
        self._wanted = self._vectors(states)

    def measure(self, name: str, layer: nn.Module) -> tuple[float, float, float] | None:
        """Return the agreement with one layer replaced; None if no output depends on it."""
        for head, module in self._heads.items():
            if name.startswith(f"{head}."):
                changed = _with(module, name.removeprefix(f"{head}."), layer)
                return agreement(self._headed(module), self._headed(changed))
        for index, (block, module) in enumerate(self._blocks):
            if name.startswith(f"{block}."):
                changed = _with(module, name.removeprefix(f"{block}."), layer)
                return self._rest(index + 1, self._through(changed, self._inputs[index]))
        if not f"{name}.".startswith(self._model.prefixes()):
            return None
        model = _with(self._model, name, layer)
        states = [model.embed(batch.ids, batch.types) for batch in self._batches]
        return self._rest(0, states, model)

    def _rest(
        self, start: int, states: list[Float32], model: Model | None = None
    ) -> tuple[float, float, float]:
        for _, block in self._blocks[start:]:
            states = self._through(block, states, model)
        return agreement(self._wanted, self._vectors(states, model))

    def _through(
        self, block: Any, states: list[Float32], model: Model | None = None
    ) -> list[Float32]:
        of = self._model if model is None else model
        return [
            block(*of.block_inputs(hidden, batch.mask))
            for hidden, batch in zip(states, self._batches, strict=True)
        ]

    def _vectors(self, states: list[Float32], model: Model | None = None) -> Float32:
        of = self._model if model is None else model
        return np.concatenate(
            [
                _vectors(of, of.finish(hidden), batch)
                for hidden, batch in zip(states, self._batches, strict=True)
            ]
        )

    def _headed(self, head: Any) -> Float32:
        return np.concatenate([head(self._model.finish(hidden)) for hidden in self._last])


def _with(module: Any, path: str, layer: nn.Module) -> Any:
    """Return a copy of a module with another layer at one place."""
    return map_layers(module, lambda name, leaf: layer if name == path else leaf)
