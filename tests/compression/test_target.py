# SPDX-License-Identifier: Apache-2.0
"""Sensitivity and targets: the layer that was made bad is found, and it alone is kept."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from octavo import cli, nn
from octavo.compression import LayerSensitivity, Sensitivity, Target, TargetNotMetError
from octavo.compression.sensitivity import MOST_TOKENS, agreement, vectors_of
from octavo.compression.target import read_target
from octavo.data.batches import batches_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from octavo.models import Encoder

BAD = "encoder.layer.1.output.dense"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with one channel that leaves the other weights of its layer few codes."""
    tensors = model_files.random_tensors(model_files.BERT)
    tensors[f"{BAD}.weight"][:, 5] *= 300
    tensors["encoder.layer.1.intermediate.dense.weight"][5] /= 300
    tensors["encoder.layer.1.intermediate.dense.bias"][5] /= 300
    return model_files.write_folder(tmp_path / "model", model_files.BERT, tensors)


@pytest.fixture
def data() -> dict[str, Any]:
    ids, mask = model_files.batch(lengths=(7, 3, 12, 1, 20, 15, 9, 18))
    return {"input_ids": ids, "attention_mask": mask}


def floats_of(model: Encoder) -> list[str]:
    kinds = (nn.FloatLinear, nn.FloatEmbedding)
    return [name for name, layer in model.named_modules() if isinstance(layer, kinds)]


def reached(model: Encoder, compressed: Encoder, data: Any) -> tuple[float, float, float]:
    batches = batches_of(data, model)
    return agreement(vectors_of(model, batches), vectors_of(compressed, batches))


def test_the_bad_layer_is_the_most_sensitive(folder: Path, data: dict[str, Any]) -> None:
    steps: list[tuple[str, float]] = []
    table = octavo.compression.sensitivity(
        folder, data, on_progress=lambda *step: steps.append(step)
    )
    model = octavo.models.load(folder)
    assert table[0].name == BAD
    assert table[0].sqnr_db < table[1].sqnr_db - 6
    assert [row.sqnr_db for row in table] == sorted(row.sqnr_db for row in table)
    assert {row.name for row in table} == set(floats_of(model))
    assert str(table).splitlines()[1].startswith(BAD)
    assert list(table.to_dict()) == [row.name for row in table]
    assert json.loads(json.dumps(table.to_dict()))[BAD]["kind"] == "linear"
    shares = [share for _, share in steps]
    assert shares == sorted(shares)
    assert len(steps) == len(table)


def test_sensitivity_is_that_of_the_whole_model(folder: Path, data: dict[str, Any]) -> None:
    """Blocks are run from kept inputs; the result is what swapping one layer gives."""
    modern = model_files.write_random(folder / "modern", "modernbert")
    tables = []
    for source, *names in (
        (folder, BAD, "encoder.layer.0.attention.self.value", "embeddings.word_embeddings"),
        (modern, "layers.1.attn.Wqkv", "layers.3.mlp.Wo", "embeddings.tok_embeddings"),
    ):
        model, small = octavo.models.load(source), octavo.compress(source)
        tables.append(octavo.compression.sensitivity(model, data).to_dict())
        for name in names:
            other = octavo.models.load(source)
            other.set_submodule(name, small.get_submodule(name))
            cosine, least, sqnr = reached(model, other, data)
            row = tables[-1][name]
            assert (row["cosine"], row["cosine_min"]) == pytest.approx((cosine, least), abs=1e-9)
            assert row["sqnr_db"] == pytest.approx(sqnr, abs=1e-6)
            assert row["nbytes"] < row["float_bytes"] / 2
    pooler = tables[0]["pooler.dense"]
    assert 20 < pooler["sqnr_db"] < 60  # of the pooler's own output


