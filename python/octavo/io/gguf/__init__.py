# SPDX-License-Identifier: Apache-2.0
"""GGUF, the format of llama.cpp: metadata by keys, and tensors in blocks with scales of their own.

Files come from strangers: each length, count and offset is compared with the bytes that are there
before anything is made of it.
"""

from __future__ import annotations

from octavo.io.gguf.reader import GgufFile, open_gguf

__all__ = ["GgufFile", "open_gguf"]
