# SPDX-License-Identifier: Apache-2.0
"""Changes to files: of their bytes, and of what their format says."""

from __future__ import annotations

import copy
import io
import json
import math
import zipfile
from typing import TYPE_CHECKING, Any

import zstandard

from octavo.io.zstd_file import FrameWriter

if TYPE_CHECKING:
    import random

Files = dict[str, bytes]
Tensor = tuple[str, str, list[int], bytes]
"""Name, type as the format calls it, shape, bytes."""

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}
LARGEST = 1 << 17
"""No mutant becomes larger, so that a run stays fast and what it keeps stays small."""

_INTEGERS = (
    *(0, 1, -1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 65_793, -(2**63), 10**30),
    *(2**k - d for k in (16, 31, 32, 48, 63, 64) for d in (0, 1)),
)
_FLOATS = (0.0, -0.0, 0.5, -1.5, 1e-320, 1e38, 1e308, math.inf, -math.inf, math.nan)
_STRINGS = (
    *("", "0", "none", "weight", "Linear", "gelu", "int8", "2:4", "\0", "\u2028", "\ud800", "é"),
    *("re:(a+)+$", "re:(.*)*x", "re:[", "(a|a)*b", "../x", "/etc/passwd", "model.safetensors"),
    "a" * 300,
)
_LINES = (
    *(b"", b"\t", b"a\tb\tc", b"\xff\xfe", "\u2028\u2029\x85".encode(), b"\xef\xbb\xbf", b"\0"),
    *(b"- x", b"a: &a [1, 2]\nb: [*a, *a]", b"? [a]", b"seed: 2001-99-99", b"<<: {a: 1}"),
    *(b"seed: 0x1F", b"seed: 1_0", b"seed: 1e3", b"prune: !!python/name:os.system", b"---", b"..."),
    *(b'{"text": "x"}', b'{"input_ids": [1]}', b'{"text": NaN}', b'{"text": "a", "text": "b"}'),
)
_DEEP = 2000


def change_files(rng: random.Random, files: Files) -> Files:
    """Return a folder in which one to three things are different."""
    files = dict(files)
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = rng.choice(sorted(files))
        if rng.random() < 0.03 and len(files) > 1:
            moved = files.pop(name)
            if rng.random() < 0.5:
                files[rng.choice(sorted(files))] = moved
            continue
        changed = change_file(rng, name, files[name])
        if len(changed) <= LARGEST:
            files[name] = changed
    return files


def change_file(rng: random.Random, name: str, data: bytes) -> bytes:
    """Return a file's content with a change that suits its name, or any."""
    by_suffix = {
        ".safetensors": change_tensors,
        ".zst": _change_zst,
        ".json": change_json,
        ".jsonl": _change_json_line,
        ".npz": _change_npz,
    }
    change = by_suffix.get(name[name.rfind(".") :], change_lines)
    if rng.random() < 0.1:
        change = change_bytes
    try:
        return change(rng, data)
    except Exception:
        return change_bytes(rng, data)  # earlier changes left nothing that could be parsed


