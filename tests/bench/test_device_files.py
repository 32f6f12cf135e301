# SPDX-License-Identifier: Apache-2.0
"""Device files: what is read of foreign ones, how two compare, how one is shown and drawn."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from bench_rows import write_results
from device_files import document, result
from octavo import cli
from octavo.bench.device import compare, table
from octavo.bench.device.document import check, is_device

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = document(
    result("dot_peak", "int8", 100.0),
    result("read", "L1", 50.0, bytes=16384),
    result("kernel", "gemm_s8 1x768x768", 20.0, share=0.5),
    result("model", "encoder 1x16", 3000.0, share=0.3),
)


def put(value: Any, *path: Any) -> dict[str, Any]:
    """Return `WHOLE` with one field changed, or taken away if the value is Ellipsis."""
    made = copy.deepcopy(WHOLE)
    holder: Any = made
    for part in path[:-1]:
        holder = holder[part]
    if value is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return made


def test_a_whole_file_passes() -> None:
    check(json.loads(json.dumps(WHOLE)), "a.json")
    check(put("more", "machine", "later"), "a.json")
    check(put(None, "energy"), "a.json")
    check(put(None, "throttling"), "a.json")


FIRST = "results", 0
BAD: list[tuple[Any, tuple[Any, ...], str]] = [
    (2, ("version",), "version: expected 1, got 2"),
    (True, ("version",), "version: expected 1, got True"),
    (..., ("when",), "when is missing"),
    ("yes", ("complete",), "complete: expected True or False"),
    ([], ("machine",), "machine: expected an object"),
    ("\x1b[2J", ("machine", "cpu"), "machine: cpu: expected at most 1000 printable"),
    ("x" * 2000, ("notes", 0), r"notes\[0\]: expected at most 1000 printable"),
    ([1], ("machine", "tiers"), r"tiers\[0\]: expected a text, got int"),
    ([], ("clusters", 0, "cpus"), "cpus: expected a list of at least 1"),
    ([-1], ("clusters", 0, "cpus"), r"cpus\[0\]: expected a value in \[0, 4095\], got -1"),
    ({"L1": 5}, ("clusters", 0, "caches"), "caches: expected levels from 1 to 4, got 'L1'"),
    ({"1": 0}, ("clusters", 0, "caches"), "caches: 1: expected a value in"),
    (float("nan"), (*FIRST, "value"), r"results\[0\]: value: expected a finite number"),
    (0, (*FIRST, "first"), "first: expected a value in"),
    ("9", (*FIRST, "least"), "least: expected a number, got str"),
    (10**400, (*FIRST, "most"), "most: expected a finite number"),
    (1.5, (*FIRST, "threads"), "threads: expected an integer, got float"),
    (9, (*FIRST, "cluster"), r"results\[0\]: cluster: expected less than 1, got 9"),
    ("frobnicate", (*FIRST, "kind"), "kind: expected one of dot_peak, read"),
    ("GB/s", (*FIRST, "unit"), "unit: expected 'GOP/s', got 'GB/s'"),
    (1000.0, (*FIRST, "value"), "value: expected one between least and most"),
    (WHOLE["results"][1], FIRST, r"results\[1\]: case: 'L1' was there before"),
    ([1.0], ("throttling", "clusters", 0, "mhz"), "mhz: expected a list of at least 2"),
    (3, ("throttling", "clusters", 0, "cluster"), "throttling: clusters.0.: cluster: expected"),
    (3, ("energy", "clusters", 0, "cluster"), "energy: clusters.0.: cluster: expected less"),
]


@pytest.mark.parametrize(("value", "path", "message"), BAD, ids=[str(case[1]) for case in BAD])
def test_a_bad_field_is_named(value: Any, path: tuple[Any, ...], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"^a\.json: .*{message}"):
        check(put(value, *path), "a.json")


def test_what_is_no_device_file() -> None:
    assert is_device(WHOLE)
    assert not any(map(is_device, ([], None, {}, {"format": "octavo"}, {"rows": []})))


def test_clusters_pair_by_name_then_by_rank() -> None:
    base = document(names=("cortex-x2", "cortex-a710", "arm-41-d46"))
    head = document(names=("cortex-x4", "cortex-a510"))
    assert compare.pair_clusters(base, head) == [(0, 0), (2, 1)]
    same = document(names=("a", "a", "b"))
    assert compare.pair_clusters(same, same) == [(0, 0), (1, 1), (2, 2)]


def test_rates_and_times_compare_as_times() -> None:
    head = document(
        result("dot_peak", "int8", 200.0),
        result("kernel", "gemm_s8 1x768x768", 40.0),
        result("kernel", "gemm_s8 1x768x768", 9.0, threads=4),
        result("read", "L3", 1.0),
    )
    base = document(*WHOLE["results"], result("kernel", "gemm_s8 1x768x768", 9.0, threads=2))
    found = compare.compare(base, head)
    assert [(change.key, change.verdict) for change in found.changes] == [
        (("dot_peak", "int8", "cpu", "1"), "faster"),
        (("kernel", "gemm_s8 1x768x768", "cpu", "1"), "slower"),
        (("kernel", "gemm_s8 1x768x768", "cpu", "all"), "same"),
    ]
    assert [change.ratio for change in found.changes] == [0.5, 2.0, 1.0]
    more = document(*(result("read", "L1", 9.0, threads=count) for count in (1, 2, 4)))
    assert {one.key[3] for one in compare.compare(more, more).changes} == {"1", "2", "all"}
    assert compare.only_in(found) == [
        "only in base: read L1, cpu, 1 thread",
        "only in base: encoder 1x16, cpu, 1 thread",
        "only in head: read L3, cpu, 1 thread",
    ]
    for columns in (None, 80, 48):
        lines = compare.text(found, columns).splitlines()
        assert columns is None or max(map(len, lines)) <= columns
        assert "dot_peak int8" in lines[1]
        assert "0.500" in lines[1]
    assert "dot_peak int8, 1:\n  0.500 faster" in compare.text(found, 20)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    slow = put(400.0, "results", 2, "value")
    slow["results"][2] |= {"least": 390.0, "most": 410.0}
    slow["machine"]["cpu"] = "another phone"
    slow["complete"] = False
    paths = tmp_path / "a.json", tmp_path / "b.json"
    for path, content in zip(paths, (WHOLE, slow), strict=True):
        path.write_text(json.dumps(content), encoding="utf-8")
    return str(paths[0]), str(paths[1])


def test_compare_on_the_command_line(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ratios = tmp_path / "ratios.json"
    assert cli.main(["bench", "--compare", *files, "--json", str(ratios)]) == 0
    printed = capsys.readouterr().out
    for part in ("cpu: a phone -> another phone", "head is not complete", "20.000", "slower"):
        assert part in printed
    rows = json.loads(ratios.read_text(encoding="utf-8"))["rows"]
    assert [row["verdict"] for row in rows] == ["same", "same", "slower", "same"]
    assert cli.main(["bench", "--compare", *files, "--fail-above", "1.1"]) == 1
    assert cli.main(["bench", "--compare", *files, "--fail-above", "30"]) == 0
    assert cli.main(["bench", "--compare", *files[::-1], "--fail-above", "1.1"]) == 0


def test_compare_refuses_what_is_no_pair(
    files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = str(write_results(tmp_path / "rows.json"))
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(put(..., "results", 0, "unit")), encoding="utf-8")
    other = tmp_path / "other.json"
    other.write_text(json.dumps(document(result("read", "L4", 1.0))), encoding="utf-8")
    for pair, message in (
        ((files[0], rows), f"{rows}: not a device file, and the other one is"),
        ((rows, files[0]), f"{rows}: not a device file, and the other one is"),
        ((files[0], str(bad)), f"{bad}: results[0]: unit is missing"),
        ((files[0], str(other)), "the two files have no results in common"),
    ):
        assert cli.main(["bench", "--compare", *pair]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("columns", [None, 80, 48, 38, 10])
def test_results_fit_the_terminal(columns: int | None) -> None:
    lines = [table.header_line(columns)]
    lines += [table.row_line(one, columns) for one in WHOLE["results"]]
    if columns is not None and columns >= 38:
        assert max(map(len, lines)) <= columns
    assert "dot_peak int8" in lines[1]
    assert "3.00 ms" in lines[4]
    assert ("50%" in lines[3]) == (columns in (None, 80, 48))
    assert ("-5% +5%" in lines[3]) == (columns in (None, 80))


def test_what_was_seen_is_said() -> None:
    assert list(table.summary(WHOLE)) == [
        "cpu under load for 5.0 s: 100 -> 80.0 GOP/s, 2000 -> 1600 MHz, 40 -> 70.5 C",
        "cpu: 4.50 W under load (battery bms)",
        "note: a note",
    ]


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_plot(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("matplotlib")
    from octavo.report.device_figure import save_device

    path = tmp_path / f"plot.{kind}"
    save_device(WHOLE, path)
    content = path.read_bytes()
    if kind == "png":
        assert content.startswith(b"\x89PNG")
    else:
        text = content.decode("utf-8")
        for part in ("cpu: 100 GOP/s", "gemm_s8 1x768x768", "encoder 1x16", "L1"):
            assert part in text
    save_device(document(result("read", "L1", 1.0)), path)
    with pytest.raises(ValueError, match=r"path: expected FILE\.png"):
        save_device(WHOLE, tmp_path / "plot.gif")
