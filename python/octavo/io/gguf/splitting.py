# SPDX-License-Identifier: Apache-2.0
"""How byte-level vocabularies cut text before they merge: the expressions behind GGUF's names."""

from __future__ import annotations

from typing import Any

from octavo._text import shown

_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_MARKS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_SHORT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+",
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*",
)
_ASIAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"

# Each expression of a tuple cuts what those before it left.
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3 = (rf"{_SHORT}|{_WORDS}|\p{{N}}{{1,3}}{_MARKS}{_SPACES}",)
_QWEN2 = (rf"{_SHORT}|{_WORDS}|\p{{N}}{_MARKS}{_SPACES}",)
_DIGITS = (r"\p{N}", _GPT2)
_GPT4O = (
    rf"{_CASED[0]}{_SHORT}?|{_CASED[1]}{_SHORT}?|\p{{N}}{{1,3}}"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{_SPACES}",
)

EXPRESSIONS: dict[str, tuple[str, ...]] = {
    "default": (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"),
    "falcon": (r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]"),
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "gigachat"), (_GPT2,)),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell"), _DIGITS),
    **dict.fromkeys(("exaone", "minerva-7b"), _DIGITS),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "lfm2"), _LLAMA3),
    **dict.fromkeys(("pixtral", "midm-2.0", "dbrx", "smaug-bpe", "chatglm-bpe"), _LLAMA3),
    **dict.fromkeys(("qwen2", "stablelm2", "megrez", "deepseek-r1-qwen", "kormo"), _QWEN2),
    "qwen35": (
        rf"{_SHORT}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
        rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*{_SPACES}",
    ),
    **dict.fromkeys(("gpt-4o", "llama4"), _GPT4O),
    "tekken": (rf"{_CASED[0]}|{_CASED[1]}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*{_SPACES}",),
    "deepseek-coder": (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _ASIAN, r"\p{N}"),
    "deepseek-v3": (
        r"\p{N}{1,3}",
        "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
        r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
        rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*{_SPACES}",
    ),
}
"""By the value of ``tokenizer.ggml.pre``."""

WHOLE_WORDS = frozenset(
    {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "lfm2", "pixtral", "midm-2.0"}
    | {"tekken"}
)
"""A word that is a token stays one, whatever merges would make of it; texts have a beginning."""


BYTES_AS_CHARACTERS = {
    "type": "ByteLevel",
    "add_prefix_space": False,
    "trim_offsets": True,
    "use_regex": False,
}
"""The step of a tokenizer.json that writes bytes as characters, and back."""


def pre_tokenizer(name: str) -> dict[str, Any]:
    """Return the part of a tokenizer.json that cuts text, and writes bytes as characters.

    Raises
    ------
    ValueError
        If the name is not known.
    """
    if name not in EXPRESSIONS:
        raise ValueError(
            f"key 'tokenizer.ggml.pre' is {shown(name)}, expected one of "
            f"{', '.join(sorted(EXPRESSIONS))}"
        )
    steps = [
        {"type": "Split", "pattern": {"Regex": one}, "behavior": "Isolated", "invert": False}
        for one in EXPRESSIONS[name]
    ]
    return {"type": "Sequence", "pretokenizers": [*steps, BYTES_AS_CHARACTERS]}
