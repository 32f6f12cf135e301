# SPDX-License-Identifier: Apache-2.0
"""``octavo compress``."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from octavo.cli.console import Progress, put, put_json
from octavo.cli.sources import model_folder
from octavo.io.folder import check_replaceable, read_json, weight_bytes

if TYPE_CHECKING:
    from octavo.models.encoder import Encoder

__all__ = ["EXAMPLES", "command"]

EXAMPLES = (
    "octavo compress path/to/bert out",
    "octavo compress weights.safetensors out --config config.json",
    "octavo compress sentence-transformers/all-MiniLM-L6-v2 out --json",
)


def command(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="The float model: a folder, a .safetensors file, or owner/name on the hub.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="Folder to write; a compressed model is replaced."),
    ],
    recipe: Annotated[str, typer.Option(help="What to do.")] = "int8",
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The model's config.json, if it is not beside MODEL."),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(metavar="NAME", help="Branch, tag or commit on the hub.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace a float model in OUT.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Compress a model into a folder, whole or not at all.

    Reads bert and distilbert models. An interrupted run leaves nothing behind.
    """
    _refuse_own_source(model, out)
    _check_out(out, overwrite)
    start = time.perf_counter()
    with model_folder(model, config, revision) as folder:
        with Progress() as progress:
            layers = _compress(folder, recipe, out, progress)
        before = weight_bytes(folder)
    after = weight_bytes(out)
    seconds = time.perf_counter() - start
    result = {
        "model": model,
        "out": str(out),
        "recipe": recipe,
        "layers": layers,
        "bytes_before": before,
        "bytes_after": after,
        "seconds": round(seconds, 3),
    }
    if as_json:
        put_json(result)
    else:
        put(
            f"{out}: {after / 1e6:.1f} MB, was {before / 1e6:.1f} MB "
            f"({before / max(1, after):.2f}x smaller), {seconds:.1f} s"
        )
    return 0


def _refuse_own_source(model: str, out: Path) -> None:
    path = Path(model)
    folder = path.parent if path.is_file() else path
    if out.exists() and folder.exists() and folder.samefile(out):
        raise ValueError(f"OUT is the model to compress ({out}); name another folder")


def _check_out(out: Path, overwrite: bool) -> None:
    """Raise before any work if OUT cannot be written, or holds what should not be lost."""
    folder = check_replaceable(out)
    if folder.is_dir():
        if not folder.stat().st_mode & 0o222:
            raise PermissionError(f"OUT: {out} is read-only; name another folder")
        config = folder / "config.json"
        if not overwrite and config.is_file() and "quantization_config" not in read_json(config):
            raise FileExistsError(
                f"OUT: {out} holds a float model; --overwrite replaces it, or name another folder"
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


def _compress(folder: Path, recipe: str, out: Path, progress: Progress) -> int:
    """Compress and save, with the time left from the bytes to go; return the layers converted."""
    from octavo.compression import compress
    from octavo.models.save import save_model

    sizes = _layer_sizes(folder)
    # What is written is a quarter of what is read.
    total, done, layers = 1.25 * sum(sizes.values()), 0.0, 0

    def share() -> float | None:
        return min(1.0, done / total) if total else None

    def read(name: str) -> None:
        nonlocal done, layers
        layers += 1
        done += sizes.get(name, 0)
        progress(f"layer {layers}: {name}", share())

    def wrote(name: str) -> None:
        nonlocal done
        layer, _, part = name.rpartition(".")
        if part in ("weight", "weight_values"):
            done += sizes.get(layer, 0) / 4
        progress(f"writing {name}", share())

    model: Encoder = compress(folder, recipe, on_layer=read)
    save_model(model, out, on_tensor=wrote)
    return layers


def _layer_sizes(folder: Path) -> dict[str, int]:
    """Return the numbers in each layer's weight; nothing for a model that will be refused."""
    from octavo.io.checkpoint import Checkpoint

    prefixes = ("", "bert.", "distilbert.")
    try:
        checkpoint = Checkpoint(folder, prefixes, anchor="embeddings.word_embeddings.weight")
    except (OSError, ValueError):
        return {}
    return {
        name.removesuffix(".weight"): math.prod(checkpoint.shape(name))
        for name in checkpoint
        if name.endswith(".weight")
    }
