# SPDX-License-Identifier: Apache-2.0
"""The target of GGUF files: keys, tensors of every type, and vocabularies.

What they mean is read a second time by the package `gguf`, where that is there.
"""

from __future__ import annotations

import importlib.util
import random
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from fuzz.engine import Target, Unknown
from fuzz.mutate import LARGEST, Files, change_bytes
from octavo.io import gguf_tokenizer, open_gguf
from octavo.io.gguf.formats import FORMATS, LAYOUTS
from octavo.io.gguf.splitting import EXPRESSIONS
from tests.support.gguf_files import Stored, gguf_bytes, text, value

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NAME, _OTHER = "x-00001-of-00002.gguf", "x-00002-of-00002.gguf"
_TEXT = "A 12 b\n  <t> Łódź 한 🙂\0"
_SIZES = (
    *(0, 1, 2, 3, 7, 8, 24, 31, 32, 33, 64, 255, 256, 257, 65_536),
    *(2**k - 1 for k in (31, 32, 48, 63, 64)),
    *(2**31, 2**32, 2**48, 2**63),
)
_LETTERS = [*map(chr, range(33, 127)), *map(chr, range(161, 256)), *map(chr, range(256, 324))]


@cache
def _tensors() -> tuple[Stored, ...]:
    rng = np.random.default_rng(0)
    found = []
    for number, kind in FORMATS.items():
        dims = (2 * kind.values, 3) if number % 2 else (kind.values, 2, 2)
        size = int(np.prod(dims)) // kind.values * kind.nbytes
        found.append(Stored(kind.name, dims, number, rng.integers(0, 256, size, "u1").tobytes()))
    return tuple(found)


def _byte_level() -> dict[str, Any]:
    tokens = [*_LETTERS, "Ab", "Ġ", "Ġb", "<t>"]
    tokens = list(dict.fromkeys(tokens))
    return {
        "model": "gpt2",
        "pre": "smollm",
        "tokens": tokens,
        "token_type": np.array([1] * (len(tokens) - 1) + [3], np.int32),
        "merges": ["A b", "Ġ b"],
        "bos_token_id": len(tokens) - 1,
        "eos_token_id": 0,
        "add_bos_token": True,
    }


def _pieces() -> dict[str, Any]:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += ["▁", "A", "▁A", "b", "▁b", "▁A▁", "<t>"]
    return {
        "model": "llama",
        "tokens": tokens,
        "scores": np.arange(len(tokens), dtype=np.float32),
        "token_type": np.array([2, 3, 3] + [6] * 256 + [1] * 6 + [4], np.int32),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        "add_space_prefix": True,
    }


def _whole(index: int) -> tuple[dict[str, Any], tuple[Stored, ...]]:
    """Return keys and tensors of a seed."""
    if index == 0:
        keys: dict[str, Any] = {
            "general.alignment": 64,
            "a.text": "é",
            "a.flag": True,
            "a.numbers": np.arange(5, dtype=np.uint64),
            "a.texts": ["", "x"],
            "a.double": np.float64(0.5),
        }
        return keys, _tensors()
    keys = _byte_level() if index == 1 else _pieces()
    return {f"tokenizer.ggml.{key}": item for key, item in keys.items()}, ()


def _seeds(_: Path) -> list[Files]:
    found = []
    for index in range(3):
        keys, tensors = _whole(index)
        alignment = keys.get("general.alignment", 32)
        found.append({_NAME: gguf_bytes(keys, tensors, alignment=alignment)})
    split = {"split.count": np.uint16(2), "split.tensors.count": np.int32(2)}
    parts = [
        gguf_bytes({**split, "split.no": np.uint16(n)}, (Stored(f"x{n}", (4,), 0, bytes(16)),))
        for n in range(2)
    ]
    return [*found, {_NAME: parts[0], _OTHER: parts[1]}]


def _change(rng: random.Random, files: Files) -> Files:
    if rng.random() < 0.4:
        files = dict(files)
        name = rng.choice(sorted(files))
        if rng.random() < 0.02 and len(files) > 1:
            del files[name]
        else:
            files[name] = change_bytes(rng, files[name])
        return {name: data[:LARGEST] for name, data in files.items()}
    keys, tensors = _whole(rng.randrange(3))
    options: dict[str, Any] = {"alignment": keys.get("general.alignment", 32)}
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.random()
        if kind < 0.5 or not tensors:
            change_keys(rng, keys)
        elif kind < 0.9:
            tensors = changed_tensors(rng, tensors)
        elif kind < 0.95:
            options["counts"] = (rng.choice(_SIZES), max(0, len(keys) + rng.choice((0, 1, -1))))
        else:
            options["more"] = text("k") + rng.choice((value(1), value(["a"]), rng.randbytes(20)))
            options["counts"] = (len(tensors), len(keys) + 1)
    return {_NAME: gguf_bytes(keys, tensors, **options)[:LARGEST]}


