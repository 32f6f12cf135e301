# SPDX-License-Identifier: Apache-2.0
"""Targets that hold text: data, recipes, descriptions, tables of costs, results, tokenizers.

What they mean is parsed a second time, plainly, or read back from what the package makes of it.
"""

from __future__ import annotations

import io
import json
import zipfile
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from fuzz.engine import Target
from fuzz.mutate import Files, change_files
from octavo import runtime, tuning
from octavo.bench import compare
from octavo.compression import read_recipe
from octavo.data import files as data_files
from octavo.data.tokenizer import tokenize
from octavo.io.description import describe
from octavo.io.folder import read_json
from octavo.io.quantization import Quantization, read_description

if TYPE_CHECKING:
    from pathlib import Path

    from octavo.compression import Recipe

Content = data_files.Content


def _read_data(place: Path) -> list[Content]:
    (path,) = place.iterdir()
    labelled = data_files.read_file(path, "data", labelled=True)
    if path.suffix == ".tsv":
        return [labelled]
    return [labelled, data_files.read_file(path, "data", labelled=False)]


def _line_seeds(_: Path) -> list[Files]:
    return [
        {"x.txt": "A sentence.\n\nAnother one, Łódź.\n".encode()},
        {"x.tsv": b"1\tgood\n0\tbad\npositive\tfine\n"},
        {"x.jsonl": b'{"text": "one", "label": 1}\n{"text": "two", "label": "no"}\n'},
        {"x.jsonl": b'{"input_ids": [1, 2]}\n{"input_ids": [3], "token_type_ids": [0]}\n'},
    ]


def _check_lines(place: Path, found: list[Content]) -> None:
    """Only line ends of files divide lines: other separators of Unicode stay in sentences."""
    (path,) = place.iterdir()
    text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    lines = [line for line in text.split("\n") if line.strip()]
    for content in found:
        if path.suffix == ".txt":
            assert content.sentences == [line.strip() for line in lines]
        elif path.suffix == ".tsv":
            pairs = [line.split("\t", 1) for line in lines]
            assert content.labels == [label.strip() for label, _ in pairs]
            assert content.sentences == [sentence.strip() for _, sentence in pairs]
        else:
            _check_objects([json.loads(line) for line in lines], content)


def _check_objects(rows: list[dict[str, Any]], content: Content) -> None:
    if content.arrays is None:
        assert content.sentences == [row["text"] for row in rows]
    else:
        for row, ids, mask in zip(
            rows, content.arrays["input_ids"], content.arrays["attention_mask"], strict=True
        ):
            length = len(row["input_ids"])
            assert ids[:length].tolist() == row["input_ids"]
            assert not ids[length:].any()
            assert mask[:length].tolist() == row.get("attention_mask", [1] * length)
    if content.labels is not None:
        assert content.labels == [row["label"] for row in rows]


def _npz_seeds(_: Path) -> list[Files]:
    seeds = []
    for save in (np.savez, np.savez_compressed):
        packed = io.BytesIO()
        ids = np.arange(6, dtype=np.int64).reshape(2, 3)
        save(packed, input_ids=ids, attention_mask=ids * 0 + 1, labels=np.array([1, 0]))
        seeds.append({"x.npz": packed.getvalue()})
    return seeds


def _check_arrays(place: Path, found: list[Content]) -> None:
    """Decode the arrays by hand, from what the zip holds and its checksums guard."""
    (path,) = place.iterdir()
    labelled, plain = found
    assert plain.arrays is not None
    assert labelled.arrays is not None
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            array = plain.arrays[name.removesuffix(".npy")]
            size = array.dtype.itemsize * array.size
            order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
            assert (
                array.tobytes(order) == data[len(data) - size :] or b"fortran_order': True" in data
            )
    if labelled.labels is not None:
        assert labelled.labels == plain.arrays["labels"].reshape(-1).tolist()


_RECIPES = (
    b"prune:\n  sparsity: 0.5\n  method: magnitude\nquantize:\n  dtype: int8\n  smooth: auto\n",
    b"prune:\n  pattern: '2:4'\n  exclude: [pooler]\nquantize: int8\nseed: 3\nstore: zstd\n",
    b"quantize:\n  activations: static\n  observer: percentile\n  bits: 8\n  exclude:\n    - a.*\n",
    b"quantize:\n  rounding: gptq\nshare:\n  clusters: 32\n  embedding_clusters: 16\n",
)


def _recipe_seeds(_: Path) -> list[Files]:
    return [{"x.yaml": text} for text in _RECIPES]


def _check_recipe(place: Path, recipe: Recipe) -> None:
    """The file's fields as a dict, and the recipe's own dict, give the same recipe."""
    assert read_recipe(yaml.safe_load((place / "x.yaml").read_bytes())) == recipe
    assert read_recipe(json.loads(json.dumps(recipe.to_dict()))) == recipe


_LAYERS = {
    "encoder.layer.0.output": "Linear",
    "encoder.layer.1.output": "Linear",
    "bert.pooler": "Linear",
    "pooler": "Linear",
    "embeddings.words": "Embedding",
}


