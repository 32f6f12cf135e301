# SPDX-License-Identifier: Apache-2.0
"""How well a decoder foretells a text, and how much less well than the model it was made from."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from octavo import nn
from octavo._float_mode import in_default_mode
from octavo.data.text_windows import Windows, read_windows
from octavo.models.decoder import Decoder
from octavo.models.likelihood import token_losses
from octavo.models.loader import load, load_with

Progress = Callable[[str, float], None]
_LARGEST_LOSS = 700.0
"""Beyond, e to it is no float any more."""


@dataclass(frozen=True)
class Measured:
    """A decoder as it was measured.

    Attributes
    ----------
    perplexity : float
        e to the mean of ``-ln p`` over the tokens that are predicted.
    weights : str
        The kinds of its layers' weights: "int8", "float32", or several with commas between.
    keys_and_values : str
        How they were held, "int8" or "float32".
    recipe : dict or None
        What `octavo.compress` did to make it.
    rounded : list of str
        What became of weights of a GGUF file that do not run as they are.
    seconds : float
        Time it took.
    """

    perplexity: float
    weights: str
    keys_and_values: str
    recipe: dict[str, Any] | None
    rounded: list[str]
    seconds: float


@dataclass(frozen=True)
class Perplexity:
    """What `perplexity` found.

    Attributes
    ----------
    text : str
        The file, or "tokens".
    tokens : int
        How many were predicted.
    context : int
        Tokens of a window.
    windows : int
        How many there were.
    model : Measured
        Of the model.
    reference : Measured or None
        Of the reference.
    change : float or None
        By how much the model's perplexity is above the reference's, as a share of that.
    change_error : float or None
        The standard error of that, from the differences token by token, as if tokens did not
        depend on each other.
    """

    text: str
    tokens: int
    context: int
    windows: int
    model: Measured
    reference: Measured | None
    change: float | None
    change_error: float | None

    @property
    def tokens_per_second(self) -> float:
        """Tokens predicted in a second by the model."""
        return self.tokens / self.model.seconds

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain Python objects, for JSON."""
        return {**asdict(self), "tokens_per_second": self.tokens_per_second}


@in_default_mode
def perplexity(
    model: Decoder | str | os.PathLike[str],
    text: str | os.PathLike[str] | npt.ArrayLike,
    *,
    context: int | None = None,
    reference: Decoder | str | os.PathLike[str] | None = None,
    on_progress: Progress | None = None,
) -> Perplexity:
    """Measure how well a decoder foretells a text.

    The text is cut into windows, each of which the model reads as a text of its own: it begins with
    what the tokenizer puts before a text, if anything, and each token behind is predicted from
    those before it in the window; without anything before it, the first is not predicted.

    Parameters
    ----------
    model : Decoder or path
        What is measured; a path is loaded as `octavo.models.load` does.
    text : path, or array_like of int, shape (tokens,)
        A file in UTF-8, or tokens, which are cut as they are.
    context : int, optional
        Tokens of a window. Default: 512, or the model's positions where those are fewer.
    reference : Decoder or path, optional
        The model it was made from. A path is read with the weights that it has, those of a GGUF
        file in float32, and its keys and values are kept in float32.
    on_progress : callable, optional
        Called with what is going on and the share that is done.

    Returns
    -------
    Perplexity

    Raises
    ------
    TypeError, ValueError, OSError
        If an argument or the file is not what it should be: no decoder, bytes that are not UTF-8, a
        text of less than two tokens, a longer context than the model has positions; the message
        names it.

    Examples
    --------
    >>> import octavo
    >>> octavo.evaluation.perplexity("no/such/folder", "text.txt")
    Traceback (most recent call last):
    ...
    FileNotFoundError: no such folder: no/such/folder
    """
    measured = _decoder(model, "model", load)
    other = None if reference is None else _decoder(reference, "reference", _as_it_is)
    windows = read_windows(text, measured, context, "text")
    if other is not None:
        _require_same_tokens(measured, other)
    progress = on_progress or (lambda _, __: None)
    share = 1.0 if other is None else 0.5
    losses, held = _run(measured, windows, lambda done: progress("running the model", share * done))
    change = error = beside = None
    if other is not None:
        exact, beside = _run(
            other, windows, lambda done: progress("running the reference", (1 + done) / 2)
        )
        worse = losses - exact
        change = math.expm1(worse.mean())
        if len(worse) > 1:
            error = (1 + change) * float(worse.std(ddof=1)) / math.sqrt(len(worse))
    return Perplexity(
        text=os.fspath(text) if isinstance(text, (str, os.PathLike)) else "tokens",
        tokens=len(losses),
        context=windows.context,
        windows=len(windows.rows),
        model=held,
        reference=beside,
        change=change,
        change_error=error,
    )


def _decoder(model: Any, name: str, opened: Callable[[Any], Any]) -> Decoder:
    if isinstance(model, (str, os.PathLike)):
        name, model = os.fspath(model), opened(model)
    if not isinstance(model, Decoder):
        kind = getattr(model, "architecture", type(model).__name__)
        raise (ValueError if isinstance(model, nn.Module) else TypeError)(
            f"{name}: expected a decoder, which gives tokens probabilities, got a {kind}"
        )
    return model


def _as_it_is(path: str | os.PathLike[str]) -> Any:
    """Load a model with the weights that its files have, to attend in float32."""
    model = load_with(path, None)
    model.attention_precision = "float32"
    return model


def _require_same_tokens(model: Decoder, reference: Decoder) -> None:
    sizes = model.config.vocab_size, reference.config.vocab_size
    if sizes[0] != sizes[1]:
        raise ValueError(f"reference: expected a vocabulary of {sizes[0]} tokens, got {sizes[1]}")


def _run(
    model: Decoder, windows: Windows, progress: Callable[[float], None]
) -> tuple[npt.NDArray[np.float64], Measured]:
    """Return the losses of all tokens that are predicted, and what they come to."""
    total, done = sum(len(row) - 1 for row in windows.rows), 0
    start = time.perf_counter()
    losses = []
    for row in windows.rows:

        def ran(count: int, before: int = done) -> None:
            progress((before + count) / total)

        losses.append(token_losses(model, row, windows.known, ran))
        done += len(row) - 1
    seconds = time.perf_counter() - start
    together = np.concatenate(losses)
    mean = float(together.mean())
    if not mean < _LARGEST_LOSS:
        raise ValueError(f"model: expected finite probabilities, got a mean of -ln p of {mean:g}")
    layers = [layer for _, layer in model.named_modules() if layer.role in ("linear", "embedding")]
    held = Measured(
        perplexity=math.exp(mean),
        weights=", ".join(sorted({layer.kind for layer in layers})),
        keys_and_values="float32" if model.attention_precision == "float32" else "int8",
        recipe=model.recipe,
        rounded=[str(one) for one in model.rounded],
        seconds=round(seconds, 3),
    )
    return together, held
