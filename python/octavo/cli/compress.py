# SPDX-License-Identifier: Apache-2.0
"""``octavo compress``."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from octavo.cli.compress_graph import compress_file
from octavo.cli.console import Progress, put, put_json
from octavo.cli.sources import model_folder
from octavo.io.compressed_tensors import QuantizationConfig
from octavo.io.folder import check_replaceable, read_json
from octavo.io.side_files import weight_bytes

if TYPE_CHECKING:
    from octavo.compression import Target
    from octavo.models import Decoder, Encoder

EXAMPLES = (
    "octavo compress path/to/bert out",
    "octavo compress weights.safetensors out --config config.json",
    "octavo compress sentence-transformers/all-MiniLM-L6-v2 out --json",
    "octavo compress path/to/bert out --recipe int8-static --calibration sentences.txt",
    "octavo compress path/to/bert out --recipe sparse50-int8 --calibration sentences.txt",
    "octavo compress path/to/bert out --target cosine=0.998 --calibration sentences.txt",
    "octavo compress path/to/bert out --adapter path/to/adapter",
    "octavo compress model.tflite small.tflite --recipe int8-static --calibration images.npz",
)


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="The float model: a folder, a .safetensors or .tflite file, or owner/name on the "
            "hub.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT",
            help="Folder (or .tflite file) to write; a compressed model is replaced.",
        ),
    ],
    recipe: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="What to do: int8, int4, int8-static, sparse50-int8 ..., or a YAML file.",
        ),
    ] = "int8",
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Typical inputs, for what looks at them: .txt (a sentence a line; of a decoder, a "
            "text), .jsonl, .npz.",
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="cosine=X|sqnr=DB|perplexity=RATIO",
            help="What the result must reach on the calibration data; layers stay float for it.",
        ),
    ] = None,
    adapter: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="A LoRA adapter, as peft saves it, to merge before compressing."
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The model's config.json, if it is not beside MODEL."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="NAME", help="Branch, tag or commit on the hub.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Also replace a float model (or a GPTQ one, say) in OUT."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Compress a model into a folder, whole or not at all.

    Reads the models that `octavo.models.load` reads. An interrupted run leaves nothing behind.
    Of a .tflite file it makes another one, by int8, int8-static (with .npz images) or fp16.
    """
    if model.endswith(".tflite"):
        _refuse_options(adapter=adapter, config=config, revision=revision)
        wanted = None if target is None else _target(target)
        return compress_file(Path(model), out, recipe, calibration, wanted, as_json)
    _refuse_own_source(model, out)
    _check_out(out, overwrite)
    wanted = None if target is None else _target(target)
    start = time.perf_counter()
    with model_folder(model, config, revision) as folder, Progress() as progress:
        before = _weight_bytes(folder)
        source = folder if adapter is None else _merged(folder, adapter)
        layers, applied = _compress(source, recipe, calibration, wanted, out, progress)
    after = weight_bytes(out)
    seconds = time.perf_counter() - start
    result = {
        "model": model,
        "out": str(out),
        "recipe": recipe,
        "adapter": None if adapter is None else str(adapter),
        "applied": applied,
        "layers": layers,
        "bytes_before": before,
        "bytes_after": after,
        "seconds": round(seconds, 3),
    }
    if as_json:
        put_json(result)
    else:
        put(
            f"{out}: {after / 1e6:.1f} MB, was {before / 1e6:.1f} MB ({_change(before, after)}), "
            f"{seconds:.1f} s"
        )
        reached = (applied or {}).get("target")
        if reached is not None:
            put(f"{reached['metric']} {reached['reached']:.6g}, {_kept(reached['kept'])}")
    return 0


def _refuse_options(**given: object) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"--{name}: expected none with a .tflite file, got {value}")


def _change(before: int, after: int) -> str:
    """Return how sizes differ: a file of 4 bits, say, is smaller than int8."""
    if after > before:
        return f"{after / max(1, before):.2f}x larger"
    return f"{before / max(1, after):.2f}x smaller"


def _kept(names: list[str]) -> str:
    return f"float: {', '.join(names)}" if names else "no layer kept in float"


def _target(text: str) -> Target:
    """Return the target that an option's text stands for."""
    from octavo.compression.target import read_target

    name, _, number = text.partition("=")
    try:
        bound = float(number)
    except ValueError:
        raise ValueError(
            f"--target: expected cosine=0.998, sqnr=30 or perplexity=1.015, got {text!r}"
        ) from None
    return read_target({name: bound})


