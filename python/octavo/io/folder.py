# SPDX-License-Identifier: Apache-2.0
"""What a model's folder holds, its JSON, and whether another model may take its place."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from octavo._files import read_bytes
from octavo._text import parsed_json

# Files that travel with a model: a tokenizer (by the names that transformers' tokenizers look for),
# its templates, and what sentence-transformers reads.
MODEL_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "dict.txt",
    "emoji.json",
    "unigram.json",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spiece.model",
    "spm.model",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "processor_config.json",
    "preprocessor_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
)
TEMPLATE_FOLDER = "additional_chat_templates"
MODULE_FOLDER = re.compile(r"\d+_[A-Za-z]+")
_MODULE_FILE = re.compile(r"([a-z]+_)?config\.json|model\.safetensors|pytorch_model\.bin")
MAX_JSON_BYTES = 64 << 20


def is_side_file(name: str) -> bool:
    """Whether a file, by its name relative to a model's folder, travels with the model."""
    folder, _, file = name.rpartition("/")
    if not folder:
        return file in MODEL_FILES
    if folder == TEMPLATE_FOLDER:
        return file.endswith(".jinja")
    if not MODULE_FOLDER.fullmatch(folder) or not _MODULE_FILE.fullmatch(file):
        return False
    # The weights of module 0, if it has a folder, are the encoder's.
    return file.endswith(".json") or not folder.startswith("0_")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; anything else is a ValueError that names the file."""
    return parse_json(path, read_bytes(path, MAX_JSON_BYTES))


def parse_json(path: Path, content: bytes, kind: type = dict) -> Any:
    """Return the JSON object, or list, that file `path` holds, or raise as `read_json` does."""
    try:
        value = parsed_json(content)
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, kind):
        wanted = "object" if kind is dict else kind.__name__
        raise ValueError(f"{path}: expected a JSON {wanted}, got {type(value).__name__}")
    return value


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` with sorted keys (the same bytes for the same value), flushed to the disk."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        json.dump(value, file, indent=2, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def write_files(files: Mapping[str, bytes], target: Path) -> None:
    """Write some files by their names relative to `target`, flushed to the disk."""
    for name, content in files.items():
        destination = target / name
        destination.parent.mkdir(exist_ok=True)
        with destination.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def place_of(target: str | os.PathLike[str]) -> Path:
    """Return the absolute path of a folder that is not there, or may be replaced if its files may.

    Raises
    ------
    FileExistsError
        If it is a link, no folder, or where this process works: that would be in a deleted folder.
    PermissionError
        If it is read-only.
    """
    folder = Path(target).absolute()
    folder = folder.resolve() if folder.name == ".." else folder.parent.resolve() / folder.name
    if not os.path.lexists(folder):
        return folder
    if folder.is_symlink() or not folder.is_dir():
        raise FileExistsError(f"{folder} exists and is not a folder; it is left as it is")
    if _holds_current(folder):
        raise FileExistsError(
            f"{folder} is or holds the current folder, which would be deleted; name another"
        )
    if not folder.stat().st_mode & 0o222:
        raise PermissionError(f"{folder} is read-only; name another folder")
    return folder


def _holds_current(folder: Path) -> bool:
    try:
        here = Path.cwd()
        return any(folder.samefile(place) for place in (here, *here.parents))
    except OSError:  # it was deleted, or lies where this user may not look
        return False


def check_replaceable(target: str | os.PathLike[str]) -> Path:
    """Return the absolute path of `target` if it is absent, empty, or holds a saved model alone.

    Raises what `place_of` does, and FileExistsError if there is anything else.
    """
    folder = place_of(target)
    entries = sorted(folder.iterdir()) if folder.exists() else []
    if entries and not _looks_like_model(folder):
        raise FileExistsError(f"{folder} is not empty and holds no model; it is left as it is")
    foreign = [entry.name for entry in entries if not _belongs(entry)]
    if foreign:
        shown = ", ".join(foreign[:5])
        raise FileExistsError(
            f"{folder} holds more than a saved model ({shown}); it is left as it is"
        )
    return folder


def _looks_like_model(folder: Path) -> bool:
    try:
        return "model_type" in read_json(folder / "config.json")
    except (OSError, ValueError):
        return False


def _belongs(entry: Path) -> bool:
    if entry.is_symlink():
        return False
    if entry.is_dir():
        known = entry.name == TEMPLATE_FOLDER or MODULE_FOLDER.fullmatch(entry.name)
        return bool(known) and all(
            is_side_file(f"{entry.name}/{item.name}") and item.is_file() for item in entry.iterdir()
        )
    return (
        is_side_file(entry.name)
        or entry.name in ("config.json", "model.safetensors.index.json", "model.safetensors.zst")
        or bool(re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors", entry.name))
    )
