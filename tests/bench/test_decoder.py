# SPDX-License-Identifier: Apache-2.0
"""``octavo bench --model`` on decoders. Nothing here depends on a time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import decoder_files
import decoder_gguf
import model_files
from bench_rows import row_json
from octavo import cli
from octavo.bench import decoder
from octavo.bench.model import min_cosine
from octavo.bench.peers import llama_cpp

if TYPE_CHECKING:
    from pathlib import Path

# llama.cpp's blocks of 32 values want widths that are multiples.
BLOCKS = {"hidden_size": 64, "intermediate_size": 96, "max_position_embeddings": 256}


def test_decoders_are_told_from_encoders(tmp_path: Path) -> None:
    assert decoder.is_decoder(decoder_files.write_random(tmp_path / "llama"))
    assert decoder.is_decoder(tmp_path / "absent.gguf")
    assert not decoder.is_decoder(model_files.write_random(tmp_path / "bert"))
    assert not decoder.is_decoder(tmp_path)


@pytest.mark.parametrize("shape", [(1, 9), (1, 1), (3, 1), (2, 9)])
def test_steps_repeat_their_result(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = decoder_files.write_random(tmp_path / "llama", max_position_embeddings=192)
    loaded = decoder.load(str(path))
    assert list(loaded) == ["octavo", "octavo float32"]
    small = loaded["octavo"]
    step = decoder.step_of(small, *shape)
    first = step()
    np.testing.assert_array_equal(step(), first)
    before, new = decoder.make_ids(*shape, small.config.vocab_size)
    ids = new if shape[1] > 1 else np.concatenate([before, new], 1)
    np.testing.assert_array_equal(small(ids)[:, -1], first)


def test_work_counts_the_logits_of_one_token(tmp_path: Path) -> None:
    loaded = decoder.load(str(decoder_files.write_random(tmp_path / "llama")))
    head, layers = 100 * 32, 2 * (32 * 32 * 2 + 2 * 16 * 32 + 3 * 32 * 48)
    operations = 2 * 2 * (5 * layers + head)
    assert decoder.work(loaded["octavo float32"], 2, 5) == (operations, 4 * (layers + head))
    found, nbytes = decoder.work(loaded["octavo"], 2, 5)
    assert found == operations
    assert layers + head < nbytes < 2 * (layers + head)


def test_the_program_prints_and_writes_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = decoder_files.write_random(tmp_path / "llama", max_position_embeddings=192)
    result = tmp_path / "found.json"
    more = ["--quick", "--threads", "1", "--shapes", "1x4,2x1", "--json", str(result)]
    assert cli.main(["bench", "--model", str(path), *more]) == 0
    printed = capsys.readouterr().out
    assert "tokens/s" in printed
    assert "llama.cpp: left out" in printed
    rows = json.loads(result.read_text(encoding="utf-8"))["rows"]
    assert {(row["case"], row["engine"]) for row in rows} == {
        (case, engine)
        for case in ("prompt 1x4", "decode 2x1")
        for engine in ("octavo", "octavo float32")
    }
    assert cli.main(["bench", "--model", str(path), "--shapes", "1x500"]) == 1
    assert "the model has 192 positions" in capsys.readouterr().err
    assert cli.main(["bench", "quantize", "--model", str(path)]) == 2


def test_targets(script: Any) -> None:
    def rows(case: str, ours: float, peer: float) -> list[dict[str, Any]]:
        more = {"isa": "avx512vnni", "share": 0.7}
        engines = {"octavo": 2 * ours, "octavo int8": ours, "llama.cpp Q8_0": peer}
        engines["llama.cpp Q4_0"] = peer + 1
        made = [row_json("1x1x1", engine, time, **more) for engine, time in engines.items()]
        return [{**row, "case": case} for row in made]

    listed = [
        *rows("prompt 1x512", 1.0, 5.0),
        *rows("decode 1x1", 1.0, 2.0),
        *rows("decode 8x1", 1.6, 4.0),
    ]
    made = {target.target: target for target in script("decoder").decoder_targets(listed)}
    assert [(target.measured, target.met) for target in made.values()] == [
        ("2.00x", False),
        ("1.50x", False),
        ("5.00x", True),
        ("70%", True),
        ("5.00x", True),
    ]


def test_llama_cpp_gives_the_same_logits(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    path = decoder_gguf.write(tmp_path / "llama.gguf", {**decoder_files.LLAMA, **BLOCKS})
    found, absent = llama_cpp.find(path, tmp_path, 1)
    assert (list(found), absent) == (["llama.cpp", "llama.cpp Q8_0", "llama.cpp Q4_0"], {})
    for name, shape in (("llama.cpp", (1, 9)), ("llama.cpp Q8_0", (3, 1))):
        ours = decoder.step_of(decoder.load(str(path))["octavo"], *shape)()
        step = found[name].step(*shape)
        first = step()
        # Both are int8, in groups of other sizes; a token more gave a cosine of 0.02.
        assert min_cosine(first, ours) > 0.99
        np.testing.assert_allclose(step(), first, rtol=1e-5)