def _refuse_own_source(model: str, out: Path) -> None:
    path = Path(model)
    folder = path.parent if path.is_file() else path
    if out.exists() and folder.exists() and folder.samefile(out):
        raise ValueError(f"OUT is the model to compress ({out}); name another folder")


def _check_out(out: Path, overwrite: bool) -> None:
    """Raise before any work if OUT cannot be written, or holds what should not be lost."""
    folder = check_replaceable(out)
    if folder.is_dir():
        config = folder / "config.json"
        kind = _kind_to_keep(read_json(config)) if config.is_file() else None
        if kind is not None and not overwrite:
            raise FileExistsError(
                f"OUT: {out} holds a {kind} model; --overwrite replaces it, or name another folder"
            )
    above = folder.parent
    while not above.exists():
        above = above.parent
    try:
        Path(tempfile.mkdtemp(prefix=".octavo-", dir=above)).rmdir()
    except OSError as error:
        raise PermissionError(
            f"OUT: cannot write in {above} ({error.strerror}); name another folder"
        ) from None


def _kind_to_keep(config: dict[str, Any]) -> str | None:
    """Return what a model is that this command did not write; None for one that it may have."""
    described = config.get("quantization_config")
    if described is None:
        return "float"
    try:
        QuantizationConfig(described)
    except (AttributeError, ValueError):
        return "differently quantized"
    return None


def _weight_bytes(model: Path) -> int:
    """Return the bytes of a model's weights: of a folder's files, of a GGUF file's tensors."""
    if model.is_dir():
        return weight_bytes(model)
    from octavo.io import open_gguf

    with open_gguf(model) as file:
        return sum(tensor.nbytes for tensor in file.tensors.values())


def _merged(folder: Path, adapter: Path) -> Encoder | Decoder:
    """Return the model of `folder` with an adapter in its weights."""
    from octavo.lora import Adapter, merge
    from octavo.models.loader import load_with

    # Layers as they are read: those of a GGUF file are float then.
    model: Encoder | Decoder = load_with(folder, lambda _, layer: layer)
    return merge(model, Adapter.load(adapter))


def _compress(
    source: Path | Encoder | Decoder,
    recipe: str,
    calibration: Path | None,
    target: Target | None,
    out: Path,
    progress: Progress,
) -> tuple[int, dict[str, Any] | None]:
    """Compress and save; return the layers converted, and what was done as a recipe.

    The time left comes from the bytes to go, or from what is done with calibration data.
    """
    from octavo.compression import compress
    from octavo.models.save import save_model

    sizes = _layer_sizes(source) if isinstance(source, Path) else {}
    # What is written is a quarter of what is read.
    total, done, looked, layers = 1.25 * sum(sizes.values()), 0.0, 0.0, 0

    def share() -> float | None:
        if calibration is not None:
            return looked
        return min(1.0, done / total) if total else None

    def look(text: str, part: float) -> None:
        nonlocal looked
        looked = part
        progress(text, share())

    def read(name: str) -> None:
        nonlocal done, layers
        layers += 1
        done += sizes.get(name, 0)
        progress(f"layer {layers}: {name}", share())

    def wrote(name: str) -> None:
        nonlocal done, looked
        looked = 1.0
        layer, _, part = name.rpartition(".")
        if part in ("weight", "weight_values"):
            done += sizes.get(layer, 0) / 4
        progress(f"writing {name}", share())

    model: Encoder | Decoder = compress(
        source,
        recipe,
        calibration=calibration,
        target=target,
        on_layer=read,
        on_progress=look,
    )
    save_model(model, out, on_tensor=wrote)
    return layers, model.recipe


def _layer_sizes(folder: Path) -> dict[str, int]:
    """Return the numbers in each layer's weight; nothing for a model that will be refused."""
    from octavo.io.folder import read_json
    from octavo.models.loader import open_checkpoint, read_any_config

    try:
        checkpoint = open_checkpoint(folder, read_any_config(read_json(folder / "config.json")))
    except (OSError, ValueError):
        return {}
    return {
        name.removesuffix(".weight"): math.prod(checkpoint.shape(name))
        for name in checkpoint
        if name.endswith(".weight")
    }
