# SPDX-License-Identifier: Apache-2.0
"""What a model is worth: accuracy on labelled data, nearness to the model it was made from.

Of encoders that is; `perplexity` measures decoders.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo._float_mode import in_default_mode
from octavo.algorithms.measures import cosines, sqnr_db
from octavo.data.labelled import Data, read_data
from octavo.evaluation.layers import LayerError, layer_errors
from octavo.evaluation.perplexity import Measured, Perplexity, perplexity
from octavo.models.config import SEQUENCE
from octavo.models.encoder import Encoder
from octavo.models.loader import load_encoder

Model = Encoder | str | os.PathLike[str]
Outputs = tuple[NDArray[np.float32], NDArray[np.float32] | None]

__all__ = [
    "Evaluation",
    "LayerError",
    "Measured",
    "Perplexity",
    "evaluate",
    "layer_errors",
    "perplexity",
]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found; what it could not know is None.

    Attributes
    ----------
    rows : int
        Sentences.
    accuracy : float
        Share of right labels.
    accuracy_of : str
        "classifier", the model's own head; or "probe", a logistic regression on sentence vectors.
    reference_accuracy : float
        The same of the reference.
    agreement : float
        Share of rows to which both give the same label.
    cosine_mean, cosine_min : float
        Of the sentence vectors to the reference's.
    sqnr : float
        Of all sentence vectors together, dB.
    seconds : float
        Time the model took.
    """

    rows: int
    accuracy: float | None
    accuracy_of: str | None
    reference_accuracy: float | None
    agreement: float | None
    cosine_mean: float | None
    cosine_min: float | None
    sqnr: float | None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain Python objects, for JSON."""
        return asdict(self)


@in_default_mode
def evaluate(
    model: Model,
    data: Any,
    *,
    labels: Any = None,
    reference: Model | None = None,
    train: Any = None,
    on_progress: Callable[[str, float], None] | None = None,
) -> Evaluation:
    """Measure a model on data.

    Parameters
    ----------
    model : Encoder or path
        What is measured.
    data : path, list of sentences, or dict of arrays
        A ``.tsv`` file has a label, a tab and a sentence a line; ``.jsonl`` objects with "text" or
        "input_ids" and perhaps "label"; ``.txt`` a sentence a line; ``.npz``, and a dict, input_ids
        and perhaps attention_mask, token_type_ids and labels.
    labels : sequence, optional
        A number, or a name that the model's config knows, for each row, if `data` has none.
    reference : Encoder or path, optional
        The model it was made from.
    train : path, or (data, labels), optional
        Labelled data for a model without a classification head: a logistic regression learns from
        the reference's sentence vectors of these (from the model's own without a reference). Needs
        scikit-learn.
    on_progress : callable, optional
        Called with what is going on and the share that is done.

    Returns
    -------
    Evaluation

    Raises
    ------
    TypeError, ValueError, OSError
        If an argument or a file is not what it should be; the message names it.
    ModuleNotFoundError
        If `train` is given and scikit-learn is missing.

    Examples
    --------
    >>> import octavo
    >>> octavo.evaluation.evaluate("no/such/folder", ["a sentence"])
    Traceback (most recent call last):
    ...
    FileNotFoundError: no such folder: no/such/folder
    """
    measured = _opened(model, "model")
    other = None if reference is None else _opened(reference, "reference")
    rows = read_data(data, labels, "data")
    lessons = None if train is None else _read_train(train)
    wanted = _classes(rows, measured)
    if wanted is not None and measured.task != SEQUENCE and lessons is None:
        raise ValueError("train: expected labelled data, the model has no classification head")
    progress = on_progress or (lambda _, __: None)
    # The model, the reference, and the training data, which are larger.
    share = 1 / (1 + (other is not None) + 4 * (lessons is not None))
    start = time.perf_counter()
    mine = _outputs(measured, rows, progress, "the model", 0.0, share)
    seconds = time.perf_counter() - start
    theirs = None
    if other is not None:
        theirs = _outputs(other, rows, progress, "the reference", share, 2 * share)
    kind, guesses, reference_guesses = None, None, None
    if lessons is not None and (measured.task != SEQUENCE or wanted is not None):
        teacher = measured if other is None else other
        inputs = _outputs(teacher, lessons, progress, "the training data", 1 - 4 * share, 1.0)[0]
        probe = _probe(inputs, lessons, teacher)
        kind, guesses = "probe", probe.predict(mine[0])
        reference_guesses = None if theirs is None else probe.predict(theirs[0])
    elif mine[1] is not None:
        kind, guesses = "classifier", mine[1].argmax(axis=1)
        if theirs is not None and theirs[1] is not None:
            reference_guesses = theirs[1].argmax(axis=1)
    near = None if theirs is None else cosines(theirs[0], mine[0])
    return Evaluation(
        rows=len(rows),
        accuracy=_share(guesses, wanted),
        accuracy_of=None if wanted is None else kind,
        reference_accuracy=_share(reference_guesses, wanted),
        agreement=_share(guesses, reference_guesses),
        cosine_mean=None if near is None else float(near.mean()),
        cosine_min=None if near is None else float(near.min()),
        sqnr=None if theirs is None else sqnr_db(theirs[0], mine[0]),
        seconds=round(seconds, 3),
    )


def _opened(model: Model, name: str) -> Encoder:
    if isinstance(model, Encoder):
        return model
    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(f"{name}: expected a model or a folder, got {type(model).__name__}")
    return load_encoder(model)


def _read_train(train: Any) -> Data:
    data, labels = train if isinstance(train, tuple) and len(train) == 2 else (train, None)
    lessons = read_data(data, labels, "train")
    if lessons.labels is None:
        raise ValueError(f"{lessons.name}: expected labels, got none")
    return lessons


def _classes(rows: Data, model: Encoder) -> NDArray[np.int64] | None:
    names = model.config.raw.get("label2id")
    known = {str(key): int(value) for key, value in names.items()} if names else {}
    return rows.classes(known, model.config.labels if model.task == SEQUENCE else None)


def _outputs(
    model: Encoder,
    rows: Data,
    progress: Callable[[str, float], None],
    what: str,
    start: float,
    end: float,
) -> Outputs:
    """Return sentence vectors and logits in the order of the rows."""
    vectors = np.zeros((len(rows), model.sentence.width), np.float32)
    logits = None
    done = 0
    for positions, inputs in rows.batches(model):
        progress(f"evaluating {what}", start + (end - start) * done / len(rows))
        hidden = model(*inputs)
        vectors[positions] = model.sentence(hidden, inputs[1])
        if model.task == SEQUENCE:
            scores = model.logits_of(hidden, inputs[1])
            if logits is None:
                logits = np.zeros((len(rows), scores.shape[1]), np.float32)
            logits[positions] = scores
        done += len(positions)
    return vectors, logits


def _probe(vectors: NDArray[np.float32], lessons: Data, model: Encoder) -> Any:
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise ModuleNotFoundError(
            "train needs the 'scikit-learn' package: pip install 'octavo[evaluate]'"
        ) from None
    classes = _classes(lessons, model)
    if classes is None or len(np.unique(classes)) < 2:
        raise ValueError(f"{lessons.name}: expected labels of at least two kinds, got one")
    return LogisticRegression(C=1, max_iter=2000).fit(vectors, classes)


def _share(first: Any, second: Any) -> float | None:
    """Return the share of equal entries."""
    return None if first is None or second is None else float((first == second).mean())
