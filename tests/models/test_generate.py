# SPDX-License-Identifier: Apache-2.0
"""Texts that go on: the same tokens in any company, chosen as asked, ended where asked."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import decoder_files
import octavo
from octavo.models import Cache, Generated
from octavo.models.running_text import RunningText
from octavo.models.sampling import Sampling, log_probability, uniform

if TYPE_CHECKING:
    from pathlib import Path

PROMPTS = [[5, 9, 9, 12], [7], [20, 21, 22, 20, 21, 22, 20]]
DRAWN = {"temperature": 0.9, "top_k": 30, "top_p": 0.95, "min_p": 0.001, "seed": 7}


@pytest.fixture
def model(tmp_path: Path) -> Any:
    return decoder_files.loaded(tmp_path, recipe="int8", eos_token_id=99)


def slow(model: Any, ids: list[int], count: int, **options: Any) -> list[int]:
    """Greedy or drawn tokens, each from logits of the whole text without a cache."""
    sampling = Sampling(**{k: v for k, v in options.items() if k != "seed"})
    found = list(ids)
    for step in range(count):
        found.append(sampling.choose(model(found)[-1], found, options.get("seed", 0), step))
    return found[len(ids) :]


@pytest.mark.parametrize("options", [{}, DRAWN, {"repetition_penalty": 1.3}], ids=str)
def test_tokens_are_those_of_whole_texts(model: Any, isa: str, options: dict[str, Any]) -> None:
    """Alone, in a ragged batch, guessed ahead, and behind a cache."""
    wanted = [slow(model, ids, 12, **options) for ids in PROMPTS]
    alone = [model.generate(ids, 12, **options) for ids in PROMPTS]
    assert [one.ids for one in alone] == wanted
    assert [one.reason for one in alone] == ["length"] * 3
    for drafts in (0, 4):
        found = model.generate(PROMPTS, 12, prompt_lookup_num_tokens=drafts, **options)
        assert [one.ids for one in found] == wanted
    cache = Cache(model)
    model([*PROMPTS[0], 1, 2, 3], cache)
    again = model.generate(PROMPTS[0], 12, cache=cache, **options)
    assert (again.ids, again.cached_tokens) == (wanted[0], 3)
    assert cache.ids == [*PROMPTS[0], *wanted[0][:-1]]


def test_guesses_save_steps(model: Any) -> None:
    """A text that repeats itself is guessed; the model runs less often."""
    calls = 0
    run = type(model).advance

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        return run(model, *arguments)

    object.__setattr__(model, "advance", counted)
    tokens = [5, 6, 7, 8]

    def processor(ids: Any, scores: Any) -> Any:
        scores[0, tokens[len(ids[0]) % 4]] = 1e3
        return scores

    ids = model.generate(tokens * 2, 21, logits_processor=processor).ids
    assert calls == 21
    calls = 0
    arguments = {"logits_processor": processor, "prompt_lookup_num_tokens": 6}
    assert model.generate(tokens * 2, 21, **arguments).ids == ids == [*(tokens * 5), 5]
    assert calls == 3


def test_ends(model: Any) -> None:
    ids = model.generate([5], 8).ids
    assert model.generate([5], 0).ids == []
    ended = model.generate([5], 8, eos_token_id=[ids[2]])
    assert (ended.ids, ended.reason) == (ids[: ids.index(ids[2]) + 1], "end")
    stopped = model.generate([5], 8, stop=[ids[3]])
    assert (stopped.ids, stopped.reason) == (ids[: ids.index(ids[3]) + 1], "stop")
    full = model.generate(list(range(3, 63)), 50)
    assert (len(full.ids), full.reason) == (5, "length")
    assert full.ids == slow(model, list(range(3, 63)), 5)
    whole = model.generate(np.arange(3, 67), 50)
    assert len(whole.ids) == 1


def test_streams(model: Any) -> None:
    ids = model.generate([5], 8).ids
    assert list(model.stream([5], 8)) == ids
    told: list[int] = []

    def until_three(token: int) -> bool:
        told.append(token)
        return len(told) == 3

    found = model.generate([5], 8, streamer=until_three)
    assert (found.ids, told, found.reason) == (ids[:3], ids[:3], "streamer")

    class Streamer:
        def __init__(self) -> None:
            self.ids: list[int] = []
            self.ended = False

        def put(self, ids: Any) -> None:
            self.ids += ids.tolist()

        def end(self) -> None:
            self.ended = True

    streamer = Streamer()
    model.generate([5], 8, streamer=streamer, stop=None)
    assert (streamer.ids, streamer.ended) == ([5, *ids], True)
    for wrong in ({"prompt": [100]}, {"prompt": [5], "logits_processor": lambda *_: None}):
        streamer = Streamer()
        with pytest.raises((TypeError, ValueError)):
            model.generate(**wrong, streamer=streamer)
        assert streamer.ended


def test_log_probabilities_and_speed(model: Any) -> None:
    found = model.generate([5, 6], 4, return_log_probs=True, **DRAWN)
    ids = [5, 6]
    for token, value in zip(found.ids, found.log_probs, strict=True):
        logits = model(ids)[-1].astype(np.float64)
        wanted = logits[token] - logits.max() - np.log(np.exp(logits - logits.max()).sum())
        assert value == pytest.approx(wanted, abs=1e-6)
        ids.append(token)
    assert (found.prompt_tokens, found.cached_tokens) == (2, 0)
    assert 0 < found.first_seconds < found.seconds
    assert found.tokens_per_second == pytest.approx(3 / (found.seconds - found.first_seconds))


def test_an_interrupted_call_leaves_a_whole_cache(model: Any) -> None:
    cache = Cache(model)
    model([1, 2, 3], cache)
    second = model.model.layers[1]

    class Stopping(type(second)):  # type: ignore[misc]
        def __call__(self, *_: Any) -> Any:
            raise KeyboardInterrupt

    stopping = model.model.layers[1] = object.__new__(Stopping)
    vars(stopping).update(vars(second))
    with pytest.raises(KeyboardInterrupt):
        model([4, 5], cache)
    model.model.layers[1] = second
    assert cache.ids == [1, 2, 3]
    np.testing.assert_array_equal(model([4], cache), model([1, 2, 3, 4])[3:])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"prompt": []}, ValueError, "prompt: expected at least one token, got none"),
        ({"prompt": [5, 100]}, ValueError, r"prompt: expected values in \[0, 99\], got 100"),
        ({"prompt": [0.5]}, TypeError, "prompt: expected integers"),
        (
            {"prompt": {"role": "user"}},
            TypeError,
            "prompt: expected a text, a list of messages, or",
        ),
        ({"prompt": [[5], 5]}, TypeError, "prompt: expected a text, a list of messages, or .* int"),
        ({"prompt": np.zeros(65, int)}, ValueError, "65 tokens, the model has 64 positions"),
        ({"prompt": "text"}, ValueError, "text needs the tokenizer.json of the model's folder"),
        ({"stop": "a"}, ValueError, "text needs the tokenizer.json of the model's folder"),
        ({"stop": ["a", ""]}, ValueError, "stop: expected strings with a character"),
        ({"stop": [1.5]}, TypeError, "stop: expected strings or tokens"),
        ({"stop": [100]}, ValueError, r"stop: expected a value in \[0, 99\], got 100"),
        ({"temperature": -1}, ValueError, r"temperature: expected a value in \[0, inf\), got -1"),
        ({"temperature": math.nan}, ValueError, "temperature: expected a finite number, got nan"),
        ({"top_p": 0.9}, ValueError, "top_p: expected none without a temperature, got 0.9"),
        ({"temperature": 1, "top_p": 0}, ValueError, r"top_p: expected a value in \(0, 1\]"),
        ({"temperature": 1, "top_k": -1}, ValueError, "top_k: expected a value in"),
        ({"repetition_penalty": 0}, ValueError, "repetition_penalty: expected a value in"),
        ({"repetition_penalty": 1e-300}, ValueError, "repetition_penalty: expected a value in"),
        ({"max_new_tokens": -1}, ValueError, "max_new_tokens: expected a value in"),
        ({"seed": [1, 2]}, ValueError, "seed: expected one, or one for each of 1 prompts"),
        ({"seed": None}, TypeError, "seed: expected an integer, got NoneType"),
        ({"seed": -1}, ValueError, "seed: expected a value in"),
        ({"cache": 3}, TypeError, "cache: expected a Cache, got int"),
        ({"streamer": 3}, TypeError, "streamer: expected a callable, or an object with put"),
        ({"prompt": [[5], [6]], "streamer": print}, ValueError, "streamer: expected one prompt"),
        ({"logits_processor": [3]}, TypeError, "logits_processor: expected a function, got 3"),
        ({"logits_processor": 3}, TypeError, "logits_processor: expected a function, got 3"),
        ({"logits_processor": [None]}, TypeError, "logits_processor: expected a function"),
        (
            {"logits_processor": lambda _, scores: scores[0]},
            ValueError,
            r"logits_processor: expected shape \(1, 100\)",
        ),
        (
            {"logits_processor": lambda _, scores: scores * np.nan},
            ValueError,
            "logits_processor: expected a finite largest score, got nan",
        ),
    ],
)
def test_wrong_arguments(
    model: Any, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        model.generate(**{"prompt": [5], **arguments})


def test_draws_are_as_likely_as_they_should_be() -> None:
    """Of 4,000 draws each share is within five standard deviations."""
    logits = np.log(np.array([0.5, 0.25, 0.15, 0.07, 0.03], np.float32))
    cases: list[tuple[dict[str, float], list[float]]] = [
        ({}, [0.5, 0.25, 0.15, 0.07, 0.03]),
        ({"temperature": 0.5}, [0.25, 0.0625, 0.0225, 0.0049, 0.0009]),
        ({"top_k": 2}, [0.5, 0.25, 0, 0, 0]),
        ({"top_p": 0.8}, [0.5, 0.25, 0.15, 0, 0]),
        ({"top_p": 0.74}, [0.5, 0.25, 0, 0, 0]),
        ({"min_p": 0.2}, [0.5, 0.25, 0.15, 0, 0]),
    ]
    for options, weights in cases:
        sampling = Sampling(**{"temperature": 1.0, **options})  # type: ignore[arg-type]
        drawn = [sampling.choose(logits, [0], 3, step) for step in range(4_000)]
        shares = np.bincount(drawn, minlength=5) / len(drawn)
        wanted = np.array(weights) / sum(weights)
        assert (np.abs(shares - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / 4_000)).all()


def test_what_cannot_be_is_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever number is drawn; the one likeliest token is what is left at least."""
    logits = np.array([-np.inf, 1, -100, 1, 2, -np.inf], np.float32)
    for number in (0.0, 0.5, 1 - 2**-53):
        monkeypatch.setattr("octavo.models.sampling.uniform", lambda *_, at=number: at)
        assert Sampling(temperature=1.0).choose(logits, [0], 0, 0) in (1, 3, 4)
        for options in ({"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}):
            assert Sampling(temperature=1.0, **options).choose(logits, [0], 0, 0) == 4
        # Of three that are equal, two suffice; the first ones stay.
        assert Sampling(temperature=1.0, top_p=0.6).choose(np.zeros(3, "f4"), [0], 0, 0) < 2


def test_tokens_are_kept_as_by_transformers() -> None:
    """In the same order of steps, with the same shares."""
    torch = pytest.importorskip("torch", reason="transformers' processors need PyTorch")
    known = pytest.importorskip("transformers.generation.logits_process")
    rng = np.random.default_rng(0)
    for _ in range(60):
        logits = rng.normal(0, 3, 50).astype(np.float32)
        history = rng.integers(0, 50, 20).tolist()
        options = {
            "repetition_penalty": float(rng.choice([0.7, 1.0, 1.4])),
            "temperature": float(rng.choice([0.5, 1.0, 2.0])),
            "top_k": int(rng.choice([0, 4, 20])),
            "top_p": float(rng.choice([0.5, 0.9, 1.0])),
            "min_p": float(rng.choice([0.0, 0.05, 0.3])),
        }
        steps = [
            known.RepetitionPenaltyLogitsProcessor(options["repetition_penalty"]),
            lambda _, scores: scores + torch.arange(50) / 50,
            known.TemperatureLogitsWarper(options["temperature"]),
            known.TopKLogitsWarper(options["top_k"] or 50),
            known.TopPLogitsWarper(options["top_p"]),
            known.MinPLogitsWarper(options["min_p"]),
        ]
        scores = torch.from_numpy(logits.copy())[None]
        for step in steps:
            scores = step(torch.tensor([history]), scores)
        sampling = Sampling(
            **options,
            processors=(lambda _, scores: scores + np.arange(50, dtype=np.float32) / 50,),
        )
        drawn = [sampling.choose(logits, history, 0, step) for step in range(300)]
        wanted = torch.softmax(scores[0].double(), 0).numpy()
        shares = np.bincount(drawn, minlength=50) / len(drawn)
        assert (np.abs(shares - wanted) <= 6 * np.sqrt(wanted * (1 - wanted) / 300)).all()


def test_random_numbers_are_these() -> None:
    """Recorded: on every machine, in every release."""
    assert [uniform(0, 0), uniform(0, 1), uniform(2**64 - 1, 5)] == [
        0.6524484863740322,
        0.7012121095215252,
        0.15403342580516755,
    ]
    found = np.array([uniform(seed, step) for seed in range(100) for step in range(100)])
    counts = np.bincount((found * 10).astype(int), minlength=10)
    assert np.abs(counts - 1000).max() < 5 * math.sqrt(900)
    assert len(set(found.tolist())) == len(found)


def test_extreme_logits() -> None:
    logits = np.array([-np.inf, 3e38, -3e38, 0], np.float32)
    for temperature in (0.0, 1e-300, 1e300):
        token = Sampling(temperature=temperature).choose(logits, [0], 0, 0)
        assert token == 1 or (temperature > 1 and token in (2, 3))
    assert log_probability(logits, 1) == 0


TEXTS = {
    "within a token": (["ab", "cd", "ef"], ["d"], "abc"),
    "across": (["ab", "cd", "ef"], ["de"], "abc"),
    "the first of two": (["ab", "cd", "ef"], ["ef", "bcd"], "a"),
    "almost": (["ab", "ab", "ac"], ["abac"], "ab"),
    "none": (["ab", "cd"], ["x"], "abcd"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_stop_strings(case: str) -> None:
    """What was told never has a part of a stop string in it."""
    tokens, stops, wanted = TEXTS[case]
    running = RunningText(lambda ids: "".join(tokens[i] for i in ids), stops)
    told = ""
    for token in range(len(tokens)):
        running.add(token)
        told += running.news()
        assert wanted.startswith(told)
        if running.stopped:
            break
    running.finish()
    assert running.text == told + running.news(is_last=True) == wanted
    assert running.stopped == (case != "none")


def test_text(tmp_path: Path) -> None:
    """Whole characters, of tokens that are parts of some."""
    pytest.importorskip("tokenizers", reason="texts need a tokenizer")
    decoder_files.write_tokenizer(tmp_path)
    model = decoder_files.loaded(tmp_path)
    wanted = model.tokenizer.encode("é한 ok é").ids
    assert len(wanted) == 11

    def says(ids: Any, scores: Any) -> Any:
        scores[0, [*wanted, 2][len(ids[0]) - 2]] = 1e3
        return scores

    found = model.generate("hi", 30, logits_processor=says)
    assert isinstance(found, Generated)
    assert (found.text, str(found), found.reason) == ("é한 ok é", "é한 ok é", "end")
    pieces = list(model.stream("hi", 30, logits_processor=says))
    assert pieces == ["é", "한", " ", "o", "k", " ", "é"]
    stopped = model.generate("hi", 30, logits_processor=says, stop="k ")
    assert (stopped.text, stopped.reason) == ("é한 o", "stop")
    assert list(model.stream("hi", 3, logits_processor=says)) == ["é", "\ufffd"]
    model.files["chat_template.jinja"] = b"{{ messages[0].content[:1] }}{{ eos_token[:1] }}i"
    model.files["tokenizer_config.json"] = b'{"eos_token": {"content": "hello"}}'
    messages = [{"role": "user", "content": ""}]
    assert model.prompt_ids(messages) == model.prompt_ids("hi")
    assert model.generate(messages, 30, logits_processor=says).text == found.text
    assert "".join(model.stream(messages, 30, logits_processor=says)) == found.text
    assert [one.text for one in model.generate(["hi", "hi"], 2, logits_processor=says)] == ["é"] * 2


def test_ids_need_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy alone continues tokens, also those of a model that has a tokenizer."""
    model = decoder_files.loaded(tmp_path)
    decoder_files.write_tokenizer(tmp_path)
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with_tokenizer = octavo.models.load(tmp_path)
    found = with_tokenizer.generate([5, 6], 4)
    assert (found.ids, found.text) == (model.generate([5, 6], 4).ids, None)
    assert list(with_tokenizer.stream([5, 6], 4)) == found.ids
    for options in ({"prompt": "text"}, {"prompt": [5], "stop": "a"}):
        with pytest.raises(ModuleNotFoundError, match="need the 'tokenizers' package"):
            with_tokenizer.generate(**options)
