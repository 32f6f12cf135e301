# SPDX-License-Identifier: Apache-2.0
"""Encoders and decoders with some layers kept in float, and what they reach."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from octavo._types import Float64
from octavo.compression.bias_correction import correct_biases
from octavo.compression.sensitivity import agreement, vectors_of, work_sensitivity
from octavo.compression.work import Model, Work
from octavo.data.batches import Batch
from octavo.models.decoder import Decoder
from octavo.models.encoder import Encoder
from octavo.models.likelihood import token_losses


class ModelCandidates:
    """Compressed copies of the model of a compression under way; see `octavo.compression.target`.

    Parameters
    ----------
    work : Work
        After its stages.
    metric : str, optional
        By which they are going to be measured, if it has a name.
    """

    def __init__(self, work: Work, metric: str | None) -> None:
        self._work, self._has_metric = work, metric is not None
        self.keep, self.progress = work.forms.keep, work.progress
        self._reference: Any = None
        if metric is not None:
            self._reference = _reference(work, metric)
            if not np.isfinite(self._reference).all():
                raise ValueError(
                    "model: expected finite outputs on the calibration data, got NaN or infinity"
                )

    def ranked(self) -> list[str]:
        """Return the names of layers by their sensitivity, the most sensitive first.

        But tables of embeddings larger than any linear layer come last, if they do not give logits
        too.
        """
        rows, model = list(work_sensitivity(self._work)), self._work.model
        if isinstance(model, Encoder) and self._has_metric:
            heads = tuple(f"{name}." for name, _ in model.heads())
            rows = [row for row in rows if not heads or not row.name.startswith(heads)]
        if not (isinstance(model, Decoder) and model.config.is_tied):
            widest = max((row.float_bytes for row in rows if row.kind == "linear"), default=0)
            # The sort is stable: the most sensitive stay first.
            rows.sort(key=lambda row: row.kind != "linear" and row.float_bytes > widest)
        return [row.name for row in rows]

    def made(self, kept: frozenset[str]) -> Model:
        """Return the compressed model that keeps these layers."""
        return correct_biases(self._work, self._work.forms.model(self._work.model, kept))

    def measured(self, made: Model, metric: str) -> float:
        """Return what a compressed model reaches."""
        if isinstance(made, Decoder):
            losses = losses_of(made, self._work.batches)
            return math.exp(float((losses - self._reference).mean()))
        cosine, _, sqnr = agreement(self._reference, vectors_of(made, self._work.batches))
        return cosine if metric == "cosine" else sqnr

    def for_callable(self, made: Model) -> Model:
        """Return what a metric of the user's gets."""
        return made


def _reference(work: Work, metric: str) -> Any:
    """Return what the float model gives, for a metric of what a compressed one gives."""
    if not isinstance(work.original, Decoder):
        return vectors_of(work.original, work.batches)
    exact = copy.copy(work.original)
    exact.attention_precision = "float32"
    losses = losses_of(exact, work.batches)
    if not losses.size:
        raise ValueError(f"calibration: expected texts of at least 2 tokens for a {metric}")
    return losses


def losses_of(model: Decoder, batches: Iterable[Batch]) -> Float64:
    """Return minus the logarithms of the probabilities of the tokens of texts, but the first."""
    found = [np.empty(0)]
    for batch in batches:
        texts = [ids[kept] for ids, kept in zip(batch.ids, batch.mask, strict=True)]
        found += [token_losses(model, ids) for ids in texts if len(ids) > 1]
    return np.concatenate(found)
