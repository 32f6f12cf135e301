# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a distillation: written whole or not at all, and only read by the same run."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from octavo._files import open_file, replaced_file
from octavo._text import shown

_FORMAT = "octavo.torch.distillation 1"


def digest(model: nn.Module) -> str:
    """Return a fingerprint of a model's names, shapes, dtypes and values."""
    found = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        if not isinstance(tensor, torch.Tensor):
            continue
        plain = tensor.detach().cpu().contiguous()
        found.update(f"{name} {tuple(plain.shape)} {plain.dtype}".encode())
        found.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def write(path: Path, content: dict[str, Any]) -> None:
    """Put a checkpoint at `path`; a kill leaves the old one or the new one, never a part."""
    with replaced_file(path) as file:
        torch.save({"format": _FORMAT, **content}, file)


def read(path: Path, run: dict[str, Any], student: str) -> dict[str, Any] | None:
    """Return the checkpoint at `path`, None if there is none.

    Parameters
    ----------
    path : Path
    run : dict
        What describes the run: the checkpoint has to agree in every entry.
    student : str
        The `digest` of the student as it was handed over: what the run began with, or what the
        checkpoint holds (a run that was interrupted in this process).

    Raises
    ------
    ValueError
        If the file is no checkpoint, or one of another run; says what differs.
    """
    try:
        with open_file(path) as file:
            content = torch.load(file, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        return None
    except Exception as error:  # what is no checkpoint stops the parser with any error
        raise ValueError(f"checkpoint: {path} cannot be read ({_first_line(error)})") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise ValueError(f"checkpoint: {path} is no checkpoint of a distillation")
    different = list(_differences(content["run"], run))
    if student not in (content["student_before"], content["student_now"]):
        different.append("student: its weights are not those that the run began with")
    if different:
        raise ValueError(
            f"checkpoint: {path} is of another run; remove it or take another path. "
            + "; ".join(different)
        )
    return content


def _differences(before: dict[str, Any], now: dict[str, Any], where: str = "") -> Any:
    for key in sorted(before.keys() | now.keys(), key=str):
        old, new = before.get(key), now.get(key)
        name = f"{where}{key}"
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{name}.")
        elif old != new:
            yield f"{name}: {shown(old)} there, {shown(new)} now"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
