# SPDX-License-Identifier: Apache-2.0
"""A report on a model and a machine as one HTML page; it needs the extra ``report``.

The page holds everything it shows and fetches nothing: size by layer, latency against the engines
that were measured, the roofline with the measured points, the error of each layer, the range of
each layer's input, and how much of weights and inputs is saturated.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octavo.bench import files
from octavo.bench.compare import read
from octavo.report import theme

if TYPE_CHECKING:
    from octavo.data.sources import CalibrationData
    from octavo.report.collect import Progress
    from octavo.report.facts import ModelFacts

__all__ = ["MAX_BYTES", "write"]

MAX_BYTES = 2_000_000
"""A page is never larger; what would make it so is an error."""

_LOOKING = 0.4
"""The share of the work that looking at a model takes where it is timed as well."""

_NEEDED = ("bench", "case", "engine", "isa", "threads", "seconds", "low", "high", "ops", "nbytes")


def write(
    path: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    reference: str | os.PathLike[str] | None = None,
    bench: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] = (),
    calibration: CalibrationData | None = None,
    title: str | None = None,
    seconds: float = 0.3,
    progress: Progress = lambda *_: None,
) -> dict[str, Any]:
    """Write a report; the file appears whole or not at all.

    Parameters
    ----------
    path : str or os.PathLike
        The ``.html`` file to write.
    model : str or os.PathLike, optional
        Folder of a float model, which is compressed in memory, or of an artifact.
    reference : str or os.PathLike, optional
        The float model that an artifact was made of: with it, errors are known.
    bench : str or os.PathLike, or a sequence of them
        Result files of ``octavo bench --json``. Without any, the model's layers and the machine
        are timed now, against NumPy's float32.
    calibration : optional
        Inputs that errors and ranges are measured on, as `octavo.compress` takes them; default:
        built-in sentences, or random ids for a model without a tokenizer. It goes with a model.
    title : str, optional
        Heading of the page (default: the model's name, or the machine's).
    seconds : float
        Time for each engine and case, where something is timed.
    progress : callable
        ``progress(text, done)``, called as each step starts.

    Returns
    -------
    dict
        path, bytes, model, float_bytes, stored_bytes, cosine_mean, cosine_min (None where there
        is no model or no float32 to compare with), int8_pays (one verdict a case), plots.

    Raises
    ------
    ModuleNotFoundError
        Without matplotlib; the message says which extra brings it.
    ValueError, OSError
        For a model or result file that cannot be read; the message names it.

    Examples
    --------
    >>> import octavo.report
    >>> octavo.report.write("page.html", bench="no-such-file.json")
    Traceback (most recent call last):
    ...
    OSError: no-such-file.json: cannot be read (No such file or directory)
    """
    target = Path(path)
    theme.require_matplotlib()
    files.check_target(target.absolute())
    if reference is not None and model is None:
        raise ValueError("reference: it goes with a model")
    if calibration is not None and model is None:
        raise ValueError("calibration: it goes with a model")
    given = [bench] if isinstance(bench, (str, os.PathLike)) else bench
    sources = model, reference, calibration
    facts, documents = _gather(sources, [_read(file) for file in given], seconds, progress)
    progress("drawing", 1.0)
    from octavo.report import content, page, tables

    rows = [row for document in documents for row in document["rows"]]
    drawn = content.plots(facts, rows, content.rooflines(documents))
    text = page.render(
        title or (f"octavo report: {Path(model).name}" if model else "octavo report"),
        content.machine_line(documents[0], rows),
        content.cards(facts, rows),
        drawn,
        tables.pays_table(rows),
        tables.tables(facts, documents),
    )
    encoded = text.encode("utf-8")
    if len(encoded) > MAX_BYTES:
        raise ValueError(
            f"the page would have {len(encoded)} bytes, at most {MAX_BYTES}: give fewer results"
        )
    files.write_bytes(target, encoded)
    return content.summary(target, len(encoded), facts, rows, drawn)


def _gather(
    sources: tuple[Any, Any, Any],
    documents: list[dict[str, Any]],
    seconds: float,
    progress: Progress,
) -> tuple[ModelFacts | None, list[dict[str, Any]]]:
    """Look at the model, and time what no document tells.

    `sources` are the model, the reference and the calibration data.
    """
    from octavo.report.collect import collect_model
    from octavo.report.measure import measure

    model, reference, calibration = sources
    facts, start = None, 0.0
    if model is not None:
        start = 1.0 if documents else _LOOKING
        twin = None if reference is None else Path(reference)
        facts = collect_model(
            Path(model), twin, lambda text, done: progress(text, done * start), calibration
        )
    if not documents:
        rest = 1 - start
        documents = [
            measure(facts, lambda text, done: progress(text, start + done * rest), seconds)
        ]
    return facts, documents


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    document = read(path)
    for index, row in enumerate(document["rows"]):
        missing = [key for key in _NEEDED if not isinstance(row, dict) or key not in row]
        if missing:
            raise ValueError(f"{path}: row {index} has no {', '.join(missing)}")
        row.setdefault("limit_seconds", None)
        row.setdefault("vs_numpy", None)
        row.setdefault("extra", {})
        row.setdefault("disturbed", "")
    return document
