# SPDX-License-Identifier: Apache-2.0
"""``octavo chat``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from octavo.cli.console import put
from octavo.cli.generate import (
    Adapter,
    MinP,
    Model,
    Most,
    Penalty,
    Seed,
    Temperature,
    TopK,
    TopP,
    load_decoder,
    tell_speed,
    write,
)

if TYPE_CHECKING:
    from octavo.models import Cache, Decoder

EXAMPLES = (
    "octavo chat model.gguf",
    'octavo chat path/to/llama --system "Answer in one sentence." --temperature 0.7',
)
_PROMPT = "> "


def command(
    model: Model,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What the model is told first.")
    ] = None,
    max_new_tokens: Most = 1024,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: Penalty = None,
    seed: Seed = 0,
    adapter: Adapter = None,
) -> int:
    """Talk to a decoder, by its chat template.

    Where its context is full, it goes on with what it was told first and the last half of the rest.
    Ctrl-C stops an answer, and at the prompt the program, as the end of the input does.
    """
    from octavo.models import Cache

    decoder = load_decoder(model, adapter)
    cache = Cache(decoder)
    said: list[dict[str, str]] = []
    if system is not None:
        said.append({"role": "system", "content": system})
    options: dict[str, Any] = {"temperature": temperature, "top_k": top_k}
    options |= {"top_p": top_p, "min_p": min_p}
    options |= {"repetition_penalty": repetition_penalty, "seed": seed}
    options |= {"context_shift": True, "n_keep": _tokens_to_keep(decoder, said)}
    decoder.generate([*said, _question("a")], 0, **options)  # wrong ones are told at once
    options["max_new_tokens"] = max_new_tokens
    while (question := _ask()) is not None:
        if not question.strip():
            continue
        said.append(_question(question))
        try:
            answer = _answer(decoder, said, cache, options)
        except ValueError as error:
            put(f"octavo: {error}", sys.stderr)
            said.pop()
            continue
        said.append({"role": "assistant", "content": answer})
    return 0


def _tokens_to_keep(decoder: Decoder, said: list[dict[str, str]]) -> int:
    """Return how many tokens come before what the user says first, half of the context at most."""
    one, other = (decoder.prompt_ids([*said, _question(text)], any_length=True) for text in "ab")
    same = [a == b for a, b in zip(one, other, strict=False)]
    return min([*same, False].index(False), decoder.config.positions // 2)


def _question(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _ask() -> str | None:
    """Return the next line of the user; None at the end."""
    if sys.stdin.isatty():
        try:
            return input(_PROMPT)
        except (EOFError, KeyboardInterrupt):
            put()
            return None
    line = sys.stdin.readline()
    return line.rstrip("\n") if line else None


def _answer(
    decoder: Decoder, said: list[dict[str, str]], cache: Cache, options: dict[str, Any]
) -> str:
    """Write the model's answer as it comes; return what came until somebody stopped it."""
    pieces: list[str] = []

    def tell(piece: str) -> None:
        pieces.append(piece)
        write(piece)

    found = None
    try:
        found = decoder.generate(said, cache=cache, streamer=tell, **options)
    except KeyboardInterrupt:
        write(" [stopped]")
    put()
    if found is not None:
        tell_speed(found)
    return "".join(pieces)
