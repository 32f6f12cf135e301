# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' logic: parsing, arithmetic, JSON, targets. Nothing here depends on a time."""

from __future__ import annotations

import gc
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from bench_rows import row_json
from octavo import cli, runtime, timing
from octavo.bench import blas, compare, linear, machine, options, quantize, report, roofline

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def quick_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the probes of the machine by constants."""
    monkeypatch.setattr(roofline, "dot_peak", lambda *_, **__: 100.0)
    monkeypatch.setattr(roofline, "read_speed", lambda *_, **__: 10.0)
    monkeypatch.setattr(roofline, "copy_speed", lambda *_, **__: 10.0)


def test_shapes_are_parsed() -> None:
    assert options.parse_shapes("1x2x3, 4x5x6", 3) == ((1, 2, 3), (4, 5, 6))
    assert options.parse_shapes("8X128", 2) == ((8, 128),)


@pytest.mark.parametrize("text", ["", "1x2", "0x1x1", "1x2x-3", "axbxc", "1x2x3x4", ","])
def test_bad_shapes_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="shapes: expected"):
        options.parse_shapes(text, 3)


@pytest.mark.parametrize("text", ["", "0", "1,x", "-1"])
def test_bad_threads_are_named(text: str) -> None:
    with pytest.raises(ValueError, match="threads: expected"):
        options.parse_threads(text)


def test_tiers_are_parsed() -> None:
    tiers = tuple(runtime.isa_tiers())
    assert options.parse_isas("all") == tiers
    assert options.parse_isas(tiers[0]) == tiers[:1]
    with pytest.raises(ValueError, match="isa: expected one of"):
        options.parse_isas("sse17")


def test_configurations_restore_threads_and_tier() -> None:
    before = runtime.get_num_threads(), runtime.get_isa()
    tiers = tuple(runtime.isa_tiers())
    seen = list(options.configurations(options.Options(threads=(1, 2), isas=tiers)))
    assert [isa for isa, _ in seen] == [isa for isa in tiers for _ in range(2)]
    assert (runtime.get_num_threads(), runtime.get_isa()) == before


def test_limit_is_the_larger_of_both() -> None:
    assert roofline.limit_seconds(1e9, 1e9, dot_gops=1.0, read_gbs=2.0) == 1.0
    assert roofline.limit_seconds(1e9, 1e9, dot_gops=2.0, read_gbs=1.0) == 1.0
    with pytest.raises(ValueError, match="dot_gops"):
        roofline.limit_seconds(1, 1, dot_gops=0.0, read_gbs=1.0)


def test_measure_reports_positive_rates() -> None:
    limits = roofline.measure(threads=1, nbytes=1 << 16)
    assert limits["isa"] == runtime.get_isa()
    assert limits["threads"] == 1
    assert min(limits["dot_gops"], limits["read_gbs"], limits["copy_gbs"]) > 0


def test_work_of_a_linear_layer() -> None:
    ops, nbytes = linear.work(2, 3, 5)
    assert ops == 2 * 2 * 3 * 5
    assert nbytes == 15 + 4 * 10 + 4 * 6 + 12 * 3


def test_timing_takes_turns_and_keeps_the_collector_away() -> None:
    order: list[str] = []
    enabled: list[bool] = []

    def candidate(name: str) -> Any:
        def call() -> str:
            order.append(name)
            enabled.append(gc.isenabled())
            return name

        return call

    checked: list[tuple[str, str]] = []
    result = timing.run(
        {"a": candidate("a"), "b": candidate("b")},
        rounds=3,
        seconds=1e-5,
        check=lambda name, value: checked.append((name, value)),
        probes={"rate": lambda: 7.0},
    )
    assert checked == [("a", "a"), ("b", "b")]
    assert {name: len(t.rounds) for name, t in result.timings.items()} == {"a": 3, "b": 3}
    assert result.probes == {"rate": 7.0}
    assert not any(enabled)
    assert gc.isenabled()
    assert set(order) == {"a", "b"}


def test_a_wrong_result_is_not_timed() -> None:
    problem = linear.make_problem(2, 8, 8)
    with pytest.raises(ArithmeticError, match="bad: relative error"):
        timing.run({"bad": lambda: np.zeros((2, 8))}, check=linear.checker(problem))


def test_rounds_are_checked() -> None:
    with pytest.raises(ValueError, match="rounds"):
        timing.run({}, rounds=0)


def test_settle_ends() -> None:
    assert timing.settle(limit=0.05) < 5


def test_timing_figures() -> None:
    timed = timing.Timing((3.0, 1.0, 9.0, 2.0))
    assert (timed.median, timed.low, timed.high) == (2.0, 1.0, 3.0)


def test_blas_limit_is_restored() -> None:
    before = blas.threads()
    with blas.limited(1) as done:
        assert not done or blas.threads() == 1
    assert blas.threads() == before


@pytest.mark.parametrize(("text", "size"), [("512K", 1 << 19), ("32M", 1 << 25), ("64", 64)])
def test_cache_sizes(text: str, size: int) -> None:
    assert machine.parse_size(text) == size


def test_machine_is_plain_json() -> None:
    info = machine.describe()
    assert json.loads(json.dumps(info)) == info
    assert {"cpu", "compiler", "isa", "threads", "octavo", "numpy", "backend"} <= set(info)


def test_a_system_that_keeps_its_load_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> tuple[float, float, float]:
        raise OSError

    monkeypatch.setattr("os.getloadavg", refused, raising=False)
    assert machine.describe()["load_average"] is None


def test_row_figures_and_text() -> None:
    timed = timing.Timing((2e-3, 2e-3, 9.0, 4e-3))
    row = report.make_row(
        ("linear", "1x8x8", "octavo", "avx2", 1),
        timed,
        (2_000_000, 4_000_000),
        limit=1e-3,
        numpy=timing.Timing((4e-3,)),
    )
    assert (row.gops, row.gbs, row.share, row.vs_numpy) == (1.0, 2.0, 0.5, 2.0)
    text = report.row_line(row)
    for part in ("1x8x8", "octavo", "avx2", "2.00 ms", "50%", "2.00x", "+100%"):
        assert part in text
    assert len(report.header_line()) == len(text)
    empty = report.make_row(("linear", "1x8x8", "x", "-", 1), timed, (0, 0))
    assert empty.share is None
    assert report.row_line(empty).endswith("-")


def test_json_is_written_whole(tmp_path: Path) -> None:
    row = report.make_row(("linear", "1x8x8", "x", "-", 1), timing.Timing((1.0,)), (1, 1))
    target = tmp_path / "out.json"
    report.write_json(target, report.document("linear", [row], {"quick": True}, roofline={}))
    document = json.loads(target.read_text(encoding="utf-8"))
    assert document["schema"] == report.SCHEMA
    assert document["rows"][0]["seconds"] == 1.0
    assert document["settings"] == {"quick": True}
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


def test_bench_linear_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], quick_probes: None
) -> None:
    target = tmp_path / "out.json"
    arguments = ["linear", "--shapes", "4x8x8", "--quick", "--threads", "1", "--isa", "all"]
    assert cli.main(["bench", *arguments, "--json", str(target)]) == 0
    document = json.loads(target.read_text(encoding="utf-8"))
    rows = document["rows"]
    assert [row["engine"] for row in rows[:2]] == ["octavo", "numpy float32"]
    assert [row["isa"] for row in rows[::2]] == runtime.isa_tiers()
    for row in rows:
        assert set(compare.KEY) <= set(row)
        assert row["case"] == "4x8x8"
        assert row["low"] <= row["seconds"] <= row["high"]
        assert row["share"] > 0
    assert document["roofline"]["dot_gops"] == 100.0
    printed = capsys.readouterr().out
    assert "4x8x8" in printed
    assert "roofline" in printed
    assert "When int8 pays here" in printed
    pairs = document["int8_pays"]
    assert [(pair["isa"], pair["rival"]) for pair in pairs] == [
        (isa, "numpy float32") for isa in runtime.isa_tiers()
    ]
    ours, numpy = rows[0], rows[1]
    assert pairs[0]["ratio"] == pytest.approx(numpy["seconds"] / ours["seconds"])


def test_bench_quantize_runs(capsys: pytest.CaptureFixture[str], quick_probes: None) -> None:
    assert cli.main(["bench", "quantize", "--shapes", "4x64", "--quick"]) == 0
    printed = capsys.readouterr().out
    for job in quantize.jobs(2, 2):
        assert f"4x64 {job.name}" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sparse"], "sparse"),
        (["linear", "a-path"], "it is for 'model' only, got 'a-path'"),
        (["linear", "--shapes", "1x2"], "shapes: expected MxNxK"),
        (["--threads", "none"], "threads: expected positive integers"),
        (["--rows", "0"], "threads: expected positive integers"),
        (["--isa", "sse17"], "isa: expected one of"),
        (["--layers-of", ".", "--shapes", "1x2x3"], "--layers-of is for 'linear'"),
        (["quantize", "--layers-of", "."], "--layers-of is for 'linear'"),
        (["--plot", "x.gif"], "expected FILE.png or FILE.svg"),
        (["--compare", "one.json"], "--compare"),
    ],
)
def test_bad_arguments_end_with_two(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["bench", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error: " in captured.err
    assert message in captured.err


def test_quantize_check_sees_a_wrong_code() -> None:
    expected = np.zeros((2, 2), np.int8)
    quantize.check_against(expected, "ours", expected + np.int8(1))
    with pytest.raises(ArithmeticError, match="differs"):
        quantize.check_against(expected, "ours", expected + np.int8(2))
    with pytest.raises(ArithmeticError, match="expected int8"):
        quantize.check_against(expected, "ours", expected.astype(np.uint8))


def test_compare_knows_noise_from_change() -> None:
    base = {"rows": [row_json("1x8x8", name, 1.0) for name in ("a", "b", "c", "gone")]}
    seconds = {"a": 0.5, "b": 1.05, "c": 2.0, "new": 1.0}
    head = {"rows": [row_json("1x8x8", name, value) for name, value in seconds.items()]}
    result = compare.compare(base, head)
    assert [c.verdict for c in result.changes] == ["faster", "same", "slower"]
    assert result.geometric_mean == pytest.approx(1.05 ** (1 / 3))
    assert [key[2] for key in result.only_base] == ["gone"]
    assert [key[2] for key in result.only_head] == ["new"]
    assert math.isnan(compare.geometric_mean([]))
