# SPDX-License-Identifier: Apache-2.0
"""octavo under sentence-transformers: its class, with an octavo encoder inside.

``from octavo.sentence_transformers import SentenceTransformer`` in place of their import is the one
line: what one does with their models (``encode``, ``similarity``, evaluators, ``semantic_search``,
``mine_hard_negatives``) goes on as before, but for training.
"""

from __future__ import annotations

try:
    import sentence_transformers as _sentence_transformers  # noqa: F401  (only to say what is missing)
except ModuleNotFoundError as error:
    if error.name != "sentence_transformers":
        raise
    raise ImportError(
        'octavo.sentence_transformers needs sentence-transformers: pip install "octavo[sentences]"'
    ) from error

from octavo.sentence_transformers.model import SentenceTransformer

__all__ = ["SentenceTransformer"]
