# SPDX-License-Identifier: Apache-2.0
"""Models named ``owner/name``: in the Hugging Face hub's cache, or downloaded into it."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from octavo._text import shown
from octavo.io.folder import MODEL_FILES, TEMPLATE_FOLDER

_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_WEIGHTS = ("model*.safetensors", "model.safetensors.index.json")
_OLD_WEIGHTS = ("pytorch_model*.bin", "pytorch_model.bin.index.json")
_FILES = (
    "config.json",
    *MODEL_FILES,
    "[0-9]*_*/config.json",
    "[1-9]*_*/model.safetensors",
    "[1-9]*_*/pytorch_model.bin",
    f"{TEMPLATE_FOLDER}/*.jinja",
)


def is_hub_id(model: str | os.PathLike[str]) -> bool:
    """Whether `model` can only be a name on the hub: two words and a slash, and no such path."""
    return isinstance(model, str) and bool(_ID.fullmatch(model)) and not Path(model).exists()


def snapshot(
    name: str,
    revision: str | None = None,
    token: str | bool | None = None,
    *,
    cached_only: bool = False,
) -> Path:
    """Return the folder of a hub's model, which huggingface_hub finds or downloads.

    That library's own settings hold: where its cache is, whether it may use the network, the
    token of ``hf auth login``.

    Parameters
    ----------
    name : str
        ``owner/name``.
    revision : str, optional
        Branch, tag or commit.
    token : str or bool, optional
        An access token; False for none, whatever is stored.
    cached_only : bool
        Use no network.

    Raises
    ------
    FileNotFoundError
        If huggingface_hub is not installed.
    OSError
        If the model cannot be had; the message says why.
    """
    try:
        hub: Any = import_module("huggingface_hub")
        utils: Any = import_module("huggingface_hub.utils")
        errors: Any = import_module("huggingface_hub.errors")
    except ImportError:
        raise FileNotFoundError(
            f"no such folder: {name}; to take that model from the hub: pip install "
            "huggingface_hub, or download it elsewhere and name its folder"
        ) from None
    if not sys.stderr.isatty():
        utils.disable_progress_bars()

    def download(weights: tuple[str, ...]) -> Path:
        wanted = [*_FILES, *weights]
        return Path(
            hub.snapshot_download(
                name,
                revision=revision,
                token=token,
                allow_patterns=wanted,
                local_files_only=cached_only,
            )
        )

    try:
        folder = download(_WEIGHTS)
        return folder if any(folder.glob(_WEIGHTS[0])) else download(_OLD_WEIGHTS)
    except Exception as error:  # the library's own kinds and those of its transport
        raise OSError(_failure(name, revision, error, errors)) from None


def model_path(
    model: str | os.PathLike[str], revision: str | None = None, token: str | bool | None = None
) -> Path:
    """Return the folder that `model` names: itself, or the snapshot of a hub's model.

    Raises
    ------
    ValueError
        If there is a revision or token for what is no hub id.
    OSError
        As `snapshot`.
    """
    if is_hub_id(model):
        return snapshot(os.fspath(model), revision, token)
    for key, value in (("revision", revision), ("token", token)):
        if value is not None:
            raise ValueError(
                f"{key}: expected none, {shown(os.fspath(model))} is not a hub's model"
            )
    return Path(model)


def _failure(name: str, revision: str | None, error: Exception, kinds: Any) -> str:
    """Say what a failed download means for the user."""
    if isinstance(error, kinds.GatedRepoError):
        return f"{name}: the hub asks to accept this model's terms there, then `hf auth login`"
    if isinstance(error, kinds.RepositoryNotFoundError):
        return f"{name}: no such folder, and no such model on the hub (or a private one)"
    if isinstance(error, kinds.RevisionNotFoundError):
        return f"{name}: the hub has no revision {shown(revision)} of it"
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return (
        f"{name}: no such folder, and the hub cannot be reached ({lines[0]}). "
        "Connect and try again, or download the model elsewhere and name its folder"
    )
