# SPDX-License-Identifier: Apache-2.0
"""octavo.tuning: which format is chosen, and the file that says what formats cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import octavo
from octavo import Linear, _backend, _cost_table, runtime, tuning
from octavo.nn import SparseLinear

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

needs_core = pytest.mark.skipif(_backend.name != "native", reason="needs the native module")

KEYS = (*tuning.SPARSE_FORMATS, tuning.BYTES)
FREE = dict.fromkeys(KEYS, (0.001,) * len(tuning.ROWS))
DEAR = dict.fromkeys(KEYS, (1000.0,) * len(tuning.ROWS))


def pruned(share: float, n: int = 64, k: int = 256) -> Any:
    rng = np.random.default_rng(3)
    codes = rng.integers(1, 128, (n, k)).astype(np.int8)
    codes[rng.random((n, k)) < share] = 0
    return codes


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for a table, which `costs` and `choose` read."""
    path = tmp_path / "tables" / "tuning.json"
    monkeypatch.setattr(runtime, "_TUNING_FILE", path)
    _cost_table._saved.cache_clear()
    yield path
    _cost_table._saved.cache_clear()


def everywhere(costs: Any) -> dict[str, Any]:
    return {runtime.get_isa(): costs}


@pytest.mark.usefixtures("table")
def test_the_defaults_cover_every_tier() -> None:
    for tier in runtime.isa_tiers():
        costs = tuning.costs(tier)
        assert set(costs) == set(KEYS)
        for values in costs.values():
            assert len(values) == len(tuning.ROWS)
            assert all(value > 0 for value in values)
        # The more rows a weight is read for, the less the reading costs of the time.
        assert list(costs[tuning.BYTES]) == sorted(costs[tuning.BYTES], reverse=True)
    assert tuning.costs() == tuning.costs(runtime.get_isa())
    with pytest.raises(ValueError, match=r"^tier: expected one of .*avx2.*, got 'sse9'"):
        tuning.costs("sse9")


@needs_core
def test_choose_follows_the_costs(table: Path) -> None:
    codes = pruned(0.8)
    tuning.save(everywhere(DEAR), table)
    assert tuning.choose(codes) == "dense"
    tuning.save(everywhere({**DEAR, "windowed64": FREE["windowed64"]}), table)
    assert tuning.choose(codes) == "windowed64"
    assert SparseLinear.from_quantized(codes, 1.0).format == "windowed64"
    tuning.save(everywhere({**DEAR, "windowed16": FREE["windowed16"]}), table)
    assert tuning.choose(codes) == "windowed16"
    with runtime.use_isa("scalar"):  # another tier has costs of its own
        assert tuning.costs() == _cost_table._shipped()["scalar"]