def change_keys(rng: random.Random, keys: dict[str, Any]) -> None:
    """Change a key or its value."""
    key = rng.choice(sorted(keys))
    old, kind = keys[key], rng.randrange(6)
    if kind == 0:
        keys[key + rng.choice(("", "x", "\0"))] = keys.pop(key)
    elif kind == 1:
        keys[key] = keys[rng.choice(sorted(keys))]
    elif kind == 2:
        keys[rng.choice(("general.alignment", "split.count", key[:-1]))] = old
    elif isinstance(old, list) and old:
        at = rng.randrange(len(old))
        new = rng.choice((b"\xff", "", "a b", " ", "Ġ ", " b", old[0], old[at] * 2, "\0", "▁▁"))
        keys[key] = [*old[:at], *([new] * rng.randrange(3)), *old[at + 1 :]]
    elif isinstance(old, np.ndarray) and len(old):
        odd = (np.nan, np.inf, -1, 7, 2**31 - 1, 0)
        with np.errstate(all="ignore"):
            changed = old.astype(rng.choice(("i4", "f4", "u1", "f8", "u8", "?")))
            changed[rng.randrange(len(old))] = np.array(rng.choice(odd)).astype(changed.dtype)
        keys[key] = changed[: rng.choice((len(old), len(old), len(old) - 1, 0))]
    elif isinstance(old, str):
        keys[key] = rng.choice((*EXPRESSIONS, *("llama", "gpt2", "t5", "", "é" * 300)))
    else:
        types: tuple[Callable[[int], Any], ...] = (np.uint8, np.int64, np.uint64, bool, float, str)
        keys[key] = rng.choice(types)(rng.choice(_SIZES) % 128)


def changed_tensors(rng: random.Random, tensors: tuple[Stored, ...]) -> tuple[Stored, ...]:
    """Return tensors of which one is different, or missing."""
    at = rng.randrange(len(tensors))
    old, kind = tensors[at], rng.randrange(6)
    if kind == 0:
        dims = [*old.dims, *rng.choice(((), (1,), (0,), (1, 1, 1)))]
        dims[rng.randrange(len(dims))] = rng.choice(_SIZES)
        new = old._replace(dims=tuple(dims[rng.randrange(2) :]))
    elif kind == 1:
        new = old._replace(kind=rng.choice((*FORMATS, 4, 5, 31, 99, 2**32 - 1)))
    elif kind == 2:
        new = old._replace(offset=rng.choice((*_SIZES, 64, 128, 192, 1024)))
    elif kind == 3:
        new = old._replace(name=rng.choice((rng.choice(tensors).name, "", "\0", "é" * 300)))
    elif kind == 4:
        new = old._replace(data=change_bytes(rng, old.data))
    else:
        return tensors[:at] + tensors[at + 1 :]
    return (*tensors[:at], new, *tensors[at + 1 :])


def _read(place: Path) -> dict[str, Any]:
    with open_gguf(place / _NAME) as file:
        tensors = {
            name: file.float32(name) if info.dtype in LAYOUTS else file.packed(name)
            for name, info in file.tensors.items()
        }
        found: dict[str, Any] = {"keys": dict(file.metadata), "tensors": tensors}
        if any(key.startswith("tokenizer.ggml.") for key in file.metadata):
            tokenizer = gguf_tokenizer(file)
            found["tokens"] = tokenizer.encode(_TEXT)
            tokenizer.decode(found["tokens"].ids, skip_special_tokens=False)
    return found


def _check(place: Path, found: dict[str, Any]) -> None:
    if "tokens" in found:
        tokens = found["keys"]["tokenizer.ggml.tokens"]
        assert [tokens[index] for index in found["tokens"].ids] == found["tokens"].tokens
        return  # the other package takes long for vocabularies
    is_split = found["keys"].get("split.count", 1) > 1
    paths = sorted(place.iterdir()) if is_split else [place / _NAME]
    seen: set[str] = set()
    for path in paths:
        try:
            reader = _oracle().GGUFReader(path)
        except ValueError as error:
            if "type for general.alignment" in str(error):
                raise Unknown from None  # here any integer will do
            raise
        if path.name == _NAME:
            _check_keys(reader.fields, found["keys"])
        for tensor in reader.tensors:
            seen.add(tensor.name)
            _check_tensor(tensor, found["tensors"][tensor.name])
    assert seen == set(found["tensors"])


def _check_keys(fields: Any, keys: dict[str, Any]) -> None:
    assert {key for key in fields if not key.startswith("GGUF.")} == set(keys)
    for key, item in keys.items():
        if isinstance(item, (list, np.ndarray)):
            expected = fields[key].contents() if len(item) else []
            assert np.array_equal(item, expected, equal_nan=isinstance(item, np.ndarray)), key
        else:
            expected = fields[key].contents()
            assert np.array_equal(item, expected, equal_nan=isinstance(item, float)), key


def _check_tensor(tensor: Any, found: Any) -> None:
    expected = tensor.data.view(np.uint8)
    if tensor.tensor_type.name in LAYOUTS:
        expected = _oracle().dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        assert found.shape == tuple(tensor.shape[::-1].tolist()), tensor.name
    assert np.array_equal(
        found.reshape(-1), expected.reshape(-1), equal_nan=found.dtype == np.float32
    ), tensor.name


@cache
def _oracle() -> Any:
    if importlib.util.find_spec("gguf") is None:
        raise Unknown
    import gguf

    return gguf


TARGET = Target("gguf", _seeds, _change, _read, _check)
