# SPDX-License-Identifier: Apache-2.0
"""Recipes: names, fields, files; what contradicts itself is refused."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from octavo.compression import PRESETS, Prune, Quantize, Recipe, Share, read_recipe

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("int8", Recipe()),
        ("sparse50-int8", Recipe(Prune(sparsity=0.5))),
        ("sparse87.5-int8", Recipe(Prune(sparsity=0.875))),
        ("sparse9", Recipe(Prune(sparsity=0.09), "none")),
        ("2:4-int8", Recipe(Prune(pattern=(2, 4)))),
        ("1:16", Recipe(Prune(pattern=(1, 16)), "none")),
        ("fp16", Recipe(quantize="float16")),
        ("int8-static", Recipe(quantize=Quantize(activations="static", smooth="auto"))),
        (
            "deep-compression",
            Recipe(Prune(sparsity=0.5), Quantize(rounding="gptq"), Share(32, 16), "zstd"),
        ),
    ],
)
def test_names(name: str, expected: Recipe) -> None:
    assert read_recipe(name) == expected
    assert read_recipe(expected.to_dict()) == expected
    assert read_recipe(expected) is expected


def test_all_fields_survive_a_round_trip() -> None:
    full = Recipe(
        Prune("sparsegpt", 0.5, block=(1, 4), exclude=("pooler.*", "a"), aim="layer", damping=0.1),
        "none",
    )
    assert full.to_dict() == {
        "prune": {
            "method": "sparsegpt",
            "sparsity": 0.5,
            "block": [1, 4],
            "exclude": ["pooler.*", "a"],
            "aim": "layer",
            "damping": 0.1,
        },
        "quantize": "none",
    }
    assert read_recipe(full.to_dict()) == full
    everywhere = Recipe(Prune(sparsity=0.5, scope="global"))
    assert read_recipe(everywhere.to_dict()) == everywhere


FILE = """
prune:
  method: wanda
  pattern: "2:4"
  exclude: ["encoder.layer.0.*"]