def _description_seeds(_: Path) -> list[Files]:
    tokens = {
        "num_bits": 8,
        "type": "int",
        "symmetric": False,
        "dynamic": True,
        "strategy": "token",
    }
    fours = {**tokens, "symmetric": True, "strategy": "group", "group_size": 32}
    channel = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"}
    eight = {
        "targets": ["Linear", "re:.*pooler"],
        "weights": channel,
        "input_activations": tokens,
        "format": "octavo-bitmap",
    }
    four = {
        "targets": ["encoder.layer.0.output"],
        "weights": {**fours, "num_bits": 4, "dynamic": False},
        "input_activations": fours,
    }
    five = {
        "targets": ["re:.*key"],
        "weights": {**fours, "num_bits": 5, "symmetric": False, "actorder": "group"}
        | {"dynamic": False},
        "format": "octavo-multiplier-groups",
        "input_activations": fours,
    }
    table = {"targets": ["Embedding"], "weights": channel, "input_activations": None}
    whole = {
        "quant_method": "compressed-tensors",
        "format": "mixed-precision",
        "config_groups": {"a": four, "b": eight, "c": five, "d": table},
        "ignore": ["bert.pooler"],
    }
    old = {"quantization_config": {**whole, "config_groups": {"W8A8": ["Linear"]}}}
    return [
        {"config.json": json.dumps({"quantization_config": whole}).encode()},
        {"config.json": json.dumps({"compression_config": old}).encode()},
    ]


def _read_schemes(place: Path) -> list[Any]:
    return _schemes(read_description(read_json(place / "config.json")))


def _schemes(config: Quantization | None) -> list[Any]:
    return [config and config.scheme((name,), kind) for name, kind in _LAYERS.items()]


def _check_schemes(_: Path, found: list[Any]) -> None:
    """Describe what was found, layer by layer, and read that."""
    named = list(zip(_LAYERS.items(), found, strict=True))
    layers = [(name, kind, scheme) for (name, kind), scheme in named if scheme is not None]
    if layers:
        described = describe(layers, [name for (name, _), scheme in named if scheme is None])
        read = read_description({"quantization_config": json.loads(json.dumps(described))})
        assert _schemes(read) == found


def _table_seeds(place: Path) -> list[Files]:
    tiers = ("avx2", "avx512vnni")
    tuning.save({tier: tuning.costs(tier) for tier in tiers}, place / "tuning.json")
    return [{"tuning.json": (place / "tuning.json").read_bytes()}]


def _check_table(place: Path, table: dict[str, dict[str, tuple[float, ...]]]) -> None:
    content = json.loads((place / "tuning.json").read_bytes())
    if content["cpu"] != runtime.cpu_info()["cpu"]:
        assert not table
    for tier, formats in table.items():
        for name in set(formats) & set(content["costs"][tier]):
            assert formats[name] == tuple(map(float, content["costs"][tier][name])), name


def _result_seeds(_: Path) -> list[Files]:
    names = {"bench": "linear", "case": "1x8x8", "engine": "octavo", "isa": "avx2", "threads": 1}
    rows = [{**names, "seconds": 2.0, "low": 1.9, "high": 2.1}, {**names, "case": "b"}]
    rows[1] |= {"seconds": 1e-5, "low": 9e-6, "high": 2e-5}
    machine = {"cpu": "x", "compiler": "y", "octavo": "1", "numpy": "2", "load": 0.5}
    document = {"schema": 1, "bench": "linear", "machine": machine, "rows": rows}
    return [{"x.json": json.dumps(document).encode()}]


def _read_results(place: Path) -> Any:
    document = compare.read(place / "x.json")
    base = json.loads(_result_seeds(place)[0]["x.json"])
    compared = compare.compare(base, document)
    compare.changed_machine(base, document)
    compare.text(compared)
    return compared


def _check_results(place: Path, compared: Any) -> None:
    """A ratio is the quotient of the seconds that the file has."""
    rows = json.loads((place / "x.json").read_bytes())["rows"]
    keys = {tuple(str(row[key]) for key in compare.KEY): row for row in rows}
    for change in compared.changes:
        seconds = 2.0 if change.key[1] == "1x8x8" else 1e-5
        assert change.ratio == keys[change.key]["seconds"] / seconds


_WORDS = {"[PAD]": 0, "[UNK]": 1, "the": 2, "cat": 3}


def _tokenizer_seeds(_: Path) -> list[Files]:
    padding = {"id": 0, "content": "[PAD]", "special": True, "normalized": False}
    padding |= {"single_word": False, "lstrip": False, "rstrip": False}
    document = {
        "version": "1.0",
        "added_tokens": [padding],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": _WORDS, "unk_token": "[UNK]"},
    }
    return [{"tokenizer.json": json.dumps(document).encode()}]


def _check_tokens(_: Path, found: tuple[Any, Any]) -> None:
    ids, mask = found
    assert ids.shape == mask.shape
    assert ids.shape[1] <= 4


_read_tokens = partial(tokenize, sentences=["The cat.", "", "a the cat the dog \0 é"], limit=4)

TARGETS = (
    Target("lines", _line_seeds, change_files, _read_data, _check_lines),
    Target("npz", _npz_seeds, change_files, _read_data, _check_arrays),
    Target(
        "recipe", _recipe_seeds, change_files, lambda p: read_recipe(p / "x.yaml"), _check_recipe
    ),
    Target("description", _description_seeds, change_files, _read_schemes, _check_schemes),
    Target(
        "tuning", _table_seeds, change_files, lambda p: tuning.read(p / "tuning.json"), _check_table
    ),
    Target("results", _result_seeds, change_files, _read_results, _check_results),
    Target("tokenizer", _tokenizer_seeds, change_files, _read_tokens, _check_tokens),
)