def change_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip, overwrite, remove, repeat or cut off some bytes."""
    changed = bytearray(data)
    start = rng.randrange(len(changed) + 1)
    stop = min(len(changed), start + rng.choice((1, 2, 4, 8, 64)))
    kind = rng.randrange(6)
    if kind == 0 and start < len(changed):
        changed[start] ^= 1 << rng.randrange(8)
    elif kind == 1:
        width = rng.choice((1, 2, 4, 8))
        number = rng.choice(_INTEGERS) % (1 << 8 * width)
        changed[start : start + width] = number.to_bytes(width, rng.choice(("little", "big")))
    elif kind == 2:
        del changed[start:stop]
    elif kind == 3:
        changed[start:start] = changed[start:stop] * rng.choice((1, 2, 50))
    elif kind == 4:
        changed[start:start] = rng.randbytes(rng.choice((1, 4, 30)))
    else:
        del changed[start:]
    return bytes(changed)


def change_json(rng: random.Random, data: bytes) -> bytes:
    """Change values of a JSON document, or its text."""
    kind = rng.random()
    if kind < 0.1:
        return _odd_json(rng, data)
    document = json.loads(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        document = change_value(rng, document)
    return json.dumps(document, ensure_ascii=rng.random() < 0.8).encode("utf-8", "surrogatepass")


def _odd_json(rng: random.Random, data: bytes) -> bytes:
    deep = b"[" * _DEEP + b"]" * _DEEP if rng.random() < 0.5 else b'{"a":' * _DEEP + b"1"
    at = data.find(b":", rng.randrange(len(data) + 1)) + 1
    return rng.choice(
        (
            b"\xef\xbb\xbf" + data,
            data.decode().encode("utf-16"),
            data + rng.choice((b" x", b"\0", b"{}", data)),
            data[:at] + deep + data[at:],
            data[:at] + deep + b"," + data[at:],
            deep,
            data.rstrip()[:-1] + b"," + data.lstrip()[1:],  # every key twice
        )
    )


def change_value(rng: random.Random, document: Any) -> Any:
    """Change one value somewhere in a JSON document."""
    root = {"": document}
    places: list[tuple[Any, Any]] = []
    _collect(root, places)
    holder, key = rng.choice(places)
    old = holder[key]
    kind = rng.randrange(8)
    if kind == 0 and holder is not root:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(old))
    elif kind == 1:
        name = rng.choice([k for _, k in places if isinstance(k, str)] + [rng.choice(_STRINGS)])
        holder[name] = holder.pop(key) if holder is not root else old
    elif kind == 2:
        other_holder, other = rng.choice(places)
        holder[key] = copy.deepcopy(other_holder[other])
    elif kind == 3:
        holder[key] = rng.choice(([old], {"a": old}, [], {}, None, True, False))
    elif isinstance(old, (int, float)) and kind < 7:
        nearby = (old + 1, old - 1, -old, old * 2, float(old), str(old), bool(old))
        holder[key] = rng.choice(nearby)
    elif isinstance(old, str) and kind < 7:
        cut = rng.randrange(len(old) + 1)
        others = (old[:cut], old[cut:], old + old, old.swapcase(), old[:cut] + "." + old[cut:])
        holder[key] = rng.choice(others)
    else:
        holder[key] = rng.choice(rng.choice((_INTEGERS, _FLOATS, _STRINGS)))
    return root.get("")


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    keys = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        places.append((value, key))
        if isinstance(value[key], (dict, list)) and len(places) < 500:
            _collect(value[key], places)


def split_tensors(data: bytes) -> tuple[list[Tensor], Any]:
    """Return the tensors of a safetensors file, and its metadata."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    tensors = []
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        content = data[8 + length + begin : 8 + length + end]
        tensors.append((name, entry["dtype"], entry["shape"], content))
    return tensors, metadata


