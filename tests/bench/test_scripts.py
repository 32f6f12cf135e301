# SPDX-License-Identifier: Apache-2.0
"""The scripts of the bench folder: targets, peers that fail, comparing two runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench_rows import row_json
from octavo import runtime
from octavo.bench.peers import worker
from octavo.bench.report import row_of


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


def test_workers_of_the_package_are_run_and_their_failures_said(
    script: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    workers = script("common.workers")
    made = row_of(row_json("1x8x8", "octavo", 1e-6, nbytes=1, ops=1, limit_seconds=None))
    document = {"bench": "linear", "machine": {}, "rows": [made.to_json()], "absent": {"ort": "no"}}
    document["failed"] = ["1x8x8 torch: boom"]

    def launch(request: Any, tell: Any, more: Any) -> Any:
        if request.threads == 3:
            raise worker.WorkerError("it failed")
        tell([made])
        return document

    monkeypatch.setattr(workers, "launch", launch)

    def run(threads: int) -> Any:
        return workers.run_request(worker.Request("linear", ((1, 8, 8),), threads))

    target = tmp_path / "out.json"
    assert workers.run_all(run, (1, 2), lambda rows: [], str(target)) == 0
    assert len(json.loads(target.read_text(encoding="utf-8"))["rows"]) == 2
    assert workers.run_all(run, (3,), lambda rows: [], None) == 1
    printed = capsys.readouterr().out
    for part in ("ort: left out (no)", "failed: 1x8x8 torch: boom", "it failed", "1x8x8"):
        assert part in printed
    assert workers.counts_or_usual("1,4") == (1, 4)


@pytest.mark.parametrize(
    "name",
    ["linear", "quantize", "model", "tiers", "host_framework", "sparse_f32", "sparse_blocks"],
)
def test_every_script_has_help(script: Any, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        script(name).main(["--help"])
    assert stop.value.code == 0
    assert "--shapes" in capsys.readouterr().out


def test_quantize_targets(script: Any) -> None:
    def row(engine: str, seconds: float, large: bool = True) -> dict[str, Any]:
        extra = {"large": large, "faults": 544 if engine == "octavo" else 0}
        case = "large" if large else "small"
        made = row_json("1x8x8", engine, seconds, share=0.9, extra=extra)
        return {**made, "case": case}

    rows = [row("octavo", 1.0), row("torch", 4.0), row("ort", 2.0), row("octavo", 1.0, False)]
    made = [target.met for target in script("quantize").quantize_targets(rows)]
    assert made == [True, False, True, False]


def test_sparse_targets(script: Any) -> None:
    def row(case: str, engine: str, seconds: float) -> dict[str, Any]:
        return row_json(case, engine, seconds, bench="sparse_f32")

    rows = [row("1x8x8", "octavo", 1.0), row("1x8x8", "scipy csr", 0.9)]
    rows += [row("32x8x8", "octavo", 1.0), row("32x8x8", "torch csr", 2.5)]
    rows += [row("32x8x8", "scipy csr", 1.9)]
    rows += [row("32x8x8", "octavo linear", 1.0), row("32x8x8", "deepsparse float32", 3.0)]
    made = {t.target: t.met for t in script("sparse_f32").sparse_targets(rows)}
    assert made == {
        "M >= 32: torch csr": True,
        "M >= 32: scipy csr": False,
        "M >= 32: deepsparse float32": True,
        "M = 1: torch csr": None,
        "M = 1: scipy csr": False,
        "M = 1: deepsparse float32": None,
    }


def test_block_targets(script: Any) -> None:
    def row(engine: str, seconds: float) -> dict[str, Any]:
        made = row_json("32x8x8", engine, seconds, extra={"zeros": 0.8, "m": 32})
        return {**made, "case": "32x8x8 80% 16x4"}

    times = {"dense": 11.0, "blocks": 3.0, "auto": 3.0, "nothing": 1.0}
    rows = [row(name, seconds) for name, seconds in times.items()]
    blocks = script("sparse_blocks")
    made = [(target.measured, target.met) for target in blocks.block_targets(rows)]
    assert made == [("1.00x", True), ("not measured", None), ("0.73x", False), ("3.67x", True)]
    assert "3.7 (5.0)" in blocks.summary(rows)


@pytest.mark.parametrize("block", [(16, 4), (16, 64), (1, 4)])
def test_block_engines_agree(script: Any, block: tuple[int, int]) -> None:
    rows = script("sparse_blocks").measure((3, 40, 130), block, 0.5, 1, True)
    assert {row.engine for row in rows} == {"dense", "blocks", "auto", "nothing"}


def test_sparse_engines_agree(script: Any) -> None:
    sparse = script("sparse_f32")
    rows, _ = sparse.measure((3, 20, 30), 0.8, 1, True)
    assert {"octavo", "octavo linear", "numpy"} <= {row.engine for row in rows}
    assert {row.case for row in rows} == {"3x20x30 80%"}