quantize: int8
"""


def test_files(tmp_path: Path) -> None:
    pytest.importorskip("yaml", reason="needs PyYAML")
    path = tmp_path / "recipe.yaml"
    path.write_text(FILE, encoding="utf-8")
    expected = Recipe(Prune("wanda", pattern=(2, 4), exclude=("encoder.layer.0.*",)))
    assert read_recipe(path) == read_recipe(str(path)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prune: {pattern: 2:4}", 'prune.pattern: expected "2:4" in quotes, got 124'),
        ("prune: [", "not YAML"),
        ("- int8", "recipe: expected fields, got list"),
        ("", "recipe: expected fields, got NoneType"),
        ("prune: {sparsity: 2}", r"prune.sparsity: expected a value in \[0, 1\), got 2"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, message: str) -> None:
    pytest.importorskip("yaml", reason="needs PyYAML")
    path = tmp_path / "recipe.yml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises((TypeError, ValueError), match=f"recipe.yml: .*{message}"):
        read_recipe(path)


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "yaml" in sys.modules or pytest.importorskip("yaml", reason="needs PyYAML"):
        with pytest.raises(FileNotFoundError):
            read_recipe("absent.yaml")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs the 'pyyaml' package: pip install"):
        read_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("sparse0-int8", "expected a sparsity between 0 and 100 percent, got 'sparse0-int8'"),
        ("sparse100", "expected a sparsity between 0 and 100 percent"),
        ("sparse-int8", "recipe: expected int8, .*, sparse50-int8, 2:4-int8 or"),
        ("int8-sparse50", "recipe: expected int8"),
        ("5:4-int8", "prune.pattern: n: expected fewer than m = 4, got 5"),
        ("2:32", r"prune.pattern: m: expected a value in \[2, 16\], got 32"),
        (3, "recipe: expected a name, a dict or a YAML file, got int"),
        (
            {"prun": {}},
            "recipe: expected the fields prune, quantize, share, store, seed, got 'prun'",
        ),
        ({"prune": {"amount": 0.5}}, "got 'prune.amount'"),
        ({"prune": 0.5}, "recipe: prune: expected fields, got float"),
        ({"prune": {}}, "expected prune.sparsity or prune.pattern, got neither"),
        ({"prune": {"method": "magnitude"}}, "expected prune.sparsity or prune.pattern"),
        ({"prune": {"sparsity": 0}}, r"prune.sparsity: expected a value in \(0, 1\), got 0"),
        ({"prune": {"sparsity": 1.0}}, r"prune.sparsity: expected a value in \[0, 1\), got 1.0"),
        ({"prune": {"sparsity": "half"}}, "prune.sparsity: expected a number, got str"),
        ({"prune": {"sparsity": 0.5, "pattern": "2:4"}}, "pattern or prune.sparsity, got both"),
        ({"prune": {"block": [1, 4], "pattern": "2:4"}}, "pattern or prune.block, got both"),
        ({"prune": {"block": [1, 4]}}, "expected prune.sparsity or prune.pattern, got neither"),
        ({"prune": {"sparsity": 0.5, "block": 4}}, r"prune.block: expected \[rows, cols\], got 4"),
        ({"prune": {"sparsity": 0.5, "block": [0, 4]}}, "prune.block: rows: expected a value"),
        ({"prune": {"sparsity": 0.5, "method": "random"}}, "prune.method: expected one of"),
        ({"prune": {"sparsity": 0.5, "scope": "model"}}, "prune.scope: expected one of"),
        ({"prune": {"sparsity": 0.5, "exclude": "pooler"}}, "prune.exclude: expected a list"),
        ({"prune": {"pattern": "2:4", "scope": "global"}}, "a pattern is the same in every layer"),
        (
            {"prune": {"sparsity": 0.5, "method": "wanda", "scope": "global"}},
            "prune.scope: wanda works layer by layer, not global",
        ),
        (
            {"prune": {"sparsity": 0.5, "method": "wanda", "damping": 0.1}},
            "prune.damping: wanda has no damping",
        ),
        (
            {"prune": {"sparsity": 0.5, "method": "magnitude", "aim": "model"}},
            "prune.aim: magnitude has no aim",
        ),
        ({"prune": {"sparsity": 0.5, "aim": "high"}}, "prune.aim: expected one of model, layer"),
        ({"prune": {"sparsity": 0.5, "damping": -1}}, "prune.damping: expected a value in"),
        ({"prune": {"sparsity": 0.5}, "quantize": "int3"}, "quantize: expected one of int8, "),
        ({"quantize": "none"}, "expected pruning, quantization or both, got neither"),
        ({"quantize": 8}, "recipe: quantize: expected fields, got int"),
        ({"quantize": {"width": 8}}, "got 'quantize.width'"),
        ({"quantize": {"activations": "off"}}, "quantize.activations: expected one of dynamic"),
        ({"quantize": {"observer": "mse"}}, "observer: dynamic activations have no observer"),
        ({"quantize": {"dynamic": ["a"]}}, "dynamic: dynamic activations have no dynamic"),
        ({"quantize": {"damping": 0.1}}, "damping: rounding to nearest has no damping"),
        (
            {"quantize": {"rounding": "gptq", "damping": -1}},
            r"damping: expected a value in \[0, inf\), got -1",
        ),
        ({"quantize": {"smooth": 0}}, r"quantize.smooth: expected a value in \(0, 1\], got 0"),
        ({"quantize": {"smooth": float("nan")}}, "quantize.smooth: expected"),
        ({"quantize": {"bits": 1}}, "quantize.bits: expected .*, got 1"),
        ({"quantize": {"bits": 9}}, "quantize.bits: expected .*, got 9"),
        ({"quantize": {"bits": "4"}}, "quantize.bits: expected an integer, got"),
        ({"quantize": {"dtype": "float16", "bits": 4}}, "quantize.bits: float16 has no bits"),
        ({"quantize": {"bits": 4, "outliers": 6.0}}, "quantize.bits: expected 8 beside outliers"),
        (
            {"quantize": {"bits": 4}, "share": {"clusters": 16}},
            "quantize.bits: expected 8 beside share",
        ),
        ({"quantize": {"embedding_bits": 0}}, "quantize.embedding_bits: expected .*, got 0"),
        (
            {"quantize": {"embedding_bits": 4}, "share": {"clusters": 16}},
            "quantize.embedding_bits: expected 8 beside share",
        ),
        (
            {"quantize": {"outliers": 0.0}},
            r"quantize.outliers: expected a value in \(0, inf\), got 0.0",
        ),
        ({"quantize": {"equalize": 1}}, "quantize.equalize: expected true or false, got 1"),
        ({"quantize": {"exclude": "pooler"}}, "quantize.exclude: expected a list of names"),
        ({"quantize": {"dtype": "float16", "smooth": 0.5}}, "smooth: float16 has no smooth"),
        ({"share": {"clusters": 3}}, r"share.clusters: expected a value in \[4, 256\], got 3"),
        ({"share": {}, "quantize": "float16"}, "share: expected quantize: int8 beside it"),
        ({"store": "gzip"}, "recipe: store: expected one of plain, zstd"),
        ({"seed": -1}, "recipe: seed: expected"),
    ],
    ids=str,
)
def test_refused(recipe: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        read_recipe(recipe)


def test_which_method() -> None:
    plain = Prune(sparsity=0.5)
    assert plain.resolved(has_calibration=True) == Prune("sparsegpt", 0.5, aim="model")
    assert plain.resolved(has_calibration=False) == Prune("magnitude", 0.5)
    wanda, admm = Prune("wanda", 0.5), Prune("admm", 0.5, aim="layer")
    assert wanda.resolved(has_calibration=True) == wanda
    assert admm.resolved(has_calibration=True) == admm
    with pytest.raises(ValueError, match="calibration: expected data, wanda needs it; got none"):
        Recipe(wanda).resolved(has_calibration=False)
    with pytest.raises(ValueError, match=r"expected data, quantize.smooth needs it; got none"):
        Recipe(quantize=Quantize(smooth=0.5)).resolved(has_calibration=False)
    for prune in (Prune("magnitude", 0.5), Prune(sparsity=0.5, scope="global")):
        assert not Recipe(prune).resolved(has_calibration=True).needs_data
    with pytest.raises(ValueError, match=r"prune.damping: magnitude has no damping"):
        Prune(sparsity=0.5, damping=0.1).resolved(has_calibration=False)


def test_quantize_fields_survive_a_round_trip() -> None:
    quantize = Quantize(
        activations="static",
        observer="mse",
        symmetric=True,
        dynamic=("pooler.*",),
        rounding="gptq",
        damping=0.02,
        smooth=0.6,
        embedding_bits=8,
        equalize=True,
        correct_bias=True,
        outliers=6.0,
        exclude=("encoder.layer.0.*",),
        keep="float16",
    )
    full = Recipe(None, quantize, Share(64, 8, ("a",)), "zstd", 7)
    assert read_recipe(full.to_dict()) == full
    assert full.to_dict()["seed"] == 7
    assert Recipe(quantize=quantize).needs_data
    assert not Recipe(quantize=Quantize(equalize=True)).needs_data


def test_every_preset_reads() -> None:
    for name in PRESETS:
        recipe = read_recipe(name)
        assert read_recipe(recipe.to_dict()) == recipe
