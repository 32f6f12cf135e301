# SPDX-License-Identifier: Apache-2.0
"""Decoders whose layers run as one native call: the same bits, and nothing is passed over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import decoder_files
import octavo
from native import needs_core
from octavo import nn
from octavo.models import Cache
from octavo.nn import hooks
from reference import assert_same_bits

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = needs_core

WINDOW = {"sliding_window": 5, "num_hidden_layers": 3}
ROPES = {"full_attention": {"rope_type": "default", "rope_theta": 1000.0}}
ROPES |= {"sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {**WINDOW, "architectures": ["MistralForCausalLM"], "head_dim": 16},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"]},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "head_dim": 16},
    "gemma3_text": {
        **WINDOW,
        "architectures": ["Gemma3ForCausalLM"],
        "head_dim": 16,
        "hidden_act": None,
        "hidden_activation": "gelu_pytorch_tanh",
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "rope_parameters": ROPES,
    },
    "phi3": {"architectures": ["Phi3ForCausalLM"], "sliding_window": 7},
}
IDS = np.random.default_rng(0).integers(3, 100, 24)


def decoder(place: Path, family: str = "llama", recipe: str = "int8") -> Any:
    changes = {"model_type": family} | FAMILIES[family]
    return decoder_files.loaded(place, recipe=recipe, **changes)


@pytest.fixture
def llama(tmp_path: Path) -> Any:
    return decoder(tmp_path)


def kinds(model: Any) -> list[str]:
    return [type(part).__name__ for part in model._fused().parts]


def steps(model: Any, apart: bool = False) -> list[Any]:
    """Logits of ragged texts that are cut in several ways; `apart`: by layers one by one."""

    def pass_by(*_: Any) -> None:
        """See a call, which a program would not be seen to make."""

    layers = model.model.layers
    handles = [hooks.register(layer, pass_by) for layer in layers] if apart else []
    caches, found = [Cache(model) for _ in range(3)], []
    for counts in ((9, 1, 4), (1, 1, 1), (2, 6, 1), (0, 8, 1), (1, 1, 1)):
        rows = [
            IDS[len(cache) : len(cache) + count]
            for cache, count in zip(caches, counts, strict=True)
        ]
        found += model.advance(rows, caches, counts)
    assert kinds(model) == ([type(one).__name__ for one in layers] if apart else ["FusedLayers"])
    found += [part for cache in caches for part in cache.held.codes(1)]
    for handle in handles:
        handle.remove()
    return found


TIERS = octavo.runtime.isa_tiers()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("recipe", "isa"), [("", TIERS[0]), *(("int8", tier) for tier in TIERS)], indirect=["isa"]
)
def test_same_bits(tmp_path: Path, family: str, recipe: str, isa: str) -> None:
    assert octavo.runtime.get_isa() == isa
    model = decoder(tmp_path, family, recipe)
    expected, before = steps(model, apart=True), octavo.runtime.get_num_threads()
    for threads in (1, 3):
        octavo.runtime.set_num_threads(threads)
        for found, wanted in zip(steps(model), expected, strict=True):
            assert_same_bits(found, wanted)
    octavo.runtime.set_num_threads(before)


def test_what_is_no_step_runs_as_it_is(llama: Any) -> None:
    def logits(precision: str = "int8") -> Any:
        return llama(IDS, Cache(llama, precision))

    first, second = llama.model.layers
    whole, precise = logits(), logits("float32")
    assert not np.array_equal(precise, whole)
    seen: list[int] = []
    with hooks.register(second.mlp.up_proj, lambda *call: seen.append(len(call))):
        assert_same_bits(logits(), whole)
        assert kinds(llama) == ["FusedLayers", "DecoderLayer"]
        assert_same_bits(logits("float32"), precise)
    assert seen == [3, 3]
    up = second.mlp.up_proj
    rows = np.ones((3, up.in_features), np.float32)
    llama.set_submodule("model.layers.1.mlp.up_proj", Doubled(up))
    doubled = logits()
    assert kinds(llama) == ["FusedLayers", "DecoderLayer"]
    assert not np.array_equal(doubled, whole)
    assert_same_bits(llama.model.layers[1].mlp.up_proj(rows), 2 * up(rows))
    llama.set_submodule("model.layers.1.mlp.up_proj", up)
    first.self_attn.window = 3
    assert not np.array_equal(logits(), whole)
    assert kinds(llama) == ["FusedLayers"]
    first.self_attn.heads = 5
    for _ in range(2):
        with pytest.raises(ValueError, match="heads: expected"):
            logits()


class Doubled(nn.Module):
    """Somebody's own layer."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(self, *args: Any) -> Any:
        return self.layer(*args) * 2


def test_a_call_that_fails_leaves_whole_caches(llama: Any) -> None:
    whole, caches = llama(IDS), [Cache(llama), Cache(llama)]
    for cache in caches:
        llama(IDS[:5], cache)
    # As an interrupted call leaves it: one layer has tokens that others do not.
    for cache, tokens in zip(caches, (1, 3), strict=True):
        cache.held.append(0, *np.ones((2, tokens, 16), np.float32))
    found = llama.advance([IDS[5:], IDS[5:9]], caches, [1, 1])
    assert_same_bits(found[0], whole[-1:])
    assert_same_bits(found[1], whole[8:9])


def test_a_cache_of_another_backend_is_refused(llama: Any) -> None:
    with octavo._backend.use("numpy"):
        cache = Cache(llama)
    with pytest.raises(TypeError):
        llama(IDS, cache)
    assert cache.held.lengths() == [0, 0]