@pytest.fixture
def l2_bytes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the CPU have an L2 of another size."""

    def set_size(size: int) -> None:
        monkeypatch.setattr(_backend.backend, "machine", lambda: {"l2_bytes": size})

    return set_size


# With 80% zeros "windowed16" has the least work, "bitmap" the fewest bytes.
QUICK = {**DEAR, "windowed16": (0.2,) * 5, "bitmap": (0.5,) * 5, tuning.BYTES: (2.0, 2, 2, 2, 0.1)}


@needs_core
@pytest.mark.parametrize("n", [64, 2048])  # the larger one is judged by a sample of its rows
def test_beyond_l2_bytes_decide(table: Path, l2_bytes: Any, n: int) -> None:
    tuning.save(everywhere(QUICK), table)
    codes = pruned(0.8, n)
    size = {name: tuning.format_cost(codes, name)[1] for name in ("dense", "windowed16", "bitmap")}
    assert size["bitmap"] < size["windowed16"] < size["dense"]
    l2_bytes(size["dense"])
    assert tuning.choose(codes) == tuning.choose(codes, 1) == "windowed16"
    l2_bytes(int(0.9 * size["bitmap"]))
    assert tuning.choose(codes, 1) == tuning.choose(codes, (1, 4, 16)) == "bitmap"
    assert tuning.choose(codes, 256) == "windowed16"  # work outweighs reading
    # What fits in L2 is spared the reading, what does not is not.
    l2_bytes(int(1.1 * size["bitmap"]))
    assert tuning.choose(codes, 1) == "bitmap"
    l2_bytes(int(1.1 * size["windowed16"]))
    assert tuning.choose(codes, 1) == "windowed16"


@needs_core
def test_a_format_that_loses_in_l2_may_pay_beyond_it(table: Path, l2_bytes: Any) -> None:
    tuning.save(
        everywhere({**QUICK, "windowed16": DEAR["windowed16"], "bitmap": (1.5,) * 5}), table
    )
    codes = pruned(0.8)
    assert tuning.choose(codes, 1) == "dense"
    l2_bytes(1000)
    assert (tuning.choose(codes, 1), tuning.choose(codes, 256)) == ("bitmap", "dense")
    assert tuning.choose(codes) == "dense"


@needs_core
def test_one_slow_number_of_rows_is_enough(table: Path) -> None:
    for place in range(len(tuning.ROWS)):
        values = list(FREE["windowed64"])
        values[place] = 1000.0
        tuning.save(everywhere({**DEAR, "windowed64": tuple(values)}), table)
        assert tuning.choose(pruned(0.8)) == "dense"


@needs_core
def test_the_nearest_to_the_best_for_all_rows_is_chosen(table: Path) -> None:
    codes = pruned(0.8)
    units = {
        name: tuning.format_cost(codes, name)[0] for name in ("windowed64", "bsr1x1", "bsr1x4")
    }

    def costs_for(name: str, *gains: float) -> tuple[float, ...]:
        groups = codes.size / 64
        return tuple(groups / units[name] / gain for gain in gains)

    uneven = costs_for("bsr1x1", 1.1, 1.1, 1.1, 9.0, 9.0)  # 3 times slower than slots for one row
    even = costs_for("windowed64", 3.0, 3.0, 3.0, 4.0, 4.0)  # 2.25 times slower for many
    tuning.save(everywhere({**DEAR, "windowed64": even, "bsr1x1": uneven}), table)
    assert tuning.choose(codes) == "windowed64"
    assert tuning.choose(codes, 256) == "bsr1x1"
    # What loses to the dense form somewhere is no rival either.
    unfit = costs_for("bsr1x4", 0.9, 90.0, 90.0, 90.0, 90.0)
    tuning.save(everywhere({**DEAR, "windowed64": even, "bsr1x4": unfit}), table)
    assert tuning.choose(codes) == "windowed64"


@needs_core
def test_only_the_rows_that_are_asked_for_count(table: Path) -> None:
    codes = pruned(0.8)
    for place, rows in enumerate(tuning.ROWS):
        values = [1000.0] * len(tuning.ROWS)
        values[place] = 0.001
        tuning.save(everywhere({**DEAR, "windowed64": tuple(values)}), table)
        assert tuning.choose(codes) == "dense"
        for asked in (rows, [rows], (rows, rows), np.int64(rows)):
            assert tuning.choose(codes, asked) == "windowed64"
        assert SparseLinear.from_quantized(codes, 1.0, rows=rows).format == "windowed64"
        layer = SparseLinear.from_quantized(codes, 1.0)
        assert (layer.format, layer.with_format(rows=rows).format) == ("dense", "windowed64")
        # Between two of the table both count, beyond the last one it alone.
        beyond = place == len(tuning.ROWS) - 1
        assert tuning.choose(codes, rows + 1) == ("windowed64" if beyond else "dense")
        assert tuning.choose(codes, (1, 300)) == "dense"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (0, r"^rows: expected a value in \[1, .*got 0"),
        ((1, -2), r"^rows: expected a value in \[1, .*got -2"),
        ((), "^rows: expected at least one number, got none"),
        ((1, 2.5), "^rows: expected an integer, got float"),
    ],
)
def test_rows_that_make_no_sense(rows: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        tuning.choose(np.ones((16, 16), np.int8), rows)
    with pytest.raises(ValueError, match=r"^rows: expected None with format='bitmap', got 1"):
        SparseLinear.from_quantized(np.ones((16, 16), np.int8), 1.0, format="bitmap", rows=1)


@needs_core
@pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0])
def test_never_larger_even_where_it_costs_nothing(table: Path, share: float) -> None:
    tuning.save(everywhere(FREE), table)
    for n, k in ((16, 64), (64, 256), (70, 130), (1000, 40)):
        codes = pruned(share, n, k)
        layer = SparseLinear.from_quantized(codes, 1.0)
        assert layer.format == tuning.choose(codes)
        assert layer.nbytes <= Linear.from_quantized(codes, 1.0).nbytes * 1.01
        if share >= 0.8:
            assert layer.format != "dense"


@needs_core
@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("rows", [None, 1, 256])
@pytest.mark.parametrize("n", [1024, 1040, 2048])
def test_a_weight_that_differs_from_panel_to_panel_is_seen_whole(n: int, rows: int | None) -> None:
    for first in (0, 1):
        codes = pruned(0.03, n, 512)
        thin = pruned(0.95, n, 512)
        for panel in range(first, n // 16, 2):
            codes[16 * panel : 16 * panel + 16] = thin[16 * panel : 16 * panel + 16]
        layer = SparseLinear.from_quantized(codes, 1.0, rows=rows)
        assert layer.nbytes <= Linear.from_quantized(codes, 1.0).nbytes * 1.01


@pytest.mark.usefixtures("table")
def test_what_is_always_dense() -> None:
    assert tuning.choose(np.ones((64, 64), np.int8)) == "dense"
    for shape in ((0, 0), (0, 5), (5, 0), (2, 65537)):
        assert tuning.choose(np.zeros(shape, np.int8)) == "dense"
    with _backend.use("numpy"):
        assert tuning.choose(np.zeros((64, 64), np.int8)) == "dense"


def test_save_and_read(table: Path) -> None:
    costs = {"avx2": {**DEAR, "windowed16": (1.0, 2.0, 3.0, 4.0, 5.0)}}
    assert tuning.costs("avx2") == _cost_table._shipped()["avx2"]
    tuning.save(costs, table)
    assert tuning.read(table) == costs
    assert tuning.costs("avx2") == costs["avx2"]
    assert tuning.costs("scalar") == _cost_table._shipped()["scalar"]
    assert [path.name for path in table.parent.iterdir()] == ["tuning.json"]
    tuning.save({}, table)
    assert tuning.costs("avx2") == _cost_table._shipped()["avx2"]


def test_the_table_of_another_cpu_is_none(table: Path) -> None:
    tuning.save({"avx2": DEAR}, table)
    content = json.loads(table.read_text(encoding="utf-8"))
    assert content["cpu"] == octavo.runtime.cpu_info()["cpu"]
    content["cpu"] = "i4004"
    table.write_text(json.dumps(content), encoding="utf-8")
    _cost_table._saved.cache_clear()
    assert tuning.read(table) == {}
    assert tuning.costs("avx2") == _cost_table._shipped()["avx2"]


@pytest.mark.parametrize("key", ["bsr4x1", tuning.BYTES])
def test_what_an_older_file_does_not_know_costs_what_is_shipped(table: Path, key: str) -> None:
    older = {name: DEAR[name] for name in DEAR if name != key}
    tuning.save({"avx2": older}, table)
    assert tuning.costs("avx2") == older | {key: _cost_table._shipped()["avx2"][key]}


def test_a_tier_that_is_not_known_yet_is_left_out(table: Path) -> None:
    tuning.save({"avx9": DEAR, "avx2": DEAR}, table)
    assert tuning.read(table) == {"avx2": DEAR}


GOOD = {"avx2": {name: [1.0] * 5 for name in tuning.SPARSE_FORMATS}}
BROKEN: dict[str, Any] = {
    "empty": b"",
    "binary": b"\xff\x00\xfe",
    "not json": b"{nope",
    "a list": [],
    "a number": 3,
    "no schema": {"schema": None},
    "another schema": {"schema": 99},
    "other rows": {"rows": [1, 2, 3]},
    "rows of one": {"rows": 1},
    "no costs": {"costs": None},
    "costs a list": {"costs": [1]},
    "a tier of nothing": {"costs": {"avx2": {}}},
    "few costs": {"costs": {"avx2": {**GOOD["avx2"], "windowed64": [1.0] * 4}}},
    "a cost of 0": {"costs": {"avx2": {**GOOD["avx2"], "windowed64": [1.0] * 4 + [0.0]}}},
    "a cost of nan": {
        "costs": {"avx2": {**GOOD["avx2"], "windowed64": [1.0] * 4 + [float("nan")]}}
    },
    "infinite": {"costs": {"avx2": {**GOOD["avx2"], "windowed64": [1.0] * 4 + [float("inf")]}}},
    "a cost of text": {"costs": {"avx2": {**GOOD["avx2"], "windowed64": ["fast"] * 5}}},
    "a cost of a list": {"costs": {"avx2": {**GOOD["avx2"], "windowed64": [[1.0]] * 5}}},
    "bytes that cost nothing": {"costs": {"avx2": {tuning.BYTES: [0.0] * 5}}},
    "a cost too large": {"costs": {"avx2": {**GOOD["avx2"], "windowed64": [10**400] * 5}}},
    "deep": b"[" * 100_000,
}


@needs_core
@pytest.mark.parametrize("share", [0.0, 0.02])
def test_few_zeros_are_counted_and_nothing_else(
    monkeypatch: Any, table: Path, share: float
) -> None:
    tuning.save({runtime.get_isa(): FREE}, table)
    codes = pruned(share)
    larger = tuning.format_cost(codes, "dense")[1]
    assert all(tuning.format_cost(codes, name)[1] > larger for name in tuning.SPARSE_FORMATS)
    asked: list[str] = []

    def cost(codes: Any, name: str) -> Any:
        asked.append(name)
        return _backend.backend.format_cost(codes, name)

    monkeypatch.setattr(tuning, "format_cost", cost)
    assert tuning.choose(codes) == "dense"
    assert asked == ["dense"]


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(table: Path, name: str) -> None:
    tuning.save(GOOD, table)
    content = BROKEN[name]
    if isinstance(content, dict):
        content = {**json.loads(table.read_text(encoding="utf-8")), **content}
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    table.write_bytes(raw)
    _cost_table._saved.cache_clear()
    message = r"tuning\.json: expected a table written by `octavo tune`, got .*; delete the file"
    with pytest.raises(ValueError, match=message):
        tuning.read(table)
    with pytest.raises(ValueError, match=message):
        tuning.costs("avx2")


@pytest.mark.skipif(os.name != "posix", reason="needs a folder that may not be entered")
def test_a_home_that_may_not_be_entered(table: Path) -> None:
    tuning.save(GOOD, table)
    shipped, user = _cost_table._shipped(), os.geteuid()
    table.parent.chmod(0)
    if user == 0:  # who may enter all folders
        os.seteuid(65534)
    try:
        with pytest.warns(UserWarning, match=r"tuning\.json'; sparse layers go by the costs that"):
            assert tuning.costs("avx2") == shipped["avx2"]
        SparseLinear.from_float(np.eye(64, dtype=np.float32))
    finally:
        os.seteuid(user)
        table.parent.chmod(0o700)


SCRIPT = """
import numpy, octavo
print(octavo.runtime.tuning_file(), octavo.tuning.costs("avx2")["windowed64"][0])
"""


@pytest.mark.parametrize(
    ("value", "place", "cost"),
    [("{}", "{}", 0.25), ("", "None", None), ("{}/absent", "{}/absent", None)],
)
def test_the_environment(tmp_path: Path, value: str, place: str, cost: float | None) -> None:
    path = tmp_path / "mine.json"
    tuning.save({"avx2": {**DEAR, "windowed64": (0.25,) * 5}}, path)
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "OCTAVO_TUNING": value.format(path)},
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = _cost_table._shipped()["avx2"]["windowed64"][0] if cost is None else cost
    assert run.stdout.split() == [place.format(path), str(wanted)]


@needs_core
@pytest.mark.parametrize("name", ["dense", *tuning.SPARSE_FORMATS])
@pytest.mark.parametrize(("n", "k"), [(0, 5), (5, 0), (1, 16), (17, 16), (50, 300), (33, 4500)])
def test_numpy_counts_the_same(name: str, n: int, k: int) -> None:
    codes = pruned(0.8, n, k)
    with runtime.use_isa("avx2" if "avx2" in runtime.isa_tiers() else "scalar"):
        native = tuning.format_cost(codes, name)
    with _backend.use("numpy"):
        assert tuning.format_cost(codes, name) == native
        with pytest.raises(ValueError, match="format: unknown name 'triples'"):
            tuning.format_cost(codes, "triples")


@needs_core
def test_backends_have_the_same_formats() -> None:
    formats = _backend.backend.weight_formats()
    with _backend.use("numpy") as backend:
        assert backend.weight_formats() == formats == ["dense", *tuning.SPARSE_FORMATS]


@needs_core
def test_a_tier_without_costs_takes_the_next_lower_one(monkeypatch: Any, table: Path) -> None:
    tiers = _backend.backend.compiled_isa_tiers()
    without = {tier: costs for tier, costs in _cost_table._shipped().items() if tier != tiers[0]}
    monkeypatch.setattr(_cost_table, "_shipped", lambda: without)
    assert tuning.costs(tiers[0]) == (without[tiers[1]] if len(tiers) > 1 else without["scalar"])


def test_names_of_before_the_first_release(table: Path) -> None:
    old = {"slots64": [1.5] * 5, "csr": [2.5] * 5, "blocks4x1": [3.5] * 5}
    tuning.save({"avx2": old}, table)  # type: ignore[dict-item]
    costs = tuning.read(table)["avx2"]
    assert (costs["windowed64"][0], costs["bsr1x1"][0], costs["bsr4x1"][0]) == (1.5, 2.5, 3.5)
