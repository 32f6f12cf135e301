# SPDX-License-Identifier: Apache-2.0
"""SparseLinear with blocks or single zeros left out: the bits of the dense layer, the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import model_files
import octavo
from native import needs_core
from octavo import runtime, tuning
from octavo.algorithms import pruning
from octavo.nn import SparseLinear
from reference import assert_same_bits

if TYPE_CHECKING:
    from pathlib import Path

Array = np.ndarray[Any, np.dtype[Any]]
BLOCKS = [(1, 4), (4, 1), (16, 4), (16, 64), (32, 8), (5, 7)]
FORMATS = ["bsr16x4", "bsr1x4", "bsr4x1", "bsr1x1"]
NO_AMX = [tier for tier in runtime.isa_tiers() if tier != "amx_int8"]


def pruned(n: int, k: int, zeros: float, block: tuple[int, int]) -> Array:
    codes = np.random.default_rng(n + k).integers(1, 128, (n, k))
    codes[::2] *= -1
    kept = pruning.block(codes.astype(np.float32), zeros, *block)
    return (codes * kept).astype(np.int8)


def blocks_of(codes: Array, width: int = 4, height: int = 16) -> int:
    """Blocks of `height` by `width` that are not all zero, one by one."""
    n, k = codes.shape
    return sum(
        bool(codes[i : i + height, j : j + width].any())
        for i in range(0, n, height)
        for j in range(0, k, width)
    )


@pytest.mark.parametrize("tier", runtime.isa_tiers())
@pytest.mark.parametrize("block", BLOCKS, ids=str)
@pytest.mark.parametrize(("n", "k"), [(64, 256), (50, 133), (150, 900)])
@pytest.mark.parametrize("name", FORMATS)
def test_any_block_has_the_bits_of_the_dense_layer(
    tier: str, block: tuple[int, int], n: int, k: int, name: str
) -> None:
    codes, scale = pruned(n, k, 0.7, block), np.linspace(0.01, 0.02, n, dtype=np.float32)
    with runtime.use_isa(tier):
        layers = [
            SparseLinear.from_quantized(codes, scale, format=form, activation="gelu")
            for form in (name, "dense")
        ]
        assert layers[0].format == name
        assert_same_bits(layers[0].weight_codes, codes)
        for m in (1, 2, 4, 7, 9, 40, 65):
            x = np.random.default_rng(m).standard_normal((m, k)).astype(np.float32)
            assert_same_bits(layers[0](x), layers[1](x))


@needs_core
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_work_follows_the_blocks(block: tuple[int, int]) -> None:
    """Sixteen outputs of four inputs are one unit; tests/cpp has the bytes."""
    codes = pruned(70, 300, 0.8, block)
    assert tuning.format_cost(codes, "bsr1x4")[0] == -(-blocks_of(codes, height=1) // 16)
    for form, height in (("bsr4x1", 4), ("bsr1x1", 1)):
        squares = sum(
            -(-blocks_of(codes[i : i + height], 1, height) // 4) for i in range(0, 70, height)
        )
        assert tuning.format_cost(codes, form)[0] == -(-squares * height // 16)


@needs_core
@pytest.mark.parametrize("form", tuning.SPARSE_FORMATS)
@pytest.mark.parametrize(("n", "k"), [(1, 16), (17, 16), (20, 128), (50, 300), (40, 4500)])
def test_bytes_are_known_beforehand(form: str, n: int, k: int) -> None:
    codes = pruned(n, k, 0.8, (1, 1))
    layer = SparseLinear.from_quantized(codes, 0.1, format=form)
    _, size = tuning.format_cost(codes, form)
    assert 0 <= layer.nbytes - (size + 2 * 4 * n) < 4  # slots round up


@needs_core
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_bytes_of_a_bitmap_follow_the_zeros(sparsity: float) -> None:
    codes = pruned(64, 512, sparsity, (1, 1))
    layer = SparseLinear.from_quantized(codes, 0.1, format="bitmap")
    assert layer.nbytes <= codes.size / 8 + np.count_nonzero(codes) + 64 + 8 * 64 + 4 * 3 * 4


@needs_core
@pytest.mark.parametrize("tier", runtime.isa_tiers())
def test_auto_takes_a_bitmap_only_where_no_number_of_rows_loses(tier: str) -> None:
    with runtime.use_isa(tier):
        chosen = SparseLinear.from_quantized(pruned(64, 512, 0.5, (1, 1)), 0.1).format
    assert chosen != "bitmap" or max(tuning.costs(tier)["bitmap"]) < 1


@needs_core
@pytest.mark.parametrize("tier", runtime.isa_tiers())
def test_work_is_what_the_tier_multiplies(tier: str) -> None:
    codes = pruned(70, 300, 0.8, (16, 4))
    with runtime.use_isa(tier):
        units, size = tuning.format_cost(codes, "bsr16x4")
        width = 64 if tier == "amx_int8" else 4
        assert units == blocks_of(codes, width) * width // 4
        assert size >= 66 * blocks_of(codes)
        assert tuning.format_cost(0 * codes, "bsr16x4")[0] == 1


@needs_core
@pytest.mark.parametrize("tier", runtime.isa_tiers())
@pytest.mark.parametrize("zeros", [0.5, 0.8, 0.95])
def test_auto_takes_blocks_where_enough_whole_ones_are_gone(tier: str, zeros: float) -> None:
    with runtime.use_isa(tier):
        tiles = SparseLinear.from_quantized(pruned(256, 1024, zeros, (16, 64)), 0.1)
        pays = max(tuning.costs(tier)["bsr16x4"]) * (1 - zeros) < 0.95
        assert (tiles.format == "bsr16x4") == pays
        scattered = SparseLinear.from_quantized(pruned(256, 1024, 0.5, (1, 1)), 0.1)
        assert scattered.format != "bsr16x4"


@needs_core
@pytest.mark.parametrize("tier", NO_AMX)
def test_auto_takes_the_smallest_blocks_where_those_are_gone(tier: str) -> None:
    with runtime.use_isa(tier):
        for block in ((1, 4), (4, 1)):
            codes = pruned(256, 1024, 0.95, block)
            layer = SparseLinear.from_quantized(codes, 0.1, rows=[64, 256])
            # sse41 has no kernel for strips of four rows.
            own = (tier, block) != ("sse41", (4, 1))
            assert layer.format == (f"bsr{block[0]}x{block[1]}" if own else "windowed64")


@needs_core
@pytest.mark.parametrize("tier", NO_AMX)
def test_a_recipe_with_blocks_ends_up_with_them(tmp_path: Path, tier: str) -> None:
    recipe = {
        "prune": {"method": "magnitude", "sparsity": 0.75, "block": [16, 4]},
        "quantize": "int8",
    }
    with runtime.use_isa(tier):
        small = octavo.compress(model_files.write_random(tmp_path / "model"), recipe)
        small.save(tmp_path / "out")
        again = octavo.models.load(tmp_path / "out")
    for model in (small, again):
        layers = [layer for _, layer in model.named_modules() if isinstance(layer, SparseLinear)]
        assert layers
        assert {layer.format for layer in layers} == {"bsr16x4"}
    assert_same_bits(small(*model_files.batch()), again(*model_files.batch()))
