# SPDX-License-Identifier: Apache-2.0
"""``octavo generate``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from octavo.cli.console import Progress, put, put_json

if TYPE_CHECKING:
    from octavo.models import Decoder, Generated

EXAMPLES = (
    'octavo generate model.gguf "The capital of France is"',
    'octavo generate path/to/llama "Name three colours." --chat --temperature 0.7 --seed 1',
)

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="A decoder: a folder, a .gguf file, or owner/name."),
]
Most = Annotated[int, typer.Option("--max-new-tokens", min=0, help="Tokens of an answer, at most.")]
Temperature = Annotated[
    float | None,
    typer.Option(min=0, help="Draw tokens; without, or at 0, it is the likeliest each time."),
]
TopK = Annotated[int | None, typer.Option(min=0, help="Draw from so many tokens.")]
TopP = Annotated[float | None, typer.Option(help="Draw from the likeliest with this share.")]
MinP = Annotated[
    float | None, typer.Option(help="Draw from those so many times as likely as the likeliest.")
]
Penalty = Annotated[
    float | None,
    typer.Option("--repetition-penalty", help="Above 1: what is there already is less likely."),
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed draws the same tokens.")]
ContextShift = Annotated[
    bool,
    typer.Option(
        "--context-shift", help="Go on beyond the context, with the last half of what is there."
    ),
]
Adapter = Annotated[
    str | None, typer.Option(metavar="FOLDER", help="A LoRA adapter, which runs beside the model.")
]


def command(
    model: Model,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="A text; - reads stdin.")],
    max_new_tokens: Most = 256,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: Penalty = None,
    seed: Seed = 0,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Where the text ends; repeatable.")
    ] = None,
    adapter: Adapter = None,
    context_shift: ContextShift = False,
    chat: Annotated[
        bool, typer.Option("--chat", help="Put PROMPT as a question, by the chat template.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> int:
    """Continue a text with a decoder, as it comes."""
    text = sys.stdin.read() if prompt == "-" else prompt
    decoder = load_decoder(model, adapter)
    found = decoder.generate(
        [{"role": "user", "content": text}] if chat else text,
        max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=repetition_penalty,
        seed=seed,
        stop=stop,
        context_shift=context_shift,
        streamer=None if as_json else write,
    )
    if as_json:
        put_json({**asdict(found), "tokens_per_second": found.tokens_per_second})
    else:
        put()
        tell_speed(found)
    return 0


def load_decoder(name: str, adapter: str | None) -> Decoder:
    """Load a model that has to be a decoder, and an adapter of it if one is named."""
    from octavo.models import Decoder, load

    with Progress() as progress:
        progress(f"loading {name}")
        model: Any = load(name)
    if not isinstance(model, Decoder):
        raise ValueError(f"{name}: expected a decoder, got a {model.architecture}")
    if adapter is not None:
        model.load_adapter(adapter)
    return model


def write(piece: str) -> None:
    """Write a piece of text at once."""
    sys.stdout.write(piece)
    sys.stdout.flush()


def tell_speed(found: Generated) -> None:
    """Say how fast an answer came, to who looks at a terminal."""
    if sys.stderr.isatty():
        run = found.prompt_tokens - found.cached_tokens
        put(
            f"[{run} tokens read, the first came after {found.first_seconds:.2f} s; "
            f"{len(found.ids)} written, {found.tokens_per_second:.1f} a second]",
            sys.stderr,
        )
