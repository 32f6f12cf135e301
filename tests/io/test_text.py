# SPDX-License-Identifier: Apache-2.0
"""What strangers write: patterns, deep brackets, large values; and how long a message may get."""

from __future__ import annotations

import copy
import itertools
import json
import random
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import octavo
from octavo import _checks, tuning
from octavo._patterns import pattern_of
from octavo._text import parsed_json, shown
from octavo.bench.compare import compare
from octavo.compression import read_recipe
from octavo.compression.recipe import PRESETS
from octavo.data.files import read_file
from octavo.io.folder import read_json
from octavo.io.header import check_header
from octavo.io.quantization import read_description
from octavo.lora.config import check_config, scale_of
from octavo.models.config import read_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONG = "k" * 1_000_000
NESTED: list[Any] = ["a"] * 10
for _ in range(8):
    NESTED = [NESTED] * 10  # 10**9 items to whoever writes them all down
HUGE = {"nested": NESTED, "long": LONG, "digits": 10**5000, "keys": {LONG: NESTED, "b": {LONG: 1}}}

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 50,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "position_embedding_type": "absolute",
    "architectures": ["BertForSequenceClassification"],
    "id2label": {"0": "no", "1": "yes"},
}
W8A8 = {
    "targets": ["Linear", "re:.*mlp.*"],
    "format": "int-quantized",
    "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel"},
    "input_activations": {"num_bits": 8, "type": "int", "strategy": "token", "dynamic": True},
    "output_activations": None,
}
DESCRIPTION = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "config_groups": {"group_0": W8A8, "W8A8": ["Embedding"]},
    "ignore": ["re:.*lm_head", "classifier"],
    "sparsity_config": {"format": "dense"},
}
ADAPTER = {
    "peft_type": "LORA",
    "r": 8,
    "lora_alpha": 16,
    "init_lora_weights": True,
    "bias": "none",
    "modules_to_save": ["classifier"],
    "rank_pattern": {".*query": 4},
    "alpha_pattern": {"key|value": 2.0},
}
RECIPE = {
    "prune": {"method": "sparsegpt", "sparsity": 0.5, "exclude": ["*.query"], "aim": "layer"},
    "quantize": {"bits": 8, "smooth": 0.5, "rounding": "gptq", "exclude": ["pooler"]},
    "share": {"clusters": 16, "exclude": ["a"]},
    "store": "plain",
    "seed": 1,
}
PATTERN_RECIPE = {"prune": {"pattern": "2:4"}, "quantize": {"dtype": "int4", "group": 32}}
ROW = {"bench": "linear", "case": "1x8x8", "engine": "octavo", "isa": "avx2", "threads": 1}
RESULTS = {"rows": [{**ROW, "seconds": 1.0, "low": 0.9, "high": 1.1}]}
HEADER = {"weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}

READERS: dict[str, tuple[Callable[[Any], object], Any]] = {
    "config": (read_config, {"model_type": "bert", **SIZES}),
    "description": (read_description, {"quantization_config": DESCRIPTION}),
    "adapter": (check_config, ADAPTER),
    "scale": (lambda config: (check_config(config), scale_of(config, "a.query")), ADAPTER),
    "recipe": (read_recipe, RECIPE),
    "recipe of a pattern": (read_recipe, PATTERN_RECIPE),
    "results": (lambda base: compare(base, RESULTS), RESULTS),
    "header": (lambda header: check_header(Path("f"), header, 16), HEADER),
    "static": (read_recipe, PRESETS["int8-static"]),
}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (container, key) below a document."""
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def refusal(read: Callable[[Any], object], given: Any) -> str:
    try:
        read(given)
    except (ValueError, TypeError) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("reader", READERS)
def test_refusals_are_short_and_quick(reader: str) -> None:
    read, document = READERS[reader]
    read(copy.deepcopy(document))
    for index, change in itertools.product(range(len(list(places(document)))), [*HUGE, "name"]):
        given = copy.deepcopy(document)
        container, key = list(places(given))[index]
        if change == "name":
            if isinstance(container, list):
                continue
            container[LONG] = container.pop(key)
        else:
            container[key] = HUGE[change]
        start = time.perf_counter()
        assert len(refusal(read, given)) < 1000, (key, change)
        assert time.perf_counter() - start < 1, (key, change)


@pytest.mark.parametrize("value", HUGE.values(), ids=HUGE)
def test_values_are_shown_briefly(value: object) -> None:
    assert len(shown(value)) <= 200


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "json": (read_json, "[" * 200_000),
    "deep but sound": (read_json, '{"a":' * 500 + "1" + "}" * 500),
    "lines": (lambda path: read_file(path, "data", labelled=True), "[" * 200_000),
    "text": (lambda path: read_file(path, "data", labelled=True), json.dumps({"text": [LONG]})),
    "tuning": (tuning.read, "[" * 200_000),
    "tuning's words": (tuning.read, json.dumps({LONG: 1})),
    "yaml": (read_recipe, "prune: " + "[" * 5000),
    "alias": (read_recipe, "prune: &a {sparsity: 0.5}\nquantize: *a"),
    "large": (read_recipe, "# " + LONG),
    "no time": (read_recipe, "seed: 2001-99-99"),
    "no number": (read_recipe, "seed: !!int ''"),
    "large number": (read_recipe, "prune: {sparsity: 0x" + "f" * 5000 + "}"),
}


@pytest.mark.parametrize(("read", "content"), FILES.values(), ids=FILES)
def test_files_are_refused_by_name(
    tmp_path: Path, read: Callable[[Path], object], content: str
) -> None:
    if read is read_recipe:
        pytest.importorskip("yaml", reason="needs PyYAML")
    path = tmp_path / "file.jsonl"
    path.write_text(content, encoding="utf-8")
    start = time.perf_counter()
    with pytest.raises(ValueError, match=re.escape(str(path))) as caught:
        read(path)
    assert time.perf_counter() - start < 2
    assert len(str(caught.value)) < 1000


def test_json_may_be_64_levels_deep() -> None:
    assert parsed_json("[" * 64 + "]" * 64)
    with pytest.raises(ValueError, match="at most 64 levels"):
        parsed_json("[" * 65 + "]" * 65)


@pytest.mark.parametrize("number", [10**400, float("inf")])
def test_numbers_beyond_floats_are_named(number: object) -> None:
    with pytest.raises(ValueError, match=r"^alpha: expected a finite number, got inf"):
        _checks.real(number, "alpha")


def some_pattern(rng: random.Random, depth: int) -> str:
    kind = rng.randrange(8) if depth else 0
    if kind < 2:
        return rng.choice(["a", "b", ".", r"\.", "[ab]", "[^a]", r"[\d.]", r"\d", r"\w", "1", ""])
    inner = some_pattern(rng, depth - 1)
    if kind < 4:
        return inner + some_pattern(rng, depth - 1)
    if kind == 4:
        return f"({inner}|{some_pattern(rng, depth - 1)})"
    if kind < 7:
        repeats = ["*", "+", "?", "*?", "{2}", "{1,2}", "{2,}", "{0,1}"]
        return f"(?:{inner}){rng.choice(repeats)}"
    return rng.choice([f"(?!{inner})", f"(?={inner})", "^", "$", r"\b", r"\B", r"\Z", r"\A"])


def test_patterns_mean_what_they_mean_to_python() -> None:
    rng = random.Random(0)
    names = ["".join(name) for size in range(6) for name in itertools.product("ab.1", repeat=size)]
    for _ in range(1000):
        source = some_pattern(rng, 4)
        for name in [*rng.sample(names, 10), "a\n"]:
            meant = bool(re.match(source, name))
            assert pattern_of(source).match(name) == meant, (source, name)


NAME = "model.language_model.layers.17.self_attn.q_proj"


@pytest.mark.parametrize(
    ("source", "met"),
    [
        (r".*layers\.\d+\.self_attn.*", True),
        (r".*\.layers\.(0|1)\.(.*)", False),
        (r"(.*\.)?((q|k|v)_proj)$", True),
        (r"^(?!.*visual).*(?:gate_proj|q_proj)$", True),
        (r"model\.(?P<part>[a-z_]+)\.layers\.1[0-9]\.", True),
    ],
)
def test_patterns_that_people_use(source: str, met: bool) -> None:
    assert pattern_of(source).match(NAME) is met


@pytest.mark.parametrize(
    ("source", "place", "what"),
    [
        (r"a(b", 2, "("),
        (r"a)b", 2, ")"),
        (r"layer.(?<=r)", 7, "(?<"),
        (r"(a)\1", 4, r"\1"),
        ("(?i)a", 1, "(?i"),
        ("a**", 3, "*"),
        ("a++", 3, "+"),
        ("[b-a]", 1, "[b-a]"),
        ("a{3,2}", 2, "{3,2}"),
        ("a{", 2, "{"),
        ("(" * 100 + ")" * 100, 52, "((("),
    ],
)
def test_refused_patterns_say_where(source: str, place: int, what: str) -> None:
    for read, document in (
        (read_description, {"quantization_config": {**DESCRIPTION, "ignore": [f"re:{source}"]}}),
        (check_config, {**ADAPTER, "rank_pattern": {source: 4}}),
    ):
        with pytest.raises(ValueError, match=f"character {place}: .*{re.escape(shown(what)[1:3])}"):
            read(document)


@pytest.mark.parametrize(
    "source",
    [
        "(([a-z.A-Z_0-9]*)*)*!",
        "(a|a)*" * 20 + "!",
        "(.*.*)*" * 10 + "!",
        "(((.?){9999}){9999}){9999}!",
        "(?:(?=.*!|.*.*.*)a?)*!",
        "a?" * 2000 + "!",
    ],
)
def test_patterns_take_no_time(source: str) -> None:
    start = time.perf_counter()
    for name in ("a" * 60, "a.b" * 40):
        message = refusal(lambda name: pattern_of(source).match(name), name)
        assert not message or ("too many steps" in message and len(message) < 1000)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("package", ["io", "lora", "data", "compression/recipe", "transformers"])
def test_messages_about_what_was_read_are_bounded(package: str) -> None:
    for path in (Path(octavo.__file__).parent / package).glob("*.py"):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "!r}" in line]
        assert all("return f" in line for line in lines), (path, lines)


WORLD = ["good\u2028film", "bad\u0085film", "one\u2029two", "a\u000bb\u000cc\u001cd"]
TABLES = {
    ".txt": WORLD,
    ".tsv": [f"1\t{text}" for text in WORLD],
    ".jsonl": [json.dumps({"text": text, "label": 1}, ensure_ascii=False) for text in WORLD],
}


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "marked"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=repr)
@pytest.mark.parametrize("kind", TABLES)
def test_lines_end_where_editors_end_them(tmp_path: Path, kind: str, end: str, mark: str) -> None:
    path = tmp_path / f"data{kind}"
    path.write_bytes((mark + end.join([*TABLES[kind], ""])).encode())
    found = read_file(path, "data", labelled=True)
    assert found.sentences == WORLD
    assert found.labels == (None if kind == ".txt" else [1] * 4 if kind == ".jsonl" else ["1"] * 4)


def test_byte_order_marks_are_no_text(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="needs PyYAML")
    path = tmp_path / "file.yaml"
    path.write_bytes(b'\xef\xbb\xbf{"store": "zstd"}')
    assert read_json(path) == {"store": "zstd"}
    assert read_recipe(path).store == "zstd"
