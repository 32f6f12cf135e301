# SPDX-License-Identifier: Apache-2.0
"""ELECTRA: BERT's layers, behind a table of vectors that may be narrower."""

from __future__ import annotations

from octavo import nn
from octavo._types import Float32, Int64
from octavo.models.bert import BertModel
from octavo.models.build import LayerSource
from octavo.models.config import EncoderConfig


class ElectraModel(BertModel):
    """ELECTRA's encoder, which its authors call the discriminator."""

    architecture = "ElectraModel"
    head_activation = "gelu"

    def __init__(self, config: EncoderConfig, source: LayerSource) -> None:
        super().__init__(config, source)
        narrow, size = config.embedding_size, config.hidden_size
        self.embeddings_project: nn.Module | None = None
        if narrow != size:
            self.embeddings_project = source.linear("embeddings_project", size, narrow)

    @classmethod
    def prefixes(cls) -> tuple[str, ...]:
        """Beginnings of the names of the encoder's tensors."""
        return (*super().prefixes(), "embeddings_project.")

    def embed(self, ids: Int64, types: Int64 | None) -> Float32:
        """Compute what goes into the first block."""
        narrow = super().embed(ids, types)
        if self.embeddings_project is None:
            return narrow
        return self.embeddings_project(narrow)
