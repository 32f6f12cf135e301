# SPDX-License-Identifier: Apache-2.0
"""GGUF, the format of llama.cpp: metadata by keys, and tensors in blocks with scales of their own.

Files come from strangers: each length, count and offset is compared with the bytes that are there
before anything is made of it.
"""

from __future__ import annotations

from octavo.io.gguf.reader import GgufFile, open_gguf
from octavo.io.gguf.tokenizer import gguf_tokenizer, tokenizer_files
from octavo.io.gguf.vocabulary import Vocabulary, read_vocabulary

__all__ = [
    "GgufFile",
    "Vocabulary",
    "gguf_tokenizer",
    "open_gguf",
    "read_vocabulary",
    "tokenizer_files",
]
