# SPDX-License-Identifier: Apache-2.0
"""What `octavo tune` makes of its timings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from octavo import _backend, runtime, timing, tuning
from octavo.bench import roofline, tune

if TYPE_CHECKING:
    from pathlib import Path

needs_core = pytest.mark.skipif(_backend.name != "native", reason="needs the native module")


@needs_core
@pytest.mark.parametrize(("l2_bytes", "side"), [(1 << 18, 384), (1 << 19, 512), (1 << 22, 768)])
def test_costs_are_units_of_the_dense_layer_in_l2(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, l2_bytes: int, side: int
) -> None:
    asked: list[Any] = []

    def run(calls: dict[str, Any], **options: Any) -> timing.Measurement:
        asked.append(calls)
        seconds = dict.fromkeys(calls, (4e-06, 3e-06, 9e-06)) | {"nothing": (1e-6, 1e-6, 5e-6)}
        return timing.Measurement({name: timing.Timing(seconds[name]) for name in calls})

    speeds = {8 * l2_bytes: 100.0, 64 * l2_bytes: 25.0}  # L3's and memory's, in GB/s
    monkeypatch.setattr(_backend.backend, "machine", lambda: {"l2_bytes": l2_bytes})
    monkeypatch.setattr(roofline, "read_speed", speeds.__getitem__)
    monkeypatch.setattr(timing, "run", run)
    made = tune.measure_tier()

    assert [next(iter(calls.values())).args[0].shape[0] for calls in asked] == list(tuning.ROWS)
    layers = {name: call.func for name, call in asked[0].items()}
    assert layers["dense"].weight_codes.shape == (side, side)
    # All took 2 us more than a layer of zeros, so a unit's cost is how many fewer there are.
    for name in tuning.SPARSE_FORMATS:
        units = tuning.format_cost(layers[name].weight_codes, name)[0]
        assert made[name] == (round(side * side / 64 / units, 3),) * len(tuning.ROWS)
    reading = 64 / 50 * 1e-9 / (2e-6 / (side * side / 64))
    assert made[tuning.BYTES] == (round(reading, 3),) * len(tuning.ROWS)

    tuning.save({runtime.get_isa(): made}, tmp_path / "tuning.json")
    assert tuning.read(tmp_path / "tuning.json") == {runtime.get_isa(): made}
