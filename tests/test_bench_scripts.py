# SPDX-License-Identifier: Apache-2.0
"""The scripts of the bench folder: targets, peers that fail, comparing two runs."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench_rows import row_json
from octavo import runtime
from octavo.bench import linear

if TYPE_CHECKING:
    from types import ModuleType

SCRIPTS = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the repository's bench folder by name."""
    if not SCRIPTS.is_dir():
        pytest.skip("the bench folder is not here")
    monkeypatch.syspath_prepend(str(SCRIPTS))
    before = set(sys.modules)

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:
        path = getattr(sys.modules[name], "__file__", None)
        if path and SCRIPTS in Path(path).parents:
            del sys.modules[name]


def test_compare_script(script: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seconds in (("base", 1.0), ("head", 2.0)):
        content = {"machine": {"cpu": name}, "rows": [row_json("1x8x8", "octavo", seconds)]}
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    paths = [str(tmp_path / "base.json"), str(tmp_path / "head.json")]
    main = script("compare").main
    assert main(paths) == 0
    assert main([*paths, "--fail-above", "1.5"]) == 1
    assert main([*paths[::-1], "--fail-above", "1.5"]) == 0
    printed = capsys.readouterr().out
    assert "cpu: base -> head" in printed
    assert "slower" in printed
    with pytest.raises(SystemExit, match=r"nothing\.json"):
        main(["nothing.json", paths[1]])


def test_linear_targets(script: Any) -> None:
    ours = {"kind": "ours"}
    rows = [
        row_json("1x768x768", "octavo", 1e-4, vs_numpy=3.0, extra=ours),
        row_json("1x768x768", "peer a", 2e-4),
        row_json("1x768x768", "peer b", 4e-4),
        row_json("1x768x768", "bare", 1e-5, extra={"kind": "part"}),
        row_json("512x768x768", "octavo", 1e-2, vs_numpy=0.5, extra=ours),
        row_json("512x768x768", "peer a", 8e-2),
        row_json("1x64x64", "octavo", 2e-6, vs_numpy=2.0, extra=ours),
    ]
    made = {t.target: t for t in script("common.linear_targets").linear_targets(rows)}
    mean = made["fastest int8 peer, geometric mean"]
    assert (mean.measured, mean.met) == ("4.00x", True)
    assert made["fastest int8 peer, worst row"].measured == "2.00x"
    read = made["M = 1, weights > L2: of read speed"]
    assert (read.measured, read.met) == ("59%", False)
    assert made["M >= 512, K >= 768: of dot peak"].measured == "60%"
    slower = made["NumPy float32, worst row"]
    assert slower.met is False
    assert "512x768x768 T=1; 1 of 3 miss" in slower.where
    assert made["64 -> 64 call"].met is True
    targets = script("common.targets")
    printed = targets.format_table(list(made.values()))
    assert "NOT MET" in printed
    assert targets.at_least("none", 1.0, []).met is None


def test_tier_targets(script: Any) -> None:
    rows = [
        row_json("128x768x768", "octavo", 1e-3, extra={"dot": 200.0}),
        row_json("128x768x768", "onednn qlinear bare", 8e-4),
        row_json("128x768x768", "torch float32", 3e-3),
        row_json("1x768x768", "octavo", 1e-4),
        row_json("1x768x768", "torch int8 fbgemm", 2e-4),
    ]
    tier_targets = script("common.linear_targets").tier_targets
    avx2 = {t.target: t.met for t in tier_targets("avx2", rows)}
    assert avx2 == {
        "avx2, M >= 128: oneDNN": True,
        "avx2, M >= 128: PyTorch float32": True,
        "avx2, M <= 32: oneDNN": None,
        "avx2, M <= 32: FBGEMM": True,
    }
    vnni = {t.target: t.met for t in tier_targets("avx512vnni", rows)}
    assert vnni["avx512vnni, M >= 128: oneDNN"] is False
    assert vnni["avx512vnni, M >= 128: of dot peak"] is False


def test_each_tier_has_a_word_in_the_peers_own_language(script: Any) -> None:
    tiers = script("tiers")
    for tier, values in tiers.PEER_SETTINGS.items():
        made = tiers.settings(tier)
        assert made["OCTAVO_ISA"] == tier
        assert [made[name] for name in tiers.PEER_VARIABLES] == list(values)
    usable, missing = tiers.choose(f"{runtime.isa_tiers()[0]},sse17")
    assert (usable, missing) == (runtime.isa_tiers()[:1], ["sse17"])


def test_failing_peers_are_reported_not_fatal(script: Any) -> None:
    peers = script("common.peers")
    layer = peers.Layer(*linear.make_layer(8, 8), 1)

    def refuse(_: Any) -> Any:
        raise RuntimeError("no\nmore")

    def wrong(_: Any) -> Any:
        return lambda x: lambda: np.zeros((len(x), 8))

    def right(given: Any) -> Any:
        return lambda x: lambda: x @ given.weight.T + given.bias

    listed = [peers.Peer(f.__name__, "int8", f) for f in (refuse, wrong, right)]
    ready, refused = peers.prepare_all(listed, layer)
    assert refused == {"refuse": "no"}
    problem = linear.make_problem(2, 8, 8)
    calls, failed = peers.bind_all(ready, problem.x, linear.checker(problem))
    assert set(calls) == {"right"}
    assert "relative error" in failed["wrong"]


def test_worker_environment_and_merge(script: Any) -> None:
    workers = script("common.workers")
    made = workers.environment(3, {"X": "y"})
    assert (made["OMP_NUM_THREADS"], made["OCTAVO_NUM_THREADS"], made["X"]) == ("3", "3", "y")
    one = {"bench": "linear", "machine": {"threads": 1}, "rows": [1], "failed": ["a"]}
    two = {"bench": "linear", "machine": {"threads": 2}, "rows": [2]}
    merged = workers.merge([one, two], targets=[])
    assert (merged["rows"], merged["failed"], merged["targets"]) == ([1, 2], ["a"], [])
    assert [entry["threads"] for entry in merged["workers"]] == [1, 2]
    assert workers.thread_counts("1,4") == (1, 4)


def test_quantize_targets(script: Any) -> None:
    def row(engine: str, seconds: float, large: bool = True) -> dict[str, Any]:
        extra = {"large": large}
        case = "large" if large else "small"
        made = row_json("1x8x8", engine, seconds, share=0.9, extra=extra)
        return {**made, "case": case}

    rows = [row("octavo", 1.0), row("torch", 4.0), row("ort", 2.0), row("octavo", 1.0, False)]
    made = [target.met for target in script("quantize").quantize_targets(rows)]
    assert made == [True, True, False]
