# SPDX-License-Identifier: Apache-2.0
"""Running calibration data through a model while its layers are watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from octavo.compression.ranges import token_rows
from octavo.compression.watch import Float32, See, watched

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from octavo.compression.calibration import Batches
    from octavo.models.encoder import Encoder

__all__ = ["see_inputs"]


def see_inputs(
    model: Encoder,
    batches: Batches,
    names: Collection[str],
    see: See,
    progress: Callable[[float], None],
) -> None:
    """Run all batches; before each of the named layers, show what it reads.

    Parameters
    ----------
    model : Encoder
        Left as it is.
    batches : Batches
    names : collection of str
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
    unseen = set(names)
    mask: Any = None

    def show(name: str, x: Float32, residual: Float32 | None) -> None:
        unseen.discard(name)
        rest = None if residual is None else token_rows(residual, mask)
        try:
            see(name, token_rows(x, mask), rest)
        except ValueError as error:
            raise ValueError(f"layer {name!r}: calibration: {error}") from None

    model = watched(model, names, show)
    total = batches.known_length
    for index, batch in enumerate(batches):
        progress(index / total if total else 0.0)
        mask = batch.mask
        hidden = model.forward(batch.ids, batch.mask, batch.types)
        if model.classifier is not None:
            model.classifier(model.pooled(hidden))
            continue
        for _, head in model.heads():
            head(hidden)
    if unseen:
        raise ValueError(f"layer {min(unseen)!r}: the calibration data never reached it")
