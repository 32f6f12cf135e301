# SPDX-License-Identifier: Apache-2.0
"""What a student is to match, and with which weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from octavo import _checks

PARTS = ("soft", "labels", "hidden", "embeddings", "attention", "cosine", "vectors")


@dataclass(frozen=True)
class Objective:
    """Weights of the parts of the loss; None means the default where a part applies.

    Parameters
    ----------
    soft : float, optional
        Soft targets (`soft_target_loss`); 1 where both models have logits.
    labels : float, optional
        Cross entropy with the labels of the data (`label_loss`); 0.5 where there are labels and
        logits. Batches without labels learn from the rest.
    hidden : float, optional
        Hidden states of mapped layers (`hidden_loss`), the mean over pairs; 1 where both models
        give hidden states. Where widths differ, a projection is learned with the student.
    embeddings : float
        The same for what goes into the first layer.
    attention : float
        Attention maps of mapped layers (`attention_loss`), the mean over pairs.
    cosine : float
        Cosine of the last hidden states (`cosine_loss`).
    vectors : float, optional
        Cosine of sentence vectors, pooled from the last hidden states; 1 where there are no logits.
    temperature : float
        Of the soft targets.
    layers : None, mapping or sequence of int
        The mapping, see `layer_pairs`.
    pooling : "mean", "first" or "pooler"
        How a sentence vector is made: the mean of its tokens, its first token, or the model's own
        `pooler_output`.
    attention_scores : bool
        Compare scores instead of probabilities, see `attention_loss`.

    Raises
    ------
    TypeError, ValueError
        For values of another kind or out of range.

    Examples
    --------
    >>> from octavo.torch.distillation import Objective
    >>> Objective(temperature=4.0, hidden=0.0).soft is None
    True
    """

    soft: float | None = None
    labels: float | None = None
    hidden: float | None = None
    embeddings: float = 0.0
    attention: float = 0.0
    cosine: float = 0.0
    vectors: float | None = None
    temperature: float = 2.0
    layers: Mapping[int, int] | Sequence[int] | None = None
    pooling: str = "mean"
    attention_scores: bool = True

    def __post_init__(self) -> None:
        for name in PARTS:
            weight: Any = getattr(self, name)
            if weight is not None or name in ("embeddings", "attention", "cosine"):
                _checks.real(weight, name, "[0, inf)")
        _checks.real(self.temperature, "temperature", "(0, inf)")
        _checks.choice(self.pooling, "pooling", ("mean", "first", "pooler"))
        _checks.boolean(self.attention_scores, "attention_scores")
