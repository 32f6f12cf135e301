# SPDX-License-Identifier: Apache-2.0
"""Texts longer than the context: each token is that of a prompt of just what is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import decoder_files
from octavo.models import Cache
from octavo.models.sampling import Sampling, log_probability

if TYPE_CHECKING:
    from pathlib import Path

POSITIONS = 24
RANDOM = np.random.default_rng(3).integers(3, 99, 100).tolist()
PROMPTS = [RANDOM[:3], [5, 6, 7] * 8, RANDOM]
DRAWN = {"temperature": 0.9, "seed": 7}
OPTIONS = {**DRAWN, "context_shift": True, "return_log_probs": True}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("short")
    changes = {"max_position_embeddings": POSITIONS, "eos_token_id": None}
    return decoder_files.loaded(folder, recipe="int8", **changes)


def seen(ids: list[int], kept: int) -> list[int]:
    """Whenever the context is full, the first tokens and the last half of the others are left."""
    half = max(1, (POSITIONS - kept) // 2)
    while len(ids) > POSITIONS:
        ids = ids[:kept] + ids[kept + half :]
    return ids


def slow(model: Any, prompt: list[int], kept: int, count: int) -> tuple[list[int], list[float]]:
    """Tokens and log probabilities, each of a prompt of its own without a cache."""
    sampling, ids, told = Sampling(temperature=0.9), list(prompt), []
    for step in range(count):
        logits = model(seen(ids, kept))[-1]
        ids.append(sampling.choose(logits, ids, DRAWN["seed"], step))
        told.append(log_probability(logits, ids[-1]))
    return ids[len(prompt) :], told


@pytest.mark.parametrize("kept", [None, 0, 5, POSITIONS - 1])
def test_tokens_are_those_of_what_is_seen(model: Any, kept: int | None) -> None:
    """Side by side, guessed ahead, streamed, and behind a cache."""
    wanted = [slow(model, ids, 1 if kept is None else kept, 40) for ids in PROMPTS]
    for drafts in (0, 5):
        options = {**OPTIONS, "n_keep": kept, "prompt_lookup_num_tokens": drafts}
        found = model.generate(PROMPTS, 40, **options)
        assert [(one.ids, one.log_probs) for one in found] == wanted
        assert {one.reason for one in found} == {"length"}
    assert list(model.stream(PROMPTS[2], 40, **options)) == wanted[2][0]
    cache = Cache(model)
    first = model.generate(PROMPTS[1], 15, cache=cache, **options)
    longer = PROMPTS[1] + first.ids
    again = model.generate(longer, 25, cache=cache, **options)
    assert again.cached_tokens == len(seen(longer, 1 if kept is None else kept)) - 1
    assert again.prompt_tokens == len(longer)
    assert len(cache) < POSITIONS + 1


def test_what_a_cache_was_forked_from_stays(model: Any) -> None:
    cache = Cache(model)
    model(RANDOM[:POSITIONS], cache)
    kept = cache.fork()
    found = model.generate(RANDOM, 30, cache=kept, **OPTIONS)
    assert (found.ids, found.log_probs) == slow(model, RANDOM, 1, 30)
    assert cache.ids == RANDOM[:POSITIONS]
    cache.truncate(POSITIONS - 1)
    fresh = model(RANDOM[:POSITIONS])
    np.testing.assert_array_equal(model(RANDOM[POSITIONS - 1 : POSITIONS], cache)[0], fresh[-1])


def test_without_it_a_text_ends_at_the_context(model: Any) -> None:
    assert len(model.generate(PROMPTS[0], 100).ids) == POSITIONS + 1 - 3
    for arguments, error, message in [
        ({"prompt": RANDOM}, ValueError, "prompt: 100 tokens, the model has 24 positions"),
        ({"n_keep": 3}, ValueError, "n_keep: expected none without context_shift, got 3"),
        ({"context_shift": "slide"}, TypeError, "context_shift: expected True or False"),
        ({"context_shift": True, "n_keep": 24}, ValueError, r"n_keep: expected .* 23\], got 24"),
        ({"context_shift": True, "n_keep": -1}, ValueError, r"n_keep: expected .*, got -1"),
        ({"context_shift": True, "prompt": [1] * 99 + [100]}, ValueError, "prompt: expected val"),
    ]:
        with pytest.raises(error, match=message):
            model.generate(**{"prompt": [5], "max_new_tokens": 2, **arguments})


def test_one_position(tmp_path: Path) -> None:
    model = decoder_files.loaded(tmp_path, max_position_embeddings=1, eos_token_id=None)
    found = model.generate([7], 5, context_shift=True, n_keep=0)
    last = [7, *found.ids]
    assert found.ids == [int(model([token])[0].argmax()) for token in last[:-1]]
    # The default keeps as much as there is room for beside the last token.
    assert model.generate([7], 5, context_shift=True).ids == found.ids
