# SPDX-License-Identifier: Apache-2.0
"""Writing a whole folder or nothing: beside its place first, then one exchange of names.

How to read one that others may replace meanwhile: `octavo.io.snapshot`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

# Files that travel with a model: a tokenizer (by the names that transformers' tokenizers look for),
# its templates, and what sentence-transformers reads.
MODEL_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
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
_MODULE_FILES = ("config.json", "model.safetensors", "pytorch_model.bin")
MAX_JSON_BYTES = 64 << 20


def is_side_file(name: str) -> bool:
    """Whether a file, by its name relative to a model's folder, travels with the model."""
    folder, _, file = name.rpartition("/")
    if not folder:
        return file in MODEL_FILES
    if folder == TEMPLATE_FOLDER:
        return file.endswith(".jinja")
    # The weights of module 0, if it has a folder, are the encoder's.
    files = _MODULE_FILES[:1] if folder.startswith("0_") else _MODULE_FILES
    return bool(MODULE_FOLDER.fullmatch(folder)) and file in files


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; anything else is a ValueError that names the file."""
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise ValueError(f"{path}: {size} bytes is too large for a JSON description")
    return parse_json(path, path.read_bytes())


def parse_json(path: Path, content: bytes) -> dict[str, Any]:
    """Return the JSON object that file `path` holds, or raise as `read_json` does."""
    try:
        value = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(value).__name__}")
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


def check_replaceable(target: str | os.PathLike[str]) -> Path:
    """Return the absolute path of `target` if it is absent, empty, or holds a saved model alone."""
    folder = Path(target).absolute()
    folder = folder.resolve() if folder.name == ".." else folder.parent.resolve() / folder.name
    if not os.path.lexists(folder):
        return folder
    if folder.is_symlink() or not folder.is_dir():
        raise FileExistsError(f"{folder} exists and is not a folder; it is left as it is")
    entries = sorted(folder.iterdir())
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


@contextlib.contextmanager
def replaced_folder(
    target: str | os.PathLike[str],
    check: Callable[[str | os.PathLike[str]], Path] = check_replaceable,
) -> Iterator[Path]:
    """Give a fresh folder to fill; on success it takes the place of `target` in one step.

    If the body raises (an error, a full disk, Ctrl-C), the fresh folder is removed and `target`
    is what it was before.

    Parameters
    ----------
    target : str or os.PathLike
        The folder to make or replace.
    check : callable
        Returns the absolute path of a folder that may be replaced, or raises; by default one that
        holds anything but a saved model is refused.
    """
    final = check(target)
    final.parent.mkdir(parents=True, exist_ok=True)
    aside = final.parent / f".{final.name}.{secrets.token_hex(4)}.tmp"
    aside.mkdir()
    try:
        yield aside
        _sync_folder(aside)
        check(final)  # again: filling it may have taken long
        if final.exists():
            _exchange(aside, final)
        else:
            aside.rename(final)
        _sync_folder(final.parent)
    finally:
        # After an exchange this is the old folder, before it the unfinished one.
        shutil.rmtree(aside, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exchange(fresh: Path, old: Path) -> None:
    """Swap two folders: in one system call where there is one, else in two renames."""
    if _swap_names(fresh, old):
        return
    backup = fresh.with_suffix(".old")
    old.rename(backup)
    try:
        fresh.rename(old)
    except BaseException:
        backup.rename(old)
        raise
    backup.rename(fresh)


def is_being_replaced(path: Path) -> bool:
    """Whether a folder that was not there is back, or stands between the two renames of a save."""
    place = Path(os.path.realpath(path))
    if place.exists():
        return True
    aside = re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]{{8}}\.old")
    try:
        return any(aside.fullmatch(entry.name) for entry in place.parent.iterdir())
    except OSError:
        return False


def _swap_names(first: Path, second: Path) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    at_cwd, exchange = -100, 2
    if renameat2(at_cwd, os.fsencode(first), at_cwd, os.fsencode(second), exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(second))
