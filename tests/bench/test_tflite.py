# SPDX-License-Identifier: Apache-2.0
"""``octavo bench --model x.tflite``. Nothing here depends on a time."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench_rows import row_json
from octavo import cli, tflite
from octavo.bench import tflite as case
from octavo.bench.peers.resident import LOADERS, resident
from tflite_files import MODELS, float_model, integer_model

if TYPE_CHECKING:
    from pathlib import Path

HAS_LITERT = importlib.util.find_spec("ai_edge_litert") is not None


def test_work() -> None:
    operations, nbytes, is_integer = case.work(tflite.read(integer_model().bytes()))
    assert (operations, nbytes, is_integer) == (2 * 16 * 5 * 3, 15, True)
    operations, nbytes, is_integer = case.work(tflite.read(float_model().bytes()))
    assert (operations, nbytes, is_integer) == (2 * 4 * 5 * 27, 4 * 5 * 27, False)


@pytest.mark.parametrize("name", MODELS)
def test_inputs_and_numbers(name: str) -> None:
    content = MODELS[name]().bytes()
    file = tflite.read(content)
    (x,) = case.make_inputs(file)
    result = tflite.load(content)(x)
    assert isinstance(result, np.ndarray)
    row = case.numbers(file, [result])
    assert row.shape == (1, result.size)
    codes = file.graph.tensors[file.graph.outputs[0]].quantization
    assert np.array_equal(row[0], (result if codes is None else codes.dequantized(result)).ravel())


def test_the_program_prints_and_writes_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, result = tmp_path / "small.tflite", tmp_path / "found.json"
    path.write_bytes(integer_model().bytes())
    more = ["--quick", "--threads", "1", "--json", str(result)]
    assert cli.main(["bench", "--model", str(path), *more]) == 0
    printed = capsys.readouterr().out
    assert ("LiteRT: left out" in printed) != HAS_LITERT
    rows = json.loads(result.read_text(encoding="utf-8"))["rows"]
    engines = {"octavo", "LiteRT"} if HAS_LITERT else {"octavo"}
    assert {(row["case"], row["engine"]) for row in rows} == {("small", one) for one in engines}
    path.write_bytes(b"no model")
    assert cli.main(["bench", "--model", str(path), "--quick", "--threads", "1"]) == 1
    assert "no TensorFlow Lite file" in capsys.readouterr().err


@pytest.mark.parametrize("engine", LOADERS)
def test_memory(engine: str, tmp_path: Path) -> None:
    if engine == "LiteRT" and not HAS_LITERT:
        pytest.skip("ai-edge-litert is not installed")
    path = tmp_path / "small.tflite"
    path.write_bytes(integer_model().bytes())
    found = resident(engine, str(path), 1)
    if found is not None:
        assert 0 <= found.growth < found.peak < 1 << 30
    assert resident(engine, str(tmp_path / "absent"), 1) is None


def test_targets(script: Any) -> None:
    def rows(name: str, ours: float, peer: float, **more: Any) -> list[dict[str, Any]]:
        made = []
        for engine, time, peak in (("octavo", ours, 110.0), ("LiteRT", peer, 100.0)):
            row = row_json("1x1x1", engine, time, isa="avx512vnni")
            made.append({**row, "case": name, "extra": {"peak": peak, "growth": peak, **more}})
        return made

    listed = [
        *rows("int8", 1.0, 1.5, role="int8", net=0),
        *rows("float", 1.9, 1.5, role="float", net=0),
    ]
    made = {target.target: target for target in script("images").image_targets(listed)}
    assert [(target.measured, target.met) for target in made.values()] == [
        ("1.50x", True),
        ("1.90x", True),
        ("1.10", True),
    ]
