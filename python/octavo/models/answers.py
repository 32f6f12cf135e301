# SPDX-License-Identifier: Apache-2.0
"""From a classifier's logits to labels and scores, as its config.json says."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from octavo import functional
from octavo._text import shown
from octavo._types import Float32

_IDENTITY = "torch.nn.modules.linear.Identity"
_SIGMOID = "torch.nn.modules.activation.Sigmoid"


class Label(NamedTuple):
    """A class, and how likely it is.

    Attributes
    ----------
    label : str
        Its name in the config's ``id2label``, or ``LABEL_0``.
    score : float
        A probability: among all classes, or for this one alone if a text may have several. Of a
        regression, its value.
    """

    label: str
    score: float


class Ranked(NamedTuple):
    """A text's place in the list that was given, and its score."""

    place: int
    score: float


def labels_of(logits: Float32, raw: dict[str, Any], top: int) -> list[list[Label]]:
    """Return the `top` most likely classes of each row, the likeliest first."""
    scores = _probabilities(logits, raw)
    known = raw.get("id2label") or {}
    names = [str(known.get(str(index), f"LABEL_{index}")) for index in range(logits.shape[1])]
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return [
        [Label(names[index], float(row[index])) for index in places]
        for row, places in zip(scores, order, strict=True)
    ]


def _probabilities(logits: Float32, raw: dict[str, Any]) -> npt.NDArray[Any]:
    problem = raw.get("problem_type")
    if problem == "regression":
        return logits
    if problem == "multi_label_classification" or logits.shape[1] == 1:
        return _sigmoid(logits)
    return functional.softmax(logits)


def scores_of(logits: Float32, raw: dict[str, Any]) -> npt.NDArray[Any]:
    """Return the score of each pair of texts, (rows,), by a cross-encoder's logits (rows, 1)."""
    ours = raw.get("sentence_transformers")
    named = ours.get("activation_fn") if isinstance(ours, dict) else None
    name = named or raw.get("sbert_ce_default_activation_function") or _SIGMOID
    if name not in (_IDENTITY, _SIGMOID):
        raise ValueError(
            f"config.json: activation_fn is {shown(name)}, expected {_SIGMOID} or {_IDENTITY}"
        )
    return _sigmoid(logits[:, 0]) if name == _SIGMOID else logits[:, 0]


def _sigmoid(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # Of -|x|, so that nothing overflows.
    small = np.exp(-np.abs(x.astype(np.float64)))
    return np.where(x < 0, small, 1.0) / (1.0 + small)
