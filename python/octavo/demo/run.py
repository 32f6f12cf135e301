# SPDX-License-Identifier: Apache-2.0
"""The steps of the demonstration and their result."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from octavo import nn, runtime, timing
from octavo.algorithms.measures import cosines
from octavo.bench import blas, roofline
from octavo.bench import model as whole
from octavo.compression import compress
from octavo.data.sentences import SENTENCES
from octavo.data.tokenizer import tokenize
from octavo.evaluation.layers import LayerError, layer_errors
from octavo.io.side_files import weight_bytes
from octavo.models.encoder import Encoder
from octavo.models.loader import load_encoder

LENGTHS = (16, 64, 128, 256)
_SECONDS = 1.0

Progress = Callable[[str, float], None]
"""Gets a line about each step as it starts, and the share of the work that is done."""

# Where each step starts, for the time left: measured with the default model.
_COMPRESSING, _COMPARING, _LAYERS, _LIMITS, _TIMING = 0.02, 0.1, 0.2, 0.35, 0.4


@dataclass(frozen=True)
class Latency:
    """Median time of one call on one sentence of `tokens` tokens, in milliseconds."""

    tokens: int
    float_ms: float
    int8_ms: float
    roofline_share: float
    disturbed: str = ""
    """Why the times say little, "" if they say what they should."""

    @property
    def speedup(self) -> float:
        """How many times faster int8 is."""
        return self.float_ms / self.int8_ms


@dataclass(frozen=True)
class DemoResult:
    """Everything the demonstration found."""

    model: str
    recipe: str
    backend: str
    isa: str
    threads: int
    float_bytes: int
    artifact_bytes: int
    latency: list[Latency]
    sentences: int
    cosine_mean: float
    cosine_min: float
    layers: list[LayerError]
    roofline: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain Python objects, for JSON."""
        return asdict(self)


def _silent(_: str, __: float) -> None:
    pass


def run_demo(
    folder: Path, progress: Progress = _silent, seconds: float = _SECONDS, recipe: str = "int8"
) -> DemoResult:
    """Compress the model in `folder` and compare it with its float32 self.

    Parameters
    ----------
    folder : pathlib.Path
        A float model folder with a ``tokenizer.json``.
    progress : callable
        ``progress(text, done)``, called as each step starts.
    seconds : float
        Time for the latency of each length.
    recipe : str
        As `octavo.compress` takes it; the columns are called int8 whatever it prunes before.
    """
    progress("reading the model", 0.0)
    model = load_encoder(folder)
    if not any(nn.is_linear(layer, "float32") for _, layer in model.named_modules()):
        raise ValueError(f"{folder} is compressed already; name the float model's folder")
    ids, mask = tokenize(folder, SENTENCES, model.text_limit, model.files)
    float_bytes = weight_bytes(folder)
    leaves = sum(not any(True for _ in part.named_children()) for _, part in model.named_modules())
    layers = 0

    def count(name: str) -> None:
        nonlocal layers
        layers += 1
        step = (_COMPARING - _COMPRESSING) * min(1.0, layers / leaves)
        progress(f"compressing: layer {layers}, {name}", _COMPRESSING + step)

    with tempfile.TemporaryDirectory(prefix="octavo-") as place:
        artifact = Path(place) / "int8"
        compress(model, recipe, on_layer=count).save(artifact)
        small = load_encoder(artifact)
        small_bytes = weight_bytes(artifact)
    progress("comparing sentence vectors", _COMPARING)
    agreement = cosines(model.encode(ids, mask), small.encode(ids, mask))
    progress("measuring the error of each layer", _LAYERS)
    errors = layer_errors(model, small, ids, mask)
    progress("measuring the machine's limits", _LIMITS)
    limits = roofline.measure()
    latency = []
    lengths = [n for n in LENGTHS if n <= model.config.positions]
    for index, tokens in enumerate(lengths):
        progress(f"timing {tokens} tokens", _TIMING + (1 - _TIMING) * index / len(lengths))
        latency.append(_latency(model, small, tokens, limits, seconds))
    info = runtime.cpu_info()
    return DemoResult(
        model=str(folder),
        recipe=recipe,
        backend=str(info["backend"]),
        isa=runtime.get_isa(),
        threads=runtime.get_num_threads(),
        float_bytes=float_bytes,
        artifact_bytes=small_bytes,
        latency=latency,
        sentences=len(SENTENCES),
        cosine_mean=float(agreement.mean()),
        cosine_min=float(agreement.min()),
        layers=errors,
        roofline=limits,
    )


def _latency(
    model: Encoder, small: Encoder, tokens: int, limits: dict[str, Any], seconds: float
) -> Latency:
    ids, mask = whole.make_ids(1, tokens, model.config.vocab_size)
    with blas.limited(runtime.get_num_threads()):
        measured = timing.run(
            {"float32": partial(model.encode, ids, mask), "int8": partial(small.encode, ids, mask)},
            seconds=seconds / 2,
            settled=True,
        )
    times, threads = measured.timings, runtime.get_num_threads()
    reasons = [timing.disturbance(one, measured.others, threads) for one in times.values()]
    int8_seconds = times["int8"].median
    ops, nbytes = whole.linear_work(small, tokens)
    limit = roofline.limit_seconds(
        ops, nbytes, dot_gops=limits["dot_gops"], read_gbs=limits["read_gbs"]
    )
    return Latency(
        tokens=tokens,
        float_ms=times["float32"].median * 1e3,
        int8_ms=int8_seconds * 1e3,
        roofline_share=limit / int8_seconds,
        disturbed=next(filter(None, reasons), ""),
    )
