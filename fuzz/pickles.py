# SPDX-License-Identifier: Apache-2.0
"""The target of ``pytorch_model.bin``: pickles, in a zip and one after another."""

from __future__ import annotations

import io
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.engine import Target
from fuzz.mutate import Files, change_bytes
from octavo.io.torch_file import TorchFile

_NAME = "pytorch_model.bin"
_MAGIC = 0x1950A86A20F9469CFC6C
_VALUES = np.arange(1, 13, dtype="<f4").tobytes()
# A pickle's instructions are of a byte each, most of them printable.
_INSTRUCTIONS = b"(.0NRQ}]abeqrhjtu)XUGKMJ\x80\x81\x85\x86\x87\x88\x89\x8a\x8c\x8e\x93\x94\x95\x96"


def _text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def _tensor(
    key: str, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], older: bool
) -> bytes:
    numbers = [b"(" + b"".join(b"K" + bytes([n]) for n in each) + b"t" for each in (shape, strides)]
    storage = (
        b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text(key) + _text("cpu") + b"K\x0c"
    )
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage + (b"N" if older else b"") + b"tQK" + bytes([offset]) + b"".join(numbers)
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip


def _pickle(older: bool) -> bytes:
    whole = _text("whole") + _tensor("0", 0, (3, 4), (4, 1), older)
    part = _text("part") + _tensor("0", 5, (2, 2), (1, 4), older)
    return b"\x80\x02}q\x00(" + whole + part + b"u."


def _zipped(program: bytes, values: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("model/data.pkl", program)
        archive.writestr("model/byteorder", b"little")
        archive.writestr("model/data/0", values)
    return stream.getvalue()


def _older(program: bytes, values: bytes) -> bytes:
    head = [pickle.dumps(one, 2) for one in (_MAGIC, 1001, {"little_endian": True})]
    count = (len(values) // 4).to_bytes(8, "little")
    return b"".join([*head, program, pickle.dumps(["0"], 2), count, values])


def _seeds(_: Path) -> list[Files]:
    return [{_NAME: _zipped(_pickle(False), _VALUES)}, {_NAME: _older(_pickle(True), _VALUES)}]


def _change(rng: random.Random, files: Files) -> Files:
    """Change bytes of the file, or of the pickle in one that is whole otherwise."""
    older = rng.random() < 0.5
    make = _older if older else _zipped
    program, values = bytearray(_pickle(older)), _VALUES
    kind = rng.random()
    if kind < 0.2:
        return {_NAME: change_bytes(rng, files[_NAME])}
    if kind < 0.4:
        values = change_bytes(rng, values)
    else:
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(program))
            if rng.random() < 0.5:
                program[place] = rng.choice(_INSTRUCTIONS)
            else:
                program[place : place + rng.randrange(4)] = rng.randbytes(rng.randrange(5))
    return {_NAME: make(bytes(program), values)}


def _read(place: Path) -> dict[str, Any]:
    file = TorchFile(place / _NAME)
    return {name: np.array(file.array(name)) for name in file}


def _check(place: Path, found: dict[str, Any]) -> None:
    """Every number has to be one of the file's, and no tensor may be larger than that."""
    content = (place / _NAME).read_bytes()
    for name, array in found.items():
        assert array.nbytes <= len(content), f"{name} has {array.nbytes} bytes"
        for value in array.ravel():
            assert value.tobytes() in content, f"{name} holds {value}, which is not in the file"


TARGET = Target("pickle", _seeds, _change, _read, _check)
