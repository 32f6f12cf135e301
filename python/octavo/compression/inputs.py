# SPDX-License-Identifier: Apache-2.0
"""Running calibration data through a model while its layers are watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from octavo import nn
from octavo.compression.watch import Float32, See, watch
from octavo.models.tree import map_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from octavo.compression.calibration import Batch, Batches
    from octavo.models.encoder import Encoder

__all__ = ["run_with_heads", "see_inputs", "token_rows"]


class _Whole(nn.Module):
    """A model with its heads, called at once."""

    def __init__(self, model: Encoder) -> None:
        self.model = model

    def __call__(self, *batch: Any) -> None:
        run_with_heads(self.model, batch)


def run_with_heads(model: Encoder, batch: tuple[Any, ...]) -> None:
    """Call every layer of a model."""
    hidden = model.forward(*batch)
    if model.classifier is not None:
        model.classifier(model.pooled(hidden))
        return
    for _, head in model.heads():
        head(hidden)


def see_inputs(
    model: Encoder,
    batches: Batches,
    names: Sequence[str],
    see: See,
    progress: Callable[[float], None],
) -> None:
    """Run all batches; before each of the named layers, show what it reads.

    Parameters
    ----------
    model : Encoder
        Left as it is.
    batches : Batches
        Gone through once.
    names : sequence of str
        Of float linear layers.
    see : callable
        ``see(name, x, residual)``, with the rows of tokens alone.
    progress : callable
        Gets the share that is done.

    Raises
    ------
    ValueError
        If a layer is never reached, or gets values that are not finite; the message names it.
    """
    whole = _Whole(map_layers(model, lambda _, layer: layer))
    unseen = set(names)
    total = batches.known_length
    for index, batch in enumerate(batches):
        progress(index / total if total else 0.0)

        def show(path: str, x: Float32, residual: Float32 | None, batch: Batch = batch) -> None:
            name = path.removeprefix("model.")
            unseen.discard(name)
            rest = None if residual is None else token_rows(residual, batch)
            try:
                see(name, token_rows(x, batch), rest)
            except ValueError as error:
                raise ValueError(f"layer {name!r}: calibration: {error}") from None

        watch(whole, [f"model.{name}" for name in names], tuple(batch), show)
    if unseen:
        raise ValueError(f"layer {min(unseen)!r}: the calibration data never reached it")


def token_rows(x: Float32, batch: Batch) -> Float32:
    """Return the rows of tokens, not those of padding; of a head, those of first tokens."""
    rows: Float32 = x[batch.mask] if x.ndim == 3 else x[batch.mask[:, 0]]
    return rows