def join_tensors(tensors: list[Tensor], metadata: Any = None) -> bytes:
    """Return the safetensors file of some tensors."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    position = 0
    for name, kind, shape, content in tensors:
        end = position + len(content)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(one[3] for one in tensors)


def change_tensors(rng: random.Random, data: bytes) -> bytes:
    """Change a safetensors file: its header as JSON, or a tensor, everything else in order."""
    if rng.random() < 0.3:
        length = int.from_bytes(data[:8], "little")
        text = change_json(rng, data[8 : 8 + length])
        claimed = len(text) if rng.random() < 0.95 else abs(rng.choice(_INTEGERS)) % (1 << 64)
        return claimed.to_bytes(8, "little") + text + data[8 + length :]
    tensors, metadata = split_tensors(data)
    at = rng.randrange(len(tensors))
    name, kind, shape, content = tensors[at]
    what = rng.randrange(7)
    if what == 0:
        del tensors[at]
    elif what == 1:
        other = rng.choice(tensors)[0]
        tensors[at] = (rng.choice((other, name + "_shape", name[:-1], "")), kind, shape, content)
    elif what == 2:
        tensors.append(
            (rng.choice(tensors)[0] + rng.choice(("", "_scale", "_x")), *tensors[at][1:])
        )
    elif what < 5:
        tensors[at] = (name, *_reshaped(rng, kind, shape, content))
    else:
        pattern = rng.choice((b"\0", b"\xff", b"\x80", b"\x7f", b"\0\0\x80\x7f", b"\0\0\xc0\x7f"))
        changed = bytearray(content)
        for _ in range(rng.choice((1, 3, len(content) or 1))):
            start = rng.randrange(len(changed) + 1) // len(pattern) * len(pattern)
            changed[start : start + len(pattern)] = pattern[: len(changed) - start]
        tensors[at] = (name, kind, shape, bytes(changed))
    return join_tensors(tensors, metadata)


def _reshaped(
    rng: random.Random, kind: str, shape: list[int], content: bytes
) -> tuple[str, list[int], bytes]:
    """Return another type or shape, and as many bytes as it needs."""
    if rng.random() < 0.5:
        kind = rng.choice(list(SIZES))
    else:
        grown = [size + rng.choice((0, 1, -1)) for size in shape]
        shape = rng.choice((grown, shape[::-1], shape[1:], [1, *shape], [*shape, 1], [0]))
    needed = max(0, math.prod(shape)) * SIZES.get(kind, 1)
    if needed > LARGEST:
        raise ValueError("too large")
    repeated = content * (needed // max(1, len(content)) + 1) if content else bytes(needed)
    return kind, shape, repeated[:needed]


def _change_zst(rng: random.Random, data: bytes) -> bytes:
    if rng.random() < 0.3:
        return change_bytes(rng, data)
    with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
        inner = change_tensors(rng, reader.read(8 * LARGEST))
    packed = io.BytesIO()
    frames = FrameWriter(packed)
    cut = rng.randrange(len(inner) + 1)
    frames.write(inner[:cut])
    frames.write(inner[cut:])
    frames.finish()
    return packed.getvalue()


def _change_json_line(rng: random.Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    if rng.random() < 0.3:
        return change_lines(rng, data)
    at = rng.randrange(len(lines))
    lines[at] = change_json(rng, lines[at])
    return b"\n".join(lines)


def change_lines(rng: random.Random, data: bytes) -> bytes:
    """Repeat, remove, replace or indent lines, or change bytes of one."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    kind = rng.randrange(6)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines.insert(rng.randrange(len(lines) + 1), lines[at])
    elif kind == 2:
        lines[at] = rng.choice(_LINES)
    elif kind == 3:
        lines[at] = rng.choice((b" ", b"\t", b"  - ", b"[" * _DEEP, b"{a: " * _DEEP)) + lines[at]
    elif kind == 4:
        word, colon, _ = lines[at].partition(b":")
        value = rng.choice(rng.choice((_INTEGERS, _FLOATS, _STRINGS)))
        lines[at] = word + (colon or b":") + b" " + str(value).encode("utf-8", "surrogatepass")
    else:
        lines[at] = change_bytes(rng, lines[at])
    return rng.choice((b"\n", b"\n", b"\r\n", b"\r")).join(lines)


def _change_npz(rng: random.Random, data: bytes) -> bytes:
    """Change an array of a zip: its header, which is text, or its bytes; or the zip itself."""
    if rng.random() < 0.3:
        return change_bytes(rng, data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(members))
    if rng.random() < 0.1:
        members[rng.choice(("x.npy", "input_ids", name + ".npy"))] = members.pop(name)
    else:
        members[name] = _change_npy(rng, members[name])
    packed = io.BytesIO()
    with zipfile.ZipFile(
        packed, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as out:
        for key, content in members.items():
            out.writestr(key, content)
    return packed.getvalue()


def _change_npy(rng: random.Random, data: bytes) -> bytes:
    if rng.random() < 0.3:
        return change_bytes(rng, data)
    length = int.from_bytes(data[8:10], "little")
    header, content = data[10 : 10 + length].rstrip().decode(), data[10 + length :]
    number = str(rng.choice(_INTEGERS))
    old, new = rng.choice(
        (
            ("(2,", f"({number},"),
            ("3)", f"{number})"),
            ("(2, 3)", rng.choice(("(2,)", "()", "(6, 1)", "(3, 2)", "[2, 3]", "((2, 3), 1)"))),
            ("<i8", rng.choice((">i8", "<i4", "<f8", "|O", "|b1", "<M8[s]", "<U4", "<c16", "x"))),
            ("False", rng.choice(("True", "1", "None", "Fals"))),
            ("}", rng.choice((", 'x': 1}", "", "}" * 3, " " * 70_000 + "}"))),
        )
    )
    text = header.replace(old, new).encode()
    text += b" " * (-(11 + len(text)) % 64) + b"\n"
    return data[:8] + (len(text) % 65536).to_bytes(2, "little") + text + content
