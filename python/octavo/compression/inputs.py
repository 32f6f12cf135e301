# SPDX-License-Identifier: Apache-2.0
"""Running calibration data through a model while its layers are watched."""

from __future__ import annotations

from collections.abc import Callable, Collection

from octavo._types import Float32
from octavo.compression.ranges import token_rows
from octavo.data.batches import Batch, Batches
from octavo.models.config import SEQUENCE
from octavo.models.decoder import Decoder
from octavo.models.encoder import Encoder
from octavo.nn import hooks
from octavo.nn.hooks import See


def run_with_heads(model: Encoder | Decoder, batch: Batch) -> None:
    """Call every layer of a model."""
    hidden = model.forward(*batch)
    if isinstance(model, Encoder):
        if model.task:
            model.logits_of(hidden, batch.mask)
        if model.task == SEQUENCE and not model.head_activation:
            return  # it has called the pooler
    for _, head in model.heads():
        head(hidden)


def see_inputs(
    model: Encoder | Decoder,
    batches: Batches,
    names: Collection[str],
    see: See,
    progress: Callable[[float], None],
) -> None:
    """Run all batches once; before each of the named layers, call ``see(name, x, residual)``.

    It gets the rows of tokens alone; `progress` gets the share that is done.
    """
    unseen = set(names)
    total = batches.known_length
    for index, batch in enumerate(batches):
        progress(index / total if total else 0.0)

        def show(name: str, x: Float32, residual: Float32 | None, batch: Batch = batch) -> None:
            unseen.discard(name)
            rest = None if residual is None else token_rows(residual, batch.mask)
            try:
                see(name, token_rows(x, batch.mask), rest)
            except ValueError as error:
                raise ValueError(f"layer {name!r}: calibration: {error}") from None

        with hooks.watching(model, names, show):
            run_with_heads(model, batch)
    if unseen:
        raise ValueError(f"layer {min(unseen)!r}: the calibration data never reached it")
