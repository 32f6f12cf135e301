# SPDX-License-Identifier: Apache-2.0
"""Texts that go on: token by token, several side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from octavo import _checks
from octavo._types import Float32, Int64
from octavo.models.cache import Cache, alone_with, check_caches
from octavo.models.continuation import Continuation
from octavo.models.decoder_texts import DecoderTexts, is_conversation
from octavo.models.generation_options import Options
from octavo.models.running_text import RunningText
from octavo.models.sampling import Processor

if TYPE_CHECKING:
    from octavo.models.decoder import Decoder

Prompt = str | Sequence[Mapping[str, Any]] | npt.ArrayLike


class Generating(DecoderTexts):
    """What continues texts; see `Decoder`."""

    end_ids: tuple[int, ...]

    def generate(
        self,
        prompt: Prompt | Sequence[Prompt],
        max_new_tokens: int = 256,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float | None = None,
        seed: int | Sequence[int] = 0,
        stop: str | int | Sequence[str | int] | None = None,
        eos_token_id: int | Sequence[int] | None = None,
        streamer: Any = None,
        logits_processor: Processor | Sequence[Processor] | None = None,
        prompt_lookup_num_tokens: int = 0,
        cache: Cache | Sequence[Cache] | None = None,
        return_log_probs: bool = False,
        adapter: str | Sequence[str | None] | EllipsisType | None = ...,
        context_shift: bool = False,
        n_keep: int | None = None,
    ) -> Any:
        """Continue a text, or several.

        Parameters
        ----------
        prompt : str, list of dict, array_like of int, shape (tokens,), or a list of those
            Text, or messages (``{"role": "user", "content": "Hello"}``), for which the model's
            folder needs a tokenizer and a chat template; or token ids. Those of a list may differ
            in length; they run side by side, and each gives what it gives alone.
        max_new_tokens : int
        temperature : float, optional
            0 or None: the likeliest token each time; else one is drawn, with
            ``logits / temperature``.
        top_k : int, optional
            Only the k likeliest tokens are drawn; 0: all.
        top_p : float, optional
            Only the fewest of the likeliest tokens whose probabilities sum up to it.
        min_p : float, optional
            Only tokens at least so many times as likely as the likeliest.
        repetition_penalty : float, optional
            Logits of tokens that are there already are divided by it, negative ones multiplied.
        seed : int, or one for each prompt
            The same seed draws the same tokens, on every machine and in every company.
        stop : str, int or sequence of them, optional
            Strings at which the text ends, without them, wherever tokens begin; tokens that end it.
        eos_token_id : int or sequence of int, optional
            Tokens that end the text, in place of those that the model's folder names.
        streamer : callable, or object with ``put`` and ``end``, optional
            Of one prompt: a callable gets what is new, pieces of text of one that is text or
            messages, else token ids, and ends the text by returning True. ``put`` gets arrays of
            token ids, those of the prompt first, as transformers' streamers do.
        logits_processor : callable or sequence of callables, optional
            ``processor(input_ids, scores) -> scores`` with arrays (1, T) and (1, vocab_size), for
            each text, before the temperature.
        prompt_lookup_num_tokens : int
            How many tokens are guessed, from where the last two or three stood before, and then
            checked together. The result is the same, bit for bit.
        cache : Cache, or one for each prompt, optional
            As many tokens of the prompt as the cache begins with are not run again; it then keeps
            the text, but for its last token.
        return_log_probs : bool
        adapter : str or None, or one for each prompt, optional
            The name of a loaded adapter; None is the base alone. By default the one in use, see
            `set_adapter`.
        context_shift : bool
            Whether a text may be longer than the model's context. Where it is full, the model goes
            on with the first `n_keep` tokens and the last half of the others, which are run anew:
            logits are those of a prompt of just these tokens.
        n_keep : int, optional
            By default 1, the token that begins texts.

        Returns
        -------
        Generated, or a list of them

        Raises
        ------
        TypeError, ValueError
            If an argument is not as expected: the message names it. So for an empty prompt, and
            without `context_shift` for one of more tokens than the model has positions.
        """
        options = Options(
            max_new_tokens, temperature, top_k, top_p, min_p, repetition_penalty, seed, stop,
            eos_token_id, streamer, logits_processor, prompt_lookup_num_tokens, cache,
            return_log_probs, adapter, context_shift, n_keep,
        )  # fmt: skip
        prompts, is_list = _prompts(prompt)
        sink = _sink(streamer, prompts)
        try:
            texts = self._texts(prompts, options)
            for _ in self._steps(texts, sink):
                pass
        finally:  # who waits for more in another thread need not
            sink.end()
        found = [text.result() for text in texts]
        return found if is_list else found[0]

    def stream(self, prompt: Prompt, max_new_tokens: int = 256, **options: Any) -> Iterator[Any]:
        """Yield what `generate` gives of one prompt as it comes.

        Parameters
        ----------
        prompt : str, list of dict, or array_like of int, shape (tokens,)
        max_new_tokens : int
        **options
            As `generate` takes them, but for a streamer.

        Yields
        ------
        str or int
            Pieces of whole characters of a prompt that is text or messages, else token ids. A cache
            is in use until the last one, or until the iterator is closed or deleted.
        """
        prompts, is_list = _prompts(prompt)
        if is_list or "streamer" in options:
            raise ValueError("stream: expected one prompt, and no streamer; see generate")
        sink = _Sink(None, _is_text(prompts[0]))
        steps = self._steps(self._texts(prompts, Options(max_new_tokens, **options)), sink)
        next(steps)
        return (piece for news in steps for piece in news)

    def _texts(self, prompts: list[Any], options: Options) -> list[Continuation]:
        """Return texts that are about to go on, all arguments checked."""
        model: Decoder = self  # type: ignore[assignment]
        config = self.config
        limits = options.limits(config.positions, self.end_ids, config.vocab_size)
        sampling, strings = options.sampling(), options.stop_strings()
        if strings:
            _ = self.tokenizer
        any_length = limits.window.kept is not None
        rows = [self.prompt_ids(prompt, any_length=any_length) for prompt in prompts]
        adapters = model.adapters_named(options.adapters(len(rows), model.active_adapter))
        caches = options.caches(len(rows)) or [Cache(model) for _ in rows]
        check_caches(caches, model)
        has_text, seeds = self.has_tokenizer, options.seeds(len(rows))
        return [
            Continuation(
                ids, cache, adapter, sampling, seed, limits,
                RunningText(self.text_of, strings) if has_text else None,
            )
            for ids, cache, adapter, seed in zip(rows, caches, adapters, seeds, strict=True)
        ]  # fmt: skip

    def _steps(self, texts: list[Continuation], sink: _Sink) -> Iterator[list[Any]]:
        """Run all texts to their ends; yield nothing at the beginning, and what each step brings.

        That is what is new of the first text.
        """
        model: Decoder = self  # type: ignore[assignment]
        with alone_with([text.cache for text in texts]):
            for text in texts:
                text.cache.belong_to(text.adapter)
            for text in texts:
                text.begin()
            for text in texts[:1]:
                sink.begin(text.ids)
            yield []
            while going := [text for text in texts if not text.reason]:
                rows: list[tuple[Int64, int]] = [text.next_rows() for text in going]
                logits: list[Float32] = model.advance(
                    [ids for ids, _ in rows],
                    [text.cache for text in going],
                    [wanted for _, wanted in rows],
                )
                taken = [text.take(of) for text, of in zip(going, logits, strict=True)]
                if going[0] is texts[0]:
                    yield sink.take(texts[0], taken[0])


class _Sink:
    """Where what is new goes: to a streamer, and to who iterates."""

    def __init__(self, streamer: Any, is_text: bool) -> None:
        self._streamer, self._is_text = streamer, is_text
        self._has_put = hasattr(streamer, "put")

    def begin(self, ids: list[int]) -> None:
        """Take the prompt."""
        if self._has_put:
            self._streamer.put(np.array(ids, np.int64))

    def take(self, text: Continuation, ids: list[int]) -> list[Any]:
        """Take new tokens of a text; return what a callable gets."""
        if self._has_put:
            for token in ids:
                self._streamer.put(np.array([token], np.int64))
            return []
        news: list[Any] = ids
        if self._is_text and text.running is not None:
            if text.reason:
                text.running.finish()
            piece = text.running.news(is_last=bool(text.reason))
            news = [piece] if piece else []
        for piece in news if self._streamer is not None else ():
            if self._streamer(piece) is True:
                text.reason = text.reason or "streamer"
        return news

    def end(self) -> None:
        """All is told."""
        if self._has_put:
            self._streamer.end()


def _sink(streamer: Any, prompts: list[Any]) -> _Sink:
    if streamer is not None:
        if len(prompts) != 1:
            raise ValueError(f"streamer: expected one prompt with it, got {len(prompts)}")
        if not (callable(streamer) or (hasattr(streamer, "put") and hasattr(streamer, "end"))):
            raise TypeError(
                f"streamer: expected a callable, or an object with put and end, got {streamer!r}"
            )
    return _Sink(streamer, bool(prompts) and _is_text(prompts[0]))


def _is_text(prompt: Any) -> bool:
    return isinstance(prompt, str) or is_conversation(prompt)


def _prompts(prompt: Any) -> tuple[list[Any], bool]:
    """Return prompts one by one, and whether they came as a list."""
    if _is_text(prompt):
        return [prompt], False
    if isinstance(prompt, (list, tuple)):
        if prompt and not isinstance(prompt[0], (int, np.integer)):
            return list(prompt), True
    elif getattr(prompt, "ndim", 1) == 2:
        return list(_checks.as_array(prompt, "prompt")), True
    return [prompt], False
