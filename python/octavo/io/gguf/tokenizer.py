# SPDX-License-Identifier: Apache-2.0
"""The tokenizer of a GGUF file, written as a tokenizer.json, which the tokenizers library runs."""

from __future__ import annotations

import json
from typing import Any

from octavo.io.gguf.reader import GgufFile
from octavo.io.gguf.splitting import BYTES_AS_CHARACTERS, WHOLE_WORDS, pre_tokenizer
from octavo.io.gguf.vocabulary import (
    CONTROL,
    UNKNOWN,
    USER_DEFINED,
    Vocabulary,
    read_vocabulary,
)
from octavo.io.tokenizer import tokenizer_from

_SPACE = "\u2581"
_LONGEST_PIECE = 256
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def gguf_tokenizer(file: GgufFile) -> Any:
    """Return the tokenizer of a GGUF file.

    With a byte-level vocabulary (``gpt2``) text is cut as ``tokenizer.ggml.pre`` says; with one of
    SentencePiece (``llama``) it is merged by scores, and what that lacks is written in bytes.

    Parameters
    ----------
    file : GgufFile
        As `open_gguf` gives it.

    Returns
    -------
    tokenizers.Tokenizer
        What begins and ends a text is added, unless ``add_special_tokens=False``; special tokens
        are recognized in a text.

    Raises
    ------
    ValueError
        If the file has no tokenizer, one that is not read, or one that contradicts itself; the
        message names file and key.
    ModuleNotFoundError
        If the tokenizers library is not installed.
    """
    return tokenizer_from(tokenizer_files(file)["tokenizer.json"], f"{file.path}: its tokenizer")


def tokenizer_files(file: GgufFile) -> dict[str, bytes]:
    """Return the files of a model's folder that say what the keys of a GGUF file say.

    Those are ``tokenizer.json`` and ``tokenizer_config.json``; the latter has the chat template.
    """
    vocabulary = read_vocabulary(file)
    try:
        document = _document(vocabulary)
    except ValueError as error:
        raise ValueError(f"{file.path}: {error}") from None
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": vocabulary.add_bos,
        "add_eos_token": vocabulary.add_eos,
        "clean_up_tokenization_spaces": False,
    }
    config |= {f"{name}_token": vocabulary.token(name) for name in ("bos", "eos", "unk", "pad")}
    if vocabulary.template is not None:
        config["chat_template"] = vocabulary.template
    return {
        "tokenizer.json": json.dumps(document, ensure_ascii=False).encode(),
        "tokenizer_config.json": json.dumps(config, ensure_ascii=False).encode(),
    }


def _document(vocabulary: Vocabulary) -> dict[str, Any]:
    parts = _byte_level(vocabulary) if vocabulary.model == "gpt2" else _sentence_piece(vocabulary)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(vocabulary),
        **parts,
        "post_processor": _ends(vocabulary),
    }


def _model(vocabulary: Vocabulary, merges: list[tuple[str, str]], **options: Any) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        **options,
        "vocab": {token: index for index, token in enumerate(vocabulary.tokens)},
        "merges": [f"{left} {right}" for left, right in merges],
    }


def _byte_level(vocabulary: Vocabulary) -> dict[str, Any]:
    whole = vocabulary.pre in WHOLE_WORDS
    return {
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer(vocabulary.pre),
        "decoder": BYTES_AS_CHARACTERS,
        "model": _model(vocabulary, vocabulary.merges or [], ignore_merges=whole),
    }


def _sentence_piece(vocabulary: Vocabulary) -> dict[str, Any]:
    unknown = vocabulary.token("unk")
    if unknown is None:
        unknown = next(
            (
                t
                for t, kind in zip(vocabulary.tokens, vocabulary.kinds, strict=True)
                if kind == UNKNOWN
            ),
            None,
        )
    if unknown is None and not set(_BYTES) <= set(vocabulary.tokens):
        raise ValueError(
            "key 'tokenizer.ggml.tokens' has neither an unknown token nor one for each byte"
        )
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": _SPACE}
    before = [{"type": "Prepend", "prepend": _SPACE}] if vocabulary.add_space else []
    after = (
        [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if vocabulary.add_space else []
    )
    words = {"type": "Replace", "pattern": {"String": _SPACE}, "content": " "}
    merges = _merges_of_scores(vocabulary) if vocabulary.merges is None else vocabulary.merges
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*before, spaces]},
        "pre_tokenizer": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [words, {"type": "ByteFallback"}, {"type": "Fuse"}, *after],
        },
        "model": _model(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True),
    }


def _merges_of_scores(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Return the ways to make each piece of two others, the piece with the highest score first."""
    scores = vocabulary.scores or []
    pieces = {
        token: index
        for index, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.kinds, strict=True))
        # Others are never made of pieces; a piece with a space could not be met in a text.
        if kind < UNKNOWN and " " not in token
    }
    longest = max(map(len, pieces), default=0)
    if longest > _LONGEST_PIECE:  # each is cut everywhere
        raise ValueError(
            f"key 'tokenizer.ggml.tokens' has a piece of {longest} characters, expected at most "
            f"{_LONGEST_PIECE} where there are no merges"
        )
    found = []
    for piece in sorted(pieces, key=lambda piece: (-scores[pieces[piece]], pieces[piece])):
        for cut in range(len(piece) - 1, 0, -1):
            left, right = piece[:cut], piece[cut:]
            if left in pieces and right in pieces:
                found.append((left, right))
    return found


def _added(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Return the tokens that are recognized before a text is cut."""
    return [
        {
            "id": index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": kind != USER_DEFINED,
        }
        for index, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.kinds, strict=True))
        if kind in (UNKNOWN, CONTROL, USER_DEFINED) and token
    ]


def _ends(vocabulary: Vocabulary) -> dict[str, Any] | None:
    """Return what puts tokens at the beginning and the end of texts."""
    first = ["bos"] if vocabulary.add_bos else []
    last = ["eos"] if vocabulary.add_eos else []
    if not first and not last:
        return None

    def around(text: str, kind: int) -> list[dict[str, Any]]:
        special = [{"SpecialToken": {"id": name, "type_id": kind}} for name in (*first, *last)]
        middle = {"Sequence": {"id": text, "type_id": kind}}
        return [*special[: len(first)], middle, *special[len(first) :]]

    return {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": [*around("A", 0), *around("B", 1)],
        "special_tokens": {
            name: {
                "id": name,
                "ids": [vocabulary.special[name]],
                "tokens": [vocabulary.token(name)],
            }
            for name in (*first, *last)
        },
    }
