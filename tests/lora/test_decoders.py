# SPDX-License-Identifier: Apache-2.0
"""Adapters of decoders: peft's logits, one for each text, caches, and what is refused."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import decoder_files
import octavo
from decoder_files import adapter
from octavo.lora import Adapter, LowRank
from octavo.models import Cache

if TYPE_CHECKING:
    from pathlib import Path

IDS = np.random.default_rng(0).integers(3, 100, (4, 20))
PROMPTS = [IDS[0, :9].tolist(), IDS[1].tolist(), IDS[2, :3].tolist(), IDS[3, :7].tolist()]
LONGER = [*IDS[0].tolist(), 5]
NAMES = ["a", None, "b", "a"]


def with_adapters(folder: Path, recipe: str = "int8", **changes: Any) -> Any:
    """A model, and two adapters of which neither is in use."""
    model = decoder_files.loaded(folder, recipe=recipe, **changes)
    for seed, name in enumerate("ab"):
        model.load_adapter(adapter(model, seed, decoder_files.PARTS[seed:]), name)
    model.set_adapter(None)
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return with_adapters(tmp_path_factory.mktemp("decoders"))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", ["Llama", "Phi3"])
def test_logits_are_those_of_peft(tmp_path: Path, family: str) -> None:
    """To 1e-4 with a float base; ranks and scales by patterns, joined layers, the head too."""
    peft = pytest.importorskip("peft", reason="the reference adapters need it")
    torch = pytest.importorskip("torch", reason="the reference adapters need PyTorch")
    transformers = pytest.importorskip("transformers", reason="the reference models need it")
    torch.manual_seed(0)
    known = copy.deepcopy({k: v for k, v in decoder_files.LLAMA.items() if k != "model_type"})
    known |= {"tie_word_embeddings": False, "initializer_range": 0.3, "pad_token_id": 0}
    config = getattr(transformers, f"{family}Config")(**known)
    base = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    base.save_pretrained(tmp_path / "base")
    plain = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head"]
    joined = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
    options = peft.LoraConfig(
        r=8, lora_alpha=16, use_rslora=True, task_type="CAUSAL_LM", lora_bias=family == "Llama",
        target_modules=plain if family == "Llama" else joined, init_lora_weights=False,
        rank_pattern={"o_proj": 2}, alpha_pattern={"layers.1.mlp.down_proj": 5},
    )  # fmt: skip
    theirs = peft.get_peft_model(base, options).eval()
    theirs.save_pretrained(tmp_path / "adapter")
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(IDS)).logits.numpy()
    ours = octavo.models.load(tmp_path / "base")
    ours.load_adapter(tmp_path / "adapter")
    found = ours(IDS, [Cache(ours, "float32") for _ in IDS])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)
    with ours.use_adapter(None):
        assert np.abs(ours(IDS) - wanted).max() > 0.5
    merged = ours.merge_adapter("default")
    np.testing.assert_allclose(
        merged(IDS, [Cache(merged, "float32") for _ in IDS]), wanted, rtol=1e-4, atol=1e-4
    )


def test_each_text_has_its_adapter(tmp_path: Path, isa: str, threads: int) -> None:
    """Side by side, token by token, or alone: the same bits; those of the base are its own."""
    from octavo import _backend

    model = with_adapters(tmp_path, tie_word_embeddings=False)
    plain = decoder_files.loaded(tmp_path, recipe="int8", tie_word_embeddings=False)
    options = {"max_new_tokens": 6, "temperature": 0.9, "return_log_probs": True}
    together = model.generate(PROMPTS, adapter=NAMES, **options)
    assert together[1].ids == plain.generate(PROMPTS[1], **options).ids
    np.testing.assert_array_equal(model(IDS), plain(IDS))
    for prompt, name, one in zip(PROMPTS, NAMES, together, strict=True):
        alone = model.generate(prompt, adapter=name, **options)
        guessed = model.generate(prompt, adapter=name, prompt_lookup_num_tokens=4, **options)
        if _backend.name == "native":  # else BLAS multiplies what adapters add
            assert (alone.ids, alone.log_probs) == (one.ids, one.log_probs)
            assert (guessed.ids, guessed.log_probs) == (one.ids, one.log_probs)
    rows = {name: model.generate(PROMPTS[0], adapter=name, **options).ids for name in ("a", "b")}
    assert len({*map(tuple, rows.values()), tuple(together[0].ids)}) == 2
    model.set_adapter("b")
    assert model.generate(PROMPTS[0], **options).ids == rows["b"]
    with model.use_adapter("a"):
        assert "".join(map(str, model.stream(PROMPTS[0], **options))) == "".join(
            map(str, rows["a"])
        )


def test_logits_of_each_row_are_those_of_its_adapter(model: Any) -> None:
    whole = {}
    for name in ("a", "b", None):
        with model.use_adapter(name):
            whole[name] = model(IDS[0])
            cache = Cache(model)
            pieces = [model(piece, cache) for piece in np.split(IDS[0], [5, 6])]
        np.testing.assert_allclose(np.concatenate(pieces), whole[name], rtol=1e-5, atol=1e-5)
    assert np.abs(whole["a"] - whole[None]).max() > 0.5


def test_a_cache_belongs_to_its_adapter(tmp_path: Path, model: Any) -> None:
    with model.use_adapter("a"):
        cache = Cache(model)
        model(IDS[0], cache)
        before = model.generate(LONGER, 4, cache=cache.fork())
    assert before.cached_tokens == 20
    fork = cache.fork()
    for call in (
        lambda: model([5], fork),
        lambda: model.generate(LONGER, 4, cache=fork, adapter="b"),
        lambda: model.generate(PROMPTS[:2], 4, cache=[Cache(model), fork], adapter=["a", None]),
    ):
        with pytest.raises(ValueError, match=r"cache: expected one of .*, got one of the adapter"):
            call()
    assert fork.ids == IDS[0].tolist()
    cache.save(tmp_path / "cache")
    again = Cache.load(tmp_path / "cache", model)
    found = model.generate(LONGER, 4, cache=again, adapter="a")
    assert (found.ids, found.cached_tokens) == (before.ids, 20)
    fork.truncate(0)
    model.generate(IDS[0], 1, cache=fork, adapter="b")
    # The adapter alone counts, not its name; without it, its caches are of no use.
    other = with_adapters(tmp_path)
    assert len(Cache.load(tmp_path / "cache", other)) == 20
    kept = Cache.load(tmp_path / "cache", other)
    other.unload_adapter("a")
    with pytest.raises(ValueError, match="expected a cache of the base or a loaded adapter"):
        Cache.load(tmp_path / "cache", other)
    with pytest.raises(ValueError, match=r"cache: its adapter, with the fingerprint .* not loaded"):
        other.advance([IDS[0, :1]], [kept], [1])
    other.load_adapter(adapter(other, 0), "renamed")
    assert other.generate(LONGER, 4, cache=kept, adapter="renamed").ids == before.ids


def test_adapters_that_are_refused(tmp_path: Path, model: Any) -> None:
    def load(**changes: Any) -> None:
        source = adapter(model, 0)
        model.load_adapter(Adapter(**{**vars(source), **changes}), "c")

    head = {"lm_head": {"weight": np.zeros((100, 32), np.float32)}}
    side = LowRank(np.ones((1, 32), np.float32), np.ones((100, 1), np.float32), 1.0)
    for call, error, message in [
        (lambda: load(modules=head), ValueError, "got a whole layer 'lm_head', which a decoder"),
        (lambda: load(layers={"lm_head": side}), ValueError, "'lm_head', this Decoder has no such"),
        (lambda: model.generate([5], adapter="c"), ValueError, r"expected an adapter \('a', 'b'\)"),
        (lambda: model.generate([5], adapter=["a", "b"]), ValueError, "of 1 prompts, got 2"),
        (lambda: model.generate([5], adapter={"a"}), TypeError, "names or None, got {'a'}"),
        (lambda: model.save(tmp_path), ValueError, "model: expected no adapters, got 'a', 'b'"),
        (lambda: octavo.compress(model), ValueError, "model: expected no adapters"),
    ]:
        with pytest.raises(error, match=message):
            call()
    assert list(model.adapters) == ["a", "b"]
    untied = decoder_files.loaded(tmp_path / "untied", tie_word_embeddings=False)
    merged = octavo.lora.merge(untied, Adapter(**{**vars(adapter(untied, 0)), "modules": head}))
    assert not merged(IDS).any()