def test_much_data_is_sampled(folder: Path) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 100, (1000, 8))
    few = octavo.compression.sensitivity(folder, ids[:: -(-ids.size // MOST_TOKENS)]).to_dict()
    many = octavo.compression.sensitivity(folder, ids).to_dict()
    assert {name: row["sqnr_db"] for name, row in many.items()} == pytest.approx(
        {name: row["sqnr_db"] for name, row in few.items()}, abs=0.02
    )


def test_only_the_bad_layer_is_kept(folder: Path, data: dict[str, Any]) -> None:
    model, plain = octavo.models.load(folder), octavo.compress(folder)
    good = octavo.compress(folder, {"quantize": {"exclude": [BAD]}})
    before, after = reached(model, plain, data)[0], reached(model, good, data)[0]
    bound = (before + after) / 2
    made = octavo.compress(folder, calibration=data, target={"cosine": bound})
    assert floats_of(made) == [BAD]
    assert made.recipe is not None
    record = made.recipe["target"]
    assert record == {"metric": "cosine", "at_least": bound, "reached": after, "kept": [BAD]}
    np.testing.assert_array_equal(made(data["input_ids"]), good(data["input_ids"]))


def test_nothing_is_kept_without_need(folder: Path, data: dict[str, Any], tmp_path: Path) -> None:
    made = octavo.compress(folder, calibration=data, target={"sqnr": 1.0})
    assert floats_of(made) == []
    assert made.recipe is not None
    assert made.recipe["target"]["kept"] == []
    made.save(tmp_path / "out")
    again = octavo.models.load(tmp_path / "out")
    assert again.recipe == made.recipe


@pytest.mark.parametrize("recipe", ["int8", "int8-gptq", "sparse50-int8"])
def test_the_recorded_value_is_that_of_the_model(
    folder: Path, data: dict[str, Any], recipe: str, tmp_path: Path
) -> None:
    model = octavo.models.load(folder)
    sqnr = reached(
        model, octavo.compress(folder, recipe, calibration=None if recipe == "int8" else data), data
    )[2]
    made = octavo.compress(folder, recipe, calibration=data, target={"sqnr": sqnr + 0.2})
    assert made.recipe is not None
    record = made.recipe["target"]
    assert record["reached"] >= sqnr + 0.2
    assert set(record["kept"]) == set(floats_of(made))
    made.save(tmp_path / "out")
    again = octavo.models.load(tmp_path / "out")
    assert reached(model, again, data)[2] == record["reached"]


def test_large_tables_are_kept_last(folder: Path, data: dict[str, Any]) -> None:
    steps: list[str] = []
    made = octavo.compress(
        folder,
        calibration=data,
        target={"sqnr": 58.0},
        on_progress=lambda text, _: steps.append(text),
    )
    assert made.recipe is not None
    kept = made.recipe["target"]["kept"]
    assert kept[-1] == "embeddings.word_embeddings"
    assert "pooler.dense" not in kept  # the vectors do not pass it
    assert any(text.startswith("sqnr ") and "of 58 with" in text for text in steps)


def test_a_users_metric(folder: Path, data: dict[str, Any]) -> None:
    seen: list[int] = []

    def layers_in_float(model: Encoder) -> float:
        seen.append(len(floats_of(model)))
        return seen[-1]

    made = octavo.compress(folder, calibration=data, target=(layers_in_float, 3))
    assert len(floats_of(made)) == 3
    assert made.recipe is not None
    assert made.recipe["target"]["metric"] == "layers_in_float"
    assert seen == [0, 1, 2, 4, 3]
    fields = {"metric": layers_in_float, "at_least": 1}
    assert len(floats_of(octavo.compress(folder, calibration=data, target=fields))) == 1


def test_a_target_that_cannot_be_met(folder: Path, data: dict[str, Any]) -> None:
    recipe = {"prune": {"sparsity": 0.5, "method": "magnitude"}}
    with pytest.raises(TargetNotMetError) as caught:
        octavo.compress(folder, recipe, calibration=data, target={"cosine": 0.9999})
    error = caught.value
    assert 0.5 < error.value < 0.9999
    text = f"target: expected a cosine of at least 0.9999, got at most {error.value:.6g}, with "
    assert str(error).startswith(text + f"{len(error.kept)} layer")
    assert "in float32; " in str(error)
    assert "with none" in str(error)


def test_metrics_that_go_wrong(folder: Path, data: dict[str, Any]) -> None:
    def broken(_: Encoder) -> float:
        raise KeyError("no labels")

    def stopped(_: Encoder) -> float:
        raise KeyboardInterrupt

    def attempt(metric: Callable[[Any], Any], bound: float = 0.5) -> None:
        octavo.compress(folder, calibration=data, target=(metric, bound))

    with pytest.raises(
        RuntimeError, match=r"target: broken raised KeyError: 'no labels' \(with 0"
    ) as caught:
        attempt(broken)
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(KeyboardInterrupt):
        attempt(stopped)
    with pytest.raises(
        ValueError, match="target: result of <lambda>: expected a finite number, got nan"
    ):
        attempt(lambda _: math.nan)
    with pytest.raises(TypeError, match="target: result of <lambda>: expected"):
        attempt(lambda _: "high")
    with pytest.raises(TargetNotMetError, match=r"got at most 0\.25, with 0 layers of 16"):
        attempt(lambda _: 0.25)


WRONG: list[tuple[str, Any, str]] = [
    ("number", 0.998, "target: expected .* got float"),
    ("unknown", {"accuracy": 0.9}, r"target: expected .* got the keys \['accuracy'\]"),
    ("two", {"cosine": 0.9, "sqnr": 20}, "got the keys"),
    ("empty", {}, r"got the keys \[\]"),
    ("cosine", {"cosine": 1.0}, r"target: cosine: expected a value in \(0, 1\), got 1.0"),
    ("infinite", {"sqnr": math.inf}, "target: sqnr: expected a finite number, got inf"),
    ("text", {"sqnr": "30"}, "target: sqnr: expected"),
    ("nan", (len, math.nan), "target: at_least: expected a finite number, got nan"),
    ("metric", {"metric": "accuracy", "at_least": 0.9}, "target: metric: expected"),
    ("decoders", {"perplexity": 1.01}, "target: perplexity: expected a decoder, .* got a BertM"),
]


@pytest.mark.parametrize(("target", "message"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_bad_targets(target: Any, message: str, folder: Path, data: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        octavo.compress(folder, calibration=data, target=target)


def test_a_target_needs_data(folder: Path, data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="calibration: expected data, a target needs it; got none"):
        octavo.compress(folder, target={"cosine": 0.9})
    keep = {"quantize": {"keep": "float16"}}
    with pytest.raises(ValueError, match=r"quantize\.keep: expected quantize\.exclude or a target"):
        octavo.compress(folder, keep)
    assert read_target(Target("sqnr", 20)) == read_target({"sqnr": 20})
    for bounds, which in (((), "neither"), ((20, 30), "both")):
        with pytest.raises(ValueError, match=f"target: expected at_least or at_most, got {which}"):
            Target("sqnr", *bounds)
    broken = octavo.models.load(folder)
    layer = broken.get_submodule(BAD)
    weight = np.where(np.arange(48) == 3, np.float32(3e38), layer.weight)  # type: ignore[attr-defined]
    broken.set_submodule(BAD, nn.FloatLinear(weight, layer.bias))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="model: expected finite outputs on the calibration data"):
        octavo.compress(broken, calibration=data, target={"cosine": 0.9})


def test_an_empty_table() -> None:
    assert len(Sensitivity([])) == 0
    row = LayerSensitivity("a", "linear", 1.0, 1.0, math.inf, 8, 4)
    assert Sensitivity([row]).to_dict()["a"]["sqnr_db"] is None


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int, str, str]:
    code = cli.main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_command(
    folder: Path, data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "data.npz", **data)
    words = ["compress", folder, tmp_path / "out", "--calibration", tmp_path / "data.npz"]
    before = octavo.compress(folder)
    sqnr = reached(octavo.models.load(folder), before, data)[2]
    code, out, err = run(capsys, *words, "--target", f"sqnr={sqnr + 0.5}")
    assert (code, err) == (0, "")
    assert f"float: {BAD}" in out
    code, out, err = run(capsys, *words, "--target", "cosine=0.5", "--json")
    assert json.loads(out)["applied"]["target"]["kept"] == []


def test_a_failed_command_leaves_the_old_artifact(
    folder: Path,
    data: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    np.savez(tmp_path / "data.npz", **data)
    out = tmp_path / "out"
    octavo.compress(folder).save(out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    words = ["compress", folder, out, "--calibration", tmp_path / "data.npz"]
    for target, message in (
        ("cosine", "--target: expected cosine=0.998, sqnr=30 or perplexity=1.015, got 'cosine'"),
        ("cosine=2", "target: cosine: expected a value in (0, 1), got 2.0"),
        ("speed=3", "got the keys ['speed']"),
    ):
        code, _, err = run(capsys, *words, "--target", target)
        assert code == 1
        assert message in err
    code, _, err = run(capsys, *words, "--target", "sqnr=90", "--recipe", "sparse50-int8")
    assert code == 1
    assert "target: expected a sqnr of at least 90, got at most" in err

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("octavo.compression.candidates.work_sensitivity", interrupted)
    code, _, err = run(capsys, *words, "--target", "sqnr=50")
    assert code == 130
    assert "nothing was left half-written" in err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "model", "out"]
